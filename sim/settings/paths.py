"""Settings by their dotted path (``device.dw_min``): what a study varies, and what replicas must share."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Any

from sim.errors import ConfigError
from sim.settings.base import Config
from sim.settings.fields import Parts, Setting, close, settings_of

__all__ = ["get_path", "has_path", "numeric_paths", "set_path", "setting_at", "structure"]


def has_path(cfg: Config, path: str) -> bool:
    """Whether there is something of that name."""
    return _find(cfg, path) is not None


def get_path(cfg: Config, path: str) -> Any:
    """The value at a dotted path.

    Raises
    ------
    ConfigError
        If there is nothing of that name; close matches are offered.
    """
    owner, name, item = _found(cfg, path)
    value = getattr(owner, name)
    return value if item is None else settings_of(type(owner))[name].items(value)[item]


def set_path(cfg: Config, path: str, value: Any) -> None:
    """Set the value at a dotted path, checked as any assignment.

    Raises
    ------
    ConfigError
        If there is nothing of that name or the value is not allowed; it names the whole path.
    """
    owner, name, item = _found(cfg, path)
    if item is not None:
        value = settings_of(type(owner))[name].replaced(getattr(owner, name), item, value)
    owner.assign(name, value, path)


def setting_at(cfg: Config, path: str) -> Setting:
    """The declaration (type, interval, meaning) of the setting at a dotted path; ConfigError if there is none."""
    owner, name, item = _found(cfg, path)
    setting = settings_of(type(owner))[name]
    return setting if item is None else dataclasses.replace(setting, name=item, kind=float)


def numeric_paths(cfg: Config) -> dict[str, float | int]:
    """Every number of a configuration by its dotted path, in order of declaration (switches are not numbers)."""
    numbers: dict[str, float | int] = {}
    for path, owner, setting in _walk(cfg):
        value = getattr(owner, setting.name)
        if setting.numeric:
            numbers[path] = value
        numbers |= {f"{path}.{item}": number for item, number in setting.items(value).items()}
    return numbers


def structure(cfg: Config) -> Hashable:
    """What replicas must share to run in one launch: classes, enums, switches and shapes, but no other numbers."""
    parts: list[Hashable] = [type(cfg).__name__]
    for name, setting in settings_of(type(cfg)).items():
        value = getattr(cfg, name)
        if isinstance(value, Config):
            parts.append((name, structure(value)))
        elif isinstance(value, Parts):
            parts.append((name, tuple(structure(part) for part in value)))
        elif isinstance(value, Enum):
            parts.append((name, value.name))
        elif setting.items(value):
            parts.append((name, setting.shape(value)))
        elif setting.structural or not setting.numeric:
            parts.append((name, value))
    return tuple(parts)


def _walk(cfg: Config, prefix: str = "") -> Iterator[tuple[str, Config, Setting]]:
    for name, setting in settings_of(type(cfg)).items():
        yield f"{prefix}{name}", cfg, setting
        for path, part in cfg.parts_of(name):
            yield from _walk(part, f"{prefix}{path}.")


def _found(cfg: Config, path: str) -> tuple[Config, str, str | None]:
    """As `_find`; ConfigError where there is nothing."""
    found = _find(cfg, path)
    if found is not None:
        return found
    name = path.rpartition(".")[2]
    known = [*dict.fromkeys([*(p for p, _, _ in _walk(cfg)), *numeric_paths(cfg)])]
    same_name = [p for p in known if p.split(".")[-1] == name][:3]
    hint = f" (did you mean {' or '.join(map(repr, same_name))}?)" if same_name else close(path, known)
    raise ConfigError(
        f"{path}: {type(cfg).__name__} has no such setting{hint or '; print the configuration to see its fields'}",
        field=path,
        allowed=", ".join(known),
    )


def _find(cfg: Config, path: str) -> tuple[Config, str, str | None] | None:
    """The object that holds what the path names, its field, and which of the field's numbers if it holds several."""
    parent, _, item = path.rpartition(".")
    holder = _owner(cfg, parent)
    if holder is not None:
        owner, name = holder
        if item in settings_of(type(owner))[name].items(getattr(owner, name)):
            return owner, name, item
    holder = _owner(cfg, path)
    return None if holder is None else (*holder, None)


def _owner(cfg: Config, path: str) -> tuple[Config, str] | None:
    """The object that holds the last name of the path."""
    *parents, name = path.split(".")
    owner: Any = cfg
    for parent in parents:
        if isinstance(owner, Parts):
            owner = owner[int(parent)] if parent.isdigit() and int(parent) < len(owner) else None
        else:
            owner = getattr(owner, parent) if isinstance(owner, Config) and parent in settings_of(type(owner)) else None
    return (owner, name) if isinstance(owner, Config) and name in settings_of(type(owner)) else None
