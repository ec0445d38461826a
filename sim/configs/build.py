"""A configuration from the name of a training algorithm."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from sim.configs.compounds import (
    ChoppedTransferCompound,
    DynamicTransferCompound,
    MixedPrecisionCompound,
    TransferCompound,
)
from sim.configs.enums import BoundManagementType, NoiseManagementType, VectorUnitCellUpdatePolicy
from sim.configs.io import IOParameters
from sim.configs.rpu import DigitalRankUpdateRPUConfig, SingleRPUConfig, UnitCellRPUConfig
from sim.configs.unit_cells import UnitCell, VectorUnitCell
from sim.configs.update import UpdateParameters
from sim.devices.base import AnalogDevice, PulsedDevice
from sim.devices.constant_step import ConstantStepDevice
from sim.errors import ConfigError
from sim.settings import Config
from sim.settings.fields import close

__all__ = ["ALGORITHMS", "build_config"]

T = TypeVar("T", bound=Config)
FAST_BL = 5  # pulses of a gradient on the fast array


def build_config(
    algorithm: str,
    device: Any = None,
    io_parameters: Any = None,
    up_parameters: Any = None,
    n_devices: int = 1,
    construction_seed: int = 0,
    **fields: Any,
) -> Any:
    """Configuration of a training algorithm on a device (compounds.md, section 10).

    Parameters
    ----------
    algorithm : str
        In any case: ``sgd``, stochastic gradient descent directly on the device; ``tiki-taka`` (``tt``, ``ttv1``); ``ttv2``;
        ``c-ttv2`` (``chopped-ttv2``, ``ttv3``); ``agad`` (``ttv4``); ``mp`` (``mixed-precision``).
    device : Device or class or preset, optional
        The device (an object is copied); ConstantStepDevice if not given. A list of two gives the fast and the slow array of
        a transfer algorithm devices of their own. For ``mp`` it may be a cell of several devices.
    io_parameters, up_parameters : optional
        Forward and backward product (the same for both), and update; an object is copied.
    n_devices : int
        Devices at each crosspoint, for ``sgd``: one of them, at random, gets the pulses of a mini-batch.
    construction_seed : int
        Seed of the device-to-device spread; 0 leaves it to the seed of the tile.
    **fields
        Further fields of the configuration, for example ``mapping``.

    Returns
    -------
    SingleRPUConfig, UnitCellRPUConfig or DigitalRankUpdateRPUConfig

    Raises
    ------
    ConfigError
        If the algorithm is not known, or a number of devices or a field does not go with it.
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
    build = ALGORITHMS[name]
    most = isinstance(n_devices, int) and not isinstance(n_devices, bool) and n_devices >= 1
    if not most or (n_devices > 1 and build is not _sgd):
        allowed = "a whole number of at least 1" if build is _sgd else "1: the algorithm sets the number of devices"
        raise ConfigError(
            f"n_devices = {n_devices!r} is not available: give {allowed}", field="n_devices", value=n_devices, allowed=allowed
        )
    io = _made(IOParameters if io_parameters is None else io_parameters, IOParameters, "io_parameters")
    update = _made(UpdateParameters if up_parameters is None else up_parameters, UpdateParameters, "up_parameters")
    given = ConstantStepDevice if device is None else device
    kind, cell, update = build(given, io, update, n_devices, construction_seed)
    return kind(device=cell, forward=io, backward=copy.deepcopy(io), update=update, **fields)


Built = tuple[Any, Config, UpdateParameters]
"""Class of the configuration, its device and its update."""


def _sgd(device: Any, io: IOParameters, update: UpdateParameters, n_devices: int, seed: int) -> Built:
    if n_devices == 1:
        single = _made(device, AnalogDevice, "device")
        if seed:
            single.assign("construction_seed", seed)
        return SingleRPUConfig, single, update
    cell = VectorUnitCell(
        unit_cell_devices=[_made(device, PulsedDevice, "device") for _ in range(n_devices)],
        update_policy=VectorUnitCellUpdatePolicy.SINGLE_RANDOM,
        construction_seed=seed,
    )
    return UnitCellRPUConfig, cell, update


def _tiki_taka(device: Any, io: IOParameters, update: UpdateParameters, _n: int, seed: int) -> Built:
    cell = TransferCompound(
        unit_cell_devices=_pair(device),
        transfer_forward=_unmanaged(io),
        transfer_update=copy.deepcopy(update),
        units_in_mbatch=True,
        construction_seed=seed,
    )
    return UnitCellRPUConfig, cell, update


def _ttv2(device: Any, io: IOParameters, update: UpdateParameters, _n: int, seed: int) -> Built:
    return _buffered(ChoppedTransferCompound, device, _unmanaged(io), update, seed, False, in_chop_prob=0.0, auto_scale=False)


def _c_ttv2(device: Any, io: IOParameters, update: UpdateParameters, _n: int, seed: int) -> Built:
    return _buffered(ChoppedTransferCompound, device, _unmanaged(io), update, seed, False, fast_lr=0.1, auto_scale=True)


def _agad(device: Any, io: IOParameters, update: UpdateParameters, _n: int, seed: int) -> Built:
    return _buffered(DynamicTransferCompound, device, copy.deepcopy(io), update, seed, True, fast_lr=0.1, auto_scale=True)


def _buffered(
    kind: type[ChoppedTransferCompound], device: Any, io: IOParameters, update: UpdateParameters, seed: int, managed: bool,
    **fields: Any,
) -> Built:  # fmt: skip
    """Two arrays with a buffer between them, from which single pulses go to the slow one, ``managed`` or not."""
    cell = kind(
        unit_cell_devices=_pair(device),
        transfer_forward=io,
        transfer_update=_changed(update, desired_bl=1, update_management=managed, update_bl_management=managed),
        units_in_mbatch=False,
        construction_seed=seed,
        **fields,
    )
    return UnitCellRPUConfig, cell, _changed(update, desired_bl=FAST_BL)


def _mixed_precision(device: Any, _io: IOParameters, update: UpdateParameters, _n: int, seed: int) -> Built:
    made: Config = _made(device, Config, "device")
    if not isinstance(made, PulsedDevice | UnitCell):
        raise _not_allowed(device, "device", "PulsedDevice or UnitCell")
    return DigitalRankUpdateRPUConfig, MixedPrecisionCompound(device=made, construction_seed=seed), update


ALGORITHMS: dict[str, Callable[[Any, IOParameters, UpdateParameters, int, int], Built]] = {
    "sgd": _sgd,
    "tiki-taka": _tiki_taka,
    "tt": _tiki_taka,
    "ttv1": _tiki_taka,
    "ttv2": _ttv2,
    "c-ttv2": _c_ttv2,
    "chopped-ttv2": _c_ttv2,
    "ttv3": _c_ttv2,
    "agad": _agad,
    "ttv4": _agad,
    "mp": _mixed_precision,
    "mixed-precision": _mixed_precision,
}


def _pair(device: Any) -> list[PulsedDevice]:
    """Devices of the fast and the slow array, two objects."""
    both = list(device) if isinstance(device, list | tuple) else [device, device]
    if len(both) != 2:
        raise _not_allowed(device, "device", "PulsedDevice, or a list of two")
    return [_made(one, PulsedDevice, "device") for one in both]


def _unmanaged(io: IOParameters) -> IOParameters:
    return _changed(io, noise_management=NoiseManagementType.NONE, bound_management=BoundManagementType.NONE)


def _changed(given: T, **fields: Any) -> T:
    """A copy with other values of some fields."""
    made = copy.deepcopy(given)
    for name, value in fields.items():
        made.assign(name, value)
    return made


def _made(given: Any, kind: type[T], name: str) -> T:
    """A fresh object from a class, a preset or an object."""
    made = given() if callable(given) else copy.deepcopy(given)
    if not isinstance(made, kind):
        raise _not_allowed(given, name, kind.__name__)
    return made


def _not_allowed(given: Any, name: str, kind: str) -> ConfigError:
    return ConfigError(
        f"{name} = {given!r} is not allowed: give a configuration of kind {kind}, its class or a preset",
        field=name,
        value=given,
        allowed=kind,
    )
