"""Configurations of one tile: a device and what surrounds it."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from sim.configs.compounds import DigitalRankUpdateCell, MixedPrecisionCompound
from sim.configs.io import IOParameters
from sim.configs.mapping import MappingParameter
from sim.configs.pre_post import PrePostProcessingParameter
from sim.configs.runtime import RuntimeParameter
from sim.configs.unit_cells import UnitCell, VectorUnitCell
from sim.configs.update import UpdateParameters
from sim.devices.base import AnalogDevice
from sim.devices.constant_step import ConstantStepDevice
from sim.devices.ideal import FloatingPointDevice
from sim.settings import Config, config

__all__ = ["DigitalRankUpdateRPUConfig", "FloatingPointRPUConfig", "RPUConfig", "SingleRPUConfig", "UnitCellRPUConfig"]


@config
class RPUConfig(Config):
    """What every tile configuration has."""

    abstract = True

    mapping: Annotated[MappingParameter, "how weights are laid onto tiles"] = field(default_factory=MappingParameter)
    pre_post: Annotated[PrePostProcessingParameter, "digital work around the tile"] = field(
        default_factory=PrePostProcessingParameter
    )
    runtime: Annotated[RuntimeParameter, "how the tile computes"] = field(default_factory=RuntimeParameter)


@config
class SingleRPUConfig(RPUConfig):
    """An analog tile with one device at each crosspoint."""

    device: Annotated[AnalogDevice, "the device at each crosspoint"] = field(default_factory=ConstantStepDevice)
    forward: Annotated[IOParameters, "product y = W x"] = field(default_factory=IOParameters)
    backward: Annotated[IOParameters, "product of the errors, W^T d"] = field(default_factory=IOParameters)
    update: Annotated[UpdateParameters, "pulses of the update"] = field(default_factory=UpdateParameters)


@config
class UnitCellRPUConfig(RPUConfig):
    """An analog tile with several devices at each crosspoint."""

    device: Annotated[UnitCell, "the cell at each crosspoint"] = field(default_factory=VectorUnitCell)
    forward: Annotated[IOParameters, "product y = W x"] = field(default_factory=IOParameters)
    backward: Annotated[IOParameters, "product of the errors, W^T d"] = field(default_factory=IOParameters)
    update: Annotated[UpdateParameters, "pulses of the update"] = field(default_factory=UpdateParameters)


@config
class DigitalRankUpdateRPUConfig(RPUConfig):
    """An analog tile whose gradients are added up digitally before they are written."""

    device: Annotated[DigitalRankUpdateCell, "device and digital matrix of each crosspoint"] = field(
        default_factory=MixedPrecisionCompound
    )
    forward: Annotated[IOParameters, "product y = W x"] = field(default_factory=IOParameters)
    backward: Annotated[IOParameters, "product of the errors, W^T d"] = field(default_factory=IOParameters)
    update: Annotated[UpdateParameters, "pulses that write what was added up"] = field(default_factory=UpdateParameters)


@config
class FloatingPointRPUConfig(RPUConfig):
    """A digital tile: exact products, exact update. The yardstick of every analog one."""

    device: Annotated[FloatingPointDevice, "in-place operators of the digital weights"] = field(
        default_factory=FloatingPointDevice
    )
