"""Files of conductances over time: long (a row a read) or wide (a column a time)."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fitlab.errors import ReadError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ROLES", "Retention", "read_retention"]

A = np.ndarray[Any, Any]

ROLES = ("device", "time", "value", "target")
_NAMED = {
    "device": re.compile(r"^(dev(ice)?|cell|addr(ess)?|state|level|id)\b", re.IGNORECASE),
    "time": re.compile(r"^(t|time|elapsed)\b", re.IGNORECASE),
    "value": re.compile(r"^(g|i|value|conductance|current)\b", re.IGNORECASE),
    "target": re.compile(r"^target", re.IGNORECASE),
}
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0,
            "day": 86400.0}  # fmt: skip
_TIME = re.compile(r"^(?:t\s*=?\s*)?(?:([a-z]+?)s?[\s_]*([0-9.eE+]+)|([0-9.eE+]+)[\s_]*([a-z]+?)s?)$", re.IGNORECASE)
_MICROSIEMENS = {"S": 1e6, "mS": 1e3, "uS": 1.0, "µS": 1.0, "nS": 1e-3}
_AMPERES = {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "µA": 1e-6, "nA": 1e-9, "pA": 1e-12}


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
    """

    device: A
    time: A
    g: A
    target: A | None
    unit: str
    source: str


def read_retention(
    path: str | Path, columns: Mapping[str, str] | None = None, unit: str | None = None, read_voltage: float | None = None
) -> Retention:
    """Read a file.

    Parameters
    ----------
    path : text file, also compressed (.gz): a row a read with columns of device, time (s) and value, or a row a device and a
        column a time, named such as ``day0`` or ``10 s``
    columns : column of each role (device, time, value, target), by name or, counted from 1, by number; as the names tell if not
        given, and needed where there are no names
    unit : of the values: S, mS, uS, nS, or A to pA; a name such as ``g_S`` tells it too
    read_voltage : V, turns currents into conductances; without it the largest current counts as 25 µS

    Raises
    ------
    ReadError
        for a file that is none of these
    """
    path = Path(path)
    table, named = _table(path)
    wanted = dict(columns or {})
    unknown = sorted(set(wanted) - set(ROLES))
    if unknown:
        raise ReadError(f"there is no role {unknown[0]!r}; roles are {', '.join(ROLES)}", file=path.name)
    times = {name: t for name in table.columns if named and (t := _seconds(str(name))) is not None}
    if not wanted and len(times) >= 2:
        values = table[list(times)].to_numpy(float)
        device = np.repeat(np.arange(len(values)), len(times))
        return _made(path, device, np.tile(list(times.values()), len(values)), values.reshape(-1), None,
                     unit or _unit_in(path.stem), read_voltage)  # fmt: skip
    found = {role: _column(table, role, wanted.get(role), named, path) for role in ROLES}
    for role in ("time", "value"):
        if found[role] is None:
            raise ReadError(
                f"there is no column of {role}: its columns are {', '.join(map(str, table.columns))}; name it with "
                f"--map {role}=COLUMN, by name or number",
                file=path.name,
            )
    value = found["value"]
    device = np.zeros(len(table), int)
    if found["device"] is not None:
        device = np.unique(table[found["device"]].to_numpy(), return_inverse=True)[1]
    target = None if found["target"] is None else _numbers(table, found["target"], path)
    return _made(path, device, _numbers(table, found["time"], path), _numbers(table, value, path), target,
                 unit or _unit_in(str(value)) or _unit_in(path.stem), read_voltage)  # fmt: skip


def _table(path: Path) -> tuple[pd.DataFrame, bool]:
    import pandas as pd

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ReadError(f"cannot be read: {error}", file=path.name) from None
    first = text.lstrip().split("\n", 1)[0]
    separator = next((s for s in ("\t", ";", ",") if s in first), None)
    if separator is None:
        raise ReadError("has one column only; give columns separated by tabs, semicolons or commas", file=path.name)
    named = any(_number(cell) is None for cell in first.split(separator))
    try:
        table = pd.read_csv(io.StringIO(text), sep=separator, header=0 if named else None, comment="#", skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ReadError(f"is not a table: {error}", file=path.name) from None
    if not named:
        table.columns = pd.Index([str(k + 1) for k in range(table.shape[1])])
    return table, named


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _column(table: pd.DataFrame, role: str, wanted: str | None, named: bool, path: Path) -> Any:
    names = [str(name) for name in table.columns]
    if wanted is not None:
        if wanted in names:
            return table.columns[names.index(wanted)]
        if wanted.isdigit() and 1 <= int(wanted) <= len(names):
            return table.columns[int(wanted) - 1]
        raise ReadError(f"there is no column {wanted!r}; its columns are {', '.join(names)}", file=path.name)
    matches = [name for name in names if _NAMED[role].match(name.replace("_", " "))] if named else []
    return table.columns[names.index(matches[0])] if matches else None


def _numbers(table: pd.DataFrame, column: Any, path: Path) -> A:
    import pandas as pd

    values = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ReadError(
            f"row {bad[0] + 1} of {column} holds {table[column].iloc[bad[0]]!r}, which is no number ({len(bad)} such rows); "
            "remove or correct it",
            file=path.name,
        )
    return values


def _seconds(name: str) -> float | None:
    found = _TIME.match(name.strip())
    if not found:
        return None
    number, word = (found[2], found[1]) if found[1] else (found[3], found[4])
    value = _number(number)
    return None if value is None or word.lower() not in _SECONDS else value * _SECONDS[word.lower()]


def _unit_in(name: str) -> str | None:
    parts = re.split(r"[\s_()\[\]]+", name)
    return next((part for part in reversed(parts) if part in _MICROSIEMENS or part in _AMPERES), None)


def _made(path: Path, device: A, time: A, values: A, target: A | None, unit: str | None, read_voltage: float | None) -> Retention:
    if unit is None or unit not in _MICROSIEMENS | _AMPERES:
        given = "no unit of the values is given" if unit is None else f"the unit {unit!r} is not known"
        allowed = ", ".join([*_MICROSIEMENS, *_AMPERES])
        raise ReadError(f"{given}; name it with --unit: {allowed}", file=path.name)
    if (time < 0).any():
        raise ReadError("has times below 0; times are seconds after programming", file=path.name)
    scale, shown = 1.0, "µS"
    if unit in _MICROSIEMENS:
        scale = _MICROSIEMENS[unit]
    elif read_voltage is not None:
        scale = _AMPERES[unit] / read_voltage * 1e6
    else:
        scale = 25.0 / float(values.max())
        shown = f"µS if {float(values.max()):g} {unit} are 25 µS"
    return Retention(device, time, values * scale, None if target is None else target * scale, shown, path.name)
