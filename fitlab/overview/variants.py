"""The same device without spread, or without noise."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from sim.devices.base import PulsedDevice

_SPREADS: dict[str, Any] = {"reference_std": 0.0, "corrupt_devices_prob": 0.0, "perfect_bias": False}
"""Fields beside ``*_dtod`` by which crosspoints differ."""
_NOISES = ("dw_min_std", "dw_min_std_add", "dw_min_std_slope")


def without_spread(device: PulsedDevice) -> PulsedDevice:
    """The nominal device: every crosspoint alike."""
    spreads = {f.name: 0.0 for f in dataclasses.fields(device) if f.name.endswith("_dtod")}
    return _changed(device, {**spreads, **_SPREADS, "dtod": {}})


def without_write_noise(device: PulsedDevice) -> PulsedDevice:
    """What the pulses do to the state behind the write noise."""
    return _changed(device, {"write_noise_std": 0.0})


def without_noise(device: PulsedDevice) -> PulsedDevice:
    """Mean steps only."""
    return _changed(device, {**dict.fromkeys(_NOISES, 0.0), "write_noise_std": 0.0})


def _changed(device: PulsedDevice, changes: dict[str, Any]) -> PulsedDevice:
    fields = {f.name for f in dataclasses.fields(device)}
    out = copy.deepcopy(device)
    for name, value in changes.items():
        if name in fields:
            setattr(out, name, value)
    return out
