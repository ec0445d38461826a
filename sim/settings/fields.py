"""One setting of a configuration: its type, what it may hold and what it means, declared beside it.

    dw_min: Annotated[Positive, "mean step size over devices and directions"] = 0.001

The annotation carries at most one :class:`Range`, a sentence, and :class:`Structural` where replicas must agree. Besides
numbers, switches, enums, texts and parts, a setting may hold a list of numbers (``Sequence[float]``, stored as a tuple) or
numbers by name (``Mapping[str, float]``, stored as :class:`NamedNumbers`); the interval then holds for each of them. A
sequence of configurations (``Sequence[Device]``) is stored as :class:`Parts`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, NoReturn

from sim.errors import ConfigError

__all__ = [
    "NamedNumbers",
    "NonNegative",
    "Parts",
    "Positive",
    "Probability",
    "Range",
    "Real",
    "Setting",
    "Structural",
    "close",
    "settings_of",
]

FLOAT32_MAX = 3.4028234663852886e38  # states are float32: a finite number must stay finite there
FLOAT32_TINY = 1.1754943508222875e-38  # and a positive one must stay positive


@dataclasses.dataclass(frozen=True)
class Range:
    """Interval of a number: ``low <= v <= high``; ``above`` and ``below`` exclude their end."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    infinite: bool = False

    def holds(self, value: float) -> bool:
        """Whether the number lies inside."""
        if isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not self.infinite)):
            return False
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above + (FLOAT32_TINY if self.above == 0 else 0))
            and (self.below is None or value < self.below)
        )

    def words(self) -> str:
        """The interval in words, empty where there is none."""
        low, high = (self.low, self.high)
        if low is not None and high is not None:
            text = f" from {low:g} to {high:g}"
        else:
            ends = [("of at least", low), ("above", self.above), ("of at most", high), ("below", self.below)]
            text = " and".join(f" {word} {end:g}" for word, end in ends if end is not None)
        return text + (", infinite allowed" if self.infinite else "")


@dataclasses.dataclass(frozen=True)
class Structural:
    """Marks a number that shapes the arrays, so that all replicas must share it."""


class NamedNumbers(dict[str, float]):
    """Numbers by name. It cannot be changed in place, because a change there would not be checked."""

    def _fixed(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("these numbers cannot be changed in place: assign the field anew, or use set_path")

    __setitem__ = __delitem__ = __ior__ = _fixed  # type: ignore[assignment]
    update = setdefault = pop = popitem = clear = _fixed  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return NamedNumbers, (dict(self),)


class Parts(tuple[Any, ...]):
    """Configurations in a row; their paths have the position as a name: ``unit_cell_devices.0.dw_min``."""


_declared: dict[type, dict[str, Setting]] = {}

Real = float
Positive = Annotated[float, Range(above=0.0)]
NonNegative = Annotated[float, Range(low=0.0)]
Probability = Annotated[float, Range(low=0.0, high=1.0)]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One declared setting: name, type, interval and meaning."""

    name: str
    kind: type
    range: Range
    doc: str
    structural: bool
    part: type | None = None
    """Class of the configurations that a row of parts holds."""

    @property
    def numeric(self) -> bool:
        """Whether it holds a number (a switch is not a number)."""
        return self.kind in (int, float)

    def allowed(self) -> str:
        """What may be given, in words."""
        if self.kind is float:
            return "a number" + self.range.words()
        if self.kind is int:
            return "a whole number" + self.range.words()
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "a text"
        if self.part is not None:
            return f"a list of {self.part.__name__}"
        if self.kind is tuple:
            return f"a list of numbers{', each' if self.range.words() else ''}{self.range.words()}"
        if self.kind is NamedNumbers:
            return f"numbers by name{', each' if self.range.words() else ''}{self.range.words()}"
        if issubclass(self.kind, Enum):
            return "one of " + ", ".join(self.kind.__members__)
        article = "an" if self.kind.__name__[0] in "AEIOU" else "a"
        return f"{article} {self.kind.__name__}"

    def items(self, value: Any) -> dict[str, float]:
        """The numbers that a list or table of numbers holds, by position or name; nothing for other kinds."""
        if self.kind is tuple:
            return {str(k): number for k, number in enumerate(value)}
        return dict(value) if self.kind is NamedNumbers else {}

    def replaced(self, value: Any, item: str, number: Any) -> Any:
        """A list or table of numbers with one of them replaced."""
        numbers = self.items(value) | {item: number}
        return list(numbers.values()) if self.kind is tuple else numbers

    def shape(self, value: Any) -> tuple[str, ...]:
        """What of a list or table of numbers is structure: its length, its names."""
        return tuple(sorted(self.items(value)))

    def coerce(self, value: Any, where: str, field: str) -> Any:
        """The value as it is stored.

        Raises
        ------
        ConfigError
            If the value has the wrong type or lies outside its interval; ``where`` is the place in words, ``field``
            the path that the error carries.
        """
        stored = self._convert(value)
        if stored is None:
            hint = ""
            if isinstance(value, str) and issubclass(self.kind, Enum):
                hint = close(value, self.kind.__members__)
            allowed = self.allowed()
            raise ConfigError(
                f"{where} = {_shown(value)} is not allowed: give {allowed}{hint} ({self.doc})",
                field=field,
                value=value,
                allowed=allowed,
            )
        return stored

    def _convert(self, value: Any) -> Any:
        """The stored value, or None if it is refused."""
        if self.numeric:
            number = _number(value)
            if number is None or not self.range.holds(number):
                return None
            if self.kind is int:
                return int(number) if math.isfinite(number) and number == int(number) else None
            return float(number)
        if self.kind is bool:
            # NumPy's own truth values compare equal to Python's and are turned into them.
            return bool(value) if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool") else None
        if self.part is not None:
            row = isinstance(value, Sequence) and not isinstance(value, str)
            return Parts(value) if row and all(isinstance(item, self.part) for item in value) else None
        if self.kind is tuple:
            # A NumPy array or a torch tensor of one axis is a sequence of numbers too.
            items = value.tolist() if hasattr(value, "tolist") else value
            if not isinstance(items, Sequence) or isinstance(items, str):
                return None
            listed = [self._item(item) for item in items]
            return None if None in listed else tuple(listed)
        if self.kind is NamedNumbers:
            if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
                return None
            named = {k: self._item(item) for k, item in value.items()}
            return None if None in named.values() else NamedNumbers(named)
        if issubclass(self.kind, Enum):
            if isinstance(value, str):
                return self.kind.__members__.get(value)
            return value if isinstance(value, self.kind) else None
        return value if isinstance(value, self.kind) else None

    def _item(self, value: Any) -> float | None:
        number = _number(value)
        return float(number) if number is not None and self.range.holds(number) else None


def close(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest known name, or nothing."""
    lowered = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=2, cutoff=0.6)
    if not found:
        return ""
    return " (did you mean " + " or ".join(repr(lowered[k]) for k in found) + "?)"


def settings_of(cls: type) -> dict[str, Setting]:
    """The settings of a configuration class by name, in the order in which they were declared."""
    found = _declared.get(cls)
    if found is None:
        hints = typing.get_type_hints(cls, include_extras=True)
        found = {f.name: _setting(cls, f.name, hints[f.name]) for f in dataclasses.fields(cls)}
        _declared[cls] = found
    return found


def _setting(cls: type, name: str, hint: Any) -> Setting:
    kind, extras = (hint.__origin__, hint.__metadata__) if typing.get_origin(hint) is Annotated else (hint, ())
    container = {Sequence: tuple, Mapping: NamedNumbers}.get(typing.get_origin(kind))
    part = None
    if container is not None:
        item = typing.get_args(kind)[-1]
        if isinstance(item, type) and item not in (int, float):
            part, container = item, Parts
        extras = (*extras, *getattr(item, "__metadata__", ()))
        kind = container
    ranges = [e for e in extras if isinstance(e, Range)]
    docs = [e for e in extras if isinstance(e, str)]
    if not isinstance(kind, type) or len(ranges) > 1 or len(docs) != 1:
        raise TypeError(f"{cls.__name__}.{name} needs a plain type, at most one Range and one sentence")
    return Setting(name, kind, ranges[0] if ranges else Range(), docs[0], any(isinstance(e, Structural) for e in extras), part)


def _number(value: Any) -> float | int | None:
    """A plain number, unless it is none or too large for float32."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if abs(whole) <= FLOAT32_MAX else None
    number = float(value)
    return number if math.isinf(number) or abs(number) <= FLOAT32_MAX or math.isnan(number) else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
