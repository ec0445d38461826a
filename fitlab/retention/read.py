"""Files of conductances over time, long (a row a read) or wide (a column a time), through the tables of `fitlab.io`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fitlab.errors import ReadError
from fitlab.io.instruments.plain import chosen_sheet
from fitlab.io.reading import Options
from fitlab.io.record import conductance
from fitlab.io.table import Column, Table, read_table
from fitlab.io.text import load
from fitlab.io.units import parse_unit

__all__ = ["ROLES", "Retention", "read_retention"]

A = np.ndarray[Any, Any]

ROLES = ("device", "time", "value", "target")
_NAMED = {
    "device": re.compile(r"^(dev(ice)?|cell|addr(ess)?|state|level|id)\b", re.IGNORECASE),
    "time": re.compile(r"^(t|time|elapsed|zeit)\b", re.IGNORECASE),
    "value": re.compile(r"^(g|i|r|value|conductance|current|resistance)\b", re.IGNORECASE),
    "target": re.compile(r"^target", re.IGNORECASE),
}
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
            "d": 86400.0, "day": 86400.0}  # fmt: skip
_TIME = re.compile(r"^(?:t\s*=?\s*)?(?:([a-z]+?)s?[\s_]*([0-9.eE+]+)|([0-9.eE+]+)[\s_]*([a-z]+?)s?)$", re.IGNORECASE)
FULL_SCALE = 25.0
"""µS of the largest current where no read voltage is known."""


@dataclass(frozen=True)
class Retention:
    """Reads of devices after programming.

    Attributes
    ----------
    device : (n,) whole numbers
    time : (n,) seconds after programming
    g : (n,) conductance, µS, or ``unit``
    target : (n,) what was to be programmed, or None
    unit : µS, or how the values were scaled where conductances are not known
    source : file
    notes : what was left out or assumed
    """

    device: A
    time: A
    g: A
    target: A | None
    unit: str
    source: str
    notes: tuple[str, ...] = ()


def read_retention(
    paths: str | Path | Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    unit: str | None = None,
    read_voltage: float | None = None,
    sheet: str | None = None,
) -> Retention:
    """Read one or more files; each holds devices of its own.

    Parameters
    ----------
    paths : text files, also compressed (.gz), or workbooks: a row a read with columns of device, time (s, or the unit in the
        header) and value, or a row a device and a column a time, named such as ``day0`` or ``10 s``
    columns : column of each role (device, time, value, target), by name or, counted from 1, by number; as the names tell if not
        given, and needed where there are no names
    unit : of the values: S, A or ohm with a prefix; a name such as ``g_S`` or ``I (nA)`` tells it too
    read_voltage : V, turns currents into conductances; without it the largest current counts as 25 µS
    sheet : of a workbook, by name or number

    Raises
    ------
    ReadError
        for a file that is none of these, with line and column
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    unknown = sorted(set(columns or {}) - set(ROLES))
    if unknown:
        raise ReadError(f"there is no role {unknown[0]!r}; roles are {', '.join(ROLES)}", file=Path(files[0]).name)
    parts = [_read_one(Path(f), dict(columns or {}), unit, read_voltage, sheet) for f in files]
    first = parts[0]
    for part in parts[1:]:
        if part.unit != first.unit:
            raise ReadError(
                f"the values are {part.unit} here but {first.unit} in {first.source}; fit them apart", file=part.source
            )
    # reads and targets of files without conductances are scaled together
    names = " + ".join(p.source for p in parts)
    offsets = np.concatenate(([0], np.cumsum([int(p.device.max()) + 1 for p in parts])))
    target = None
    if all(p.target is not None for p in parts):
        target = np.concatenate([p.target for p in parts if p.target is not None])
    device = np.concatenate([p.device + o for p, o in zip(parts, offsets[:-1], strict=True)])
    time, g = (np.concatenate([getattr(p, n) for p in parts]) for n in ("time", "g"))
    notes = tuple(dict.fromkeys(n for p in parts for n in p.notes))
    return _scaled(Retention(device, time, g, target, first.unit, names, notes))


def _scaled(data: Retention) -> Retention:
    """In µS: conductances as they are, currents by their largest."""
    if data.unit == "S":
        unit, full, shown = 1.0, 1e6, "µS"
    else:
        unit, full = float(np.max(data.g)), FULL_SCALE
        if not unit > 0:
            raise ReadError("no current is above 0, and no read voltage is known; give --read-voltage", file=data.source)
        shown = f"µS if {unit:g} A are {FULL_SCALE:g} µS"
    target = None if data.target is None else data.target / unit * full
    return replace(data, g=data.g / unit * full, target=target, unit=shown)


def _read_one(path: Path, wanted: dict[str, str], unit: str | None, read_voltage: float | None, sheet: str | None) -> Retention:
    """Reads of a file in S, or in A where no read voltage is known."""
    table = read_table(chosen_sheet(load(path), Options(sheet=sheet)))
    named = any(c.header.text for c in table.columns)
    times = {c.number: t for c in table.columns if named and (t := _seconds(c.header.text)) is not None}
    target: A | None = None
    notes: list[str] = []
    if not wanted and len(times) >= 2:
        row = [c for c in table.columns if c.number in times]
        bad = next((c for c in row if not c.numeric), None)
        if bad is not None:
            raise table.header_error(f"column '{bad.label}' holds text, but reads must be numbers", bad)
        value = np.stack([c.values for c in row], axis=1)
        device = np.repeat(np.arange(len(value)), len(row))
        time, value, source = np.tile([times[c.number] for c in row], len(value)), value.reshape(-1), row[0]
        said = unit or _unit_in(path.stem)
    else:
        if len(table.columns) == 1:
            raise ReadError("the file has one column only; give columns of time and value", file=table.source.name)
        found = {role: _column(table, role, wanted.get(role), named) for role in ROLES}
        known: dict[str, Column] = {}
        for role in ("time", "value"):
            column = found[role]
            if column is None:
                raise table.header_error(
                    f"there is no column of {role}: its columns are {', '.join(c.label for c in table.columns)}; name it with "
                    f"--map {role}=COLUMN, by name or number"
                )
            known[role] = column
        source = known["value"]
        value, time = _numbers(table, source), _numbers(table, known["time"]) * _time_unit(table, known["time"])
        device = np.zeros(len(value), int)
        if (by := found["device"]) is not None:
            device = np.unique(np.array(by.values if by.numeric else by.cells), return_inverse=True)[1]
        if (aim := found["target"]) is not None:
            target = _numbers(table, aim)
        said = unit or (None if source.header.unit else _unit_in(source.header.text) or _unit_in(path.stem))
    si, factor = _unit(table, source, said)
    missing = ~(np.isfinite(value) & np.isfinite(time) & (np.isfinite(target) if target is not None else True))
    if missing.any():
        if missing.mean() > 0.2:
            raise ReadError(
                f"{int(missing.sum())} of {len(value)} reads are missing, more than a fifth; remove the broken part",
                file=table.source.name,
            )
        notes.append(f"{path.name}: {int(missing.sum())} of {len(value)} reads are missing and were left out")
        device, time, value = device[~missing], time[~missing], value[~missing]
        target = None if target is None else target[~missing]
        device = np.unique(device, return_inverse=True)[1]
    if len(time) and (time < 0).any():
        raise ReadError("there are times below 0; times are seconds after programming", file=table.source.name)
    value, target = value * factor, None if target is None else target * factor
    if si == "ohm":
        if np.any(value <= 0) or (target is not None and np.any(target <= 0)):
            raise ReadError("there are resistances that are not above 0; remove or correct them", file=table.source.name)
        value, target = 1 / value, None if target is None else 1 / target
    elif si == "A" and read_voltage is not None:
        value = conductance(value, "A", read_voltage)
        target = None if target is None else conductance(target, "A", read_voltage)
    return Retention(device, time, value, target, "A" if si == "A" and read_voltage is None else "S", path.name, tuple(notes))


def _column(table: Table, role: str, wanted: str | None, named: bool) -> Column | None:
    if wanted is not None:
        return table.find(wanted)
    if not named:
        return None
    return next((c for c in table.columns if _NAMED[role].match(c.header.name.replace("_", " "))), None)


def _numbers(table: Table, column: Column) -> A:
    if not column.numeric:
        raise table.error(f"column '{column.label}' holds text ('{column.cells[0]}'), but needs numbers", 0, column)
    return column.values


def _time_unit(table: Table, column: Column) -> float:
    """Seconds in the unit of a column of times."""
    header = column.header
    if header.unit == "s":
        return header.factor
    said = header.unknown or header.text.replace("_", " ").split()[-1].strip("[]()") if header.text else ""
    found = _SECONDS.get(said.lower()) or _SECONDS.get(said.lower().removesuffix("s"))
    if found is not None and said.lower() != "t":
        return found
    if header.unknown is not None or header.unit is not None:
        raise table.header_error(
            f"column '{header.text}' has the unit '{header.unknown or header.unit}', which is none of time; use s, min, h, d",
            column,
        )
    return 1.0


def _seconds(name: str) -> float | None:
    found = _TIME.match(name.strip())
    if not found:
        return None
    number, word = (found[2], found[1]) if found[1] else (found[3], found[4])
    try:
        value = float(number)
    except ValueError:
        return None
    return value * _SECONDS[word.lower()] if word.lower() in _SECONDS else None


def _unit_in(name: str) -> str | None:
    """Unit of reads in a name, as in `state_current_nA`."""
    parts = re.split(r"[\s_()\[\]]+", name)
    return next((p for p in reversed(parts) if p not in ("a", "s") and (parse_unit(p) or ("",))[0] in ("S", "A", "ohm")), None)


def _unit(table: Table, column: Column, said: str | None) -> tuple[str, float]:
    """SI unit of the reads and the factor to it."""
    if said is None and column.header.unit in ("S", "A", "ohm"):
        return column.header.unit, column.header.factor
    found = parse_unit(said) if said is not None else None
    if found is None or found[0] not in ("S", "A", "ohm"):
        given = "no unit of the values is given" if said is None else f"the unit {said!r} is not known"
        raise table.header_error(f"{given}; name it with --unit: S, A or ohm, with a prefix such as uS, nA or kohm", column)
    return found
