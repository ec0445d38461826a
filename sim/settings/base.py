"""Plain dataclasses whose every assignment is checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from sim.errors import ConfigError
from sim.settings.fields import NamedNumbers, Parts, Setting, close, settings_of

__all__ = ["Config", "config"]

C = TypeVar("C", bound="Config")


@dataclass_transform(field_specifiers=(dataclasses.field,))
def config(cls: type[C]) -> type[C]:
    """Make a subclass of :class:`Config` a dataclass; every field is annotated with its type, range and meaning."""
    return dataclasses.dataclass(repr=False)(cls)


class Config:
    """Base of all configurations.

    Fields stay mutable until something is built from the object; an unknown name or a bad value is refused at the
    assignment. Rules that join several fields are looked at on construction and by :meth:`check`, because a sequence
    of assignments may pass through states that break them. Objects compare by value and print what differs from the
    default.
    """

    abstract: ClassVar[bool] = True
    derived: ClassVar[Mapping[str, str]] = {}
    """Fields of a base class that this one computes, and from what: they cannot be given."""

    def __new__(cls, *_args: Any, **given: Any) -> Self:
        for name in given:
            if name not in settings_of(cls):
                raise _unknown(cls, name)
        if cls._abstract():
            raise TypeError(f"{cls.__name__} is a base class: use one of {', '.join(cls.kinds())}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.rules()

    def __setattr__(self, name: str, value: Any) -> None:
        self.assign(name, value)

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """Set one field; ``path`` is its dotted path where the object is part of another.

        Raises
        ------
        ConfigError
            If there is no such field or the value is not allowed.
        """
        setting = settings_of(type(self)).get(name)
        if setting is None:
            raise _unknown(type(self), name, path)
        object.__setattr__(self, name, setting.coerce(value, path or f"{type(self).__name__}.{name}", path or name))

    def rules(self) -> None:
        """Rules that join several of the own fields; a broken one raises a ConfigError that starts with the field."""

    def check(self, path: str = "") -> None:
        """Look at the joint rules of this configuration and of everything inside it.

        Raises
        ------
        ConfigError
            For the first rule that is broken; ``field`` is the dotted path.
        """
        try:
            self.rules()
        except ConfigError as error:
            field = f"{path}.{error.field}" if path else error.field
            place = f"{path}." if path else ""
            raise ConfigError(f"{place}{error}", field=field, value=error.value, allowed=error.allowed) from None
        for name, part in self.parts():
            part.check(f"{path}.{name}" if path else name)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, enums by name. A part whose class is not the declared one names it under ``class``."""
        out: dict[str, Any] = {}
        for name, value in self._items():
            if isinstance(value, Config):
                part = value.to_dict()
                if type(value) is not settings_of(type(self))[name].kind:
                    part = {"class": type(value).__name__, **part}
                out[name] = part
            elif isinstance(value, Parts):
                out[name] = [{"class": type(part).__name__, **part.to_dict()} for part in value]
            else:
                out[name] = _written(value)
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """The reverse of :meth:`to_dict`; what is missing keeps its default.

        Parameters
        ----------
        values : mapping
            Nested plain values; infinite numbers may be given as the texts ``inf`` and ``-inf``.
        path : str
            Where they come from, in front of every path that an error names.

        Raises
        ------
        ConfigError
            For an unknown key, class or value; it names the dotted path.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{path or cls.__name__} = {values!r} is not allowed: give a table of the fields of {cls.__name__}",
                field=path or cls.__name__,
                value=values,
                allowed="a table",
            )
        rest = dict(values)
        target = cls._named(rest.pop("class", cls.__name__), path)
        made = target()
        for name, value in rest.items():
            where = f"{path}.{name}" if path else name
            setting = settings_of(target).get(name)
            if setting is None:
                raise _unknown(target, name, where)
            made.assign(name, _parse(setting, value, where, getattr(made, name)), where)
        made.check(path)
        return made

    def parts(self) -> list[tuple[str, Config]]:
        """The configurations inside this one by their path, those of a row by name and position."""
        return [part for name in settings_of(type(self)) for part in self.parts_of(name)]

    def parts_of(self, name: str) -> list[tuple[str, Config]]:
        """Those of :meth:`parts` that a field holds."""
        value = getattr(self, name)
        if isinstance(value, Parts):
            return [(f"{name}.{k}", part) for k, part in enumerate(value)]
        return [(name, value)] if isinstance(value, Config) else []

    @classmethod
    def _abstract(cls) -> bool:
        """Whether the class only serves as base of others: it says so by ``abstract = True`` in its own body."""
        return bool(vars(cls).get("abstract", False))

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """This class and all derived from it, by name, without those that only serve as base."""
        own = {} if cls._abstract() else {cls.__name__: cls}
        return own | {name: kind for sub in cls.__subclasses__() for name, kind in sub.kinds().items()}

    @classmethod
    def _named(cls, name: Any, path: str) -> type[Self]:
        known = cls.kinds()
        if not isinstance(name, str) or name not in known:
            where = f"{path}.class" if path else "class"
            allowed = "one of " + ", ".join(known)
            raise ConfigError(
                f"{where} = {name!r} is not known: give {allowed}{close(str(name), known)}",
                field=where,
                value=name,
                allowed=allowed,
            )
        return known[name]

    def _items(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in settings_of(type(self))]

    def _changes(self) -> list[tuple[str, Any]]:
        """The fields that differ from the default."""
        default = type(self)()
        return [(name, value) for name, value in self._items() if value != getattr(default, name)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={_plain(v)}' for n, v in self._changes())})"

    def __str__(self) -> str:
        line = f"{type(self).__name__}({', '.join(f'{n}={_short(v)}' for n, v in self._changes())})"
        if len(line) <= 100:
            return line
        parts = (f"{n}={v if isinstance(v, Config) else _short(v)}" for n, v in self._changes())
        body = ",\n".join(parts).replace("\n", "\n    ")
        return f"{type(self).__name__}(\n    {body},\n)"


def _written(value: Any) -> Any:
    """A value as plain text formats take it."""
    if isinstance(value, Enum):
        return value.name
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, NamedNumbers) else value


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, Enum) else repr(value)


def _short(value: Any) -> str:
    """The same for a reader: of a long list only how it starts."""
    if isinstance(value, tuple) and not isinstance(value, Parts) and len(value) > 8:
        return f"({', '.join(map(repr, value[:4]))}, ... {len(value)} numbers)"
    return _plain(value)


def _parse(setting: Setting, value: Any, where: str, now: Any) -> Any:
    """A plain value as its field takes it; a part without ``class`` keeps the class that it has by default."""
    if issubclass(setting.kind, Config) and not isinstance(value, Config):
        kind = setting.kind if isinstance(value, Mapping) and "class" in value else type(now)
        return kind.from_dict(value, where)
    if setting.part is not None and isinstance(value, Sequence) and not isinstance(value, str):
        row: type[Config] = setting.part
        return [v if isinstance(v, Config) else row.from_dict(v, f"{where}.{k}") for k, v in enumerate(value)]
    if setting.kind is float and value in ("inf", "-inf"):
        return float(value)
    return value


def _unknown(cls: type[Config], name: str, path: str | None = None) -> ConfigError:
    known = settings_of(cls)
    if name in cls.derived:
        raise ConfigError(
            f"{path or f'{cls.__name__}.{name}'} cannot be given: it follows from {cls.derived[name]}, give those",
            field=path or name,
            allowed=cls.derived[name],
        )
    hint = close(name, known) or ": it has " + ", ".join(known)
    place = f"{path}: " if path else ""
    return ConfigError(f"{place}{cls.__name__} has no field {name!r}{hint}", field=path or name, allowed=", ".join(known))
