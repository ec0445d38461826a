"""Symmetry point: the state where the mean up step equals the mean down step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .models import Model
from .prediction_error import PredictionError
from .response import Floats, Trace


@dataclass(frozen=True)
class SymmetryPoint:
    """Symmetry point in w from the fitted steps, and from alternating pulses where there are any.

    `from_alternation` is the mean of the settled pairs, with `pairs_needed` against `pairs` applied.
    """

    value: float | None
    error: float | None
    reason: str | None
    from_alternation: float | None = None
    from_alternation_error: float | None = None
    warnings: tuple[str, ...] = ()


GRID = 65
"""States between which a root of the difference of the steps is looked for."""


def _difference(model: Model, values: dict[str, float], w: Floats) -> Floats:
    up, down = model.mean_steps(values, w)
    return up - down


def _roots(model: Model, values: dict[str, float], low: float, high: float) -> list[float]:
    """States in [low, high] where the mean up and down steps are equal."""
    out = []
    for left, right in _signs(model, values, np.linspace(max(low, values["w_min"]), min(high, values["w_max"]), GRID)):
        for _ in range(4):
            found = _signs(model, values, np.linspace(left, right, 33))
            if not found:
                break
            left, right = found[0]
        out.append((left + right) / 2)
    return out


def _signs(model: Model, values: dict[str, float], w: Floats) -> list[tuple[float, float]]:
    """Neighbouring states between which the difference of the steps changes its sign."""
    gap = _difference(model, values, w)
    return [(float(w[k]), float(w[k + 1])) for k in np.flatnonzero((gap[:-1] > 0) != (gap[1:] > 0))]


def symmetry_point(fit: PredictionError, trace: Trace) -> SymmetryPoint:
    """Symmetry point of a fit with its standard error (delta method), compared with alternating pulses."""
    alternating, alternating_error, warnings = _from_alternation(fit, trace)
    if not (np.any(trace.pulses > 0) and np.any(trace.pulses < 0)):
        return SymmetryPoint(None, None, "only one direction was measured")
    used, model, values = trace.reads[trace.used], fit.model, fit.values
    if not np.ptp(_difference(model, values, np.linspace(-0.5, 0.5, 9))) > 1e-12:
        return SymmetryPoint(
            None, None, "steps do not depend on the state in this model", alternating, alternating_error, warnings
        )
    found = _roots(model, values, float(np.min(used)), float(np.max(used)))
    if not found:
        return SymmetryPoint(
            None, None, "steps are nowhere equal inside the measured window", alternating, alternating_error, warnings
        )
    if len(found) > 1:
        listed = ", ".join(f"{v:.3f}" for v in found)
        several = f"steps are equal at several states ({listed})"
        return SymmetryPoint(None, None, several, alternating, alternating_error, warnings)
    w = found[0]
    # the root moves by -(change of the difference) / (its slope with the state)
    h = 1e-4
    steepness = float(np.diff(_difference(model, values, np.array([w - h, w + h])))[0]) / (2 * h)
    slope = np.zeros(len(fit.varied))
    for i, name in enumerate(fit.varied):
        if name in model.parameters and steepness:
            h = 1e-5 * max(abs(values[name]), 1e-3)
            up, down = (_difference(model, {**values, name: values[name] + s * h}, np.array([w]))[0] for s in (1, -1))
            slope[i] = -(up - down) / (2 * h) / steepness
    finite = np.isfinite(np.diag(fit.covariance))
    if not np.isfinite(slope).all() or np.any(slope[~finite] != 0):
        error, reason = None, "a parameter that it depends on has no standard error"
    else:
        part = slope[finite]
        error, reason = float(np.sqrt(max(part @ fit.covariance[np.ix_(finite, finite)] @ part, 0.0))), None
    if alternating is not None and alternating_error is not None and error is not None:
        gap = abs(alternating - w) / np.hypot(alternating_error, error)
        if gap > 2.5:
            warnings = (
                *warnings,
                f"symmetry point from alternating pulses ({alternating:.3f}) and from the steps "
                f"({w:.3f}) differ by {gap:.1f} errors: the step model is wrong there",
            )
    return SymmetryPoint(w, error, reason, alternating, alternating_error, warnings)


def _from_alternation(fit: PredictionError, trace: Trace) -> tuple[float | None, float | None, tuple[str, ...]]:
    """Mean of the settled part of alternating single pulses, if there are at least ten pairs."""
    sign = np.sign(trace.pulses)
    flips = np.concatenate(([False], (sign[1:] * sign[:-1] == -1) & (np.diff(trace.segment) == 0)))
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flips.astype(int), [0]))))
    best = max(((b - a, a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)), default=(0, 0, 0))
    if best[0] < 20:
        return None, None, ()
    reads = trace.reads[best[1] : best[2]]
    pairs = (reads[: len(reads) // 2 * 2 : 2] + reads[1 : len(reads) // 2 * 2 : 2]) / 2
    pairs = pairs[np.isfinite(pairs)]
    slope_up, slope_down = _slopes(fit)
    contraction = (1 - slope_up) * (1 - slope_down)
    needed = 3 / max(1 - contraction, 1e-9)
    warnings: tuple[str, ...] = ()
    settled = pairs[int(min(needed, len(pairs) / 2)) :]
    if len(pairs) < needed:
        warnings = (f"{len(pairs)} alternating pairs are too few to settle at the symmetry point; about {needed:.0f} are needed",)
        return None, None, warnings
    if len(settled) < 8:
        return None, None, warnings
    z = settled - settled.mean()
    rho = float(np.clip(z[1:] @ z[:-1] / max(z @ z, 1e-300), 0, 0.999))
    effective = max(len(settled) * (1 - rho) / (1 + rho), 1.0)
    return float(settled.mean()), float(settled.std(ddof=1) / np.sqrt(effective)), warnings


def _slopes(fit: PredictionError) -> tuple[float, float]:
    """Decrease of the up step with w, and increase of the down step."""
    w = np.array([-0.02, 0.02])
    up, down = fit.model.mean_steps(fit.values, w)
    return float(-(up[1] - up[0]) / 0.04), float((down[1] - down[0]) / 0.04)


__all__ = ["SymmetryPoint", "symmetry_point"]
