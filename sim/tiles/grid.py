"""Layers larger than a tile: a grid of tiles whose digital outputs are added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sim.configs.rpu import FloatingPointRPUConfig, RPUConfig, SingleRPUConfig, UnitCellRPUConfig
from sim.errors import ConfigError
from sim.random import fresh_seeds
from sim.tiles.analog import AnalogTile
from sim.tiles.common import replica_configs
from sim.tiles.floating_point import FloatingPointTile
from sim.tiles.tile import Tile

__all__ = ["TileGrid", "make_tile", "split"]

TILE_OF = {SingleRPUConfig: AnalogTile, UnitCellRPUConfig: AnalogTile, FloatingPointRPUConfig: FloatingPointTile}


def split(size: int, limit: int) -> list[int]:
    """Sizes of the parts of an axis, as even as possible (mapping_and_hwa.md, 3.2): (1025, 512) gives 342, 342, 341."""
    if limit <= 0 or size <= limit:
        return [size]
    parts = -(-size // limit)
    return [size // parts + (k < size % parts) for k in range(parts)]


class TileGrid(nn.Module):
    """Tiles over a weight matrix that is larger than one of them; the bias is digital.

    Parameters are those of a tile.
    """

    bias: nn.Parameter | None

    def __init__(
        self, out_size: int, in_size: int, rpu_config: RPUConfig | Sequence[RPUConfig], bias: bool = False,
        replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        configs, self.replicated = replica_configs(rpu_config, replicas)
        mapping = configs[0].mapping
        self.out_size, self.in_size, self.replicas = out_size, in_size, len(configs)
        self.rows, self.columns = split(out_size, mapping.max_output_size), split(in_size, mapping.max_input_size)
        seeds = fresh_seeds(len(configs)) if seeds is None else seeds
        given = configs if self.replicated else configs[0]
        self.tiles = nn.ModuleList(
            _tile_class(configs[0])(rows, columns, given, seeds=seeds, stream=f"{stream or 'grid'}.{i}.{o}")
            for i, columns in enumerate(self.columns)
            for o, rows in enumerate(self.rows)
        )
        digital = torch.zeros(self.replicas, out_size) if self.replicated else torch.zeros(out_size)
        self.bias = nn.Parameter(digital) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """``y = W x + bias`` for x (..., in)."""
        total: Tensor | None = None
        for i, part in enumerate(x.split(self.columns, dim=-1)):
            y = torch.cat([tile(part.contiguous()) for tile in self._column(i)], dim=-1)
            total = y if total is None else total + y
        assert total is not None
        if self.bias is None:
            return total
        if not self.replicated:
            return total + self.bias
        grouped = total.reshape(self.replicas, -1, self.out_size)
        return (grouped + self.bias.unsqueeze(1)).reshape(total.shape)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None, apply_weight_scaling: bool = True) -> None:
        """As `Tile.set_weights`; scales are a tile's own."""
        for i, columns in enumerate(torch.as_tensor(weight).split(self.columns, dim=-1)):
            for tile, block in zip(self._column(i), columns.split(self.rows, dim=-2), strict=True):
                tile.set_weights(block, apply_weight_scaling=apply_weight_scaling)
        if bias is not None and self.bias is not None:
            with torch.no_grad():
                self.bias.copy_(torch.as_tensor(bias))

    def get_weights(self, apply_weight_scaling: bool = True) -> tuple[Tensor, Tensor | None]:
        """As `Tile.get_weights`."""
        blocks = [
            torch.cat([tile.get_weights(apply_weight_scaling)[0] for tile in self._column(i)], dim=-2)
            for i in range(len(self.columns))
        ]
        return torch.cat(blocks, dim=-1), None if self.bias is None else self.bias.detach().clone()

    def _column(self, i: int) -> Iterator[Tile]:
        """The tiles that see input part i, from the first output on."""
        for o in range(len(self.rows)):
            tile = self.tiles[i * len(self.rows) + o]
            assert isinstance(tile, Tile)
            yield tile


def make_tile(
    out_size: int, in_size: int, rpu_config: RPUConfig | Sequence[RPUConfig], bias: bool = False,
    replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "",
) -> Tile | TileGrid:  # fmt: skip
    """A tile for a weight matrix, or a grid of them where ``mapping`` limits the size of one."""
    replica_configs(rpu_config, replicas)
    first = rpu_config if isinstance(rpu_config, RPUConfig) else rpu_config[0]
    mapping = first.mapping
    fits = len(split(out_size, mapping.max_output_size)) == len(split(in_size, mapping.max_input_size)) == 1
    kind: Any = _tile_class(first) if fits else TileGrid
    return kind(out_size, in_size, rpu_config, bias=bias, replicas=replicas, seeds=seeds, stream=stream)


def _tile_class(config: RPUConfig) -> Any:
    for kind, tile in TILE_OF.items():
        if isinstance(config, kind):
            return tile
    raise ConfigError(f"there is no tile for a {type(config).__name__}: give one of {', '.join(k.__name__ for k in TILE_OF)}")
