"""Crosspoints with several devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

from sim.configs.enums import VectorUnitCellUpdatePolicy
from sim.configs.io import IOParameters
from sim.configs.update import UpdateParameters
from sim.devices.base import PulsedDevice
from sim.errors import ConfigError
from sim.settings import Config, Probability, Range, Structural, config

__all__ = ["OneSidedUnitCell", "ReferenceUnitCell", "UnitCell", "VectorUnitCell"]

Seed = Annotated[int, Range(low=0, high=2**63 - 1)]


@config
class UnitCell(Config):
    r"""Several devices at a crosspoint, read as one weight :math:`W = \sum_k \gamma_k W_k`.

    The devices share tile shape, pulse trains and construction seed; the number of pulses of an update follows from the
    plain average of their granularities.
    """

    abstract = True

    unit_cell_devices: Annotated[Sequence[PulsedDevice], "the devices of the cell"] = ()
    construction_seed: Annotated[Seed, "seed of the device-to-device spread of all devices; 0 = the seed of the tile"] = 0

    def device_list(self) -> tuple[PulsedDevice, ...]:
        """The devices as they are built."""
        return tuple(self.unit_cell_devices)

    def gammas(self) -> list[float]:
        """Weight of each device in the sum."""
        raise NotImplementedError

    def granularity(self) -> float:
        """Assumed weight change of one pulse: the average over the devices."""
        devices = self.device_list()
        return sum(device.granularity() for device in devices) / len(devices)

    def num_states(self) -> float:
        """Number of states: the average over the devices."""
        devices = self.device_list()
        return sum(device.num_states() for device in devices) / len(devices)

    def check(self, path: str = "") -> None:
        """As of every configuration; a cell needs a device."""
        if not self.unit_cell_devices:
            where = f"{path}.unit_cell_devices" if path else "unit_cell_devices"
            raise ConfigError(
                f"{where} = [] is not allowed: give at least one device", field=where, value=[], allowed="at least one device"
            )
        super().check(path)


@config
class VectorUnitCell(UnitCell):
    r"""Devices updated together or by turns, :math:`W = \sum_k \gamma_k W_k`.

    Which devices get the pulses of a mini-batch is the `update_policy`; neither it nor gamma is compensated in the number of
    pulses. Source: I. Boybat et al., Nat. Commun. 9, 2514 (2018).
    """

    update_policy: Annotated[VectorUnitCellUpdatePolicy, "which devices are updated"] = VectorUnitCellUpdatePolicy.ALL
    first_update_idx: Annotated[int, Range(low=0), "device that gets the first update, where one does at a time"] = 0
    gamma_vec: Annotated[Sequence[float], "weight of each device; empty = 1/n each"] = ()

    def gammas(self) -> list[float]:
        n = len(self.device_list())
        return list(self.gamma_vec) or [1.0 / n] * n

    def rules(self) -> None:
        """As many gammas as devices, and an index among them."""
        n = len(self.device_list())
        if n and self.gamma_vec and len(self.gamma_vec) != n:
            raise ConfigError(
                f"gamma_vec = {list(self.gamma_vec)} is not allowed: give {n} numbers, one for each device, or none",
                field="gamma_vec",
                value=self.gamma_vec,
                allowed=f"{n} numbers",
            )
        if n and self.first_update_idx >= n:
            raise ConfigError(
                f"first_update_idx = {self.first_update_idx} is not allowed: give a number from 0 to {n - 1}",
                field="first_update_idx",
                value=self.first_update_idx,
                allowed=f"0 to {n - 1}",
            )


@config
class ReferenceUnitCell(VectorUnitCell):
    """Two devices read as a difference; the second one keeps what it was set to, until it is chosen by its index.

    One device given is used for both, further ones than two have no part.
    """

    update_policy: Annotated[VectorUnitCellUpdatePolicy, "which devices are updated"] = VectorUnitCellUpdatePolicy.SINGLE_FIXED
    gamma_vec: Annotated[Sequence[float], "weight of each device"] = (1.0, -1.0)

    def device_list(self) -> tuple[PulsedDevice, ...]:
        devices = tuple(self.unit_cell_devices)
        return devices * 2 if len(devices) == 1 else devices[:2]


@config
class OneSidedUnitCell(UnitCell):
    r"""Two devices that only ever get up pulses, :math:`W = g_+ - g_-`, with a refresh that undoes saturation.

    The devices are drawn independently from the first entry; with `copy_inverted` the second is the mirror image of the first.
    A refresh reads both devices; where the larger exceeds `refresh_upper_thres` and the smaller `refresh_lower_thres` (of
    w_max), both are reset and their difference is written back, open loop: at most ``refresh_update.desired_bl`` pulses, so a
    small step may lose most of the weight; give a longer train then. Source: S. R. Nandakumar et al., Front. Neurosci. 14, 406
    (2020).
    """

    refresh_every: Annotated[int, Structural(), "refresh period; <= 0 = never"] = 0
    units_in_mbatch: Annotated[bool, "the period counts mini-batches; false: single vectors"] = True
    refresh_upper_thres: Annotated[Probability, "threshold of the larger device, of w_max"] = 0.75
    refresh_lower_thres: Annotated[Probability, "threshold of the smaller device, of w_max"] = 0.25
    refresh_forward: Annotated[IOParameters, "how devices are read in a refresh"] = field(default_factory=IOParameters)
    refresh_update: Annotated[UpdateParameters, "how the difference is written back"] = field(default_factory=UpdateParameters)
    copy_inverted: Annotated[bool, "the second device is the mirror image of the first"] = False

    def device_list(self) -> tuple[PulsedDevice, ...]:
        return tuple(self.unit_cell_devices)[:1] * 2

    def gammas(self) -> list[float]:
        return [-1.0, 1.0]

    def granularity(self) -> float:
        """Assumed weight change of one pulse, which is an up pulse."""
        return self.device_list()[0].granularity_up()

    def rules(self) -> None:
        """A second device must be as the first, which is what both are made from."""
        first, *others = self.unit_cell_devices or (None,)
        if len(others) > 1 or any(device != first for device in others):
            raise ConfigError(
                "unit_cell_devices: give one device, or two that are equal (both are made from the first)",
                field="unit_cell_devices",
                value=self.unit_cell_devices,
                allowed="one device",
            )
