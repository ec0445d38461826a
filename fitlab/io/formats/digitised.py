"""Digitised: two columns x and y read off a figure, unsorted, x not whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fitlab.errors import ReadError
from fitlab.io.direction import SURELY_RAMPS, common_range, overlap, trend
from fitlab.io.reading import Match, Reading, make_run, require_reads, unit_of
from fitlab.io.record import Run
from fitlab.io.table import Column

NAME = "digitised"
FEWEST = 3

Floats = NDArray[np.float64]


def _axes(reading: Reading) -> tuple[Column, Column] | None:
    table, roles = reading.table, reading.roles
    columns = [c for c in table.columns if c.numeric and c.present.any()]
    if len(columns) != 2 or len(table.columns) != 2 or roles.device or roles.cycle or roles.direction or roles.up:
        return None
    x, y = columns
    return x, y


def match(reading: Reading) -> Match:
    """Two columns named x and y, or without names where the first is an abscissa: uneven, rising, of its own range."""
    axes = _axes(reading)
    if axes is None:
        return Match(0.0, "not two columns x and y")
    x, y = axes
    names = x.header.name.strip().lower(), y.header.name.strip().lower()
    if names == ("x", "y"):
        return Match(0.95, "columns named x and y")
    if any(names) or reading.options.columns is not None:
        return Match(0.0, "columns with other names, or said to be devices or cycles")
    both = x.present & y.present
    a, b = x.values[both], y.values[both]
    if len(a) < 3 or a.min() < 0 or b.min() <= 0 or abs(_order(a)) < 0.6:
        return Match(0.0, "the first column is no abscissa")
    if common_range(a, b) >= SURELY_RAMPS:
        return Match(0.0, "two columns of one range")
    linear = overlap(a, b)
    decades = float(np.log10(a.max() / max(a[a > 0].min(), 1e-30))) if (a > 0).any() else 0.0
    of_other_size = max(a.max() / b.max(), b.max() / a.max()) > 100
    opposite = trend(a) * trend(b) < 0
    if linear < 0.15 and (of_other_size or decades > 1.5 or not opposite):
        return Match(0.95, "an abscissa beside a column of another range")
    positive = a > 0
    if linear < 0.5 or overlap(np.log(a[positive]), np.log(b)) < 0.5:
        return Match(0.8, "a column that may be an abscissa beside one of another range")
    return Match(0.0, "two columns of one range")


def _order(x: Floats) -> float:
    """Rank correlation of a column with its row: +1 rising, -1 falling."""
    rank = np.argsort(np.argsort(x, kind="stable"), kind="stable")
    return float(np.corrcoef(rank, np.arange(len(x)))[0, 1])


def read(reading: Reading) -> list[Run]:
    """One trace in the order of x; repeated x are kept. What x is, a figure's data do not say: it is kept as the time.

    Raises
    ------
    ReadError
        Not two columns, a missing x.
    """
    axes = _axes(reading)
    if axes is None:
        raise ReadError("this file has no two columns x and y", file=reading.table.source.name)
    x, y = axes
    missing = np.flatnonzero(~x.present)
    if len(missing):
        raise reading.table.error("a digitised point has no x; remove the line", int(missing[0]), x)
    reading.origin.unit, factor = unit_of(reading.table, [y], reading.origin, reading.options)
    rows = np.argsort(x.values, kind="stable")
    require_reads(reading, y, rows, "the curve", FEWEST)
    reading.origin.digitised = True
    reading.origin.assumptions += [
        "the points were digitised from a figure: sorted by x, repeated x kept; their noise is no read noise",
        "x is kept as the time of the reads; if it counts pulses, say so with --format trace --map pulse=1 --map value=2",
    ]
    restart = np.zeros(len(rows), bool)
    restart[0] = True
    run = make_run(reading, reading.stem, 0, y, rows, np.zeros(len(rows), np.int64), restart, factor)
    run.time = x.values[rows] * x.header.factor
    return [run]
