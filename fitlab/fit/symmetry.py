"""Symmetry point: the state where the mean up step equals the mean down step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .models import Model
from .prediction_error import PredictionError
from .response import Trace


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


def _root(model: Model, values: dict[str, float]) -> float | None:
    """Root of s_up(w) = s_down(w) for steps that are linear in w between the bounds."""
    if model.soft:
        a_up, a_down = values["step_up"], values["step_down"]
        slope = a_up / values["w_max"] - a_down / values["w_min"]
        return (a_up - a_down) / slope if slope else None
    if "gamma_up" in values:
        b_up = values["gamma_up"] * values["step_up"] / values["w_max"]
        b_down = -values["gamma_down"] * values["step_down"] / values["w_min"]
        return (values["step_up"] - values["step_down"]) / (b_up + b_down) if b_up + b_down else None
    return None


def symmetry_point(fit: PredictionError, trace: Trace) -> SymmetryPoint:
    """Symmetry point of a fit with its standard error (delta method), compared with alternating pulses."""
    alternating, alternating_error, warnings = _from_alternation(fit, trace)
    if not (np.any(trace.pulses > 0) and np.any(trace.pulses < 0)):
        return SymmetryPoint(None, None, "only one direction was measured")
    w = _root(fit.model, fit.values)
    if w is None:
        return SymmetryPoint(
            None, None, "steps do not depend on the state in this model", alternating, alternating_error, warnings
        )
    used = trace.reads[trace.used]
    if not float(np.min(used)) <= w <= float(np.max(used)):
        return SymmetryPoint(
            None, None, "steps are nowhere equal inside the measured window", alternating, alternating_error, warnings
        )
    slope = np.zeros(len(fit.varied))
    for i, name in enumerate(fit.varied):
        if name in fit.model.parameters:
            h = 1e-5 * max(abs(fit.values[name]), 1e-3)
            ahead, behind = ({**fit.values, name: fit.values[name] + s * h} for s in (1, -1))
            up, down = _root(fit.model, ahead), _root(fit.model, behind)
            slope[i] = (up - down) / (2 * h) if up is not None and down is not None else np.nan
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
