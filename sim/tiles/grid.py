"""Layers larger than a tile: a grid of tiles whose digital outputs are added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from sim.configs.inference import InferenceRPUConfig
from sim.configs.quantization import QuantizedTorchInferenceRPUConfig
from sim.configs.rpu import DigitalRankUpdateRPUConfig, FloatingPointRPUConfig, RPUConfig, SingleRPUConfig, UnitCellRPUConfig
from sim.errors import ConfigError
from sim.ops import ShapeError
from sim.random import fresh_seeds
from sim.tiles.analog import AnalogTile
from sim.tiles.bias import AddBias
from sim.tiles.common import Given, Replicas, keeping_numbers
from sim.tiles.custom import CustomTile
from sim.tiles.floating_point import FloatingPointTile
from sim.tiles.inference import InferenceTile
from sim.tiles.product import GridProduct
from sim.tiles.quantized import QuantizedInferenceTile, Quantizers
from sim.tiles.tile import Tile

__all__ = ["QuantizedTileGrid", "TileGrid", "grid_class", "make_tile", "split", "tile_class"]

TILE_OF: dict[type[RPUConfig], type[Tile]] = {
    SingleRPUConfig: AnalogTile,
    UnitCellRPUConfig: AnalogTile,
    DigitalRankUpdateRPUConfig: AnalogTile,
    FloatingPointRPUConfig: FloatingPointTile,
    QuantizedTorchInferenceRPUConfig: QuantizedInferenceTile,
    InferenceRPUConfig: InferenceTile,
}


def split(size: int, limit: int) -> list[int]:
    """Sizes of the parts of an axis, as even as possible (mapping_and_hwa.md, 3.2): (1025, 512) gives 342, 342, 341."""
    if limit <= 0 or size <= limit:
        return [size]
    parts = -(-size // limit)
    return [size // parts + (k < size % parts) for k in range(parts)]


class TileGrid(nn.Module):
    """Tiles over a weight matrix that is larger than one of them; the bias is digital.

    Parameters are those of a tile, and

    rows, columns : sizes of the parts, where they are not to follow from ``mapping``
    kind : class of the tiles, where it is not that of the configuration
    """

    bias: nn.Parameter | None

    def __init__(
        self, out_size: int, in_size: int, rpu_config: Given[Any], bias: bool = False, replicas: int | None = None,
        seeds: Sequence[int] | None = None, stream: str = "", rows: Sequence[int] | None = None,
        columns: Sequence[int] | None = None, kind: type[Tile] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        checked = Replicas.of(rpu_config, replicas)
        mapping = checked.first.mapping
        self.out_size, self.in_size, self.replicas, self.replicated = out_size, in_size, checked.count, checked.axis
        self.rows = split(out_size, mapping.max_output_size) if rows is None else list(rows)
        self.columns = split(in_size, mapping.max_input_size) if columns is None else list(columns)
        seeds = fresh_seeds(checked.count) if seeds is None else seeds
        made = tile_class(checked.first) if kind is None else kind
        self.tiles = nn.ModuleList(
            made(out, n_in, checked, seeds=seeds, stream=f"{stream or 'grid'}.{i}.{o}")
            for i, n_in in enumerate(self.columns)
            for o, out in enumerate(self.rows)
        )
        shape = (checked.count, out_size) if checked.axis else (out_size,)
        self.bias = nn.Parameter(torch.zeros(shape, dtype=next(self._column(0)).dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """``y = W x + bias`` for x (..., in)."""
        tile: Any = self._modules["tiles"]._modules["0"]  # type: ignore[union-attr]  # a module's attributes cost a microsecond each
        if tile._converts(x):
            return self.forward(x.to(tile.dtype)).to(x.dtype)
        if x.dim() == 0 or x.shape[-1] != self.in_size:
            raise ShapeError(f"x has shape {tuple(x.shape)}; its last axis needs {self.in_size} entries")
        if torch.compiler.is_compiling() or not self._in_one_node():
            return self._tile_by_tile(x)
        return self._run(x)

    def _in_one_node(self) -> bool:
        """Whether the forward of each tile is its product and no more: no hooks, no steps of a kind's own."""
        if type(self)._finished is not TileGrid._finished or hooks._has_any_global_hook():
            return False
        for tile in self._modules["tiles"]._modules.values():  # type: ignore[union-attr]
            kind: Any = type(tile)
            if kind._run is not Tile._run or kind.forward is not Tile.forward or _hooked(tile):
                return False
        return True

    def _run(self, x: Tensor) -> Tensor:
        tiles: list[Any] = list(self._modules["tiles"]._modules.values())  # type: ignore[union-attr]
        parameters: list[Tensor | None] = []
        for tile in tiles:
            tile._before(x)
            parameters += tile._in_graph()
        return GridProduct.apply(x, self._parameters.get("bias"), tiles, self.rows, self.columns, *parameters)

    def _tile_by_tile(self, x: Tensor) -> Tensor:
        total: Tensor | None = None
        parts = x.split(self.columns, dim=-1) if len(self.columns) > 1 else (x,)
        for i, part in enumerate(parts):
            outputs = [tile(part) for tile in self._column(i)]
            y = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
            total = y if total is None else total + y
        assert total is not None
        return self._finished(total)

    def _finished(self, y: Tensor) -> Tensor:
        """What becomes of the sum over the tiles."""
        return y if self.bias is None else AddBias.apply(y, self.bias, self.replicas)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> None:
        """As `Tile.set_weights`; scales are a tile's own.

        Raises
        ------
        ShapeError
            for another shape, or a bias missing or given where there is none
        """
        values = torch.as_tensor(weight)
        if tuple(values.shape[-2:]) != (self.out_size, self.in_size):
            raise ShapeError(f"weight has shape {tuple(values.shape)}; this layer needs {(self.out_size, self.in_size)}")
        if (bias is None) != (self.bias is None):
            raise ShapeError("this layer has a bias: give one" if bias is None else "this layer has no bias: give none")
        for i, columns in enumerate(values.split(self.columns, dim=-1)):
            for tile, block in zip(self._column(i), columns.split(self.rows, dim=-2), strict=True):
                tile.set_weights(block, None, *args, **kwargs)
        if bias is not None and self.bias is not None:
            with torch.no_grad():
                self.bias.copy_(torch.as_tensor(bias))

    def get_weights(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """As `Tile.get_weights`."""
        blocks = [
            torch.cat([tile.get_weights(*args, **kwargs)[0] for tile in self._column(i)], dim=-2)
            for i in range(len(self.columns))
        ]
        return torch.cat(blocks, dim=-1), None if self.bias is None else self.bias.detach().clone()

    def follow(self) -> None:
        """Bring what is the grid's own into the precision of its tiles, which another configuration may have changed."""
        self.to(next(self._column(0)).dtype)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        rate = state_dict.get(prefix + "tiles.0.learning_rate")
        if rate is not None and next(self._column(0))._loading[0]:
            self.to(rate.dtype)  # as the tiles will be, with the configuration of the state
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moves the grid as asked; a model in half precision keeps a float32 bias, as the tiles keep their arrays."""
        return super()._apply(keeping_numbers(fn), recurse)

    def _column(self, i: int) -> Iterator[Tile]:
        """The tiles that see input part i, from the first output on."""
        for o in range(len(self.rows)):
            tile = self.tiles[i * len(self.rows) + o]
            assert isinstance(tile, Tile)
            yield tile


class QuantizedTileGrid(TileGrid):
    """A grid of tiles with a periphery of few bits: each quantises its own outputs, and the grid bias and sum.

    A grid of one tile gives what the tile gives: its outputs are quantised once, with the bias.
    """

    def __init__(self, out_size: int, in_size: int, rpu_config: Given[Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(out_size, in_size, rpu_config, *args, **kwargs)
        first = next(self._column(0))
        self.quantizers = Quantizers(first.configs[0], self.replicas, self.bias is not None).to(first.dtype)
        for tile in self.tiles:
            if len(self.tiles) == 1 and isinstance(tile, QuantizedInferenceTile):
                tile.quantizes_output = False

    def _finished(self, y: Tensor) -> Tensor:
        q = self.quantizers
        if self.bias is not None:
            y = AddBias.apply(y, self.bias if q.bias is None else q.bias(self.bias), self.replicas)
        return y if q.output is None else q.output(y)


def make_tile(
    out_size: int, in_size: int, rpu_config: Given[Any], bias: bool = False, replicas: int | None = None,
    seeds: Sequence[int] | None = None, stream: str = "", kind: type[Any] | None = None,
) -> Tile | TileGrid:  # fmt: skip
    """A tile for a weight matrix, or a grid of them where ``mapping`` limits the size of one.

    ``kind`` is the class of the tiles, or of the grid, instead of that of the configuration.
    """
    checked = Replicas.of(rpu_config, replicas)
    mapping = checked.first.mapping
    how: dict[str, Any] = {"bias": bias, "seeds": seeds, "stream": stream}
    if kind is not None and issubclass(kind, TileGrid):
        return (grid_class(checked.first) if kind is TileGrid else kind)(out_size, in_size, checked, **how)
    made = tile_class(checked.first) if kind is None else kind
    if len(split(out_size, mapping.max_output_size)) == len(split(in_size, mapping.max_input_size)) == 1:
        return made(out_size, in_size, checked, **how)
    return grid_class(checked.first)(out_size, in_size, checked, kind=made, **how)


def grid_class(config: RPUConfig) -> type[TileGrid]:
    """Class of the grids of a configuration."""
    return QuantizedTileGrid if isinstance(config, QuantizedTorchInferenceRPUConfig) else TileGrid


def tile_class(config: RPUConfig) -> type[Tile]:
    """Class of the tiles of a configuration."""
    if getattr(type(config), "simulator_tile_class", None) is not None:
        return CustomTile
    for kind, tile in TILE_OF.items():
        if isinstance(config, kind):
            return tile
    raise ConfigError(f"there is no tile for a {type(config).__name__}: give one of {', '.join(k.__name__ for k in TILE_OF)}")


def _hooked(module: Any) -> bool:
    """Whether anything waits for a call of a module, or stands in the place of its forward."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        or "forward" in module.__dict__
    )  # fmt: skip
