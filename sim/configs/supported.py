"""What the simulation can do: a setting beyond it is refused when a tile is made, never ignored."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

from sim.configs.compounds import TransferCompound
from sim.configs.enums import AnalogMVType, BoundManagementType, NoiseManagementType, PulseType
from sim.configs.io import IOParameters
from sim.configs.rpu import DigitalRankUpdateRPUConfig, RPUConfig, SingleRPUConfig, UnitCellRPUConfig
from sim.configs.unit_cells import OneSidedUnitCell, UnitCell
from sim.configs.update import UpdateParameters
from sim.devices.base import PulsedDevice
from sim.errors import ConfigError

__all__ = ["MAX_BL", "check_supported"]

MAX_BL = 4096  # every slot costs memory for each line and sample

Refusal = tuple[str, Any, str]
"""Dotted path, value, and what is supported."""


def check_supported(cfg: RPUConfig) -> None:
    """Refuse a configuration that breaks a joint rule or asks for what is not simulated.

    Raises
    ------
    ConfigError
        For the first such setting; it names the field, the value and what is supported.
    """
    cfg.check()
    for field, value, allowed in _refusals(cfg):
        shown = value.name if isinstance(value, Enum) else repr(value)
        raise ConfigError(f"{field} = {shown} is not simulated: give {allowed}", field=field, value=value, allowed=allowed)


def _refusals(cfg: RPUConfig) -> Iterator[Refusal]:
    if isinstance(cfg, DigitalRankUpdateRPUConfig):
        exact = cfg.update.pulse_type in (PulseType.NONE, PulseType.NONE_WITH_DEVICE)
        if exact and isinstance(cfg.device.device, UnitCell):
            yield "update.pulse_type", cfg.update.pulse_type, "a type with pulses: the device is a cell"
        yield from _update(cfg.update, "update.")
        inner = cfg.device.device
        if isinstance(inner, OneSidedUnitCell):
            yield from _update(inner.refresh_update, "device.device.refresh_update.")
    if isinstance(cfg, UnitCellRPUConfig):
        if isinstance(cfg.device, TransferCompound):
            yield from _update(cfg.device.transfer_update, "device.transfer_update.")
        if isinstance(cfg.device, OneSidedUnitCell) and cfg.update.pulse_type is PulseType.NONE_WITH_DEVICE:
            yield "update.pulse_type", cfg.update.pulse_type, "another type: one side cannot take an exact step"
        yield from _update(cfg.update, "update.")
        if isinstance(cfg.device, OneSidedUnitCell):
            yield from _update(cfg.device.refresh_update, "device.refresh_update.")
    if isinstance(cfg, SingleRPUConfig):
        if cfg.update.pulse_type is PulseType.NONE and isinstance(cfg.device, PulsedDevice) and 0 < cfg.device.lifetime <= 1:
            yield "device.lifetime", cfg.device.lifetime, "0, or above 1, without pulses"
        yield from _update(cfg.update, "update.")
    if cfg.pre_post.input_range.enable and cfg.pre_post.input_range.manage_output_clipping and not _shows_clipping(cfg):
        yield (
            "pre_post.input_range.manage_output_clipping",
            True,
            "False, or a forward product that is not perfect and has neither noise nor bound management",
        )


def _shows_clipping(cfg: RPUConfig) -> bool:
    """Whether outputs of the forward product are clipped where the converter clips, and left so."""
    io = getattr(cfg, "forward", None)
    return (
        isinstance(io, IOParameters)
        and not (io.is_perfect or io.mv_type is AnalogMVType.IDEAL)
        and io.noise_management is NoiseManagementType.NONE
        and io.bound_management is BoundManagementType.NONE
    )


def _update(update: UpdateParameters, prefix: str) -> Iterator[Refusal]:
    if update.pulse_type is PulseType.NONE:
        return  # no pulses: nothing else is used
    if update.desired_bl > MAX_BL:
        yield prefix + "desired_bl", update.desired_bl, f"a whole number from 1 to {MAX_BL}"
    if update.d_sparsity:
        yield prefix + "d_sparsity", True, "False: nothing here uses it"
