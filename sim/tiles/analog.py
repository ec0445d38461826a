"""The analog tile of in-memory training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch

from sim.arrays import Array, IdealArray, MixedPrecisionArray, OneSidedArray, PulsedArray, TransferArray, VectorArray
from sim.arrays.product import Product
from sim.configs.compounds import MixedPrecisionCompound, TransferCompound
from sim.configs.enums import PulseType
from sim.configs.rpu import DigitalRankUpdateRPUConfig, SingleRPUConfig, UnitCellRPUConfig
from sim.configs.unit_cells import OneSidedUnitCell, UnitCell
from sim.devices.base import PulsedDevice
from sim.ops import key_tensor_of, uniform_field
from sim.random import derive_key
from sim.tiles.tile import Tile

__all__ = ["AnalogTile"]

AnalogConfig: TypeAlias = SingleRPUConfig | UnitCellRPUConfig | DigitalRankUpdateRPUConfig


class AnalogTile(Tile):
    """A crossbar of pulsed devices, or cells of several, behind converters; parameters as of `Tile`.

    Weights start uniform in +-0.1 (devices.md, 1.1), within the bounds of the devices.
    """

    default_config = SingleRPUConfig

    def _parts(self, configs: list[AnalogConfig], shape: tuple[int, int], keys: Sequence[int]) -> tuple[Array, Product, Product]:
        array = _array(configs, shape, keys)
        start = uniform_field(key_tensor_of([derive_key(key, "start") for key in keys]), shape)
        with torch.no_grad():
            array.set(start * 0.2 - 0.1)
        mapping = configs[0].mapping
        forward = Product([c.forward for c in configs], keys, False, shape, mapping.max_input_size)
        return array, forward, Product([c.backward for c in configs], keys, True, shape, mapping.max_output_size)


def _array(configs: Sequence[AnalogConfig], shape: tuple[int, int], keys: Sequence[int]) -> Array:
    devices = [c.device for c in configs]
    updates = [c.update for c in configs]
    compounds = [d for d in devices if isinstance(d, TransferCompound)]
    if compounds:
        return TransferArray(compounds, updates, shape, keys)
    mixed = [d for d in devices if isinstance(d, MixedPrecisionCompound)]
    if mixed:
        return MixedPrecisionArray(mixed, updates, shape, keys)
    cells = [d for d in devices if isinstance(d, UnitCell)]
    if cells and updates[0].pulse_type is not PulseType.NONE:
        kind = OneSidedArray if isinstance(cells[0], OneSidedUnitCell) else VectorArray
        return kind(cells, updates, shape, keys)  # type: ignore[arg-type]
    pulsed = [d for d in devices if isinstance(d, PulsedDevice)]
    if pulsed and updates[0].pulse_type is not PulseType.NONE:
        return PulsedArray(pulsed, updates, shape, keys)
    return IdealArray(devices, shape, key_tensor_of([derive_key(key, "ideal") for key in keys]))
