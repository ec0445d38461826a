"""Minimisation of a smooth function with exact gradients inside a box: damped Newton with an active set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .response import Floats


class Objective(Protocol):
    """A function of V variables that is evaluated at P points at once."""

    def values(self, points: Floats) -> Floats:
        """Points (P, V) to values (P,)."""
        ...

    def gradients(self, points: Floats) -> tuple[Floats, Floats]:
        """Points (P, V) to values (P,) and gradients (P, V)."""
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
    """Value, gradient and Hessian: central differences of exact gradients, kept inside the box."""
    step = 1e-5 * np.maximum(1.0, np.abs(x))
    eye = np.diag(step)
    ahead, behind = np.minimum(x + eye, high), np.maximum(x - eye, low)
    value, gradient = objective.gradients(np.vstack([x[None], ahead, behind]))
    width = np.maximum(np.diag(ahead - behind), 1e-300)
    size = len(x)
    second = (gradient[1 : size + 1] - gradient[size + 1 :]) / width[:, None]
    return float(value[0]), gradient[0], (second + second.T) / 2


def minimise(objective: Objective, x: Floats, low: Floats, high: Floats, *, most: int = 60, tolerance: float = 1e-9) -> Minimum:
    """Local minimum from x.

    Newton steps with the absolute value of the Hessian's eigenvalues (so that a saddle is left downhill), variables
    on a limit held while the gradient points outward, steps shortened until the value falls. It ends when the
    expected decrease of a full step is below `tolerance`.
    """
    x = np.clip(x, low, high)
    evaluations, converged = 0, False
    lengths = np.array([1.0, 0.5, 0.2, 0.05, 0.01])
    value, gradient, second = hessian(objective, x, low, high)
    for _ in range(most):
        evaluations += 1 + 2 * len(x)
        held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        free = ~held
        if not free.any() or not np.isfinite(value):
            converged = bool(np.isfinite(value))
            break
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(second)[free]), 1e-8))
        eigenvalues, vectors = np.linalg.eigh(second[np.ix_(free, free)] * np.outer(scale, scale))
        size = np.maximum(np.abs(eigenvalues), 1e-7)
        inner = vectors.T @ (scale * gradient[free])
        if float(np.sum(inner**2 / size)) < tolerance:
            converged = True
            break
        step = np.zeros_like(x)
        step[free] = -scale * (vectors @ (inner / size))
        step = np.clip(step, -2.0, 2.0)
        moved = False
        for shrink in (1.0, 1e-3, 1e-6):
            points = np.clip(x + np.outer(lengths * shrink, step), low, high)
            values = objective.values(points)
            evaluations += len(points)
            values = np.where(np.isfinite(values), values, np.inf)
            which = int(np.argmin(values))
            if values[which] < value:
                fell = value - float(values[which])
                x, moved = points[which], True
                value, gradient, second = hessian(objective, x, low, high)
                break
        if not moved or fell < 1e-12 * max(1.0, abs(value)):
            converged = True
            break
    at_limit = (x <= low + 1e-9) | (x >= high - 1e-9)
    return Minimum(x, value, gradient, second, at_limit, converged, evaluations)
