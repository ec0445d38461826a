"""Layers whose outputs see a part of the inputs each: a tile, or grid, for every group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sim.tiles.grid import TileGrid
from sim.tiles.tile import Tile

__all__ = ["TileGroups"]


class TileGroups(nn.Module):
    """Inputs and outputs in equal groups; group g of the outputs sees group g of the inputs.

    Parameters
    ----------
    groups : number of groups
    make : makes the tile of group g, of (out / groups, in / groups)

    Attributes
    ----------
    out_size, in_size : size of the weight matrix: all outputs, inputs of one group
    """

    def __init__(self, groups: int, make: Callable[[int], Tile | TileGrid]) -> None:
        super().__init__()
        made = [make(g) for g in range(groups)]
        self.groups = nn.ModuleList(made)
        self.out_size, self.in_size = sum(group.out_size for group in made), made[0].in_size

    @property
    def bias(self) -> Tensor | None:
        """Bias of all groups as a copy; each group has its own parameter."""
        parts = [group.bias for group in self.groups]
        return None if any(part is None for part in parts) else torch.cat([p for p in parts if isinstance(p, Tensor)], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (..., out) of inputs (..., in), groups side by side on the last axis."""
        parts = x.chunk(len(self.groups), dim=-1)
        return torch.cat([group(part) for group, part in zip(self.groups, parts, strict=True)], dim=-1)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> None:
        """Weights (out, in / groups) and bias (out,); as `Tile.set_weights`."""
        n = len(self.groups)
        biases = [None] * n if bias is None else torch.as_tensor(bias).chunk(n, dim=-1)
        for group, w, b in zip(self.groups, torch.as_tensor(weight).chunk(n, dim=-2), biases, strict=True):
            group.set_weights(w, b, *args, **kwargs)  # type: ignore[operator]

    def get_weights(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Weights (out, in / groups) and bias (out,); as `Tile.get_weights`."""
        got = [group.get_weights(*args, **kwargs) for group in self.groups]  # type: ignore[operator]
        weight = torch.cat([w for w, _ in got], dim=-2)
        return weight, None if got[0][1] is None else torch.cat([b for _, b in got], dim=-1)
