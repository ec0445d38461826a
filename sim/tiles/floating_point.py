"""The digital tile: the yardstick of the analog ones."""

from __future__ import annotations

from collections.abc import Sequence

from sim.arrays import IdealArray
from sim.arrays.product import Product
from sim.configs.rpu import FloatingPointRPUConfig
from sim.ops import key_tensor_of
from sim.random import derive_key
from sim.tiles.common import check_size, replica_configs, replica_keys
from sim.tiles.tile import Tile

__all__ = ["FloatingPointTile"]


class FloatingPointTile(Tile):
    """Exact products and the exact update ``W <- W - lr sum_b d_b x_b^T``; parameters as of `AnalogTile`."""

    def __init__(
        self, out_size: int, in_size: int,
        rpu_config: FloatingPointRPUConfig | Sequence[FloatingPointRPUConfig] | None = None,
        bias: bool = False, replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "",
    ) -> None:  # fmt: skip
        check_size(out_size=out_size, in_size=in_size)
        configs, replicated = replica_configs(FloatingPointRPUConfig() if rpu_config is None else rpu_config, replicas)
        keys = replica_keys(len(configs), seeds, stream)
        shape = (out_size, in_size + (bias and not configs[0].mapping.digital_bias))
        array = IdealArray([c.device for c in configs], shape, key_tensor_of([derive_key(key, "ideal") for key in keys]))
        super().__init__(
            out_size, in_size, configs, array, Product(None, keys, transposed=False), Product(None, keys, transposed=True),
            bias, replicated,
        )  # fmt: skip
