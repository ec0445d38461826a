"""The ops of `sim.ops` on a GPU: shapes as there, tensors on one GPU."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sim import _core
from sim.cuda import launch as launching
from sim.cuda.modules import Module, elementwise, pulsed_update
from sim.ops import _check_operands, _check_update, _writable

__all__ = ["exact_update_", "pulsed_update_", "random_field", "sigmoid", "start"]


def pulsed_update_(
    weight: Tensor, apparent: Tensor, counts: Tensor, fields: Tensor, field_of: list[int], values: Tensor, shared: Tensor,
    x: Tensor, d: Tensor, rate: Tensor, granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor,
    train_keys: Tensor, step: Tensor, device: int, flags: list[int],
) -> None:  # fmt: skip
    """See `sim.ops.pulsed_update_`."""
    replicas, out, n_in = weight.shape
    batch = x.shape[1]
    side, fixed, managed, managed_length, rounding, pulse_type, longest = flags
    _writable("weight", weight)
    _check_update(
        weight, apparent, counts, fields, values, shared, granularity, settings, noise, keys, train_keys, len(field_of),
        weight.device,
    )  # fmt: skip
    _check_operands((replicas, out, n_in), x, d, rate, weight.device)
    if weight.numel() == 0 or batch == 0:
        return
    module = pulsed_update(_core.devices()[device])
    samples, lines = replicas * batch, n_in + out
    words = 1
    if pulse_type == 0:
        length = longest or int(settings[:, 0].max())
        if not fixed and not managed_length:  # the length follows the learning rate, which only the GPU knows
            length = max(length, math.ceil(float((rate.abs() / granularity).max())))
        words = (length + 31) // 32
    bits = torch.empty(samples * words * lines, dtype=torch.int32, device=weight.device)
    negative = torch.empty(samples * lines, dtype=torch.int32, device=weight.device)
    sizes = [np.int32(n) for n in (batch, n_in, out, words)]
    if pulse_type != 3:
        peak = torch.zeros(2 * samples, dtype=torch.int32, device=weight.device)
        start(module, "largest_magnitudes", 64 * samples, weight, x, d, peak, np.int32(samples), np.int32(n_in), np.int32(out))
        bit_flags = np.uint32(fixed | managed << 1 | managed_length << 2 | rounding << 3)
        start(
            module, "draw_trains", samples * lines, weight, x, d, peak, rate, granularity, settings, train_keys, step, bits,
            negative, np.int32(replicas), *sizes, bit_flags, np.int32(pulse_type),
        )  # fmt: skip
    varying = np.uint32(sum(1 << k for k, plane in enumerate(field_of) if plane >= 0))
    threads = module.threads["pulsed_update"]
    grid = (out, -(-n_in // threads), replicas)
    start(
        module, "pulsed_update", grid, weight, weight, apparent, counts, fields, values, shared, x, d, rate, noise, keys, step,
        bits, negative, varying, np.int32(fields.shape[1]), np.int32(shared.shape[1]), *sizes, np.int32(side),
        np.int32(pulse_type),
    )  # fmt: skip


def exact_update_(weight: Tensor, x: Tensor, d: Tensor, rate: Tensor) -> None:
    """See `sim.ops.exact_update_`."""
    replicas, out, n_in = weight.shape
    sizes = [np.int32(n) for n in (replicas, x.shape[1], out, n_in)]
    start(elementwise(), "exact_update", weight.numel(), weight, weight, x, d, rate, *sizes)


def random_field(keys: Tensor, purpose: int, step: Tensor, n: int, normal: bool) -> Tensor:
    """Numbers (R, n); see `sim.ops.normal_field`."""
    field = torch.empty((keys.shape[0], n), dtype=torch.float32, device=keys.device)
    sizes = np.uint32(purpose), np.int64(n), np.int32(keys.shape[0]), np.int32(normal)
    start(elementwise(), "random_field", field.numel(), field, field, keys, step, *sizes)
    return field


def sigmoid(x: Tensor) -> Tensor:
    """See `sim.ops.sigmoid`."""
    x = x.detach().contiguous()
    y = torch.empty_like(x)
    start(elementwise(), "logistic", x.numel(), x, x, y, np.int64(x.numel()))
    return y


def start(module: Module, kernel: str, work: int | tuple[int, int, int], on: Tensor, *args: Tensor | np.generic | None) -> None:
    """Start a kernel on a grid, or for a number of elements; tensors are handed on by address, 0 where empty or None."""
    if isinstance(work, int):
        if work == 0:
            return
        work = (-(-work // module.threads[kernel]), 1, 1)
    given = [arg.data_ptr() if isinstance(arg, Tensor) else 0 if arg is None else arg for arg in args]
    launching.launch(module, kernel, work, on.device, *given)
