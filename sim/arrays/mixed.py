"""Mixed precision: gradients are added up digitally and written as pulses, row by row (compounds.md, section 7)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sim.arrays.array import Array
from sim.arrays.cells import VectorArray
from sim.arrays.one_sided import OneSidedArray
from sim.arrays.pulsed import PulsedArray
from sim.arrays.transfer import write_trains
from sim.configs.compounds import MixedPrecisionCompound
from sim.configs.unit_cells import OneSidedUnitCell, UnitCell
from sim.configs.update import UpdateParameters
from sim.gpu import numbers
from sim.ops import digital_transfer_, exact_update_, key_tensor_of, next_rows, uniform_field
from sim.random import derive_key

__all__ = ["MixedPrecisionArray"]

ROUND_X, ROUND_D, ROW = 43, 44, 45
"""Streams beside those of the events."""


class MixedPrecisionArray(Array):
    """A digital matrix `chi` (R, out, in) in which gradients are added up, and the device array that whole steps go to.

    `batches` (R,) counts mini-batches since the weights were set, `row` (R,) is the next row; `calls` numbers all updates, for
    the random streams.

    Parameters
    ----------
    cells : sequence of R compounds of one structure
    updates : sequence of R update parameters of one structure; both managements are on
    shape : (out, in)
    keys : R keys
    """

    chi: Tensor
    batches: Tensor
    row: Tensor
    calls: Tensor
    every: Tensor
    unit: Tensor
    written_unit: Tensor

    def __init__(
        self, cells: Sequence[MixedPrecisionCompound], updates: Sequence[UpdateParameters], shape: tuple[int, int],
        keys: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__(shape, key_tensor_of([derive_key(key, "mixed") for key in keys]))
        self.cells = list(cells)
        managed = copy.deepcopy(list(updates))
        for update in managed:
            update.update_management = update.update_bl_management = True
        self.array = _device_array(cells, managed, shape, [derive_key(key, "device") for key in keys])
        self.ageing = self.array.ageing
        self.trains = write_trains(managed, keys)
        replicas = len(cells)
        self.register_buffer("chi", torch.zeros(replicas, *shape))
        self.register_buffer("batches", torch.zeros(replicas, dtype=torch.int64))
        self.register_buffer("row", torch.zeros(replicas, dtype=torch.int64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("every", torch.tensor([cell.transfer_every for cell in cells]))
        devices: list[Any] = [cell.device for cell in cells]
        units = [cell.granularity or device.granularity() for cell, device in zip(cells, devices, strict=True)]
        self.register_buffer("unit", torch.tensor(units))
        self.register_buffer("written_unit", torch.tensor([u * cell.transfer_lr for u, cell in zip(units, cells, strict=True)]))

    def read(self) -> Tensor:
        return self.array.read()

    def set(self, weight: Tensor) -> None:
        self.array.set(weight)
        for state in (self.chi, self.batches, self.row):
            state.zero_()

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        cell = self.cells[0]
        x = self._quantised(x, [c.n_x_bins for c in self.cells], cell.stoc_round_x, ROUND_X)
        d = self._quantised(d, [c.n_d_bins for c in self.cells], cell.stoc_round_d, ROUND_D)
        state: Any = self._buffers  # a module's attributes cost a microsecond each
        exact_update_(state["chi"], x, d, -rate)
        calls, out, n = state["calls"], self.shape[0], cell.n_rows_per_transfer
        rows, due = next_rows(
            rate, state["batches"], state["every"], state["written_unit"], state["row"], state["keys"], ROW, calls,
            cell.random_row, out, out if n < 0 else min(n, out),
        )  # fmt: skip
        array = self._modules["array"]
        if isinstance(array, PulsedArray):
            if due:
                written = array.packed(self._modules["trains"], array.granularity)
                digital_transfer_(written, state["chi"], rows, state["unit"], state["written_unit"], calls)
        elif n:
            # A cell counts what it is given, so it is given a mini-batch each time, if only for other replicas.
            self._write_rows(rows)
        calls.add_(1)

    def end_step(self) -> None:
        self.array.end_step()

    def reset(self, start: int = 0, n: int = -1, probability: float = 1.0) -> None:
        self.array.reset(start, n, probability)

    def clip(self, bound: float) -> None:
        self.array.clip(bound)

    def drift(self, elapsed: float) -> None:
        self.array.drift(elapsed)

    def hidden(self) -> dict[str, Tensor]:
        return self.array.hidden() | {"hidden_weights_chi": self.chi}

    def pulse_counts(self) -> Tensor | None:
        return self.array.pulse_counts()

    def memory(self) -> int:
        """Bytes of a crosspoint of one replica."""
        return self.chi.element_size() + self.array.memory()

    def _write_rows(self, rows: Tensor) -> None:
        """Write rows (R, n) to a cell, below 0 where a replica is not due: they are one mini-batch of one-hot errors."""
        # The devices share the pulses.
        out = self.shape[0]
        due = rows[:, 0] >= 0
        lines = rows.clamp(min=0).long()
        unit = self.unit.reshape(-1, 1, 1)
        index = lines.unsqueeze(2).expand(-1, -1, self.shape[1])
        steps = torch.trunc(self.chi.gather(1, index) / unit)
        steps = torch.where(due.reshape(-1, 1, 1) & torch.isfinite(steps), steps, 0.0)
        errors = torch.nn.functional.one_hot(lines, out).to(self.chi.dtype)
        granularity = self.array.granularity.reshape(-1, 1, 1)
        longest = self.trains.settings[:, 0].reshape(-1, 1, 1)
        pulses = self.written_unit.abs().reshape(-1, 1, 1) * steps.abs().amax(2, keepdim=True) / granularity
        part = torch.where(pulses > longest, longest / pulses.clamp(min=1e-30), 1.0)  # what a full train can write
        self.chi.scatter_add_(1, index, -steps * unit * part)
        sign = self.written_unit.sign().reshape(-1, 1, 1)
        self.array.update(steps * sign, errors, torch.where(due, self.written_unit.abs(), 0.0))

    def _quantised(self, v: Tensor, bins: list[int], stochastic: bool, stream: int) -> Tensor:
        """Values (R, B, n) rounded to ``bins`` levels of each vector's largest magnitude (7.2)."""
        if not any(bins):
            return v
        half = numbers(v, [b // 2 for b in bins]).reshape(-1, 1, 1)
        width = v.abs().amax(2, keepdim=True) / half.clamp(min=1.0)
        width = torch.where(width > 0, width, 1.0)
        shift = uniform_field(self.keys, v.shape[1:], self.calls, stream) - 0.5 if stochastic else 0.0
        rounded = torch.maximum(torch.minimum(torch.round(v / width + shift), half), -half) * width
        return torch.where(numbers(v, [b > 0 for b in bins], torch.bool).reshape(-1, 1, 1), rounded, v)


def _device_array(
    cells: Sequence[MixedPrecisionCompound], updates: Sequence[UpdateParameters], shape: tuple[int, int], keys: Sequence[int]
) -> PulsedArray | OneSidedArray | VectorArray:
    """The array of the devices; one seed governs, that of the compound or, where it has none, that of its device."""
    devices: list[Any] = [copy.deepcopy(cell.device) for cell in cells]
    for cell, device in zip(cells, devices, strict=True):
        device.assign("construction_seed", cell.construction_seed or device.construction_seed)
    if not isinstance(devices[0], UnitCell):
        return PulsedArray(devices, updates, shape, keys)
    return (OneSidedArray if isinstance(devices[0], OneSidedUnitCell) else VectorArray)(devices, updates, shape, keys)
