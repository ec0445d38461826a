"""Weights read and written through the products and updates of a tile, as a chip would (mapping_and_hwa.md, 4.3)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from sim.errors import ConfigError
from sim.ops import ShapeError, key_tensor_of, normal_field, uniform_field
from sim.random import derive_key

if TYPE_CHECKING:
    from sim.tiles.tile import Tile

__all__ = ["program_weights", "read_weights"]

M = TypeVar("M", bound=nn.Module)

COUNTERS = frozenset({"steps", "step", "vectors", "calls", "aged"})
"""Buffers that all replicas share: they number events and vectors."""


@torch.no_grad()
def read_weights(
    tile: Tile, apply_weight_scaling: bool = False, x_values: Tensor | None = None, over_sampling: int = 10
) -> tuple[Tensor, Tensor | None]:
    """Weights and bias by least squares from forward products in evaluation mode.

    Parameters
    ----------
    tile : what is read
    apply_weight_scaling : show logical weights; False: those of the array
    x_values : inputs (N, in) of the products; over_sampling * in standard normal vectors if not given
    over_sampling : see x_values

    Raises
    ------
    ShapeError
        for inputs of another size, or fewer than there are unknowns
    """
    unknowns = tile.in_size + tile.analog_bias
    if x_values is None:
        keys = key_tensor_of([derive_key(key, "read weights") for key in tile.keys]).to(tile.array.weight.device)
        x = normal_field(keys, (over_sampling * unknowns, tile.in_size), tile.forward_product.step).to(tile.dtype)
    else:
        x = torch.as_tensor(x_values, dtype=tile.dtype, device=tile.array.weight.device)
        x = x.expand(tile.replicas, *x_values.shape[-2:]).contiguous()
    if x.shape[2] != tile.in_size or x.shape[1] < unknowns:
        raise ShapeError(f"x_values have shape {tuple(x.shape[1:])}; this tile needs at least {unknowns} rows of {tile.in_size}")
    training = tile.training
    tile.eval()
    try:
        y = tile(x.reshape(-1, tile.in_size)).reshape(tile.replicas, -1, tile.out_size)
    finally:
        tile.train(training)
    if tile.bias is not None:
        y = y - (tile.bias.unsqueeze(1) if tile.replicated else tile.bias)
    if tile.analog_bias:
        x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=2)
    solved = [torch.linalg.lstsq(a.double(), b.double()).solution.T for a, b in zip(x, y, strict=True)]
    matrix = torch.stack(solved).to(tile.dtype)
    scales = tile._all_scales()
    if not apply_weight_scaling and scales is not None:
        matrix = matrix / scales.unsqueeze(2)
    return tile._shown(matrix)


@torch.no_grad()
def program_weights(
    tile: Tile, x_values: Tensor | None = None, learning_rate: float = 0.1, max_iter: int = 10_000, tolerance: float = 0.01,
    w_init: float | Tensor = 0.01,
) -> None:  # fmt: skip
    """Write the present weights anew in a closed loop of products and updates.

    Parameters
    ----------
    tile : what is programmed
    x_values : inputs (N, in) of the products, bias included; one unit vector for each column if not given
    learning_rate : of the updates
    max_iter : largest number of updates
    tolerance : mean error over the largest target at which a replica is done
    w_init : start values of the array, or the bound of uniform ones

    Raises
    ------
    ConfigError
        for a tolerance or number of updates that is not positive
    """
    for name, value in (("max_iter", max_iter), ("tolerance", tolerance), ("learning_rate", learning_rate)):
        if not value > 0:
            raise ConfigError(f"{name} = {value} is not allowed: give a number above 0", field=name, value=value)
    array, n_in = tile.array, tile.in_size + tile.analog_bias
    device = array.weight.device
    x = (torch.eye(n_in) if x_values is None else torch.as_tensor(x_values)).to(device, tile.dtype)
    if x.dim() != 2 or x.shape[1] != n_in:
        raise ShapeError(f"x_values have shape {tuple(x.shape)}; this tile needs rows of {n_in}")
    inputs = x.expand(tile.replicas, *x.shape).contiguous()
    target_weight = array.read().clone()
    number = int(tile.forward_product.step)
    if isinstance(w_init, Tensor):
        start = w_init.to(target_weight).expand_as(target_weight).contiguous()
    else:
        keys = key_tensor_of([derive_key(key, "program weights") for key in tile.keys]).to(device)
        start = ((uniform_field(keys, array.shape, number) * 2.0 - 1.0) * w_init).to(tile.dtype)
    array.set(start)
    target = torch.stack([x.double() @ w.double().T for w in target_weight]).to(tile.dtype)
    largest = target.abs().amax(dim=(1, 2)).clamp(min=1e-30)
    # Replicas need different numbers of updates. Copies with keys of their own are worked on, from which each replica takes its
    # state when it is done: counters that they share stay as they are, and a replica goes on as it would alone.
    worked, product = _rekeyed(array, number), _rekeyed(tile.forward_product, number)
    tile.forward_product.step += 1
    left = torch.ones(tile.replicas, dtype=torch.bool, device=device)
    for _ in range(max_iter):
        error = product(worked.read(), inputs)[0] - target
        off = torch.stack([e.double().abs().mean().to(e.dtype) for e in error]) / largest
        done = left & (off < tolerance)
        _take(array, worked, done)
        left = left & ~done
        if not bool(left.any()):
            return
        worked.update(inputs, error, torch.where(left, learning_rate, 0.0).to(tile.dtype))
    _take(array, worked, left)


def _rekeyed(module: M, number: int) -> M:
    """A copy whose random numbers are those of a closed loop of this number."""
    copied = copy.deepcopy(module)
    mask = key_tensor_of([derive_key(number, "closed loop")])
    for name, buffer in copied.named_buffers():
        if name.endswith("keys"):
            buffer.bitwise_xor_(mask.to(buffer.device))
    return copied


def _take(array: nn.Module, worked: nn.Module, chosen: Tensor) -> None:
    """What the chosen replicas (R,) hold in another array."""
    if not bool(chosen.any()):
        return
    theirs = dict(worked.named_buffers())
    for name, buffer in array.named_buffers():
        if name.rpartition(".")[2] not in COUNTERS and buffer.numel() and not name.endswith("keys"):
            buffer[chosen] = theirs[name][chosen]
