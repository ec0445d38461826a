"""The digital bias behind tiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sim.periphery import affine, column_sums

__all__ = ["AddBias"]


class AddBias(torch.autograd.Function):
    """``y + bias`` for bias (n,) or (R, n), whose gradient is summed in an order that other replicas do not change."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor, replicas: int) -> Tensor:  # type: ignore[override]
        ctx.shape = bias.shape
        ctx.replicas = replicas
        return affine(y.contiguous().view(replicas, -1, bias.shape[-1]), None, bias).view(y.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g = grads[0].contiguous()
        sums = column_sums(g.view(ctx.replicas, -1, ctx.shape[-1])) if ctx.needs_input_grad[1] else None
        return g if ctx.needs_input_grad[0] else None, None if sums is None else sums.view(ctx.shape), None
