"""Weights on pairs of devices whose laws are those of ``sim/core/programming.h``: all replicas in one pass, on CPU and GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from sim.inference.converters import SinglePairConductanceConverter

if TYPE_CHECKING:
    from torch import Tensor

    from sim.inference.noise.base import BaseNoiseModel

__all__ = ["MOST_COEFFICIENTS", "PairLaws", "drift_pairs", "laws_of", "program_pairs", "scales"]

MOST_COEFFICIENTS = 6
SMALLEST = 1e-7


@dataclass(frozen=True)
class PairLaws:
    """Numbers of the laws of a noise model.

    Parameters
    ----------
    coefficients : of the spread after programming over r = g / g_max, µS; at most `MOST_COEFFICIENTS`
    mean, spread : of the drift exponent: slope and offset over ln r, and the bounds
    drift_scale : factor of the exponents
    read : of the relative read noise: factor, least r and power of r
    read_scale : factor of the read noise
    t_0, t_read : s
    """

    coefficients: Sequence[float]
    mean: tuple[float, float, float, float]
    spread: tuple[float, float, float, float]
    drift_scale: float
    read: tuple[float, float, float]
    read_scale: float
    t_0: float
    t_read: float

    def numbers(self, converter: SinglePairConductanceConverter, scale: float, t_inference: float = 0.0) -> list[float]:
        """In the order of ``sim/core/programming.h``, at a time after programming."""
        padded = [*self.coefficients, *[0.0] * (MOST_COEFFICIENTS - len(self.coefficients))]
        log_time = math.log((t_inference + self.t_0) / self.t_0) if t_inference > 0.0 else 0.0
        read = math.sqrt(max(math.log((t_inference + self.t_0 + self.t_read) / (2.0 * self.t_read)), 0.0))
        return [
            scale, converter.g_max, converter.g_min, 1.0 / converter.g_max, *padded, *self.mean, *self.spread, self.drift_scale,
            *self.read, log_time, self.read_scale * read,
        ]  # fmt: skip


def laws_of(models: Sequence[BaseNoiseModel]) -> list[PairLaws] | None:
    """Laws of all models; None where one has others, or another converter."""
    found = []
    for model in models:
        # A class that says nothing itself may have changed a law of its parent.
        if "pair_laws" not in vars(type(model)) or type(model.g_converter) is not SinglePairConductanceConverter:
            return None
        laws = model.pair_laws()
        if laws is None or len(laws.coefficients) > MOST_COEFFICIENTS:
            return None
        found.append(laws)
    return found


def scales(models: Sequence[BaseNoiseModel], weight: Tensor) -> list[float]:
    """µS per unit of weight of each replica."""
    largest = weight.abs().amax(dim=(1, 2)).tolist()
    converters = [model.g_converter for model in models]
    return [(c.g_max - c.g_min) / max(top, SMALLEST) for c, top in zip(converters, largest, strict=True)]  # type: ignore[attr-defined]


def program_pairs(weight: Tensor, numbers: Tensor, keys: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (R, out, in) that new devices make, their conductances and their exponents (R, 2, out, in).

    numbers (R, N) of `PairLaws.numbers`, keys (R,), step ().
    """
    made = weight.new_empty(2, weight.shape[0], 2, *weight.shape[1:])
    return _pairs(weight, made[0], made[1], numbers, keys, step), made[0], made[1]


def drift_pairs(conductance: Tensor, nu: Tensor, numbers: Tensor, keys: Tensor, step: Tensor) -> Tensor:
    """Weights (R, out, in) that devices (R, 2, out, in) make at the time of the numbers."""
    return _pairs(None, conductance, nu, numbers, keys, step)


def _pairs(weight: Tensor | None, conductance: Tensor, nu: Tensor, numbers: Tensor, keys: Tensor, step: Tensor) -> Tensor:
    from sim import _core
    from sim.ops.checks import check, place, threads

    device, (replicas, _, out, n_in) = place(conductance), conductance.shape
    check("conductance", conductance, (replicas, 2, out, n_in), device=device)
    check("nu", nu, (replicas, 2, out, n_in), device=device)
    check("numbers", numbers, (replicas, numbers.shape[1]), device=device)
    if weight is not None:
        check("weight", weight, (replicas, out, n_in), device=device)
    noisy = conductance.new_empty(replicas, out, n_in)
    if not noisy.numel():
        return noisy
    if device is not None:
        import_module("sim.cuda.backend").pairs(weight, noisy, conductance, nu, numbers, keys, step)
        return noisy
    _core.pairs(
        0 if weight is None else weight.data_ptr(), noisy.data_ptr(), conductance.data_ptr(), nu.data_ptr(), numbers.data_ptr(),
        keys.data_ptr(), step.data_ptr(), out * n_in, replicas, threads(8.0 * noisy.numel()),
    )  # fmt: skip
    return noisy
