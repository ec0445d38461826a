"""What a format's reader gets and gives: the table with roles, the user's options, and runs with their origin."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fitlab.errors import ReadError

from .record import MISSING, Origin, Run
from .roles import MOST_PULSES, Roles
from .table import Column, Table

FEWEST = 5


@dataclass(frozen=True)
class Options:
    """What the user says about a file.

    Attributes
    ----------
    columns : "devices" or "cycles", what the columns of a wide file are
    read_voltage_V : read voltage
    mapping : role to column
    format : name of the reader, instead of detection
    direction : +1 or -1 where the whole file is of one direction (from its name)
    """

    columns: str | None = None
    read_voltage_V: float | None = None
    mapping: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    direction: int | None = None
    force: bool = False


@dataclass
class Reading:
    """One file on its way to runs."""

    table: Table
    roles: Roles
    options: Options
    origin: Origin

    @property
    def stem(self) -> str:
        """File name without extension: the device where the file names none."""
        return self.table.source.path.stem


@dataclass(frozen=True)
class Match:
    """How sure a reader is (0 to 1) that a file is of its format, and why."""

    confidence: float
    why: str


_VOLTAGE = re.compile(
    r"(?:v_?read|read\w*\s*(?:voltage|bias)?|v_r|vds|bias)\s*(?:at|=|:|,|of|is)?\s*"
    r"([+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?)\s*(m|u|\u00b5)?V\b",
    re.IGNORECASE,
)


def read_voltage(table: Table, roles: Roles, options: Options, assumptions: list[str]) -> float | None:
    """Read voltage in V: the user's, a constant column's, or the header's."""
    if options.read_voltage_V is not None:
        assumptions.append(f"read voltage {options.read_voltage_V:g} V as given by the user")
        return options.read_voltage_V
    if roles.read_voltage is not None:
        v = roles.read_voltage.values[roles.read_voltage.present] * roles.read_voltage.header.factor
        if len(v) and np.ptp(v) == 0 and v[0] != 0:
            return float(v[0])
    for note in table.notes:
        match = _VOLTAGE.search(note)
        if match:
            scale = {"m": 1e-3, "u": 1e-6, "\u00b5": 1e-6}.get((match[2] or "").lower(), 1.0)
            return float(match[1].replace(",", ".")) * scale
    return None


def unit_of(table: Table, columns: list[Column], origin: Origin, options: Options) -> tuple[str, float]:
    """Common SI unit and factor of the columns of reads.

    Raises
    ------
    ReadError
        Columns of different units.
    """
    from .units import parse_header

    units = {(c.header.unit, c.header.factor) for c in columns}
    if len(units) > 1:
        listed = ", ".join(f"'{c.label}'" for c in columns[:4])
        raise ReadError(
            f"columns {listed} have different units; choose the reads with --map value=COLUMN", file=table.source.name
        )
    unit, factor = units.pop()
    if unit is not None and unit != "V":
        return unit, factor
    if unit == "V":
        return "V", factor
    warnings = origin.warnings
    for note in table.notes:
        for match in re.finditer(
            r"(conductance|current|resistance|value|unit|response)s?\s*(?:in|:|=|\(|\[)\s*([^\s,;\)\]]+)", note, re.IGNORECASE
        ):
            said = parse_header(f"x ({match[2]})")
            if said.unit in ("S", "A", "ohm", "counts", "norm"):
                return said.unit, said.factor
    by_name = {"g": "S", "cond": "S", "conductance": "S", "i": "A", "current": "A", "id": "A", "r": "ohm", "resistance": "ohm"}
    name = re.sub(r"[\d_ ]+$", "", columns[0].header.name.strip().lower())
    values = np.concatenate([c.values[c.present] for c in columns])
    if name in by_name and len(values) and np.max(np.abs(values)) < 0.1 and by_name[name] != "ohm":
        warnings.append(f"column '{columns[0].label}' has no unit; it was taken as {by_name[name]}")
        return by_name[name], 1.0
    if name in by_name and by_name[name] == "ohm" and len(values) and np.min(values) > 10:
        warnings.append(f"column '{columns[0].label}' has no unit; it was taken as ohm")
        return "ohm", 1.0
    largest = float(np.max(np.abs(values))) if len(values) else 1.0
    if options.read_voltage_V is not None and largest < 0.1:
        origin.assumptions.append("the reads have no unit; with a read voltage given they were taken as amperes")
        return "A", 1.0
    if not 0.05 < largest < 20:
        warnings.append(
            f"the reads have no unit and are not normalised (up to {largest:.3g}); they are kept as they are, without conductance"
        )
    return "norm", 1.0


def make_run(
    device: str,
    cycle: int,
    column: Column,
    rows: NDArray[np.intp],
    pulses: NDArray[np.int64],
    restart: NDArray[np.bool_],
    factor: float,
) -> Run:
    """A run of the rows of a column; pulses are signed numbers since the read before."""
    value = column.values[rows] * factor
    flag = column.flags[rows].copy()
    flag[~np.isfinite(value) & (flag == 0)] = MISSING
    if column.header.unit == "ohm":
        broken = value <= 0
        value[broken] = np.nan
        flag[broken] = 2
    return Run(
        device,
        cycle,
        value,
        np.sign(pulses).astype(np.int8),
        np.abs(pulses).astype(np.int32),
        restart.astype(bool),
        flag.astype(np.uint8),
    )


def in_order(reading: Reading, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows in the order of time, where their pulse numbers tell it.

    Numbers may start anew (at 0, 1 or where the first ramp starts) or count down. Other falls mean that rows are out of order:
    they are sorted if every number stands once.

    Raises
    ------
    ReadError
        A negative pulse number, or rows out of order that cannot be sorted.
    """
    column = reading.roles.pulse
    if column is None:
        return rows
    numbers = column.values[rows]
    negative = np.flatnonzero(numbers < 0)
    if len(negative):
        raise reading.table.error(
            f"pulse number {numbers[negative[0]]:g} is below 0; count pulses from 0 or 1, the direction has a column of its own",
            int(rows[negative[0]]),
            column,
        )
    counted = np.isfinite(numbers)
    kept, p = rows[counted], numbers[counted]
    falls = np.flatnonzero(np.diff(p) < 0)
    lands = p[falls + 1]
    if not len(falls) or np.all(lands <= max(1.0, p[0])) or np.all(lands == p[falls] - 1):
        return rows
    if len(np.unique(p)) == len(p) and counted.all():
        reading.origin.assumptions.append("the rows were out of order and have been sorted by pulse number")
        return rows[np.argsort(p, kind="stable")]
    at = int(falls[np.argmax(lands > max(1.0, p[0]))]) + 1
    raise reading.table.error(
        f"the pulse number falls from {p[at - 1]:g} to {p[at]:g} inside a ramp; put the rows in the order of time, or number the "
        "pulses of every ramp from 0 or 1",
        int(kept[at]),
        column,
    )


def counts_from_pulse(
    reading: Reading,
    rows: NDArray[np.intp],
    pulse: NDArray[np.float64] | None,
    direction: NDArray[np.int64],
    restart: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Signed pulses since the read before, from the pulse numbers (of the rows) where there are any.

    A pulse number that falls starts counting anew; numbers that are not whole are rounded to whole pulses.

    Raises
    ------
    ReadError
        More pulses between two reads than can be computed one by one.
    """
    n = len(direction)
    if pulse is None:
        return np.where(np.abs(direction) > 1, direction, np.sign(direction))
    if np.any(np.abs(direction) > 1):
        return direction
    whole = np.round(pulse)
    step = np.empty(n)
    step[0] = 1
    step[1:] = np.diff(whole)
    fell = step < 0
    step[fell] = np.where(np.isfinite(whole[fell]), whole[fell], 1)
    step[~np.isfinite(step)] = 1
    step[restart] = np.maximum(step[restart], 0)
    many = np.flatnonzero(step > MOST_PULSES)
    if len(many):
        raise reading.table.error(
            f"{step[many[0]]:.6g} pulses since the read before, more than the {MOST_PULSES} that a read may follow; "
            "is this the pulse number? Choose its column with --map pulse=COLUMN, or thin the data out",
            int(rows[many[0]]),
            reading.roles.pulse,
        )
    return (np.sign(direction) * step).astype(np.int64)


def trim(column: Column) -> NDArray[np.intp]:
    """Rows of a column up to its last cell that is not blank: ragged columns are padded at the bottom."""
    filled = [k for k, cell in enumerate(column.cells) if cell.strip()]
    return np.arange(filled[-1] + 1 if filled else 0)


def require_reads(reading: Reading, column: Column, rows: NDArray[np.intp], what: str) -> None:
    """Refuse a ramp or trace that is too short.

    Raises
    ------
    ReadError
        Fewer than 5 reads.
    """
    present = int(np.isfinite(column.values[rows]).sum())
    if present < FEWEST:
        raise reading.table.error(
            f"{what} has {present} read(s), at least {FEWEST} are needed", int(rows[0]) if len(rows) else None, column
        )
