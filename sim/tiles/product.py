"""A tile in torch's graph: one node for converters, products, scales, bias and the record of the update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sim.periphery import affine, column_sums

if TYPE_CHECKING:
    from sim.tiles.tile import Tile

__all__ = ["TileProduct"]


class TileProduct(torch.autograd.Function):
    """``y = z rho s_m s_o + bias`` with the analog product ``z = W (clamp(x, +-rho) / rho)`` (mapping_and_hwa.md, 5).

    The gradient of the input passes straight through converters and clipping of the input, and not at all where the ADC
    clipped. The update (or the gradient of the weights) gets inputs within the range and unmasked errors: the true
    derivative by the logical weight ``s_m W``.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, _anchor: Tensor, bias: Tensor | None, alpha: Tensor | None, rho: Tensor | None, tile: Tile
    ) -> Tensor:
        needs = ctx.needs_input_grad
        inputs = tile._batch(x, tile.in_size, "x")
        limits = None if rho is None else tile._limits(inputs, rho)
        limited = inputs if limits is None else (inputs / limits.view(-1, 1, 1)).clamp_(-1.0, 1.0)
        z, clipped = tile._forward(limited, needs[0] or needs[4])
        scale = tile._output_scale(limits)
        ctx.graph = tile.__dict__.pop("_graph", None)
        ctx.tile, ctx.scale, ctx.limits = tile, scale, limits
        y = z
        if alpha is not None:
            rows = alpha.detach().view(z.shape[0], -1)
            total = rows if scale is None else (scale * rows).contiguous()
            y = affine(z, total, bias, out=None if needs[3] else z)
        elif scale is not None or bias is not None:
            affine(z, scale, bias, out=z)
        ctx.save_for_backward(inputs, clipped, z if needs[3] else None, alpha)
        return y.view(*x.shape[:-1], tile.out_size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, clipped, z, alpha = ctx.saved_tensors
        tile: Tile = ctx.tile
        needs, limits, replicas = ctx.needs_input_grad, ctx.limits, inputs.shape[0]
        if ctx.graph is not None:
            tile._graph = ctx.graph
        g = grads[0].contiguous().view(replicas, inputs.shape[1], tile.out_size)
        grad_bias = grad_alpha = grad_rho = anchor = dx = None
        if needs[2]:
            sums = column_sums(g)
            grad_bias = sums if tile.replicated else sums.view(-1)
        if needs[3]:
            sums = column_sums(g, z)
            sums = sums if ctx.scale is None else sums * ctx.scale
            if alpha.shape[-1] == 1:
                sums = column_sums(sums.unsqueeze(2).contiguous())
            grad_alpha = sums.view(alpha.shape)
        errors = g if alpha is None else affine(g, alpha.view(replicas, -1), None)
        if needs[1]:
            seen = inputs if limits is None else inputs.clamp(-limits.view(-1, 1, 1), limits.view(-1, 1, 1))
            anchor = tile.record(seen, errors)
        if needs[0] or needs[4]:
            scale = tile._buffers["mapping_scales"]
            mask = clipped if clipped.numel() else None
            d = errors if scale is None and mask is None else affine(errors, scale, None, mask)
            dx = tile._backward(d)
            if needs[4] and tile.range is not None and tile.input_range is not None:
                grad_rho = tile.range.gradient(inputs, dx, limits, clipped) * torch.sign(tile.input_range.detach())
            dx = dx.view(*grads[0].shape[:-1], tile.in_size) if needs[0] else None
        tile.__dict__.pop("_graph", None)
        return dx, anchor, grad_bias, grad_alpha, grad_rho, None
