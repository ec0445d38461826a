"""Numbers as they stand in a study file: plain, or text with a unit."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pint

__all__ = ["Measured", "number", "quantity", "seconds", "span", "unit_of"]

_PERCENT = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*%\s*$")
_TIME = re.compile(r"^\s*(\d+\.?\d*|\.\d+)\s*(us|ms|s|min|h|day|days|d)\s*$")
# The usual ones without pint, which takes half a second to read its own.
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0, "days": 86400.0, "d": 86400.0}


class Measured(float):
    """A number that was written with a unit, in ``unit``: seconds, siemens, or what else pint calls the basic one."""

    unit: str

    def __new__(cls, value: float, unit: str) -> Self:
        """Remember the unit."""
        made = super().__new__(cls, value)
        made.unit = unit
        return made


def unit_of(value: Any) -> str:
    """The unit of a :class:`Measured` number, ``"1"`` of any other."""
    return value.unit if isinstance(value, Measured) else "1"


# As measurements are made, so that a conductance is one and not a kilogram to some power.
_BASIC = ("s", "S", "A", "V", "ohm", "C")


def quantity(value: Any) -> float:
    """Return a number as :func:`number` does, or a :class:`Measured` one for text such as ``"1 day"`` or ``"20 nS"``.

    Raises
    ------
    ValueError
        With a sentence that says what was given and what is allowed.
    """
    try:
        return number(value)
    except ValueError:
        if not isinstance(value, str):
            raise
        wanted = 'a number such as 0.3 or "30 %", a time such as "1 day", or a conductance such as "20 nS"'
        for unit in _BASIC[:-1]:
            with contextlib.suppress(ValueError):
                return Measured(_with_unit(value, unit, wanted), unit)
        return Measured(_with_unit(value, _BASIC[-1], wanted), _BASIC[-1])


def span(value: Any) -> float:
    """Return seconds given as a number, or as text with a unit of time.

    Raises
    ------
    ValueError
        With a sentence that says what was given and what is allowed.
    """
    found = quantity(value)
    if unit_of(found) not in ("1", "s"):
        raise ValueError(f'{value!r} has another unit; wanted is a time such as "1 day"')
    return float(found)


def number(value: Any) -> float:
    """Return a dimensionless number given as a number or as text such as ``"30 %"``.

    Raises
    ------
    ValueError
        With a sentence that says what was given and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f'{value!r} is not a number; write 0.3 or "30 %"')  # noqa: TRY004  pydantic collects ValueError
    if isinstance(value, str):
        percent = _PERCENT.match(value)
        if percent:
            # Division of the decimal text keeps 30 % and 0.3 the same number.
            return float(percent[1]) / 100.0
        return _with_unit(value, "", 'a number without unit, such as 0.3 or "30 %"')
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not finite; write a finite number")
    return float(value)


def seconds(value: Any) -> float:
    """Return a duration in seconds given as text with a unit, such as ``"30 min"``.

    Raises
    ------
    ValueError
        With a sentence that says what was given and what is allowed.
    """
    if not isinstance(value, str):
        raise ValueError(f'{value!r} has no unit of time; write for example "30 min"')  # noqa: TRY004  pydantic collects ValueError
    result = _with_unit(value, "s", 'a duration such as "30 min"')
    if not result > 0:
        raise ValueError(f'{value!r} is not longer than zero; write a duration such as "30 min"')
    return result


@functools.cache
def _registry() -> pint.UnitRegistry[Any]:
    import pint

    return pint.UnitRegistry()


def _with_unit(text: str, unit: str, wanted: str) -> float:
    time = _TIME.match(text) if unit == "s" else None
    if time:
        return float(time[1]) * _SECONDS[time[2]]

    import pint

    try:
        quantity: Any = _registry().Quantity(text)
        result = float(quantity.to(unit or "dimensionless").magnitude)
    except pint.DimensionalityError:
        raise ValueError(f"{text!r} has another unit; wanted is {wanted}") from None
    except Exception:  # noqa: BLE001  pint raises many kinds, tokenizer errors among them
        raise ValueError(f"{text!r} is not understood; wanted is {wanted}") from None
    if not math.isfinite(result):
        raise ValueError(f"{text!r} is not finite; wanted is {wanted}")
    return result
