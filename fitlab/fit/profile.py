"""Profile likelihood: intervals of parameters whose likelihood is not quadratic, such as a bound near which states stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .candidate import Candidate
from .free import NOISE, limits
from .prediction_error import fit_prediction_error
from .response import Floats, Trace, likelihood_values

DROP = 1.92
"""Half the 95 % point of chi-square with one degree of freedom."""


def _along(c: Candidate, name: str, shift: float) -> dict[str, float]:
    """Parameters with one moved and the others following as the covariance says."""
    fit = c.likelihood
    known = np.isfinite(np.diag(fit.covariance))
    names = [n for n, k in zip(fit.varied, known, strict=True) if k]
    part = fit.covariance[np.ix_(known, known)]
    j = names.index(name)
    moves = part[:, j] / part[j, j] * shift
    values = dict(fit.values)
    for n, move in zip(names, moves, strict=True):
        low, high = limits(n, values[n])
        low = max(low, values[n] / 4) if n in NOISE or n.startswith("step_") else low
        values[n] = float(np.clip(values[n] + move, low, high))
    return values


def _nll(c: Candidate, trace: Trace, points: list[dict[str, float]]) -> Floats:
    kernels = np.array([c.model.kernel_values(v, c.mult_noise)[0] for v in points])
    sigma, kappa = np.array([[v[n] for n in NOISE] for v in points]).T
    return likelihood_values(c.model.kernel, kernels, sigma, kappa, trace)


def not_quadratic(c: Candidate, trace: Trace) -> list[str]:
    """Parameters for which -ln L rises by less than 1 at two standard errors, where a parabola rises by 2."""
    errors = c.likelihood.errors
    names = [n for n in errors if errors[n] > 0]
    if not names:
        return []
    points = [_along(c, n, sign * 2 * errors[n]) for n in names for sign in (1, -1)]
    rise = _nll(c, trace, points) + c.likelihood.log_likelihood
    return [n for i, n in enumerate(names) if np.nanmin(rise[2 * i : 2 * i + 2]) < 1.0]


def interval(c: Candidate, trace: Trace, name: str) -> tuple[float | None, float | None]:
    """95 % profile-likelihood interval; None on a side that the data leave open."""
    fit = c.likelihood
    fixed = frozenset(n for n in c.model.parameters if n not in fit.varied)
    best, centre, error = -fit.log_likelihood, fit.values[name], fit.errors[name]

    def rise(value: float) -> float:
        start = _along(c, name, value - centre)
        mean = {n: start[n] for n in c.model.parameters}
        noise = {n: start[n] for n in NOISE}
        found = fit_prediction_error(
            c.model, trace, mean, mult_noise=c.mult_noise, held={name: value}, fixed=fixed, noise=noise, refine=False
        )
        return -found.log_likelihood - best

    ends: list[float | None] = []
    for sign in (-1, 1):
        near, far = centre, centre + sign * 2 * error
        for _ in range(7):
            if (name.startswith("w_") and far * centre <= 0) or abs(far) > 20:
                break
            if rise(far) > DROP:
                break
            near, far = far, centre + 2 * (far - centre)
        else:
            ends.append(None)
            continue
        if abs(far) > 20:
            ends.append(None)
            continue
        for _ in range(6):
            middle = (near + far) / 2
            near, far = (middle, far) if rise(middle) < DROP else (near, middle)
        ends.append(far)
    return ends[0], ends[1]


def with_profiles(c: Candidate, trace: Trace) -> Candidate:
    """The candidate with honest errors where the curvature at the optimum misleads.

    The covariance of such a parameter is widened to the longer side of its profile interval; a side that is open takes
    its error away.
    """
    fit = c.likelihood
    profiles: dict[str, tuple[float | None, float | None]] = {}
    reasons = dict(c.reasons)
    covariance = fit.covariance.copy()
    for name in not_quadratic(c, trace):
        if name in NOISE or name in reasons:
            continue
        low, high = interval(c, trace, name)
        profiles[name] = (low, high)
        centre = fit.values[name]
        if low is None or high is None:
            side = "below" if low is None else "above"
            reasons[name] = f"not identifiable: the likelihood does not fall on the side {side}"
            continue
        ratio = max(high - centre, centre - low) / (1.96 * fit.errors[name])
        j = fit.varied.index(name)
        covariance[j, :] *= max(ratio, 1.0)
        covariance[:, j] *= max(ratio, 1.0)
    if not profiles:
        return c
    return replace(c, likelihood=replace(fit, covariance=covariance), reasons=reasons, profiles=profiles)
