"""The door to the compiled digital work around an array: scales, bias, sums over a batch, input ranges.

Tensors are contiguous and of one precision, which the tile has made sure of; (R, B, n) where not said otherwise. On the CPU
a replica's numbers do not depend on the replicas beside it, nor on threads; on a GPU torch does the same work.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.ops.checks import ShapeError, core_of

__all__ = ["affine", "column_sums", "deviations", "range_gradient"]


def affine(
    y: Tensor, scale: Tensor | None, bias: Tensor | None, mask: Tensor | None = None, out: Tensor | None = None
) -> Tensor:  # fmt: skip
    """``y * scale + bias``, 0 where masked: scale (R, n) or (R, 1), bias (R, n), mask as y (uint8); ``out`` may be y."""
    replicas, batch, n = y.shape
    if (scale is not None and scale.dtype is not y.dtype) or (bias is not None and bias.dtype is not y.dtype):
        raise ShapeError(f"scales and bias are not {y.dtype} as the outputs are: call .to({y.dtype}) of the whole layer")
    out = torch.empty_like(y) if out is None else out
    if not y.is_cpu:
        made = y if scale is None else y * scale.unsqueeze(1)
        made = made if bias is None else made + bias.reshape(replicas, 1, n)
        return out.copy_(made if mask is None else made.masked_fill(mask.bool(), 0.0))
    core_of(y.dtype).affine(
        y.data_ptr(), 0 if scale is None else scale.data_ptr(), 0 if scale is None else scale.shape[-1],
        0 if bias is None else bias.data_ptr(), 0 if mask is None else mask.data_ptr(), out.data_ptr(), replicas, batch, n,
    )  # fmt: skip
    return out


def column_sums(g: Tensor, other: Tensor | None = None) -> Tensor:
    """``sum_b g``, or ``sum_b g * other``: (R, n)."""
    replicas, batch, n = g.shape
    if not g.is_cpu:
        return (g if other is None else g * other).sum(1)
    out = g.new_empty((replicas, n))
    core_of(g.dtype).column_sums(g.data_ptr(), 0 if other is None else other.data_ptr(), out.data_ptr(), replicas, batch, n)
    return out


def deviations(x: Tensor) -> Tensor:
    """Unbiased standard deviation of all values of each replica, (R,)."""
    if not x.is_cpu:
        return x.flatten(1).double().std(1).float()
    out = x.new_empty(x.shape[0])
    core_of(x.dtype).deviations(x.data_ptr(), out.data_ptr(), x.shape[0], x[0].numel())
    return out


def range_gradient(x: Tensor, dx: Tensor, rho: Tensor) -> Tensor:
    """For ranges rho (R,): ``sum_{x >= rho} min(dx, 0) - sum_{x <= -rho} max(dx, 0)``, and the share ``|x| < rho``; (R, 2)."""
    if not x.is_cpu:
        v, g, limit = x.flatten(1), dx.flatten(1), rho.view(-1, 1)
        above, below = v >= limit, v <= -limit
        gradient = (g.clamp(max=0.0) * above).double().sum(1) - (g.clamp(min=0.0) * (below & ~above)).double().sum(1)
        return torch.stack([gradient.float(), (~(above | below)).double().mean(1).float()], dim=1)
    out = x.new_empty((x.shape[0], 2))
    core_of(x.dtype).range_gradient(x.data_ptr(), dx.data_ptr(), rho.data_ptr(), out.data_ptr(), x.shape[0], x[0].numel())
    return out
