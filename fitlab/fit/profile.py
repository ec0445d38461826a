"""Profile likelihood: intervals of parameters whose likelihood is not quadratic, such as a bound near which states stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .candidate import Candidate
from .free import NOISE, Space, make_parameters
from .prediction_error import Likelihood, fit_prediction_error
from .response import Trace

DEVIATIONS = 1.96
"""Roots of twice the rise of -ln L at the ends of a 95 % interval (chi-square with one degree of freedom)."""
STRAIGHT = 0.15
"""Part by which the root at two standard errors may miss two before the likelihood is no parabola."""
FARTHEST = 20.0
"""No end of an interval is looked for beyond this, in units of the parameter."""


def _fixed(c: Candidate) -> frozenset[str]:
    return frozenset(n for n in c.model.parameters if n not in c.likelihood.varied)


def not_quadratic(c: Candidate, trace: Trace) -> dict[str, tuple[float, float]]:
    """Parameters for which the rise of -ln L at two standard errors, the others following, is not that of a parabola.

    Given are the roots of twice the rise below and above, which would be two. The others are at the optimum next to where the
    covariance takes them, by one Newton step.
    """
    fit = c.likelihood
    space = Space(make_parameters(c.model, fit.values, fixed=_fixed(c)), log=fit.positive, units=c.model.units)
    known = np.isfinite(np.diag(fit.covariance)) & (np.diag(fit.covariance) > 0)
    if not known.any():
        return {}
    size = np.where(space.log, [abs(fit.values[n]) for n in space.names], space.unit)[known]
    covariance = fit.covariance[np.ix_(known, known)] / np.outer(size, size)
    spread = np.sqrt(np.diag(covariance))
    moves = covariance / spread  # columns: where all go when one goes by its standard error
    centre, rows = space.x(), np.flatnonzero(known)
    points = np.tile(centre, (2 * len(rows), 1))
    points[:, rows] += 2 * np.vstack([-moves.T, moves.T])
    points = np.clip(points, space.low, space.high)
    value, gradient = Likelihood(c.model, c.mult_noise, trace, space).gradients(points)
    out = {}
    for j, row in enumerate(rows):
        if space.names[row] in NOISE:
            continue
        roots = []
        others = covariance - np.outer(moves[:, j], moves[:, j])
        for k in (j, j + len(rows)):
            g = gradient[k, rows]
            rise = value[k] + fit.log_likelihood - 0.5 * float(g @ others @ g)
            roots.append(float(np.sqrt(2 * max(rise, 0.0))) if np.isfinite(rise) else np.inf)
        if max(abs(r - 2) for r in roots) > 2 * STRAIGHT:
            out[space.names[row]] = roots[0], roots[1]
    return out


def interval(c: Candidate, trace: Trace, name: str, roots: tuple[float, float] = (2.0, 2.0)) -> tuple[float | None, float | None]:
    """95 % profile-likelihood interval; None on a side that the data leave open.

    `roots` are those of `not_quadratic`, from which the search for the ends starts.
    """
    fit, fixed = c.likelihood, _fixed(c)
    centre, error = fit.values[name], fit.errors[name]
    limit = FARTHEST * c.model.units.get(name, 1.0)

    def end(sign: int, guessed: float) -> float | None:
        # the root of the rise is close to a straight line in the parameter
        at, before = fit.values, (0.0, 0.0)
        reach = 2 * error * float(np.clip(DEVIATIONS / max(guessed, 0.1), 0.5, 2.0))
        for _ in range(12):
            value = centre + sign * reach
            if (name.startswith("w_") and value * centre <= 0) or abs(value) > limit:
                return None
            mean, noise = ({n: at[n] for n in names} for names in (c.model.parameters, NOISE))
            found = fit_prediction_error(
                c.model, trace, mean, mult_noise=c.mult_noise, held={name: value}, fixed=fixed, noise=noise, refine=False
            )
            root = float(np.sqrt(2 * max(fit.log_likelihood - found.log_likelihood, 0.0)))
            if abs(root - DEVIATIONS) < 0.05:
                return float(value)
            if not root < 3 * DEVIATIONS:  # too far for the others to follow
                reach = 0.5 * (before[0] + reach)
                continue
            at = found.values
            slope = (root - before[1]) / (reach - before[0])
            guess = reach + (DEVIATIONS - root) / slope if slope > 0 else np.inf
            before = (reach, root)
            reach = float(np.clip(guess, 0.4 * reach, 2.5 * reach))
        return float(value) if abs(root - DEVIATIONS) < 0.3 else None

    return end(-1, roots[0]), end(1, roots[1])


def with_profiles(c: Candidate, trace: Trace) -> Candidate:
    """The candidate with honest errors where the curvature at the optimum misleads.

    The ends of the profile interval of such a parameter are kept, and its standard error becomes that of the longer side; a side
    that is open takes its error away.
    """
    fit = c.likelihood
    profiles: dict[str, tuple[float | None, float | None]] = {}
    reasons = dict(c.reasons)
    scale = np.ones(len(fit.varied))
    for name, roots in not_quadratic(c, trace).items():
        if name in reasons:
            continue
        low, high = interval(c, trace, name, roots)
        ratio = c.stored[name] / fit.values[name] if fit.values[name] else 1.0
        profiles[name] = (None if low is None else low * ratio, None if high is None else high * ratio)
        if low is None or high is None:
            side = "below" if low is None else "above"
            reasons[name] = f"not identifiable: the likelihood does not fall on the side {side}"
            continue
        longer = max(high - fit.values[name], fit.values[name] - low)
        scale[fit.varied.index(name)] = longer / (DEVIATIONS * fit.errors[name])
    if not profiles:
        return c
    covariance = fit.covariance * np.outer(scale, scale)
    return replace(c, likelihood=replace(fit, covariance=covariance), reasons=reasons, profiles=profiles)
