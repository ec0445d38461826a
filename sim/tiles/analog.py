"""The analog tile of in-memory training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch

from sim.arrays import Array, IdealArray, OneSidedArray, PulsedArray, VectorArray
from sim.arrays.product import Product
from sim.configs.enums import PulseType
from sim.configs.rpu import SingleRPUConfig, UnitCellRPUConfig
from sim.configs.unit_cells import OneSidedUnitCell, UnitCell
from sim.devices.base import PulsedDevice
from sim.ops import key_tensor_of, uniform_field
from sim.random import derive_key
from sim.tiles.common import check_size, replica_configs, replica_keys
from sim.tiles.tile import Tile

__all__ = ["AnalogTile"]

AnalogConfig: TypeAlias = SingleRPUConfig | UnitCellRPUConfig


class AnalogTile(Tile):
    """A crossbar of pulsed devices, or cells of several, behind converters.

    Parameters
    ----------
    out_size, in_size : size of the weight matrix
    rpu_config : configuration, or a list of R for as many replicas; a default SingleRPUConfig if not given
    bias : whether the tile adds a bias, digital or analog as ``mapping.digital_bias`` says
    replicas : number of replicas of one configuration
    seeds : seed of each replica; torch's generator if not given
    stream : name of this tile within a replica, needed with seeds

    Raises
    ------
    ConfigError
        for a configuration that is not simulated, or replicas that differ in more than numbers

    Notes
    -----
    Weights start uniform in +-0.1 (devices.md, 1.1), within the bounds of the devices.
    """

    def __init__(
        self, out_size: int, in_size: int, rpu_config: AnalogConfig | Sequence[AnalogConfig] | None = None,
        bias: bool = False, replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "",
    ) -> None:  # fmt: skip
        check_size(out_size=out_size, in_size=in_size)
        configs, replicated = replica_configs(SingleRPUConfig() if rpu_config is None else rpu_config, replicas)
        keys = replica_keys(len(configs), seeds, stream)
        shape = (out_size, in_size + (bias and not configs[0].mapping.digital_bias))
        super().__init__(
            out_size, in_size, configs, _array(configs, shape, keys),
            Product([c.forward for c in configs], keys, transposed=False),
            Product([c.backward for c in configs], keys, transposed=True), bias, replicated,
        )  # fmt: skip
        start = uniform_field(key_tensor_of([derive_key(key, "start") for key in keys]), shape)
        with torch.no_grad():
            self.array.set(start * 0.2 - 0.1)


def _array(configs: Sequence[AnalogConfig], shape: tuple[int, int], keys: Sequence[int]) -> Array:
    devices = [c.device for c in configs]
    updates = [c.update for c in configs]
    cells = [d for d in devices if isinstance(d, UnitCell)]
    if cells and updates[0].pulse_type is not PulseType.NONE:
        kind = OneSidedArray if isinstance(cells[0], OneSidedUnitCell) else VectorArray
        return kind(cells, updates, shape, keys)  # type: ignore[arg-type]
    pulsed = [d for d in devices if isinstance(d, PulsedDevice)]
    if pulsed and updates[0].pulse_type is not PulseType.NONE:
        return PulsedArray(pulsed, updates, shape, keys)
    return IdealArray(devices, shape, key_tensor_of([derive_key(key, "ideal") for key in keys]))
