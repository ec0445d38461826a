"""Devices of R arrays on a GPU as the kernels take them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim import _core, ops
from sim.cuda.launch import start
from sim.cuda.modules import Module, pulsed_update
from sim.gpu import may_look
from sim.ops.checks import ShapeError, check, writable
from sim.ops.updates import check_operands, check_update

__all__ = ["GpuDeviceArray", "Looks"]

STOCHASTIC, NONE_WITH_DEVICE = 0, 3
RATE_OF_SAMPLE = 16


class Looks:
    """What crosspoints are looked at in the middle of a mini-batch (`pulsed_update.cu`).

    line, sample (R, n) int32; seen (R, n, lines) float32, which is filled; rows: lines are rows.
    """

    def __init__(self, line: Tensor, sample: Tensor, seen: Tensor, rows: bool) -> None:
        self.args = line, sample, seen, np.int32(line.shape[1]), np.int32(rows)


class GpuDeviceArray(ops.DeviceArray):
    """As `sim.ops.DeviceArray`, on one GPU."""

    __slots__ = ("bit_flags", "device", "longest", "pulses", "side", "varying")

    def __init__(self, tensors: Sequence[Tensor | None], field_of: list[int], device: int, flags: list[int]) -> None:
        weight = tensors[0]
        assert weight is not None
        check_update(*tensors, len(field_of), weight.device)  # type: ignore[arg-type, call-arg]
        self._keep(tensors, flags)
        self.device = device
        self.side, fixed, managed, managed_length, rounding, self.pulses, self.longest = flags
        self.bit_flags = fixed | managed << 1 | managed_length << 2 | rounding << 3
        if fixed or managed_length:
            self.longest = self.longest or int(self.settings[:, 0].max())
        else:
            self.longest = 0  # it follows the learning rate
        self.varying = np.uint32(sum(1 << k for k, plane in enumerate(field_of) if plane >= 0))

    weight = property(lambda self: self.tensors[0])
    fields = property(lambda self: self.tensors[3])
    shared = property(lambda self: self.tensors[5])
    granularity = property(lambda self: self.tensors[6])
    settings = property(lambda self: self.tensors[7])

    @property
    def shown(self) -> Tensor:
        """Weights that a product sees."""
        weight, apparent = self.tensors[:2]
        assert weight is not None
        return weight if apparent is None else apparent

    def planes(self) -> tuple[Any, ...]:
        """Weight, apparent weight, counts, fields, values and shared data, as kernels take them first."""
        return self.tensors[:6]

    def keyed(self) -> tuple[Any, ...]:
        """Noise, granularity, settings of the trains, and both keys."""
        _, _, _, _, _, _, granularity, settings, noise, keys, train_keys = self.tensors
        return noise, granularity, settings, keys, train_keys

    def counts(self) -> tuple[Any, ...]:
        """Which parameters vary, and numbers of planes and of shared data."""
        return self.varying, np.int32(self.fields.shape[-1]), np.int32(self.shared.shape[1])

    def pulse(self, x: Tensor, d: Tensor, rate: Tensor, step: Tensor, rates: Tensor | None = None, count: bool = False) -> None:
        weight = self.weight
        if weight.requires_grad:
            writable("weight", weight)
        check_operands(weight, x, d, rate, weight.device)
        if rates is not None:
            check("rates", rates, (self.shape[0], x.shape[1]), weight.dtype, weight.device)
        if weight.numel() and x.shape[1]:
            self.run(x, d, rate, step, rates)
        if count:
            step[0] += 1

    def run(
        self, x: Tensor, d: Tensor, rate: Tensor, step: Tensor, rates: Tensor | None = None, looks: Looks | None = None,
        peak: Tensor | None = None,
    ) -> None:  # fmt: skip
        """The three kernels of an update of checked operands; ``peak`` (R B, 2), where the magnitudes are known."""
        replicas, out, n_in = self.shape
        batch, module, weight = x.shape[1], pulsed_update(_core.devices()[self.device]), self.weight
        samples, lines = replicas * batch, n_in + out
        if samples * lines >= 2**31:
            raise ShapeError(
                f"an update of {replicas} replicas with {batch} samples on {n_in} + {out} lines is more than a kernel counts "
                "(2^31): use smaller mini-batches, or fewer replicas at once"
            )
        noise, granularity, settings, keys, train_keys = self.keyed()
        words = self._words(rate) if self.pulses == STOCHASTIC else 1
        bits = torch.empty(samples * words * lines, dtype=torch.int32, device=weight.device)
        negative = torch.empty(samples * lines, dtype=torch.int32, device=weight.device)
        sizes = [np.int32(n) for n in (batch, n_in, out, words)]
        if self.pulses != NONE_WITH_DEVICE:
            peak = largest_magnitudes(module, x, d) if peak is None else peak
            flags = np.uint32(self.bit_flags | (RATE_OF_SAMPLE if rates is not None else 0))
            start(
                module, "draw_trains", samples * lines, weight, x, d, peak, rate if rates is None else rates, granularity,
                settings, train_keys, step, bits, negative, np.int32(replicas), *sizes, flags, np.int32(self.pulses),
            )  # fmt: skip
        kernel = "pulsed_update" if looks is None else "watched_update"
        grid = (out, -(-n_in // module.threads[kernel]), replicas)
        start(
            module, kernel, grid, weight, *self.planes(), x, d, rate, noise, keys, step, bits, negative, *self.counts(), *sizes,
            np.int32(self.side), np.int32(self.pulses), *(() if looks is None else looks.args),
        )  # fmt: skip

    def _words(self, rate: Tensor) -> int:
        length = self.longest
        if not length:
            may_look(rate, "trains grow with the learning rate, which only the GPU knows: set update.fixed_bl")
            needed = math.ceil(float((rate.abs() / self.granularity).max()))
            length = max(int(self.settings[:, 0].max()), needed)
        return (length + 31) // 32


def largest_magnitudes(module: Module, x: Tensor, d: Tensor) -> Tensor:
    """Bits of the largest finite magnitudes of inputs (R, B, in) and errors (R, B, out): (R B, 2) int32."""
    samples = x.shape[0] * x.shape[1]
    peak = torch.zeros(2 * samples, dtype=torch.int32, device=x.device)
    sizes = np.int32(samples), np.int32(x.shape[2]), np.int32(d.shape[2])
    start(module, "largest_magnitudes", 64 * samples, x, x, d, peak, *sizes)
    return peak
