"""The device that a user names: a preset, a parameter set, or a class of `sim.devices` with fields."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sim.devices
import sim.presets
from fitlab.errors import FitlabError
from fitlab.parameters import ParameterSet, load
from sim.devices.base import PulsedDevice
from sim.settings.fields import close


@dataclass(frozen=True)
class Named:
    """A device, its name, where its numbers come from, and the parameter set that holds it."""

    name: str
    device: PulsedDevice
    citation: str | None = None
    document: ParameterSet | None = None


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Fields of `field=value` texts: a value is a TOML value (number, true, list ...), or else a string.

    Raises
    ------
    FitlabError
        No field, no value, or a field given twice.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        field, sign, text = (part.strip() for part in pair.partition("="))
        if not sign or not field or not text:
            raise FitlabError(f"--set {pair}: write FIELD=VALUE, for example --set dw_min=0.001")
        if field in out:
            raise FitlabError(f"--set {pair}: {field} is set twice; give it once")
        try:
            out[field] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            out[field] = text
    return out


def device_named(name: str, changes: Mapping[str, Any] | None = None) -> Named:
    """The device of a preset, a parameter-set file (.toml) or a class, with fields changed.

    Raises
    ------
    FitlabError
        No such device, one that takes no pulses, or a field or value that it does not have.
    """
    changes = dict(changes or {})
    if Path(name).suffix.lower() == ".toml":
        document = load(name)
        return Named(document.name, document.to_device(**changes), document.source.files, document)
    if name in sim.presets.names():
        preset = sim.presets.get(name)
        if preset.kind == "config":
            inner = preset.parts.get("device")
            if not isinstance(inner, str):
                raise FitlabError(f"{name}: is a preset without a single device of its own; device presets are {_presets()}")
            preset = sim.presets.get(inner)
        if preset.kind != "device":
            raise FitlabError(f"{name}: is a preset of {preset.kind}, not of a device; device presets are {_presets()}")
        return Named(name, _pulsed(name, preset(**changes)), preset.citation)
    models = sim.devices.models()
    if name in models:
        return Named(name, _pulsed(name, models[name](**changes)))
    if isinstance(getattr(sim.devices, name, None) if name in sim.devices.__all__ else None, type):
        raise FitlabError(f"{name}: takes no pulses, so there is no response to show; device models are {', '.join(models)}")
    known = [*sim.presets.names("device"), *models]
    raise FitlabError(
        f"{name}: is neither a file nor a device{close(name, known)}; presets are {_presets()}; device models are "
        f"{', '.join(models)}"
    )


def _presets() -> str:
    return ", ".join(sim.presets.names("device"))


def _pulsed(name: str, device: object) -> PulsedDevice:
    if not isinstance(device, PulsedDevice):
        raise FitlabError(f"{name}: {type(device).__name__} takes no single pulses; device presets are {_presets()}")
    return device
