"""A crossbar array with its periphery: converters, bias, scales, and large layers split over several of them."""

from sim.tiles.analog import AnalogTile
from sim.tiles.custom import CustomTile, TorchSimulatorTile
from sim.tiles.floating_point import FloatingPointTile
from sim.tiles.grid import QuantizedTileGrid, TileGrid, make_tile
from sim.tiles.inference import InferenceTile
from sim.tiles.quantized import QuantizedInferenceTile
from sim.tiles.tile import Tile

__all__ = [
    "AnalogTile",
    "CustomTile",
    "FloatingPointTile",
    "InferenceTile",
    "QuantizedInferenceTile",
    "QuantizedTileGrid",
    "Tile",
    "TileGrid",
    "TorchSimulatorTile",
    "make_tile",
]
