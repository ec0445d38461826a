"""Transfers between arrays on a GPU: what `sim.ops` does on a CPU, with the same bits, as kernels that nothing waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim import _core
from sim.cuda.devices import GpuDeviceArray, Looks, largest_magnitudes
from sim.cuda.launch import start
from sim.cuda.modules import pulsed_update, transfer, transfer_plan
from sim.ops import FIELD_PURPOSE, TRANSFER_STATE, TransferFlags, TransferMode, TransferPart, event_bytes

__all__ = ["digital_transfer_", "next_rows", "plan", "transfer_", "transfer_update_"]


class _State:
    """State of the transfers by name, in the order of TRANSFER_STATE."""

    def __init__(self, state: Sequence[Tensor]) -> None:
        self.by_name = dict(zip(TRANSFER_STATE, state, strict=True))

    def of(self, *names: str) -> list[Tensor]:
        return [self.by_name[name] for name in names]


def _switches(flags: TransferFlags) -> np.uint32:
    """Everything but the mode and the number of reads, a bit each."""
    return np.uint32(sum(bit << k for k, bit in enumerate(flags.ints[2:])))


def _planned(
    arrays: Sequence[GpuDeviceArray], state: Sequence[Tensor], flags: TransferFlags, with_signs: bool, whole_batch: int,
    vectors: Tensor, first: int, batch: int, peak: Tensor,
) -> tuple[TransferPart, Tensor, Tensor]:  # fmt: skip
    """Plan of vectors ``first ... first + batch - 1``, their looks (2, R, E), and the largest rates (R,)."""
    s = _State(state)
    (x, d), device = s.of("x", "d"), state[0].device
    replicas, samples, n_in = x.shape
    out = d.shape[2]
    slices, lines = (n_in, out) if flags.columns else (out, n_in)
    most = batch * (len(arrays) - 1) * min(flags.reads, slices)
    chopped = flags.mode >= TransferMode.CHOPPED
    if chopped:
        signed_x, signed_d = x.new_empty(replicas, batch, n_in), d.new_empty(replicas, batch, out)
    else:
        signed_x, signed_d = (v if batch == samples else v[:, first : first + batch].contiguous() for v in (x, d))
    part = TransferPart(
        signed_x, signed_d, x.new_empty(replicas, batch),
        torch.zeros(replicas, most, event_bytes(x.dtype), dtype=torch.uint8, device=device),
        torch.empty(replicas, dtype=torch.int32, device=device), x.new_empty((replicas, most, lines) if with_signs else (0,)),
    )  # fmt: skip
    looks, largest = torch.empty(2, replicas, most, dtype=torch.int32, device=device), x.new_empty(replicas)
    sizes = [
        np.int32(n) for n in (replicas, len(arrays), slices, batch, samples, first, whole_batch, most, flags.mode, flags.reads)
    ]
    start(
        transfer_plan(), "plan_transfers", replicas, x, peak,
        *s.of("rate", "settings", "stages", "every", "counters", "sweeps", "in_choppers", "maxima", "switched", "plan_keys"),
        vectors, part.events, part.n_events, looks[0], looks[1], part.rates, largest, *sizes, _switches(flags),
    )  # fmt: skip
    if chopped:
        sizes = [np.int32(n) for n in (replicas, batch, samples, first, n_in, out, most, flags.columns)]
        start(
            transfer_plan(), "chop_inputs", replicas * (n_in + out), x, x, d,
            *s.of("settings", "in_choppers", "out_choppers", "plan_keys"), vectors, part.events, part.n_events, signed_x,
            signed_d, part.signs, *sizes,
        )  # fmt: skip
    return part, looks, largest


def plan(
    arrays: Sequence[GpuDeviceArray], state: Sequence[Tensor], flags: TransferFlags, with_signs: bool, whole_batch: int,
    vectors: Tensor,
) -> TransferPart:  # fmt: skip
    """See `sim.ops.transfer_plan`."""
    x, d = _State(state).of("x", "d")
    peak = largest_magnitudes(pulsed_update(_core.devices()[arrays[0].device]), x, d)
    return _planned(arrays, state, flags, with_signs, whole_batch, vectors, 0, x.shape[1], peak)[0]


def transfer_update_(
    arrays: Sequence[GpuDeviceArray], state: Sequence[Tensor], flags: TransferFlags, io_perfect: bool, io_out_sto_round: bool,
    with_signs: bool, part: int, vectors: Tensor, step: Tensor,
) -> None:  # fmt: skip
    """See `sim.ops.transfer_update_`."""
    (x, d), fast = _State(state).of("x", "d"), arrays[0]
    replicas, batch = x.shape[:2]
    if batch == 0:
        return
    peak = largest_magnitudes(pulsed_update(_core.devices()[fast.device]), x, d)
    lines = d.shape[2] if flags.columns else x.shape[2]
    for first in range(0, batch, part):
        n = min(part, batch - first)
        known, looks, largest = _planned(arrays, state, flags, with_signs, batch, vectors, first, n, peak)
        seen = x.new_empty(replicas, looks.shape[2], lines)
        own = peak if n == batch else peak.view(replicas, batch, 2)[:, first : first + n].contiguous()
        number = step if first == 0 else step + first // part
        fast.run(
            known.signed_x, known.signed_d, largest, number, known.rates, Looks(looks[0], looks[1], seen, not flags.columns), own
        )
        _write(arrays, state, flags, io_perfect, io_out_sto_round, vectors, first, known, seen, False)


def transfer_(
    arrays: Sequence[GpuDeviceArray], state: Sequence[Tensor], flags: TransferFlags, io_perfect: bool, io_out_sto_round: bool,
    vectors: Tensor, events: Tensor, n_events: Tensor, signs: Tensor, values: Tensor, done: bool,
) -> None:  # fmt: skip
    """See `sim.ops.transfer_`."""
    x, d, rate = _State(state).of("x", "d", "rate")
    part = TransferPart(x, d, rate, events.contiguous(), n_events, signs.contiguous())
    _write(arrays, state, flags, io_perfect, io_out_sto_round, vectors, 0, part, values.clone(), done)


def _write(
    arrays: Sequence[GpuDeviceArray], state: Sequence[Tensor], flags: TransferFlags, perfect: bool, rounded: bool,
    vectors: Tensor, first: int, part: TransferPart, values: Tensor, done: bool,
) -> None:  # fmt: skip
    """All transfers of a part. In a chain of arrays an event may read what the one before wrote: they go one by one."""
    most = part.events.shape[1]
    peak = torch.zeros(part.events.shape[:2], dtype=torch.int32, device=values.device)
    stages = len(arrays) - 1
    spans = [(0, most)] if stages == 1 else [(e, e + 1) for e in range(most)]
    for span in spans:
        for stage in range(stages):
            _write_stage(arrays, state, flags, perfect, rounded, vectors, first, part, values, peak, stage, span, done)


def _write_stage(
    arrays: Sequence[GpuDeviceArray], state: Sequence[Tensor], flags: TransferFlags, perfect: bool, rounded: bool,
    vectors: Tensor, first: int, part: TransferPart, values: Tensor, peak: Tensor, stage: int, span: tuple[int, int], done: bool,
) -> None:  # fmt: skip
    s, target = _State(state), arrays[stage + 1]
    replicas, out, n_in = target.shape
    module = transfer(_core.devices()[target.device])
    work = replicas * (out if flags.columns else n_in)
    where = [np.int32(n) for n in (len(arrays), part.events.shape[1], *span, stage, first)]
    sizes = [np.int32(n) for n in (replicas, n_in, out)]
    start(
        module, "read_slices", work, values, arrays[stage].shown if stage else None, values, peak, *s.of("io", "read_keys"),
        vectors, part.events, part.n_events, *sizes, *where, *(np.int32(f) for f in (flags.columns, perfect, rounded, done)),
    )  # fmt: skip
    noise, granularity, settings, keys, _ = target.keyed()
    start(
        module, "write_slices", work, values, *target.planes(), noise, granularity, settings, keys,
        *s.of("train_keys", "settings", "stages"), values, peak, part.signs if part.signs.numel() else None,
        *s.of("buffer", "mean", "past"), vectors, part.events, part.n_events, *target.counts(), *sizes, *where,
        np.int32(flags.mode), np.int32(flags.reads), _switches(flags), np.uint32(target.bit_flags), np.int32(target.pulses),
    )  # fmt: skip


def digital_transfer_(written: GpuDeviceArray, digital: Tensor, rows: Tensor, unit: Tensor, rate: Tensor, step: Tensor) -> None:
    """See `sim.ops.digital_transfer_`."""
    replicas, out, n_in = written.shape
    n_rows = rows.shape[1]
    module, work = transfer(_core.devices()[written.device]), replicas * n_rows * n_in
    peak = torch.zeros(replicas, n_rows, dtype=torch.int32, device=digital.device)
    sizes = [np.int32(n) for n in (replicas, n_rows, n_in, out)]
    start(module, "digital_steps", work, digital, digital, rows, unit, peak, *sizes)
    noise, granularity, settings, keys, train_keys = written.keyed()
    start(
        module, "digital_write", work, digital, *written.planes(), noise, granularity, settings, keys, train_keys, digital, rows,
        unit, rate, peak, step, *written.counts(), *sizes, np.uint32(written.bit_flags), np.int32(written.pulses),
    )  # fmt: skip


def next_rows(
    rate: Tensor, batches: Tensor, every: Tensor, written: Tensor, row: Tensor, keys: Tensor, stream: int, call: Tensor,
    random: bool, out: int, n: int,
) -> tuple[Tensor, bool]:  # fmt: skip
    """See `sim.ops.next_rows`; whether any replica writes is not asked for, so that nothing waits."""
    active = rate > 0
    batches += active
    due = active & (every > 0) & (batches % every.clamp(min=1) == 0) & (written != 0)
    first: Any = row
    if random and n < out:
        u = torch.ops.sim.random_field(keys, FIELD_PURPOSE + stream, call, 1, False)[:, 0]
        first = (u * out).long().clamp(max=out - 1)
    rows = (first.unsqueeze(1) + torch.arange(n, device=row.device)) % out
    row.copy_(torch.where(due, (first + n) % out, row))
    return torch.where(due.unsqueeze(1), rows, -1).to(torch.int32), n > 0
