"""In which passes a product is measured: phases of the inputs, signs, slices of the weights (mvm.md, 9 and 14.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sim.configs.enums import AnalogMVType
from sim.configs.io import BitSlicedIOParameters, IOParameters, IOParametersIRDropT
from sim.errors import ConfigError
from sim.ops import Pass

__all__ = ["Part", "Phase", "pass_list", "pass_values", "phases"]

ALL_BITS = 31


@dataclass(frozen=True)
class Phase:
    """Binary digits of the inputs that are fed at once; each list has a value for every replica.

    shift, bits : which digits; bits 0: the whole input as it is
    amplitude : input for each unit of the digit
    coefficient : digital factor of what the ADC gives
    window : time that the phase lasts, in units of an input of 1
    time_scale : steps in time for each unit of the digit
    """

    shift: int
    bits: int
    amplitude: tuple[float, ...]
    coefficient: tuple[float, ...]
    window: tuple[float, ...]
    time_scale: tuple[float, ...]


@dataclass(frozen=True)
class Part:
    """What a phase meets before the ADC: inputs of a sign (0: all) on a matrix."""

    sign: int
    matrix: int


def phases(io: Sequence[IOParameters]) -> list[Phase]:
    """Phases of a product; the replicas have the same number of them.

    Raises
    ------
    ConfigError
        If replicas differ in the number of bits of the inputs.
    """
    rows = [_phases(one) for one in io]
    if any([(shift, bits) for shift, bits, *_ in row] != [(shift, bits) for shift, bits, *_ in rows[0]] for row in rows):
        raise ConfigError("inp_res differs between replicas by whole bits, which their phases do not allow", field="inp_res")
    return [
        Phase(shift, bits, *(tuple(row[k][j] for row in rows) for j in range(2, 6)))  # type: ignore[arg-type]
        for k, (shift, bits, *_) in enumerate(rows[0])
    ]


def _phases(io: IOParameters) -> list[tuple[int, int, float, float, float, float]]:
    """(shift, bits, amplitude, coefficient, window, time scale) of each phase of one replica."""
    step, levels, bits = io.inp_step, io.input_levels, io.input_bits
    timed = isinstance(io, IOParametersIRDropT)
    scale = io.ir_drop_time_step_resolution_scale if isinstance(io, IOParametersIRDropT) else 1.0

    def window(steps: float) -> float:
        return int(steps * scale + 1e-9) / scale * step

    if io.mv_type is AnalogMVType.SPLIT_MODE:
        shift = io.split_mode_bit_shift
        high = 2 ** max(bits - shift, 0)
        return [
            (0, shift, step, 1.0, window(2**shift), scale),
            (shift, ALL_BITS, step, float(2**shift), window(high), scale),
        ]
    if io.mv_type is AnalogMVType.BIT_WISE:
        return [(k, 1, step, float(2**k), 2 * step, 1.0) for k in range(bits)]
    if isinstance(io, BitSlicedIOParameters) and io.input_slice_bits:
        width = io.input_slice_bits
        full = 2**width - 1
        amplitude = io.inp_bound / full
        return [(k, width, amplitude, step * 2**k / amplitude, 0.0, 1.0) for k in range(0, bits, width)]
    if timed:
        return [(0, ALL_BITS, step, 1.0, window(levels + 1), scale)]
    return [(0, 0, 1.0, 1.0, 0.0, 1.0)]


def pass_list(phases: Sequence[Phase], slices: Sequence[Sequence[Part]], analog_sum: bool) -> tuple[Pass, ...]:
    """Every phase on every slice of the weights; the parts of a slice are added before the ADC or after it."""
    return tuple(
        Pass(part.sign, phase.shift, phase.bits, part.matrix, analog_sum and k < len(parts) - 1)
        for phase in phases
        for parts in slices
        for k, part in enumerate(parts)
    )


def pass_values(phases: Sequence[Phase], slices: Sequence[Sequence[Part]], significance: Tensor | None = None) -> Tensor:
    """What goes with `pass_list`, (R, passes, 5), in the order of `sim.ops.PASS_VALUES`; significance (R, slices)."""
    rows = []
    for phase in phases:
        for k, parts in enumerate(slices):
            coefficient = torch.tensor(phase.coefficient, dtype=torch.float64)
            if significance is not None:
                coefficient = coefficient * significance[:, k]
            columns = (phase.amplitude, coefficient, phase.window, (0.0,) * len(phase.amplitude), phase.time_scale)
            row = torch.stack([torch.as_tensor(v, dtype=torch.float64) for v in columns], dim=1)
            rows += [row] * len(parts)
    return torch.stack(rows, dim=1).float()
