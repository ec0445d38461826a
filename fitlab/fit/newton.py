"""Minimisation of a smooth function with exact gradients inside a box: damped Newton with an active set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .response import Floats

SCORING = 15
"""Most steps with the expected Hessian before the exact one is taken."""
_LENGTHS = ((1.0,), (0.5, 0.2, 0.05, 0.01), (1e-3, 5e-4, 2e-4, 5e-5, 1e-5))
"""Parts of a step that are tried, those of a group together."""


class Objective(Protocol):
    """A function of V variables, evaluated at P points at once."""

    def values(self, points: Floats) -> Floats:
        """Points (P, V) to values (P,)."""
        ...

    def gradients(self, points: Floats) -> tuple[Floats, Floats]:
        """Points (P, V) to values (P,) and gradients (P, V)."""
        ...

    def information(self, x: Floats) -> tuple[float, Floats, Floats]:
        """Value, gradient and expected Hessian at a point (V,)."""
        ...


@dataclass(frozen=True)
class Minimum:
    """Where the search ended: point, value, gradient, Hessian, which variables lie on a limit, and if it converged."""

    x: Floats
    value: float
    gradient: Floats
    hessian: Floats
    at_limit: np.ndarray
    converged: bool
    evaluations: int


def hessian(objective: Objective, x: Floats, low: Floats, high: Floats) -> tuple[float, Floats, Floats]:
    """Value, gradient and Hessian: differences of exact gradients, kept inside the box; to about 1e-6 of it."""
    step = 1e-6 * np.maximum(1.0, np.abs(x))
    step = np.where(x + step > high, -step, step)
    moved = np.clip(x + np.diag(step), low, high)
    value, gradient = objective.gradients(np.vstack([x[None], moved]))
    width = np.diag(moved) - x
    second = (gradient[1:] - gradient[0]) / np.where(width != 0, width, 1e-300)[:, None]
    return float(value[0]), gradient[0], (second + second.T) / 2


def minimise(
    objective: Objective,
    x: Floats,
    low: Floats,
    high: Floats,
    *,
    most: int = 60,
    tolerance: float = 1e-6,
    coarse: float = 1e-3,
    refine: bool = True,
    reach: Floats | float = 2.0,
) -> Minimum:
    """Local minimum from x.

    Scoring steps with the expected Hessian, which costs one evaluation, then Newton steps with the exact one until the
    expected decrease of a step is below `tolerance`. Variables on a limit are held while the gradient points outward;
    a Hessian's eigenvalues enter by their size, so that a saddle is left downhill; steps are shortened until the value
    falls. Scoring ends where a step promises less than `coarse`. Without `refine` the search ends there too, within about
    that of the minimum. No variable moves by more than `reach` in a step.
    """
    x = np.clip(x, low, high)
    evaluations, exact = 1, False
    value, gradient, second = objective.information(x)
    for iteration in range(most):
        held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        free = ~held
        if not np.isfinite(value) or not np.isfinite(second).all():
            break
        step, expected = _step(gradient, second, free, reach)
        moved = False
        if expected > (tolerance if exact else coarse):
            best, least = x, value - 1e-12 * max(1.0, abs(value))
            for lengths in _LENGTHS:
                points = np.clip(x + np.outer(lengths, step), low, high)
                values = objective.values(points)
                evaluations += len(points)
                values = np.where(np.isfinite(values), values, np.inf)
                which = int(np.argmin(values))
                if values[which] < least:
                    best, least, moved = points[which], values[which], True
                # a full step that keeps half its promise is not searched along
                if moved and (len(lengths) > 1 or value - least > 0.25 * expected):
                    break
            x = best
        if exact and not moved:
            return Minimum(x, value, gradient, second, _at_limit(x, low, high), expected < 1e-2, evaluations)
        if not refine and not moved:
            return Minimum(x, value, gradient, second, _at_limit(x, low, high), expected < 1e-2, evaluations)
        # scoring ends where it converged or got stuck
        exact = exact or not moved or iteration >= SCORING
        if exact:
            value, gradient, second = hessian(objective, x, low, high)
            evaluations += 1 + len(x)
        else:
            value, gradient, second = objective.information(x)
            evaluations += 1
    if refine:
        value, gradient, second = hessian(objective, x, low, high)
    return Minimum(x, value, gradient, second, _at_limit(x, low, high), False, evaluations)


def _step(gradient: Floats, second: Floats, free: np.ndarray, reach: Floats | float) -> tuple[Floats, float]:
    """Newton step over the free variables and twice the decrease that it promises."""
    step = np.zeros_like(gradient)
    if not free.any():
        return step, 0.0
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(second)[free]), 1e-8))
    part = second if free.all() else second[np.ix_(free, free)]
    eigenvalues, vectors = np.linalg.eigh(part * (scale[:, None] * scale))
    size = np.maximum(np.abs(eigenvalues), 1e-7)
    inner = vectors.T @ (scale * gradient[free])
    step[free] = -scale * (vectors @ (inner / size))
    return np.clip(step, -reach, reach), float(np.sum(inner**2 / size))


def _at_limit(x: Floats, low: Floats, high: Floats) -> np.ndarray:
    return (x <= low + 1e-9) | (x >= high - 1e-9)
