"""A configuration from the name of a training algorithm."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from sim.configs.io import IOParameters
from sim.configs.rpu import SingleRPUConfig
from sim.configs.update import UpdateParameters
from sim.devices.base import AnalogDevice
from sim.devices.constant_step import ConstantStepDevice
from sim.errors import ConfigError
from sim.settings import Config
from sim.settings.fields import close

__all__ = ["ALGORITHMS", "build_config"]

T = TypeVar("T", bound=Config)

ALGORITHMS = ("sgd",)


def build_config(
    algorithm: str,
    device: Any = None,
    io_parameters: Any = None,
    up_parameters: Any = None,
    n_devices: int = 1,
    construction_seed: int = 0,
    **fields: Any,
) -> SingleRPUConfig:
    """Configuration of a training algorithm on a device.

    Parameters
    ----------
    algorithm : str
        Name of the algorithm in any case; ``sgd`` is stochastic gradient descent directly on the device.
    device : Device or class or preset, optional
        The device (an object is copied); ConstantStepDevice if not given.
    io_parameters, up_parameters : optional
        Forward and backward product (the same for both), and update; an object is copied.
    n_devices : int
        Devices at each crosspoint.
    construction_seed : int
        Seed of the device-to-device spread; 0 leaves it to the seed of the tile.
    **fields
        Further fields of the configuration, for example ``mapping``.

    Raises
    ------
    ConfigError
        If the algorithm, a number of devices above 1, or a field is not available.
    """
    name = str(algorithm).lower()
    if name not in ALGORITHMS:
        allowed = "one of " + ", ".join(ALGORITHMS)
        raise ConfigError(
            f"algorithm = {algorithm!r} is not available: give {allowed}{close(name, ALGORITHMS)}",
            field="algorithm",
            value=algorithm,
            allowed=allowed,
        )
    if n_devices != 1:
        raise ConfigError(
            f"n_devices = {n_devices!r} is not available: give 1, the number of devices at a crosspoint",
            field="n_devices",
            value=n_devices,
            allowed="1",
        )
    cell = _made(ConstantStepDevice if device is None else device, AnalogDevice, "device")
    if construction_seed:
        cell.assign("construction_seed", construction_seed)
    io = _made(IOParameters if io_parameters is None else io_parameters, IOParameters, "io_parameters")
    update = _made(UpdateParameters if up_parameters is None else up_parameters, UpdateParameters, "up_parameters")
    return SingleRPUConfig(device=cell, forward=io, backward=copy.deepcopy(io), update=update, **fields)


def _made(given: Any, kind: type[T], name: str) -> T:
    """A fresh object from a class, a preset or an object."""
    made = given() if callable(given) else copy.deepcopy(given)
    if not isinstance(made, kind):
        raise ConfigError(
            f"{name} = {given!r} is not allowed: give a configuration of kind {kind.__name__}, its class or a preset",
            field=name,
            value=given,
            allowed=kind.__name__,
        )
    return made
