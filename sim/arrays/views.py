"""What of the array the passes of a product see: the weights, or matrices made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sim.arrays.passes import Part, Phase, pass_list, pass_values, phases
from sim.arrays.slices import significances, weight_slices
from sim.circuit.column import Converter, column_matrix
from sim.configs.enums import AnalogMVType
from sim.configs.io import TWO_PASS, BitSlicedIOParameters, IOParameters, IOParametersIRDropT
from sim.errors import ConfigError
from sim.gpu import numbers
from sim.ops import MvmFlags, Pass, normal_field

__all__ = ["Seen", "View", "view_of"]

XDEP_STREAM = 128
CHARGE_QUANTUM = 100.0
"""Charge that the ADC counts at 1 GHz [uA steps] (mvm.md, 14.5)."""
QUANTUM, WINDOW = 3, 2
"""Columns of the values of a pass."""


class Seen(NamedTuple):
    """Structure of the passes, matrices (R, K, out, in), their offsets (R, K, m) and the values of the passes."""

    flags: MvmFlags
    matrices: Tensor | None
    offsets: Tensor | None
    values: Tensor


class Owner(Protocol):
    """What a view asks of its product."""

    training: bool
    keys: Tensor
    step: Tensor
    pass_values: Tensor
    w_asymmetry: Tensor | None


class View:
    """The weights as they are; negative inputs may see their own (mvm.md, section 9).

    Parameters
    ----------
    io : R IO parameters
    flags : structure of the product without its passes
    """

    def __init__(self, io: Sequence[IOParameters], flags: Mapping[str, Any]) -> None:
        self.io, self.base = io, flags
        self.phases: list[Phase] = [] if io[0].ideal else phases(io)
        self.two_pass = io[0].mv_type in TWO_PASS and not io[0].ideal
        self.analog_sum = io[0].mv_type is AnalogMVType.POS_NEG_SEPARATE
        self.apart = self.two_pass and any(one.w_read_asymmetry_dtod > 0 for one in io)
        slices = [self.parts(k) for k in range(self.slices())]
        self.flags = MvmFlags(**flags, passes=pass_list(self.phases, slices, self.analog_sum))
        self.initial_values = pass_values(self.phases, slices, self.shares()) if self.phases else torch.empty(len(io), 0, 5)

    def slices(self) -> int:
        """Number of slices of the weights."""
        return 1

    def shares(self) -> Tensor | None:
        """Significance (R, slices) of the slices."""
        return None

    def parts(self, k: int) -> list[Part]:
        """Parts of a slice: both signs of the inputs, or all."""
        if not self.two_pass:
            return [Part(0, k)]
        return [Part(-1, 2 * k), Part(1, 2 * k + 1)] if self.apart else [Part(-1, k), Part(1, k)]

    def see(self, weight: Tensor, x: Tensor, owner: Owner) -> Seen:
        """For weights (R, out, in) and inputs (R, B, n)."""
        matrices = self.matrices(weight)
        if self.apart:
            assert owner.w_asymmetry is not None
            stored = weight.unsqueeze(1) if matrices is None else matrices
            both = torch.stack([stored * owner.w_asymmetry.unsqueeze(1), stored], dim=2)
            matrices = both.flatten(1, 2)
        return Seen(self.flags, matrices, None, owner.pass_values)

    def matrices(self, weight: Tensor) -> Tensor | None:
        """Slices (R, K, out, in) of the weights; None: the weights themselves."""
        return None


class SlicedView(View):
    """Weights over several devices of stated significance."""

    io: Sequence[BitSlicedIOParameters]

    def slices(self) -> int:
        return len(self.io[0].weight_significance)

    def shares(self) -> Tensor:
        return torch.tensor([significances(one.weight_significance) for one in self.io], dtype=torch.float64)

    def matrices(self, weight: Tensor) -> Tensor:
        return weight_slices(weight.detach(), [one.weight_significance for one in self.io], self.io[0].weight_bits)


class ColumnView(View):
    """Columns with wires while the inputs last (mvm.md, section 14); ideal ones in training."""

    io: Sequence[IOParametersIRDropT]

    def __init__(
        self, io: Sequence[IOParametersIRDropT], flags: Mapping[str, Any], inputs: int, phys_input_size: int, converter: Converter
    ) -> None:
        super().__init__(io, flags)
        self.size, self.converter = max(inputs, phys_input_size), converter
        segments = io[0].ir_drop_segments
        if any(one.ir_drop > 0 for one in io) and self.size % segments:
            raise ConfigError(
                f"ir_drop_segments = {segments} does not divide the {self.size} inputs of the physical array: give a divisor, or "
                "another mapping.max_input_size",
                field="ir_drop_segments",
                value=segments,
            )

    def see(self, weight: Tensor, x: Tensor, owner: Owner) -> Seen:
        first = self.io[0]
        dropping = not owner.training and any(one.ir_drop > 0 for one in self.io)
        if not dropping and not first.apply_xdep_pcm_read_noise:
            return super().see(weight, x, owner)
        weight = weight.detach()
        read = [weight] * len(self.phases)
        if first.apply_xdep_pcm_read_noise:
            read = [self._with_read_noise(weight, x, owner, k, phase) for k, phase in enumerate(self.phases)]
        if not dropping:
            slices = [[Part(0, k)] for k in range(len(read))]
            passes = tuple(pass_list([phase], [part], False)[0] for phase, part in zip(self.phases, slices, strict=True))
            return Seen(MvmFlags(**self.base, passes=passes), torch.stack(read, 1), None, owner.pass_values)
        distinct = read if first.apply_xdep_pcm_read_noise else read[:1]
        seen = [self._columns(matrix) for matrix in distinct]
        pairs = seen[0][0].shape[1]
        matrices, offsets = torch.cat([s[0] for s in seen], 1), torch.cat([s[1] for s in seen], 1)
        listed: list[Pass] = []
        rows = []
        for k, phase in enumerate(self.phases):
            which = k if len(seen) > 1 else 0
            parts = [Part(0, which * pairs + p) for p in range(pairs)]
            listed += pass_list([phase], [parts], analog_sum=True)
            values = numbers(weight, pass_values([phase], [parts]).flatten().tolist()).reshape(len(self.io), -1, 5).clone()
            values[:, :, QUANTUM] = seen[which][2]
            rows.append(values)
        return Seen(MvmFlags(**self.base, passes=tuple(listed)), matrices, offsets, torch.cat(rows, 1))

    def _columns(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Matrices (R, pairs, out, in) with wires, offsets (R, pairs, m) and charge quanta (R, pairs) of one matrix."""
        transposed = bool(self.base["transposed"])
        oriented = weight.transpose(1, 2) if transposed else weight
        wire = numbers(weight, [one.ir_drop * one.ir_drop_rs for one in self.io])
        v_read = numbers(weight, [one.ir_drop_v_read for one in self.io], torch.float64)
        column = column_matrix(oriented.contiguous(), wire, self.io[0].ir_drop_segments, self.size, v_read, self.converter)
        on = numbers(weight, [one.ir_drop > 0 for one in self.io], torch.bool)
        quantum = numbers(
            weight, [CHARGE_QUANTUM / one.adc_frequency * one.inp_step if one.adc_quantization else 0.0 for one in self.io]
        ).unsqueeze(1)
        pairs = column.matrix.shape[1]
        plain = torch.cat([oriented.unsqueeze(1), torch.zeros_like(oriented).unsqueeze(1).expand(-1, pairs - 1, -1, -1)], dim=1)
        matrix = torch.where(on.reshape(-1, 1, 1, 1), column.matrix, plain)
        offset = torch.where(on.reshape(-1, 1, 1), column.offset, 0.0)
        if transposed:
            matrix = matrix.transpose(2, 3)
        return matrix.contiguous(), offset, torch.where(on.unsqueeze(1), quantum * column.charge, 0.0)

    def _with_read_noise(self, weight: Tensor, x: Tensor, owner: Owner, k: int, phase: Phase) -> Tensor:
        """Weights with the read noise of PCM for the mean input of a phase (mvm.md, 14.6)."""
        settings = zip(*[(one.xdep_pcm_read_noise_scale, one.inp_step) for one in self.io], strict=True)
        strength, step = (numbers(weight, v).reshape(-1, 1, 1) for v in settings)
        level = torch.round(self._scaled(x) / step).abs().clamp(max=float(self.io[0].input_levels)).long() >> phase.shift
        if phase.bits < 31:
            level = level & ((1 << phase.bits) - 1)
        count = max(1, level[0].numel())
        tau = level.flatten(1).sum(1).double() / count  # whole numbers: the order of the sum plays no part
        log = torch.log10(tau.clamp(min=1e-30))
        a = (((2.1926e-4 * log - 1.87352e-3) * log + 6.55714e-3) * log - 1.46159e-2) * log + 2.578764e-2
        b = ((1.11906167e-3 * log - 9.08576764e-3) * log + 3.07015063e-2) * log - 6.77079241e-2
        b = b * log + 1.17763144e-1
        on = (tau > 0).reshape(-1, 1, 1)
        a, b = (torch.where(tau > 0, v, 0.0).to(weight.dtype).reshape(-1, 1, 1) for v in (a, b))
        g = self.converter(weight)
        size = (g.pairs[0][0] - g.pairs[0][1]).abs()
        xi = normal_field(owner.keys, tuple(weight.shape[1:]), owner.step, XDEP_STREAM + k)
        noisy = size + strength * (a * size + b) * xi
        return torch.where(on, torch.sign(weight) * noisy / g.scale.reshape(-1, 1, 1), weight)

    def _scaled(self, x: Tensor) -> Tensor:
        """Inputs in units of the range of the DAC, by the largest input where noise management scales by that."""
        x = x.detach()
        if not self.base["noise_management"]:
            return x
        peak = x.abs().amax(dim=2, keepdim=True)
        return x / torch.where(peak > 0, peak, torch.ones_like(peak))


def view_of(
    io: Sequence[IOParameters], flags: Mapping[str, Any], inputs: int, phys_input_size: int, converter: Converter
) -> View:
    """The view that a class of IO parameters has."""
    if isinstance(io[0], IOParametersIRDropT) and not io[0].ideal:
        return ColumnView(io, flags, inputs, phys_input_size, converter)  # type: ignore[arg-type]
    if isinstance(io[0], BitSlicedIOParameters) and not io[0].ideal:
        return SlicedView(io, flags)
    return View(io, flags)
