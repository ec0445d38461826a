"""Column headers to a quantity and a factor to SI; quantities in words ("0.1 V") through pint."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fitlab.errors import FitlabError

_PREFIX = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "K": 1e3}
_UNIT = {
    "S": "S",
    "siemens": "S",
    "mho": "S",
    "A": "A",
    "amp": "A",
    "ampere": "A",
    "amps": "A",
    "ohm": "ohm",
    "ohms": "ohm",
    "\u03a9": "ohm",
    "\u2126": "ohm",
    "V": "V",
    "volt": "V",
    "volts": "V",
    "s": "s",
    "sec": "s",
    "second": "s",
    "counts": "counts",
    "count": "counts",
    "lsb": "counts",
    "LSB": "counts",
    "adc": "counts",
    "code": "counts",
    "codes": "counts",
    "norm": "norm",
    "a.u.": "norm",
    "au": "norm",
    "arb": "norm",
    "arb.": "norm",
    "%": "%",
}
_MICRO = str.maketrans({"\u00b5": "u", "\u03bc": "u"})


@dataclass(frozen=True)
class Header:
    """A column header: the name without its unit, the SI unit (None where none is said), the factor to it."""

    text: str
    name: str
    unit: str | None
    factor: float
    unknown: str | None = None


def parse_unit(text: str) -> tuple[str, float] | None:
    """SI unit and factor of a unit such as `uS`, `kOhm`, `mA`; None where it is not one."""
    raw = text.strip().replace("\u00c2", "").translate(_MICRO)
    if raw in _UNIT:
        return _UNIT[raw], 1.0
    for prefix in ("f", "p", "n", "u", "m", "k", "K", "M", "G"):
        rest = raw[1:]
        if raw.startswith(prefix) and rest and (rest in _UNIT or rest.lower() in ("ohm", "ohms", "siemens", "amp", "volt")):
            return _UNIT.get(rest, _UNIT.get(rest.lower(), "")), _PREFIX[prefix]
    if raw.lower() in _UNIT:
        return _UNIT[raw.lower()], 1.0
    return None


def parse_header(text: str) -> Header:
    """Name and unit of a header in any of the forms `I (A)`, `I[uA]`, `I / A`, `I_A`, `Conductance (µS)`."""
    clean = text.strip().strip('"').strip().lstrip("\ufeff")
    if len(clean) > 200:
        return Header(clean, clean, None, 1.0)
    for pattern in (
        r"(.*?)\s*[\(\[]\s*([^\)\]]+?)\s*[\)\]]\s*$",
        r"(.+?)\s+/\s*(\S+)$",
        r"(.+?)\s+in\s+(\S+)$",
        r"(.+)_([^_\s]+)$",
        r"(.+?)\s+(\S+)$",
    ):
        match = re.match(pattern, clean)
        if match:
            unit = parse_unit(match[2])
            if unit:
                return Header(clean, match[1].strip(), *unit)
            if pattern.startswith(r"(.*?)\s*[\(\[]") and re.fullmatch(r"[A-Za-z\u00b5\u03bc%/\u03a9\u2126^0-9.]{1,10}", match[2]):
                return Header(clean, match[1].strip(), None, 1.0, unknown=match[2])
    return Header(clean, clean, None, 1.0)


def quantity(text: str | float, unit: str, what: str) -> float:
    """SI number of a quantity given as text with unit ("100 mV"); a bare number is taken to be in `unit` already.

    Raises
    ------
    FitlabError
        Not a quantity of that dimension.
    """
    if isinstance(text, (int, float)):
        return float(text)
    try:
        return float(text)
    except ValueError:
        pass
    import pint

    try:
        return float(pint.UnitRegistry().Quantity(text.translate(_MICRO)).to(unit).magnitude)
    except Exception:  # pint raises a family of unrelated types on text that is not a quantity
        raise FitlabError(f"{what}: '{text}' is not a quantity in {unit}; write for example '0.1 {unit}'") from None
