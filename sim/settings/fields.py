"""One setting of a configuration: its type, what it may hold and what it means, declared beside it.

    dw_min: Annotated[Positive, "mean step size over devices and directions"] = 0.001

The annotation carries at most one :class:`Range`, a sentence, and :class:`Structural` where replicas must agree.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import typing
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any

from sim.errors import ConfigError

__all__ = ["NonNegative", "Positive", "Probability", "Range", "Real", "Setting", "Structural", "close", "settings_of"]

FLOAT32_MAX = 3.4028234663852886e38  # states are float32: a finite number must stay finite there


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
            and (self.above is None or value > self.above)
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
        if issubclass(self.kind, Enum):
            return "one of " + ", ".join(self.kind.__members__)
        article = "an" if self.kind.__name__[0] in "AEIOU" else "a"
        return f"{article} {self.kind.__name__}"

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
        if issubclass(self.kind, Enum):
            if isinstance(value, str):
                return self.kind.__members__.get(value)
            return value if isinstance(value, self.kind) else None
        return value if isinstance(value, self.kind) else None


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
    ranges = [e for e in extras if isinstance(e, Range)]
    docs = [e for e in extras if isinstance(e, str)]
    if not isinstance(kind, type) or len(ranges) > 1 or len(docs) != 1:
        raise TypeError(f"{cls.__name__}.{name} needs a plain type, at most one Range and one sentence")
    return Setting(name, kind, ranges[0] if ranges else Range(), docs[0], any(isinstance(e, Structural) for e in extras))


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
