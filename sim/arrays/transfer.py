"""Cells that are trained through hidden arrays: Tiki-Taka, TTv2, chopped TTv2, AGAD (compounds.md, sections 3 to 6)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from sim.arrays.array import Draw, Event
from sim.arrays.cells import CellArray
from sim.arrays.product import Product
from sim.arrays.pulsed import PulsedArray
from sim.arrays.trains import Trains
from sim.configs.compounds import (
    BufferedTransferCompound,
    ChoppedTransferCompound,
    DynamicTransferCompound,
    TransferCompound,
)
from sim.configs.enums import AnalogMVType, BoundManagementType, NoiseManagementType, PulseType, WeightNoiseType
from sim.configs.io import IOParameters
from sim.configs.update import UpdateParameters
from sim.errors import ConfigError
from sim.gpu import numbers
from sim.ops import (
    EVENT_FIELDS,
    TRANSFER_STATE,
    DeviceArray,
    TransferFlags,
    TransferMode,
    TransferPart,
    exact_update_,
    key_tensor_of,
    transfer_,
    transfer_plan,
    transfer_update_,
    uniform_field,
)
from sim.random import derive_key

__all__ = ["TransferArray", "write_trains"]

SAMPLES = 64  # of a mini-batch that are worked together
STOCHASTIC = (PulseType.STOCHASTIC_COMPRESSED, PulseType.STOCHASTIC)
EXACT = 4  # kind of a write without pulses and bounds
MODES = {
    TransferCompound: TransferMode.DIRECT,
    BufferedTransferCompound: TransferMode.BUFFERED,
    ChoppedTransferCompound: TransferMode.CHOPPED,
    DynamicTransferCompound: TransferMode.DYNAMIC,
}


class TransferArray(CellArray):
    """N arrays, the first of which takes the gradients; what they hold moves on to the last, slice by slice.

    A slice is a column (or row) of an array. `counters` (R, N, 3) holds, for each array, the vectors since its last transfer,
    its period in vectors and its next slice; `sweeps` the finished sweeps; the choppers are +-1; `maxima` (R, 3) are the
    running maxima of inputs and errors, and the last learning rate of the fast array. The digital buffers `buffer`, `mean` and
    `past` are (R, N - 1, slices, lines), slice by slice. `vectors` numbers all vectors, for the random streams.

    Parameters
    ----------
    cells : sequence of R compounds of one structure
    updates : sequence of R update parameters of one structure
    shape : (out, in)
    keys : R keys

    Raises
    ------
    ConfigError
        If some replicas read with noise at the input and others do not.
    """

    settings: Tensor
    stages: Tensor
    every: Tensor
    counters: Tensor
    sweeps: Tensor
    in_choppers: Tensor
    out_choppers: Tensor
    switched: Tensor
    maxima: Tensor
    buffer: Tensor
    mean: Tensor
    past: Tensor
    vectors: Tensor
    read_keys: Tensor
    train_keys: Tensor
    plan_keys: Tensor

    def __init__(
        self, cells: Sequence[TransferCompound], updates: Sequence[UpdateParameters], shape: tuple[int, int], keys: Sequence[int]
    ) -> None:
        super().__init__(cells, updates, shape, keys, torch.tensor([cell.gammas() for cell in cells]))
        first, n, replicas = cells[0], self.gammas.shape[1], len(cells)
        self.flags = _flags(first)
        self.fully_hidden = all(cell.hidden() for cell in cells)
        self.exact = updates[0].pulse_type is PulseType.NONE
        self.has_out_choppers = any(isinstance(cell, ChoppedTransferCompound) and cell.out_chop_prob > 0 for cell in cells)
        ios = [_without_management(cell.transfer_forward) for cell in cells]
        self.plain_read, self.perfect_read, self.rounded_read = _is_plain(ios), ios[0].ideal, ios[0].out_sto_round
        self.stepwise = not self.plain_read or first.with_reset_prob > 0 or updates[0].pulse_type not in STOCHASTIC
        self.register_buffer("settings", torch.tensor([_settings(c, u) for c, u in zip(cells, updates, strict=True)]))
        self.register_buffer("stages", torch.tensor([_stages(cell) for cell in cells]))
        self.register_buffer("every", torch.tensor([_periods(cell, shape) for cell in cells], dtype=torch.float64))
        slices, lines = (shape[1], shape[0]) if first.transfer_columns else shape
        self.register_buffer("counters", torch.zeros(replicas, n, 3, dtype=torch.int64))
        self.register_buffer("sweeps", torch.zeros(replicas, dtype=torch.int64))
        self.register_buffer("in_choppers", torch.ones(replicas, slices))
        self.register_buffer("out_choppers", torch.ones(replicas, lines))
        self.register_buffer("switched", torch.zeros(replicas, slices, dtype=torch.uint8))
        self.register_buffer("maxima", torch.zeros(replicas, 3))
        mode = self.flags.mode
        digital = torch.zeros(replicas, n - 1, slices, lines)
        for name, has in (
            ("buffer", mode is not TransferMode.DIRECT),
            ("mean", mode is TransferMode.DYNAMIC),
            ("past", mode is TransferMode.DYNAMIC),
        ):
            self.register_buffer(name, digital.clone() if has else torch.empty(0))
        self.register_buffer("vectors", torch.zeros((), dtype=torch.int64))
        self.readers = torch.nn.ModuleList(
            Product(ios, [derive_key(key, "read", k) for key in keys], transposed=not first.transfer_columns, shape=shape)
            for k in range(n)
        )
        self.register_buffer("read_keys", _keys_of([[derive_key(key, "read", k) for k in range(n)] for key in keys]))
        self.register_buffer("train_keys", _keys_of([[derive_key(key, "write", k) for k in range(n)] for key in keys]))
        self.register_buffer("plan_keys", key_tensor_of([derive_key(key, "transfer") for key in keys]))
        self.write_trains = write_trains([cell.transfer_update for cell in cells], keys)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moves the array as asked; periods are in double precision whatever the weights are."""
        every = self._buffers.pop("every")
        super()._apply(fn, recurse)
        assert every is not None
        self._buffers["every"] = every.to(self.weight.device)
        return self

    @property
    def compound(self) -> TransferCompound:
        """The compound of the first replica; switches are structure, the same in all."""
        return cast(TransferCompound, self.cells[0])

    @property
    def chopped(self) -> bool:
        """Whether the fast array has choppers."""
        return self.flags.mode in (TransferMode.CHOPPED, TransferMode.DYNAMIC)

    def read(self) -> Tensor:
        own: Any = self.__dict__  # a module's attributes cost a microsecond each
        return self.devices()[-1].read() if own["fully_hidden"] else own["_buffers"]["weight"]

    def set(self, weight: Tensor) -> None:
        *hidden, last = self.devices()
        for array in hidden:
            array.set(torch.zeros_like(weight))
        last.set(weight / self.gammas[:, -1].reshape(-1, 1, 1))
        for state in (self.counters, self.sweeps, self.switched, self.maxima, self.buffer, self.mean, self.past):
            state.zero_()
        self.in_choppers.fill_(1.0)
        self.out_choppers.fill_(1.0)
        self.combine()

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        batch = x.shape[1]
        if self.stepwise:
            for k in range(batch):
                self._vector(x[:, k : k + 1].contiguous(), d[:, k : k + 1].contiguous(), rate, batch)
        else:
            own: Any = self._buffers
            transfer_update_(  # the first of the steps is Event.UPDATE
                self._written(), self._state(x, d, rate), self.flags, self.perfect_read, self.rounded_read,
                self.has_out_choppers, SAMPLES, own["vectors"], own["steps"],
            )  # fmt: skip
        self.combine()

    def reset(self, start: int = 0, n: int = -1, probability: float = 1.0) -> None:
        """Reset columns of the fast array; the others keep what they hold."""
        self.devices()[0].reset(start, n, probability)
        self.combine()

    def hidden(self) -> dict[str, Tensor]:
        out = super().hidden()
        for k in range(self.buffer.shape[1] if self.buffer.numel() else 0):
            out[f"buffered_FP_weight_{k}"] = self._as_matrix(self.buffer[:, k])
        if self.mean.numel():
            out |= {"running_mean_weight": self._as_matrix(self.mean[:, 0]), "past_mean_weight": self._as_matrix(self.past[:, 0])}
        return out

    def memory(self) -> int:
        """Bytes of a crosspoint of one replica."""
        per_replica = sum(state.numel() for state in (self.buffer, self.mean, self.past)) // self.replicas
        return super().memory() + self.buffer.element_size() * per_replica // (self.shape[0] * self.shape[1])

    def combine(self) -> None:
        if self.fully_hidden:
            return
        if not self.chopped:
            super().combine()
            return
        columns, rows = self.choppers()
        fast, slow = (array.read() for array in self.devices())
        gamma = self.gammas.reshape(-1, 2, 1, 1)
        self.weight.copy_(gamma[:, 0] * (rows.unsqueeze(2) * columns.unsqueeze(1) * fast) + gamma[:, 1] * slow)

    def choppers(self) -> tuple[Tensor, Tensor]:
        """Choppers of the columns (R, in) and of the rows (R, out), +-1."""
        return (self.in_choppers, self.out_choppers) if self.flags.columns else (self.out_choppers, self.in_choppers)

    # Inside

    def _written(self) -> list[DeviceArray]:
        """All arrays as the kernels take them: the first with the trains of the gradient, the others with those of transfers."""
        parts: Any = self._modules
        trains, written = parts["trains"], []
        for array in self.devices():
            own: Any = array._buffers
            written.append(array.packed(trains, own["granularity"]))
            trains = parts["write_trains"]
        return written

    def _state(self, x: Tensor, d: Tensor, rate: Tensor) -> list[Tensor]:
        """In the order of `sim.ops.TRANSFER_STATE`."""
        own: Any = self._buffers
        readers: Any = self._modules["readers"]
        return [*map(own.__getitem__, TRANSFER_STATE[:15]), readers._modules["0"]._buffers["settings"], x, d, rate]

    def _vector(self, x: Tensor, d: Tensor, rate: Tensor, whole_batch: int) -> None:
        """One vector, step by step."""
        arrays, state, vectors = self._written(), self._state(x, d, rate), self.vectors
        part = transfer_plan(arrays, state, self.flags, self.has_out_choppers, whole_batch, vectors)
        self._gradient(part.signed_x, part.signed_d, part.rates)
        self._transfer_stepwise(arrays, state, part, vectors)
        self.vectors += 1
        self.steps[Event.UPDATE] += 1

    def _gradient(self, x: Tensor, d: Tensor, rates: Tensor) -> None:
        fast = self.devices()[0]
        if not self.exact:
            fast.pulse(x, d, rates[:, 0].contiguous(), self.trains, self.granularity, self.steps[Event.UPDATE], rates=rates)
            return
        exact_update_(fast.weight, x, d, rates[:, 0].contiguous())
        if fast.apparent is not None:
            fast.apparent.copy_(fast.weight)

    def _transfer_stepwise(self, arrays: list[DeviceArray], state: list[Tensor], part: TransferPart, vectors: Tensor) -> None:
        """The transfers after one vector, stage by stage: whole products, resets, and pulses that cannot be looked into."""
        listed = part.events.view(torch.int32)
        stage_of, slice_of = listed[:, :, EVENT_FIELDS.index("stage")], listed[:, :, EVENT_FIELDS.index("slice")]
        planned = torch.arange(listed.shape[1], device=listed.device) < part.n_events.unsqueeze(1)
        for stage, array in enumerate(self.devices()[:-1]):
            mine = planned & (stage_of == stage)
            count = mine.sum(1)
            most = int(count.max()) if mine.is_cpu else mine.shape[1]  # a GPU does not wait to know
            if not most:
                continue
            order = mine.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
            valid = mine.gather(1, order)
            lines = torch.where(valid, slice_of.gather(1, order), 0).long()
            chosen, signs = (
                t.gather(1, order.unsqueeze(2).expand(-1, -1, t.shape[2])) if t.numel() else t for t in (part.events, part.signs)
            )
            values = self._seen(stage, array, lines, vectors)
            if self.compound.with_reset_prob > 0:
                self._reset_read(stage, array, lines, valid, vectors)
            transfer_(
                arrays, state, self.flags, self.perfect_read, self.rounded_read, vectors, chosen, count.to(torch.int32), signs,
                values, not self.plain_read,
            )  # fmt: skip

    def _seen(self, stage: int, array: PulsedArray, lines: Tensor, step: Tensor) -> Tensor:
        """What slices (R, n) of an array hold, or where a read is a whole product, what is read."""
        if self.plain_read:
            shown = array.read().transpose(1, 2) if self.flags.columns else array.read()
            return shown.gather(1, lines.unsqueeze(2).expand(-1, -1, shown.shape[2])).contiguous()
        slices = self.shape[1] if self.flags.columns else self.shape[0]
        weight, reader = array.read().contiguous(), self.readers[stage]
        cast(Tensor, reader.step).copy_(step)
        return reader(weight, torch.nn.functional.one_hot(lines, slices).to(weight.dtype).contiguous())[0]

    def _reset_read(self, stage: int, array: PulsedArray, lines: Tensor, valid: Tensor, step: Tensor) -> None:
        """Reset, with a probability, the columns (R, n) that were read."""
        u = uniform_field(self.plan_keys, lines.shape[1:], step, len(Event) * Draw.CHOICE + Event.RESET + 16 * stage)
        probability = numbers(u, [cast(TransferCompound, cell).with_reset_prob for cell in self.cells]).unsqueeze(1)
        hits = torch.zeros(self.replicas, self.shape[1], dtype=torch.int32, device=u.device)
        hits.scatter_add_(1, lines, ((u < probability) & valid).to(torch.int32))
        array.reset_at((hits > 0).unsqueeze(1).expand(-1, *self.shape), step)

    def _as_matrix(self, digital: Tensor) -> Tensor:
        """(R, slices, lines) as (R, out, in)."""
        return (digital.transpose(1, 2) if self.flags.columns else digital).contiguous()


def write_trains(updates: Sequence[UpdateParameters], keys: Sequence[int]) -> Trains:
    """How transfers write; exact changes without bounds where there are no pulses."""
    trains = Trains(updates, [derive_key(key, "write") for key in keys])
    if updates[0].pulse_type is PulseType.NONE:
        trains.flags = {side: replace(flags, pulses=EXACT) for side, flags in trains.flags.items()}
    return trains


def _flags(cell: TransferCompound) -> TransferFlags:
    chopped, buffered, dynamic = _parts(cell)
    return TransferFlags(
        mode=MODES[type(cell)],
        reads=cell.n_reads_per_transfer,
        columns=cell.transfer_columns,
        in_batches=cell.units_in_mbatch,
        random_start=cell.random_selection,
        scale_fast=cell.scale_fast_lr,
        scale_transfer=cell.scale_transfer_lr,
        auto_scale=chopped.auto_scale,
        correct_magnitudes=chopped.correct_gradient_magnitudes,
        chop_random=chopped.in_chop_random,
        no_buffer=chopped.no_buffer,
        forget=buffered.forget_buffer,
        correct_accumulation=dynamic.experimental_correct_accumulation,
    )


def _parts(
    cell: TransferCompound,
) -> tuple[ChoppedTransferCompound, BufferedTransferCompound | ChoppedTransferCompound, DynamicTransferCompound]:
    """The cell as a chopped, a buffered and a dynamic one; defaults, which play no part, where it is none."""
    chopped = cell if isinstance(cell, ChoppedTransferCompound) else ChoppedTransferCompound()
    buffered = cell if isinstance(cell, BufferedTransferCompound) else chopped
    return chopped, buffered, cell if isinstance(cell, DynamicTransferCompound) else DynamicTransferCompound()


def _settings(cell: TransferCompound, update: UpdateParameters) -> list[float]:
    """In the order of `sim.ops.TRANSFER_SETTINGS`."""
    chopped, buffered, dynamic = _parts(cell)
    phase = chopped.sweeps_of_a_phase()
    return [
        cell.fast_lr, chopped.auto_momentum, cell.granularity(), update.desired_bl, chopped.in_chop_prob, chopped.out_chop_prob,
        chopped.auto_granularity, chopped.buffer_unit() if chopped is cell else 1.0, buffered.step, buffered.momentum,
        dynamic.buffer_cap, min(dynamic.tail_weightening / phase, 1.0), phase, cell.transfer_update.desired_bl,
    ]  # fmt: skip


def _stages(cell: TransferCompound) -> list[list[float]]:
    """In the order of `sim.ops.STAGE_SETTINGS`, for each array that is read."""
    gammas, rates, devices = cell.gammas(), cell.rates(), cell.device_list()
    buffered = isinstance(cell, BufferedTransferCompound | ChoppedTransferCompound)
    out = []
    for k, rate in enumerate(rates):
        following = min(k + 1, len(rates) - 1)
        ratio = gammas[k] / gammas[following] if buffered and gammas[k] > 0 and gammas[following] > 0 else 1.0
        scale = cell.thres_scale if isinstance(cell, BufferedTransferCompound) else 1.0
        out.append([rate * ratio, scale * devices[following].granularity()])
    return out


def _periods(cell: TransferCompound, shape: tuple[int, int]) -> list[float]:
    """Periods in the unit of the cell; below 0: minus a period in vectors."""
    out = []
    for period in cell.periods(shape):
        if period < 0:
            states = cell.device_list()[0].num_states() / cell.slices(shape) * -period
            period = -float(max(1, math.floor(states + 0.5)))
        out.append(period)
    return out


def _without_management(io: IOParameters) -> IOParameters:
    io = copy.deepcopy(io)
    io.noise_management = NoiseManagementType.NONE
    io.bound_management = BoundManagementType.NONE
    return io


def _is_plain(ios: Sequence[IOParameters]) -> bool:
    """Whether a read is the column itself through the ADC, rather than a product in which all columns have a part.

    Raises
    ------
    ConfigError
        If replicas differ in that.
    """
    kinds = {_plain(io) for io in ios}
    if len(kinds) > 1:
        raise ConfigError(
            "device.transfer_forward: some replicas read single columns and others whole products (inp_noise and the like "
            "above 0): make all of them one kind",
            field="device.transfer_forward",
        )
    return kinds.pop()


def _plain(io: IOParameters) -> bool:
    if io.ideal:
        return True
    off = ("inp_noise", "out_noise_std", "ir_drop", "out_nonlinearity", "v_offset_std", "r_series", "w_read_asymmetry_dtod")
    return (
        type(io) is IOParameters
        and io.mv_type is AnalogMVType.ONE_PASS
        and io.w_noise_type is WeightNoiseType.NONE
        and not io.inp_sto_round
        and io.slope_calibration <= 0
        and not any(getattr(io, name) > 0 for name in off)
    )


def _keys_of(keys: list[list[int]]) -> Tensor:
    """(R, n) int64."""
    return torch.stack([key_tensor_of(row) for row in keys])
