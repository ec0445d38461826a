"""Mean and spread of parameters over devices, with the errors of the single fits taken out (random effects)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Random-effects estimate over n devices.

    Attributes
    ----------
    mean, mean_error : population mean and its standard error
    tau, tau_error : standard deviation between devices and its standard error (None where tau is 0)
    low, high : 95 % interval of tau
    beyond : devices of which only a limit is known
    """

    mean: float
    mean_error: float
    tau: float
    tau_error: float | None
    low: float
    high: float
    devices: int
    beyond: int = 0


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


def censored(values: ArrayLike, errors: ArrayLike, limits: ArrayLike) -> Spread:
    """Mean and spread where of some devices only a limit is known above which their value lies, by maximum likelihood.

    -ln L = sum ((x - mu)^2 / v + ln v) / 2 - sum ln Phi((mu - limit) / tau), v = s^2 + tau^2 (J. Tobin, Econometrica 26, 24
    (1958)). Values that are known are a selection, the smaller ones; their own mean and spread would be too small.
    """
    from scipy.special import log_ndtr

    x, s, limit = (np.asarray(v, float) for v in (values, errors, limits))

    def nll(at: Floats) -> float:
        mu, tau = at[0], np.exp(at[1])
        v = s**2 + tau**2
        return float(0.5 * np.sum((x - mu) ** 2 / v + np.log(v)) - np.sum(log_ndtr((mu - limit) / tau)))

    scale = max(float(np.std(x)), 1e-6)
    at, step = np.array([float(np.mean(x)), float(np.log(scale))]), np.array([1e-3 * scale, 1e-3])
    eye = np.diag(step)
    for _ in range(100):
        here = nll(at)
        slope = np.array([nll(at + e) - nll(at - e) for e in eye]) / (2 * step)
        second = np.array([[nll(at + a + b) - nll(at + a - b) - nll(at - a + b) + nll(at - a - b) for a in eye] for b in eye])
        second /= 4 * np.outer(step, step)
        w, vectors = np.linalg.eigh(second * np.outer([scale, 1.0], [scale, 1.0]))
        inverse = (vectors / np.maximum(np.abs(w), 1e-9)) @ vectors.T * np.outer([scale, 1.0], [scale, 1.0])
        move = np.clip(-inverse @ slope, [-scale, -0.5], [scale, 0.5])
        part = next((f for f in (1.0, 0.3, 0.1, 0.01) if nll(at + f * move) < here), 0.0)
        at = at + part * move
        if part == 0.0 or np.max(np.abs(part * move / [scale, 1.0])) < 1e-7:
            break
    tau, error = float(np.exp(at[1])), float(np.sqrt(inverse[1, 1]))
    return Spread(
        float(at[0]), float(np.sqrt(inverse[0, 0])), tau, tau * error, tau * float(np.exp(-1.96 * error)),
        tau * float(np.exp(1.96 * error)), len(x) + len(limit), len(limit),
    )  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Correlation of two fields over devices with its 95 % interval and standard error."""

    first: str
    second: str
    value: float
    error: float
    low: float
    high: float

    @property
    def notable(self) -> bool:
        """Whether a simulation that draws the fields independently misses something: |r| > 0.3 and not 0."""
        return abs(self.value) > 0.3 and (self.low > 0 or self.high < 0)


FEWEST_FOR_CORRELATION = 10


def random_effects(values: Floats, errors: Floats, *, most: int = 500) -> tuple[Floats, Floats]:
    """Mean (P,) and covariance (P, P) between devices by expectation maximisation.

    Parameters
    ----------
    values : (N, P) fitted values; NaN where a device does not determine one
    errors : (N, P, P) covariances of the fits; what belongs to a missing value is ignored
    most : largest number of iterations

    Each device is x_i = theta_i + e_i with theta_i normal around the mean with the covariance between devices, and e_i normal
    with the covariance of the fit (N. M. Laird and J. H. Ware, Biometrics 38, 963 (1982)).
    """
    missing = ~np.isfinite(values) | ~np.isfinite(np.diagonal(errors, axis1=1, axis2=2))
    mean = np.nanmean(np.where(missing, np.nan, values), axis=0)
    scale = np.nanstd(np.where(missing, np.nan, values), axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x = np.where(missing, 0.0, (np.nan_to_num(values) - mean) / scale)
    s = np.nan_to_num(errors) / np.outer(scale, scale)
    both = missing[:, :, None] | missing[:, None, :]
    s = np.where(both, 0.0, s) + 1e8 * missing[:, :, None] * np.eye(len(mean))
    mu, sigma = np.zeros(len(mean)), 0.5 * np.eye(len(mean))
    for _ in range(most):
        gain = sigma @ np.linalg.inv(sigma + s)
        state = mu + np.einsum("npq,nq->np", gain, x - mu)
        rest = sigma - gain @ sigma
        new_mu = state.mean(axis=0)
        centred = state - new_mu
        new = rest.mean(axis=0) + centred.T @ centred / len(x)
        moved = float(np.max(np.abs(new - sigma)))
        mu, sigma = new_mu, (new + new.T) / 2
        if moved < 1e-6:
            break
    # the mean was fitted too: as a variance over n - 1
    sigma = sigma * len(x) / max(len(x) - 1, 1)
    return mean + scale * mu, sigma * np.outer(scale, scale)


def correlations(names: Sequence[str], values: Floats, errors: Floats) -> list[Pair]:
    """Correlations of all pairs of fields between devices.

    The error of a correlation grows with the share of the fits' own errors in the spread that is seen: with the
    reliabilities rel = tau^2 / (tau^2 + mean s^2), r = r_seen / sqrt(rel_1 rel_2), and Fisher's z of r_seen has the standard
    error 1 / sqrt(n - 3) (C. Spearman, Am. J. Psychol. 15, 72 (1904), for the attenuation).
    """
    out: list[Pair] = []
    variance = np.diagonal(errors, axis1=1, axis2=2)
    known = np.isfinite(values) & np.isfinite(variance) & (variance > 0)
    use = [j for j in range(len(names)) if known[:, j].sum() >= FEWEST_FOR_CORRELATION]
    if len(use) < 2:
        return out
    part = np.where(known[:, use], values[:, use], np.nan)
    _, sigma = random_effects(part, errors[:, use][:, :, use])
    for a in range(len(use)):
        for b in range(a + 1, len(use)):
            tau2 = np.array([sigma[a, a], sigma[b, b]])
            mean_s2 = np.array([float(np.mean(variance[known[:, j], j])) for j in (use[a], use[b])])
            reliability = tau2 / (tau2 + mean_s2)
            n = int((known[:, use[a]] & known[:, use[b]]).sum())
            # spreads that drown in the errors of the fits have no correlation that could be told
            if n < FEWEST_FOR_CORRELATION or np.any(reliability < 0.2):
                continue
            shrink = float(np.sqrt(np.prod(reliability)))
            r = float(np.clip(sigma[a, b] / np.sqrt(np.prod(tau2)), -1, 1))
            z, step = np.arctanh(np.clip(r * shrink, -0.999999, 0.999999)), 1 / np.sqrt(n - 3)
            low, high = (float(np.clip(np.tanh(z + sign * 1.96 * step) / shrink, -1, 1)) for sign in (-1, 1))
            error = float((1 - np.tanh(z) ** 2) * step / shrink)
            out.append(Pair(names[use[a]], names[use[b]], r, error, low, high))
    return out


@dataclass(frozen=True)
class Outlier:
    """A device whose value lies far from the others': in standard deviations of the population and of its own error."""

    device: str
    field: str
    deviation: float


def outlying(devices: Sequence[str], names: Sequence[str], values: Floats, errors: Floats) -> list[Outlier]:
    """Devices that do not belong to the population, worst first.

    Centre and spread are the median and the median absolute deviation, which outliers do not move; a normal population has
    fewer than one such device in a hundred populations of this size.
    """
    out: list[Outlier] = []
    if len(devices) < 8:
        return out
    limit = float(np.sqrt(2 * np.log(len(devices) * max(len(names), 1) / 0.01)))
    for j, name in enumerate(names):
        x, s2 = values[:, j], errors[:, j, j]
        known = np.isfinite(x) & np.isfinite(s2) & (s2 > 0)
        if known.sum() < 8:
            continue
        centre = float(np.median(x[known]))
        seen = float(1.4826 * np.median(np.abs(x[known] - centre)))
        tau2 = max(seen**2 - float(np.median(s2[known])), 0.0)
        # far for its own error and for the scatter that is seen: errors of short traces may be too small
        deviation = (x - centre) / np.sqrt(np.maximum(tau2 + np.where(known, s2, 1.0), seen**2))
        # with few devices the spread itself is uncertain
        wide = limit * (1 + 2 / np.sqrt(known.sum()))
        far = np.flatnonzero(known & (np.abs(deviation) > wide)).tolist()
        out += [Outlier(devices[i], name, float(deviation[i])) for i in far]
    return sorted(out, key=lambda o: -abs(o.deviation))


def log_normal(gain: Floats, errors: Floats) -> bool:
    """Whether a log-normal spread of the step size fits clearly better than a normal one (by 2 in ln L)."""
    known = np.isfinite(gain) & np.isfinite(errors) & (errors > 0) & (gain > 0)
    if known.sum() < 20 or np.any(gain[np.isfinite(gain)] <= 0):
        return False

    def best(x: Floats, s: Floats) -> float:
        spread = paule_mandel(x, s)
        variance = s**2 + spread.tau**2
        return float(-0.5 * np.sum(np.log(variance) + (x - spread.mean) ** 2 / variance))

    x, s = gain[known], errors[known]
    return best(np.log(x), s / x) - float(np.sum(np.log(x))) > best(x, s) + 2


@dataclass(frozen=True)
class Share:
    """A share of devices with its 95 % interval."""

    value: float
    low: float
    high: float


def share(hits: int, devices: int) -> Share:
    """Share of devices and its interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927))."""
    z2, p = 1.96**2, hits / devices
    centre = (p + z2 / (2 * devices)) / (1 + z2 / devices)
    half = 1.96 * np.sqrt(p * (1 - p) / devices + z2 / (4 * devices**2)) / (1 + z2 / devices)
    return Share(p, float(max(centre - half, 0.0)) if hits else 0.0, float(min(centre + half, 1.0)))
