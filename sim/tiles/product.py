"""Tiles in torch's graph: one node for converters, products, scales, bias and the record of the update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sim.periphery import affine, column_sums

if TYPE_CHECKING:
    from sim.tiles.tile import Tile

__all__ = ["GridProduct", "TileProduct"]

Saved = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Inputs, where the ADC clipped, outputs before the trained scales, and these, as far as the way back needs them."""


class Way(NamedTuple):
    """What else the way back needs of a tile's forward product."""

    tile: Tile
    scale: Tensor | None
    limits: Tensor | None
    graph: Any


def forward(
    tile: Tile, inputs: Tensor, bias: Tensor | None, alpha: Tensor | None, rho: Tensor | None, want_clipped: bool,
    want_alpha: bool,
) -> tuple[Tensor, Saved, Way]:  # fmt: skip
    """``y = z rho s_m s_o + bias`` with the analog product ``z = W (clamp(x, +-rho) / rho)`` of inputs (R, B, in)."""
    limits = None if rho is None else tile._limits(inputs, rho)
    limited = inputs if limits is None else (inputs / limits.view(-1, 1, 1)).clamp_(-1.0, 1.0)
    z, clipped = tile._forward(limited, want_clipped)
    scale = tile._output_scale(limits)
    y = z
    if alpha is not None:
        rows = alpha.detach().view(z.shape[0], -1)
        total = rows if scale is None else (scale * rows).contiguous()
        y = affine(z, total, bias, out=None if want_alpha else z)
    elif scale is not None or bias is not None:
        affine(z, scale, bias, out=z)
    return y, (inputs, clipped, z if want_alpha else None, alpha), Way(tile, scale, limits, tile.__dict__.pop("_graph", None))


def backward(
    g: Tensor, saved: Sequence[Tensor], way: Way, need_x: bool, need_anchor: bool, need_alpha: bool, need_rho: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of the inputs (R, B, in), the anchor, the trained scales and the range, from that of the outputs."""
    inputs, clipped, z, alpha = saved
    tile, limits = way.tile, way.limits
    if way.graph is not None:
        tile._graph = way.graph
    dx = anchor = grad_alpha = grad_rho = None
    if need_alpha:
        sums = column_sums(g, z)
        sums = sums if way.scale is None else sums * way.scale
        if alpha.shape[-1] == 1:
            sums = column_sums(sums.unsqueeze(2).contiguous())
        grad_alpha = sums.view(alpha.shape)
    errors = g if alpha is None else affine(g, alpha.view(g.shape[0], -1), None)
    if need_anchor:
        seen = inputs if limits is None else inputs.clamp(-limits.view(-1, 1, 1), limits.view(-1, 1, 1))
        anchor = tile.record(seen, errors)
    if need_x or need_rho:
        scale = tile._buffers["mapping_scales"]
        mask = clipped if clipped.numel() else None
        dx = tile._backward(errors if scale is None and mask is None else affine(errors, scale, None, mask))
        if need_rho and limits is not None and tile.range is not None and tile.input_range is not None:
            grad_rho = tile.range.gradient(inputs, dx, limits, clipped) * torch.sign(tile.input_range.detach())
    tile.__dict__.pop("_graph", None)
    return dx if need_x else None, anchor, grad_alpha, grad_rho


class TileProduct(torch.autograd.Function):
    """A tile's forward product, with scales and bias (mapping_and_hwa.md, 5).

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
        y, saved, ctx.way = forward(tile, inputs, bias, alpha, rho, needs[0] or needs[4], needs[3])
        ctx.save_for_backward(*saved)
        return y.view(*x.shape[:-1], tile.out_size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, way, needs = ctx.saved_tensors, ctx.way, ctx.needs_input_grad
        tile: Tile = way.tile
        replicas, batch, _ = saved[0].shape
        g = grads[0].contiguous().view(replicas, batch, tile.out_size)
        dx, anchor, grad_alpha, grad_rho = backward(g, saved, way, needs[0], needs[1], needs[3], needs[4])
        dx = None if dx is None else dx.view(*grads[0].shape[:-1], tile.in_size)
        return dx, anchor, bias_gradient(g, tile.replicated) if needs[2] else None, grad_alpha, grad_rho, None


class GridProduct(torch.autograd.Function):
    """The sum over a grid of tiles with a bias; each tile's part is that of `TileProduct`.

    Parameters
    ----------
    x, bias : inputs (..., in), and bias of the outputs or None
    tiles : the tiles, those of the first part of the inputs first
    rows, columns : sizes of the parts of outputs and inputs
    parameters : anchor, trained scales and input range of each tile
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, bias: Tensor | None, tiles: Sequence[Tile], rows: Sequence[int], columns: Sequence[int],
        *parameters: Tensor | None,
    ) -> Tensor:  # fmt: skip
        needs = ctx.needs_input_grad
        inputs = tiles[0]._batch(x, sum(columns), "x")
        parts = _parts(inputs, columns)
        saved: list[Tensor | None] = []
        ctx.ways, ctx.rows, ctx.columns, ctx.replicated = [], rows, columns, tiles[0].replicated
        total: Tensor | None = None
        for i, part in enumerate(parts):
            outputs = []
            for k in range(i * len(rows), (i + 1) * len(rows)):
                at = 3 * k
                _, alpha, rho = parameters[at : at + 3]
                y, kept, way = forward(tiles[k], part, None, alpha, rho, needs[0] or needs[at + 7], needs[at + 6])
                outputs.append(y)
                saved += kept
                ctx.ways.append(way)
            y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
            total = y if total is None else total + y
        assert total is not None
        if bias is not None:
            affine(total, None, bias, out=total)
        ctx.save_for_backward(*saved)
        return total.view(*x.shape[:-1], sum(rows))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, needs, rows, columns = ctx.saved_tensors, ctx.needs_input_grad, ctx.rows, ctx.columns
        replicas, batch, _ = saved[0].shape
        g = grads[0].contiguous().view(replicas, batch, sum(rows))
        errors = _parts(g, rows)
        found: list[Tensor | None] = [None] * (3 * len(ctx.ways))
        parts: list[Tensor] = []
        for i in range(len(columns)):
            sum_x: Tensor | None = None
            for o in reversed(range(len(rows))):  # the order in which torch would add them
                k = i * len(rows) + o
                at = 3 * k
                need = needs[at + 5 : at + 8]
                dx, *found[at : at + 3] = backward(errors[o], saved[4 * k : 4 * k + 4], ctx.ways[k], needs[0], *need)
                if dx is not None:
                    sum_x = dx if sum_x is None else sum_x + dx
            if sum_x is not None:
                parts.append(sum_x)
        dx = None
        if parts:
            dx = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)).view(*grads[0].shape[:-1], sum(columns))
        return dx, bias_gradient(g, ctx.replicated) if needs[1] else None, None, None, None, *found


def bias_gradient(g: Tensor, replicated: bool) -> Tensor:
    """Gradient of a bias (out,) or (R, out) from that of the outputs (R, B, out)."""
    sums = column_sums(g)
    return sums if replicated else sums.view(-1)


def _parts(v: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """Parts of the last axis, each by itself in memory."""
    return (v,) if len(sizes) == 1 else [part.contiguous() for part in v.split(sizes, dim=2)]
