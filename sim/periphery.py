"""The door to the compiled digital work around an array: scales, bias, sums over a batch, input ranges.

Tensors are contiguous float32 on the CPU, which the tile has made sure of; (R, B, n) where not said otherwise. A replica's
numbers do not depend on the replicas beside it, nor on threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim import _core

__all__ = ["affine", "column_sums", "deviations", "range_gradient"]


def affine(
    y: Tensor, scale: Tensor | None, bias: Tensor | None, mask: Tensor | None = None, out: Tensor | None = None
) -> Tensor:  # fmt: skip
    """``y * scale + bias``, 0 where masked: scale (R, n) or (R, 1), bias (R, n), mask as y (uint8); ``out`` may be y."""
    replicas, batch, n = y.shape
    out = torch.empty_like(y) if out is None else out
    _core.affine(
        y.data_ptr(), 0 if scale is None else scale.data_ptr(), 0 if scale is None else scale.shape[-1],
        0 if bias is None else bias.data_ptr(), 0 if mask is None else mask.data_ptr(), out.data_ptr(), replicas, batch, n,
    )  # fmt: skip
    return out


def column_sums(g: Tensor, other: Tensor | None = None) -> Tensor:
    """``sum_b g``, or ``sum_b g * other``: (R, n)."""
    replicas, batch, n = g.shape
    out = g.new_empty((replicas, n))
    _core.column_sums(g.data_ptr(), 0 if other is None else other.data_ptr(), out.data_ptr(), replicas, batch, n)
    return out


def deviations(x: Tensor) -> Tensor:
    """Unbiased standard deviation of all values of each replica, (R,)."""
    out = x.new_empty(x.shape[0])
    _core.deviations(x.data_ptr(), out.data_ptr(), x.shape[0], x[0].numel())
    return out


def range_gradient(x: Tensor, dx: Tensor, rho: Tensor) -> Tensor:
    """For ranges rho (R,): ``sum_{x >= rho} min(dx, 0) - sum_{x <= -rho} max(dx, 0)``, and the share ``|x| < rho``; (R, 2)."""
    out = x.new_empty((x.shape[0], 2))
    _core.range_gradient(x.data_ptr(), dx.data_ptr(), rho.data_ptr(), out.data_ptr(), x.shape[0], x[0].numel())
    return out
