"""The ops of `sim.ops` on a GPU: shapes as there, tensors on one GPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sim.cuda.devices import GpuDeviceArray
from sim.cuda.launch import quad_grid, start
from sim.cuda.modules import elementwise, modifier, programming

__all__ = ["exact_update_", "logarithm", "modify", "program", "pulsed_update_", "random_field", "sigmoid"]


def pulsed_update_(
    weight: Tensor, apparent: Tensor, counts: Tensor, fields: Tensor, field_of: list[int], values: Tensor, shared: Tensor,
    x: Tensor, d: Tensor, rate: Tensor, granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor,
    train_keys: Tensor, step: Tensor, device: int, flags: list[int],
) -> None:  # fmt: skip
    """See `sim.ops.pulsed_update_`."""
    some = [t if t.numel() else None for t in (apparent, counts)]
    tensors = weight, *some, fields, values, shared, granularity, settings, noise, keys, train_keys
    GpuDeviceArray(tensors, field_of, device, flags).pulse(x, d, rate, step)


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
    return _elementwise("logistic", x)


def logarithm(x: Tensor) -> Tensor:
    """See `sim.ops.logarithm`."""
    return _elementwise("natural_log", x)


def modify(
    weight: Tensor, modified: Tensor, numbers: Tensor, largest: Tensor, coeffs: Tensor, keys: Tensor, step: Tensor, cells: int,
    replicas: int, n_in: int, n_coeffs: int, kind: int, stochastic: bool, spare_last: bool,
) -> None:  # fmt: skip
    """See `sim.arrays.modifier.Modifier`."""
    module = modifier()
    start(
        module, "modify", quad_grid(module, "modify", cells, replicas), weight, weight, modified, numbers, largest, coeffs, keys,
        step, np.int64(cells), *map(np.int32, (n_in, n_coeffs, kind, stochastic, spare_last)),
    )  # fmt: skip


def program(
    weight: Tensor | None, noisy: Tensor, conductance: Tensor, nu: Tensor, numbers: Tensor, keys: Tensor, step: Tensor
) -> None:
    """See `sim.inference.programming`."""
    module, cells = programming(), noisy[0].numel()
    kernel = "drift_devices" if weight is None else "program_devices"
    grid = quad_grid(module, kernel, cells, noisy.shape[0])
    given = () if weight is None else (weight,)
    sizes = np.int32(conductance.shape[1]), np.int32(numbers.shape[1])
    start(module, kernel, grid, noisy, *given, noisy, conductance, nu, numbers, keys, step, np.int64(cells), *sizes)


def _elementwise(kernel: str, x: Tensor) -> Tensor:
    x = x.detach().contiguous()
    y = torch.empty_like(x)
    start(elementwise(), kernel, x.numel(), x, x, y, np.int64(x.numel()))
    return y
