"""Calibrated devices, periphery and configurations by name.

    from sim.presets import ReRamArrayOMPresetDevice
    device = ReRamArrayOMPresetDevice(dw_min=0.05)

A preset is called as a class is and gives a fresh configuration of the class that it is a preset of; keyword arguments
change fields. The numbers are data in ``presets.toml``.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sim.configs
from sim.errors import ConfigError
from sim.settings import Config
from sim.settings.fields import close

__all__ = ["Preset", "citation", "get", "names"]

KINDS = ("device", "cell", "periphery", "config")


class Preset:
    """A named configuration; call it to get a fresh one.

    Parameters
    ----------
    name : str
        Name of the preset.
    kind : str
        ``device``, ``cell``, ``periphery`` or ``config``.
    entry : mapping
        Its class, note, keys of its sources, ``fields``, and ``parts``: names of other presets, or tables with such a name or a
        class as ``base`` and the fields in which the part differs from it.
    sources : mapping
        Texts of all sources by key.
    """

    def __init__(self, name: str, kind: str, entry: Mapping[str, Any], sources: Mapping[str, str]) -> None:
        self.__name__ = name
        self.kind = kind
        self.cls: type[Config] = getattr(sim.configs, entry["class"])
        self.note: str = entry["note"]
        self.citation = "; ".join(sources[key] for key in entry["citation"])
        self.fields: dict[str, Any] = dict(entry.get("fields", {}))
        self.parts: dict[str, Any] = dict(entry.get("parts", {}))
        self.__doc__ = f"{self.note}. Source: {self.citation}."

    def __call__(self, **changes: Any) -> Any:
        """A fresh configuration, with the given fields changed; ConfigError for what the class refuses."""
        parts = {field: _made(part) for field, part in self.parts.items() if field not in changes}
        return self.cls(**{**self.fields, **parts, **changes})

    def __repr__(self) -> str:
        return f"<preset {self.__name__} of {self.cls.__name__}>"


def _made(part: Any) -> Any:
    if isinstance(part, list):
        return [_made(one) for one in part]
    if isinstance(part, str):
        return get(part)()
    base = part["base"]
    kind = get(base) if base in _presets() else getattr(sim.configs, base)
    return kind(**{k: _made(v) if isinstance(v, dict) else v for k, v in part.items() if k != "base"})


def names(kind: str | None = None) -> list[str]:
    """Names of all presets, or of one kind: ``device``, ``cell``, ``periphery`` or ``config``."""
    if kind is not None and kind not in KINDS:
        allowed = "one of " + ", ".join(KINDS)
        raise ConfigError(f"kind = {kind!r} is not known: give {allowed}", field="kind", value=kind, allowed=allowed)
    return [name for name, preset in _presets().items() if kind in (None, preset.kind)]


def get(name: str) -> Preset:
    """The preset of that name; ConfigError, with close matches, if there is none."""
    known = _presets()
    if name not in known:
        raise ConfigError(
            f"There is no preset {name!r}{close(name, known) or ': there are ' + ', '.join(known)}",
            field="preset",
            value=name,
            allowed=", ".join(known),
        )
    return known[name]


def citation(name: str) -> str:
    """Where the numbers of a preset come from; ConfigError if there is no such preset."""
    return get(name).citation


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in _presets():
        raise AttributeError(f"sim.presets has no {name!r}{close(name, _presets()) if name[:1] != '_' else ''}")
    return _presets()[name]


def __dir__() -> list[str]:
    return [*__all__, *_presets()]


@functools.cache
def _data() -> dict[str, Any]:
    with Path(__file__).with_name("presets.toml").open("rb") as file:
        return tomllib.load(file)


@functools.cache
def _presets() -> dict[str, Preset]:
    data = _data()
    return {n: Preset(n, kind, entry, data["citation"]) for kind in KINDS for n, entry in data[kind].items()}
