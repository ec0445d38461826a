"""Rows: one line a device (or state), one column a time of reading: reads over time without pulses."""

from __future__ import annotations

import re

import numpy as np

from fitlab.errors import ReadError
from fitlab.io.reading import Match, Reading, make_run, unit_of
from fitlab.io.record import Run, joined
from fitlab.io.table import Column

NAME = "rows"

_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_TIME = re.compile(rf"(?P<before>[a-z]{{3,}})[ _]?(?P<a>{_NUMBER})|(?P<b>{_NUMBER})[ _]?(?P<after>[a-z]+)")


def _seconds(column: Column) -> float | None:
    """Time that a header names: day5, 10 min, t_1e3s is not one."""
    found = _TIME.fullmatch(column.header.text.strip().lower())
    if not found:
        return None
    unit = _UNITS.get((found["before"] or found["after"]).removesuffix("s") or "s")
    return None if unit is None else unit * float(found["a"] or found["b"])


def _timed(reading: Reading) -> list[tuple[Column, float]]:
    timed = [(c, _seconds(c)) for c in reading.table.columns if c.numeric]
    return [(c, t) for c, t in timed if t is not None]


def match(reading: Reading) -> Match:
    """All columns of reads are named by a time."""
    timed = {c.number for c, _ in _timed(reading)}
    values = {c.number for c in reading.roles.values}
    if len(timed) >= 2 and values and values <= timed:
        return Match(0.97, "columns named by times")
    return Match(0.0, "columns are not named by times")


def read(reading: Reading) -> list[Run]:
    """One run a line, its reads in the order of time.

    Raises
    ------
    ReadError
        No columns named by times.
    """
    timed = sorted(_timed(reading), key=lambda found: found[1])
    if len(timed) < 2:
        raise ReadError(
            "a file of one line a device needs columns named by times, such as day1 or 10 s", file=reading.table.source.name
        )
    unit, factor = unit_of(reading.table, [c for c, _ in timed], reading.origin, reading.options)
    reading.origin.unit = unit
    reading.origin.assumptions.append("reads over time without pulses: one line a device, one column a time")
    names = reading.roles.device or next((c for c in reading.table.columns if c.number not in {t.number for t, _ in timed}), None)
    label = f"{names.label} " if names is not None and names.numeric else ""
    runs: list[Run] = []
    for row in range(len(timed[0][0].cells)):
        parts: list[Run] = []
        for column, seconds in timed:
            part = make_run(reading, "", 0, column, np.array([row]), np.zeros(1, np.int64), np.array([not parts]), factor)
            part.time = np.array([seconds])
            parts.append(part)
        name = f"{label}{names.cells[row].strip()}" if names is not None else f"line {reading.table.lines[row]}"
        runs.append(joined(parts, name, 0))
    return runs
