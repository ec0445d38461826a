"""The formulas that noise models share (inference.md, section 3). Everything is element by element.

Powers are written as exp(a ln x): torch's own power differs in bits with the place of an element in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from sim.inference.programming import Piece

__all__ = ["cut_log", "logarithm", "piece", "polynomial", "power_law", "power_law_numbers", "read_factor"]


def logarithm(x: Tensor) -> Tensor:
    """``ln x`` for x above 0; what is less counts as 1e-38."""
    from sim import ops

    return ops.logarithm(x)


def polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """``c_0 + c_1 x + c_2 x^2 + ...``"""
    import torch

    if len(coefficients) < 2:
        return torch.full_like(x, coefficients[0] if coefficients else 0.0)
    total = x * coefficients[-1] + coefficients[-2]
    for c in reversed(coefficients[:-2]):
        total.mul_(x).add_(c)
    return total


def cut_log(log_x: Tensor, slope: float, offset: float, low: float, high: float) -> Tensor:
    """``clip(slope ln x + offset, low, high)``, given ln x."""
    return (log_x * slope).add_(offset).clamp_(low, high)


def piece(p: Piece, r: Tensor) -> Tensor:
    """A clipped line of ln r below a threshold in r, a cubic of r from there on."""
    slope, offset, low, high, threshold, *cubic = p
    return cut_log(logarithm(r), slope, offset, low, high).where(r < threshold, polynomial(cubic, r))


def power_law(g: Tensor, nu: Tensor | None, t: float, t_0: float) -> Tensor:
    """Drifted conductance ``g ((t + t_0) / t_0)^(-nu)``, and g itself at t = 0."""
    if nu is None or t <= 0.0:
        return g
    return (nu * -math.log((t + t_0) / t_0)).exp_().mul_(g)


def read_factor(t: float, t_read: float) -> float:
    """Accumulated 1/f noise ``sqrt(ln((t + t_read) / (2 t_read)))``; 0 where the logarithm is negative."""
    return math.sqrt(max(math.log((t + t_read) / (2.0 * t_read)), 0.0))


def power_law_numbers(
    model: Any, t: float, mean: Piece, spread: Piece, read: Piece, read_power: tuple[float, float, float] = (0.0, 1e-7, 0.0)
) -> list[float]:
    """Numbers of the power law at a time, in the order of ``sim/core/programming.h``.

    ``read_power`` is factor, least r and power of a read noise that is a power of r.
    """
    log_time = math.log((t + model.t_0) / model.t_0) if t > 0.0 else 0.0
    strength = model.read_noise_scale * read_factor(t + model.t_0, model.t_read)
    return [*mean, *spread, *read, *read_power, model.drift_scale, log_time, strength]
