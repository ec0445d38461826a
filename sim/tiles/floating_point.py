"""The digital tile: the yardstick of the analog ones."""

from __future__ import annotations

from collections.abc import Sequence

from sim.arrays import Array, IdealArray
from sim.arrays.product import Product
from sim.configs.rpu import FloatingPointRPUConfig
from sim.ops import key_tensor_of
from sim.random import derive_key
from sim.tiles.tile import Tile

__all__ = ["FloatingPointTile"]


class FloatingPointTile(Tile):
    """Exact products and the exact update ``W <- W - lr sum_b d_b x_b^T``; parameters as of `Tile`."""

    default_config = FloatingPointRPUConfig

    def _parts(
        self, configs: list[FloatingPointRPUConfig], shape: tuple[int, int], keys: Sequence[int]
    ) -> tuple[Array, Product, Product]:
        array = IdealArray([c.device for c in configs], shape, key_tensor_of([derive_key(key, "ideal") for key in keys]))
        return array, Product(None, keys, False, shape), Product(None, keys, True, shape)
