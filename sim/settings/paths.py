"""Settings by their dotted path (``device.dw_min``): what a study varies, and what replicas must share."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Any

from sim.errors import ConfigError
from sim.settings.base import Config
from sim.settings.fields import Setting, close, settings_of

__all__ = ["get_path", "numeric_paths", "set_path", "setting_at", "structure"]


def get_path(cfg: Config, path: str) -> Any:
    """The value at a dotted path.

    Raises
    ------
    ConfigError
        If there is nothing of that name; close matches are offered.
    """
    owner, name = _owner(cfg, path)
    return getattr(owner, name)


def set_path(cfg: Config, path: str, value: Any) -> None:
    """Set the value at a dotted path, checked as any assignment.

    Raises
    ------
    ConfigError
        If there is nothing of that name or the value is not allowed; it names the whole path.
    """
    owner, name = _owner(cfg, path)
    owner.assign(name, value, path)


def setting_at(cfg: Config, path: str) -> Setting:
    """The declaration (type, interval, meaning) of the setting at a dotted path; ConfigError if there is none."""
    owner, name = _owner(cfg, path)
    return settings_of(type(owner))[name]


def numeric_paths(cfg: Config) -> dict[str, float | int]:
    """Every number of a configuration by its dotted path, in order of declaration (switches are not numbers)."""
    return {p: getattr(owner, s.name) for p, owner, s in _walk(cfg) if s.numeric}


def structure(cfg: Config) -> Hashable:
    """What replicas must share to run in one launch: classes, enums, switches and shapes, but no other numbers."""
    parts: list[Hashable] = [type(cfg).__name__]
    for name, setting in settings_of(type(cfg)).items():
        value = getattr(cfg, name)
        if isinstance(value, Config):
            parts.append((name, structure(value)))
        elif isinstance(value, Enum):
            parts.append((name, value.name))
        elif setting.structural or not setting.numeric:
            parts.append((name, value))
    return tuple(parts)


def _walk(cfg: Config, prefix: str = "") -> Iterator[tuple[str, Config, Setting]]:
    for name, setting in settings_of(type(cfg)).items():
        path = f"{prefix}{name}"
        yield path, cfg, setting
        value = getattr(cfg, name)
        if isinstance(value, Config):
            yield from _walk(value, f"{path}.")


def _owner(cfg: Config, path: str) -> tuple[Config, str]:
    """The object that holds the last name of the path."""
    *parents, name = path.split(".")
    owner: Any = cfg
    for parent in parents:
        owner = getattr(owner, parent) if isinstance(owner, Config) and parent in settings_of(type(owner)) else None
    if not isinstance(owner, Config) or name not in settings_of(type(owner)):
        known = [p for p, _, _ in _walk(cfg)]
        same_name = [p for p in known if p.split(".")[-1] == name][:3]
        hint = f" (did you mean {' or '.join(map(repr, same_name))}?)" if same_name else close(path, known)
        raise ConfigError(
            f"{path}: {type(cfg).__name__} has no such setting{hint or '; print the configuration to see its fields'}",
            field=path,
            allowed=", ".join(known),
        )
    return owner, name
