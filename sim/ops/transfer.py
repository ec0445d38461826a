"""Transfers between the arrays of a cell, and from a digital matrix to an array (compounds.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from importlib import import_module

import torch
from torch import Tensor

from sim.ops.checks import check, core_of, place, precision, threads
from sim.ops.fields import FIELD_PURPOSE
from sim.ops.updates import DeviceArray

__all__ = [
    "EVENT_FIELDS", "STAGE_SETTINGS", "TRANSFER_SETTINGS", "TRANSFER_STATE", "TransferFlags", "TransferMode",
    "TransferPart", "digital_transfer_", "event_bytes", "next_rows", "transfer_", "transfer_plan", "transfer_update_",
]  # fmt: skip

TRANSFER_SETTINGS = (
    "fast_lr", "auto_momentum", "fast_granularity", "fast_bl", "in_chop_prob", "out_chop_prob", "auto_granularity", "buffer_unit",
    "step", "momentum", "buffer_cap", "tail", "phase", "write_limit",
)  # fmt: skip
STAGE_SETTINGS = ("rate", "threshold")
TRANSFER_STATE = (
    "settings", "stages", "every", "counters", "sweeps", "in_choppers", "out_choppers", "switched", "maxima", "plan_keys",
    "buffer", "mean", "past", "read_keys", "train_keys", "io", "x", "d", "rate",
)  # fmt: skip
EVENT_FIELDS = ("sample", "stage", "slice", "read", "switched", "active")
_EMPTY = torch.empty(0)


def event_bytes(dtype: torch.dtype) -> int:
    """Bytes of a transfer in a plan, for arrays of a precision."""
    return int(core_of(dtype).event_bytes)


class TransferMode(IntEnum):
    """What becomes of what a transfer has read."""

    DIRECT = 0
    BUFFERED = 1
    CHOPPED = 2
    DYNAMIC = 3


@dataclass(frozen=True)
class TransferFlags:
    """What of the transfers between arrays is structure: the same for all replicas."""

    mode: TransferMode = TransferMode.DIRECT
    reads: int = 1
    columns: bool = True
    in_batches: bool = True
    random_start: bool = False
    scale_fast: bool = True
    scale_transfer: bool = True
    auto_scale: bool = False
    correct_magnitudes: bool = False
    chop_random: bool = False
    no_buffer: bool = False
    forget: bool = True
    correct_accumulation: bool = False

    ints: list[int] = field(init=False, repr=False, compare=False)
    """As the kernels take them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ints", [int(getattr(self, f.name)) for f in fields(self) if f.init])


@dataclass
class TransferPart:
    """What is known of some vectors of a mini-batch before their pulses: see `transfer_plan`."""

    signed_x: Tensor
    """(R, B, in): x times the choppers."""
    signed_d: Tensor
    """(R, B, out)."""
    rates: Tensor
    """(R, B): learning rates of the fast array."""
    events: Tensor
    """(R, E, `event_bytes`) uint8: the transfers, in order; the first six words of 32 bits are EVENT_FIELDS."""
    n_events: Tensor
    """(R,) int32."""
    signs: Tensor
    """(R, E, lines): output choppers at each transfer; empty where they never switch."""


def transfer_update_(
    arrays: Sequence[DeviceArray], state: Sequence[Tensor], flags: TransferFlags, io_perfect: bool, io_out_sto_round: bool,
    with_signs: bool, part: int, vectors: Tensor, steps: Tensor,
) -> None:  # fmt: skip
    """An update of a mini-batch: gradients to the first array, transfers between arrays (compounds.md, sections 3 to 6).

    Parameters
    ----------
    arrays : all arrays: the first with the trains of the gradient, the others with those of
        transfers
    state : tensors in the order of TRANSFER_STATE; x (R, B, in), d (R, B, out) and rate (R,) are checked
    flags : structure of the transfers
    io_perfect, io_out_sto_round : structure of the reads
    with_signs : whether output choppers may switch
    part : vectors that are worked together
    vectors, steps : int64, whose first numbers are those of the first vector and of the first pulsed update; these move on

    Raises
    ------
    ShapeError
        a tensor has another shape, type or device
    """
    x, d = _checked_vectors(state)
    if not x.is_cpu:
        gpu = import_module("sim.cuda.transfer")
        step = steps[0]
        gpu.transfer_update_(arrays, state, flags, io_perfect, io_out_sto_round, with_signs, part, vectors, step)
        vectors += x.shape[1]
        step += -(-x.shape[1] // part)
        return
    replicas, batch, n_in = x.shape
    cells = replicas * n_in * d.shape[2]
    core_of(x.dtype).transfer_update(
        [a.core for a in arrays], [t.data_ptr() for t in state], flags.ints, io_perfect, io_out_sto_round, with_signs, batch,
        part, vectors.data_ptr(), steps.data_ptr(), threads(0.5 * cells * batch),
        threads(2000.0 * replicas * batch) if replicas > 1 else 1,
    )  # fmt: skip


def _checked_vectors(state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Inputs (R, B, in) and errors (R, B, out) of a transfer's state, with the rates of the optimizer checked too."""
    x, d, rate = state[16:19]
    device, real = place(x), precision("x", x)
    check("x", x, None, real, device)
    check("d", d, (*x.shape[:2], d.shape[2]), real, device)
    check("rate", rate, (x.shape[0],), real, device)
    return x, d


def transfer_plan(
    arrays: Sequence[DeviceArray], state: Sequence[Tensor], flags: TransferFlags, with_signs: bool, whole_batch: int,
    vectors: Tensor,
) -> TransferPart:  # fmt: skip
    """When, in the vectors of a part of a mini-batch, what is transferred; none of it depends on a weight.

    Parameters as of `transfer_update_`; ``whole_batch`` is the size of the mini-batch that the vectors are a part of.
    """
    x, d = _checked_vectors(state)
    if not x.is_cpu:
        planned: TransferPart = import_module("sim.cuda.transfer").plan(arrays, state, flags, with_signs, whole_batch, vectors)
        return planned
    replicas, batch, n_in = x.shape
    out = d.shape[2]
    slices, lines = (n_in, out) if flags.columns else (out, n_in)
    most = batch * (len(arrays) - 1) * min(flags.reads, slices)
    part = TransferPart(
        torch.empty_like(x), torch.empty_like(d), x.new_empty(replicas, batch),
        torch.zeros(replicas, most, event_bytes(x.dtype), dtype=torch.uint8), torch.empty(replicas, dtype=torch.int32),
        x.new_empty(replicas, most, lines) if with_signs else _EMPTY,
    )  # fmt: skip
    looks = torch.empty(2, replicas, most, dtype=torch.int32)
    filled = part.signed_x, part.signed_d, part.rates, part.events, part.n_events, looks[0], looks[1], part.signs
    core_of(x.dtype).transfer_plan(
        [a.core for a in arrays],
        [t.data_ptr() for t in state],
        flags.ints,
        batch,
        whole_batch,
        int(vectors),
        *(t.data_ptr() for t in filled),
        most,
    )
    return part


def transfer_(
    arrays: Sequence[DeviceArray], state: Sequence[Tensor], flags: TransferFlags, io_perfect: bool, io_out_sto_round: bool,
    vectors: Tensor, events: Tensor, n_events: Tensor, signs: Tensor, values: Tensor, done: bool,
) -> None:  # fmt: skip
    """The transfers that were planned, in order; arrays and buffers change in place.

    ``values`` (R, E, lines) is what the array holds where each reads it, or, if ``done``, what was read.
    """
    device, real = place(values), precision("values", values)
    check("values", values, (*events.shape[:2], values.shape[2]), real, device)
    check("n_events", n_events, (events.shape[0],), torch.int32, device)
    if device is not None:
        gpu = import_module("sim.cuda.transfer")
        gpu.transfer_(arrays, state, flags, io_perfect, io_out_sto_round, vectors, events, n_events, signs, values, done)
        return
    core_of(real).transfer(
        [a.core for a in arrays], [t.data_ptr() for t in state], flags.ints, io_perfect, io_out_sto_round, int(vectors),
        events.data_ptr(), n_events.data_ptr(), signs.data_ptr(), events.shape[1], values.data_ptr(), done,
    )  # fmt: skip


def digital_transfer_(written: DeviceArray, digital: Tensor, rows: Tensor, unit: Tensor, rate: Tensor, step: Tensor) -> None:
    """Whole steps of ``unit`` (R,) go from rows of a digital matrix (R, out, in) to an array, times rate / unit on average.

    rows (R, n) int32 (below 0: none); what a full pulse train cannot write stays in the matrix.
    """
    replicas, _, n_in = digital.shape
    device, real = place(digital), precision("digital", digital)
    check("digital", digital, None, real, device)
    check("rows", rows, (replicas, rows.shape[1]), torch.int32, device)
    check("unit", unit, (replicas,), real, device)
    check("rate", rate, (replicas,), real, device)
    if device is not None:
        import_module("sim.cuda.transfer").digital_transfer_(written, digital, rows, unit, rate, step)
        return
    core_of(real).digital_transfer(
        written.core, digital.data_ptr(), rows.data_ptr(), rows.shape[1], unit.data_ptr(), rate.data_ptr(), int(step),
        threads(0.3 * rows.numel() * n_in),
    )  # fmt: skip


def next_rows(
    rate: Tensor, batches: Tensor, every: Tensor, written: Tensor, row: Tensor, keys: Tensor, stream: int, call: Tensor,
    random: bool, out: int, n: int,
) -> tuple[Tensor, bool]:  # fmt: skip
    """Count a mini-batch, and tell which n rows of a digital matrix of ``out`` rows are written after it.

    Parameters
    ----------
    rate : (R,) float32; a mini-batch with a rate of 0 does not count
    batches, row : (R,) int64; mini-batches so far, and the next row: they move
    every : (R,) int64; period in mini-batches, 0: never
    written : (R,) float32; change of the weight by a step, 0: nothing is written
    keys, stream, call : random numbers of the first row, where it is ``random``

    Returns
    -------
    (R, n) int32, below 0 where a replica writes nothing; and whether any replica writes
    """
    replicas = rate.shape[0]
    if not rate.is_cpu:
        gpu = import_module("sim.cuda.transfer")
        found: tuple[Tensor, bool] = gpu.next_rows(rate, batches, every, written, row, keys, stream, call, random, out, n)
        return found
    check("rate", rate, (replicas,), precision("rate", rate))
    rows = torch.empty(replicas, n, dtype=torch.int32)
    some = core_of(rate.dtype).next_rows(
        rate.data_ptr(), batches.data_ptr(), every.data_ptr(), written.data_ptr(), row.data_ptr(), keys.data_ptr(),
        FIELD_PURPOSE + stream, int(call), random, replicas, out, n, rows.data_ptr(),
    )  # fmt: skip
    return rows, some
