"""Mean and spread of a parameter over devices, with the errors of the single fits taken out (random effects)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Spread:
    """Random-effects estimate over n devices.

    Attributes
    ----------
    mean, mean_error : population mean and its standard error
    tau, tau_error : standard deviation between devices and its standard error (None where tau is 0)
    low, high : 95 % interval of tau
    """

    mean: float
    mean_error: float
    tau: float
    tau_error: float | None
    low: float
    high: float
    devices: int


def paule_mandel(values: ArrayLike, errors: ArrayLike) -> Spread:
    """Paule-Mandel estimate of the spread between devices.

    tau^2 solves sum (x_i - mu)^2 / (s_i^2 + tau^2) = n - 1 with mu the weighted mean; its interval lies where the same
    sum meets the 2.5 % and 97.5 % points of the chi-square distribution (Q profile; Viechtbauer, Stat. Med. 26, 37
    (2007)). Source: R. C. Paule and J. Mandel, J. Res. Natl. Bur. Stand. 87, 377 (1982).

    Raises
    ------
    ValueError
        Fewer than two devices.
    """
    from scipy.special import gammaincinv

    x, s = np.asarray(values, float), np.asarray(errors, float)
    n = len(x)
    if n < 2:
        raise ValueError("a spread needs at least two devices")

    def statistic(tau2: float) -> float:
        weight = 1 / (s**2 + tau2)
        mu = float(np.sum(weight * x) / np.sum(weight))
        return float(np.sum(weight * (x - mu) ** 2))

    def solve(target: float) -> float:
        if statistic(0.0) <= target:
            return 0.0
        low, high = 0.0, max(float(np.var(x, ddof=1)), 1e-30)
        while statistic(high) > target:
            high *= 4
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if statistic(middle) > target else (low, middle)
            if high - low <= 1e-12 * high:
                break
        return (low + high) / 2

    tau2 = solve(n - 1.0)
    upper, lower = (2 * float(gammaincinv((n - 1) / 2, p)) for p in (0.975, 0.025))
    weight = 1 / (s**2 + tau2)
    tau = float(np.sqrt(tau2))
    error = float(np.sqrt(2 / np.sum(weight**2)) / (2 * tau)) if tau > 0 else None
    upper_end, lower_end = float(np.sqrt(solve(lower))), float(np.sqrt(solve(upper)))
    if tau == 0:
        # values closer together than their errors leave the Q profile empty: the limit of tau^2's own normal error at 0
        upper_end = max(upper_end, float(np.sqrt(1.645 * np.sqrt(2 / np.sum(weight**2)))))
    return Spread(
        float(np.sum(weight * x) / np.sum(weight)),
        float(1 / np.sqrt(np.sum(weight))),
        tau,
        error,
        lower_end,
        upper_end,
        n,
    )
