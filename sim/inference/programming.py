"""Weights on devices whose laws are those of ``sim/core/programming.h``: all replicas of a tile in one pass, on CPU and GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sim.inference.converters import (
    DualPairConductanceConverter,
    NPairConductanceConverter,
    SingleDeviceConductanceConverter,
    SinglePairConductanceConverter,
)

if TYPE_CHECKING:
    from torch import Tensor

    from sim.inference.noise.base import BaseNoiseModel

__all__ = [
    "ALWAYS", "MOST_COEFFICIENTS", "MOST_KNOTS", "NO_TABLE", "DeviceLaws", "DriftKind", "Piece", "Table", "drift_devices",
    "laws_of", "numbers_of", "padded", "program_devices", "scalings",
]  # fmt: skip

MOST_COEFFICIENTS = 6
MOST_KNOTS = 64  # a longer table is searched faster than walked through
LAW_NUMBERS = 12 + 33  # before those of the devices of a weight

Piece = tuple[float, float, float, float, float, float, float, float, float]
"""Slope and offset over ln r with bounds, up to a threshold in r; from there on a cubic: c_0 ... c_3."""
ALWAYS = (math.inf, 0.0, 0.0, 0.0, 0.0)  # a piece without its cubic

Table = Sequence[tuple[float, float, float, float, float]]
NO_TABLE: Table = ()

# Converters that are a clipped line a device; a class of a user may have changed the maps of its parent.
LINEAR = SinglePairConductanceConverter, NPairConductanceConverter, DualPairConductanceConverter, SingleDeviceConductanceConverter


class DriftKind(IntEnum):
    """Laws, numbered as in the header."""

    POWER_LAW = 0
    SNAPSHOTS = 1
    RELAXATION = 2
    TABLES = 3


@dataclass(frozen=True)
class DeviceLaws:
    """Numbers of the laws of a noise model.

    Parameters
    ----------
    kind : of the drift
    g_max : µS, of r = g / g_max
    coefficients : of the spread after programming over r, µS; at most `MOST_COEFFICIENTS`
    at : numbers of the law at a time after programming, in the order of the header
    table : conductance in µS, spread after programming, mean and spread of the drift, read noise at each knot
    lowest : least conductance that is programmed, µS
    """

    kind: DriftKind
    g_max: float
    coefficients: Sequence[float]
    at: Callable[[float], Sequence[float]]
    table: Table = NO_TABLE
    lowest: float = 0.0

    def fits(self) -> bool:
        """Whether there is room for all numbers."""
        return len(self.coefficients) <= MOST_COEFFICIENTS and len(self.table) <= MOST_KNOTS


def laws_of(models: Sequence[BaseNoiseModel]) -> list[DeviceLaws] | None:
    """Laws of all models; None where one has others, another converter, or another number of devices than its neighbours."""
    found, devices = [], set()
    for model in models:
        # A class that says nothing itself may have changed a law of its parent.
        if "device_laws" not in vars(type(model)) or type(model.g_converter) not in LINEAR:
            return None
        laws = model.device_laws()
        if laws is None or not laws.fits():
            return None
        found.append(laws)
        devices.add(len(_converter(model).lines(_converter(model).scaling(-1.0, 1.0))))
    return found if len(devices) == 1 else None


def scalings(models: Sequence[BaseNoiseModel], weight: Tensor) -> list[dict[str, Any]]:
    """What the converter of each replica needs on the way back from weights (R, out, in)."""
    low, high = weight.amin(dim=(1, 2)).tolist(), weight.amax(dim=(1, 2)).tolist()
    return [_converter(model).scaling(*ends) for model, *ends in zip(models, low, high, strict=True)]


def _converter(model: BaseNoiseModel) -> Any:
    return model.g_converter


def numbers_of(
    models: Sequence[BaseNoiseModel], laws: Sequence[DeviceLaws], params: Sequence[dict[str, Any]], t_inference: float = 0.0
) -> list[list[float]]:
    """Rows of numbers in the order of the header, of one length, at a time after programming."""
    rows = []
    for model, law, of_converter in zip(models, laws, params, strict=True):
        converter = _converter(model)
        knots = _knots(law.table)
        row = [float(law.kind), 1.0 / law.g_max, of_converter.get("min", 0.0), converter.g_min, law.lowest, float(len(law.table))]
        row += padded(law.coefficients, MOST_COEFFICIENTS)
        row = padded([*row, *law.at(t_inference)], LAW_NUMBERS)
        rows.append([*row, *(number for line in converter.lines(of_converter) for number in line), *knots])
    longest = max(map(len, rows))
    return [padded(row, longest) for row in rows]


def padded(numbers: Sequence[float], n: int) -> list[float]:
    """The numbers, with zeros behind them to n in all."""
    return [*numbers, *[0.0] * (n - len(numbers))]


def _knots(table: Table) -> list[float]:
    """Conductance, then value and slope to the next knot of each column; beyond the last knot its values hold."""
    numbers: list[float] = []
    for k, (g, *values) in enumerate(table):
        further = table[min(k + 1, len(table) - 1)]
        width = further[0] - g
        numbers.append(g)
        for value, later in zip(values, further[1:], strict=True):
            numbers += [value, (later - value) / width if width else 0.0]
    return numbers


def program_devices(weight: Tensor, devices: int, numbers: Tensor, keys: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (R, out, in) that new devices make, their conductances and what drift depends on (R, devices, out, in).

    numbers (R, N) of `numbers_of`, keys (R,), step ().
    """
    made = weight.new_empty(2, weight.shape[0], devices, *weight.shape[1:])
    return _run(weight, made[0], made[1], numbers, keys, step), made[0], made[1]


def drift_devices(conductance: Tensor, nu: Tensor, numbers: Tensor, keys: Tensor, step: Tensor) -> Tensor:
    """Weights (R, out, in) that devices (R, devices, out, in) make at the time of the numbers."""
    return _run(None, conductance, nu, numbers, keys, step)


def _run(weight: Tensor | None, conductance: Tensor, nu: Tensor, numbers: Tensor, keys: Tensor, step: Tensor) -> Tensor:
    from sim.ops.checks import check, core_of, place, precision, threads

    device, (replicas, devices, out, n_in) = place(conductance), conductance.shape
    real = precision("conductance", conductance)
    check("conductance", conductance, (replicas, devices, out, n_in), real, device)
    check("nu", nu, (replicas, devices, out, n_in), real, device)
    check("numbers", numbers, (replicas, numbers.shape[1]), real, device)
    if weight is not None:
        check("weight", weight, (replicas, out, n_in), real, device)
    noisy = conductance.new_empty(replicas, out, n_in)
    if not noisy.numel():
        return noisy
    if device is not None:
        import_module("sim.cuda.backend").program(weight, noisy, conductance, nu, numbers, keys, step)
        return noisy
    core_of(real).program(
        0 if weight is None else weight.data_ptr(), noisy.data_ptr(), conductance.data_ptr(), nu.data_ptr(), numbers.data_ptr(),
        keys.data_ptr(), step.data_ptr(), out * n_in, replicas, devices, numbers.shape[1], threads(4.0 * devices * noisy.numel()),
    )  # fmt: skip
    return noisy
