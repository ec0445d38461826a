"""What a format's reader gets and gives: the table with roles, the user's options, and runs with their origin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fitlab.errors import ReadError

from .direction import from_response, trend
from .record import COMPLIANCE, MISSING, SENTINEL, Origin, Run
from .roles import MOST_PULSES, Roles, words_to_direction
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
    kind : "pulses", or "retention" for reads in time without pulses; None asks the names of file and sheet
    unit : unit of reads whose file names none, such as "nA"
    sheet : name or number (from 1) of the sheet of a workbook
    recipe : description of a headerless file, or the path of one
    amplitude_V : of pulses of many voltages, those to take
    force : take a file even if more than a fifth of its reads are missing
    """

    columns: str | None = None
    read_voltage_V: float | None = None
    mapping: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    direction: int | None = None
    force: bool = False
    kind: str | None = None
    unit: str | None = None
    sheet: str | None = None
    recipe: Path | None = None
    amplitude_V: float | None = None


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
    r"(?:v_?read|read\w*\s*(?:voltage|vol|bias)?|v_r|vds|bias)\s*(?:at|=|:|,|of|is)?\s*"
    r"([+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?)\s*[\[(]?\s*(m|u|\u00b5)?V\b",
    re.IGNORECASE,
)


ALIKE = 0.02
"""Part of a measured read voltage by which it may scatter."""


def read_voltage(table: Table, roles: Roles, options: Options, origin: Origin) -> float | None:
    """Read voltage in V: the user's, a constant column's, or the header's."""
    assumptions = origin.assumptions
    if options.read_voltage_V is not None:
        assumptions.append(f"read voltage {options.read_voltage_V:g} V as given by the user")
        return options.read_voltage_V
    if roles.read_voltage is not None:
        v = roles.read_voltage.values[roles.read_voltage.present] * roles.read_voltage.header.factor
        if len(v) and np.ptp(v) == 0 and v[0] != 0:
            return float(v[0])
        middle = float(np.median(v)) if len(v) else 0.0
        if middle and np.std(v) <= ALIKE * abs(middle):
            assumptions.append(
                f"the read voltage is the median {middle:.6g} V of column '{roles.read_voltage.label}', which scatters by "
                f"{100 * np.std(v) / abs(middle):.2g} %"
            )
            return middle
        if len(v) and np.ptp(v) > 0:
            origin.warnings.append(
                f"column '{roles.read_voltage.label}' is not one read voltage ({v.min():.4g} to {v.max():.4g} V) and was not used"
            )
    for note in table.notes:
        match = _VOLTAGE.search(note[:500])
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
    from .units import parse_header, parse_unit

    if options.unit is not None and all(c.header.unit is None for c in columns):
        said_unit = parse_unit(options.unit)
        if said_unit is None or said_unit[0] not in ("S", "A", "ohm", "counts", "norm"):
            raise ReadError(
                f"--unit {options.unit}: give a unit of reads, such as uS, nA, kohm or counts", file=table.source.name
            )
        origin.assumptions.append(f"the reads are in {options.unit}, as given by the user")
        return said_unit
    units = {(c.header.unit, c.header.factor) for c in columns}
    if len(units) > 1:
        listed = ", ".join(f"'{c.label}'" for c in columns[:4])
        raise ReadError(
            f"columns {listed} have different units; choose the reads with --map value=COLUMN", file=table.source.name
        )
    unit, factor = units.pop()
    if unit == "ohm" and factor == 1e-3:
        raise table.header_error(
            f"'{columns[0].label}' may be milliohm or megaohm (m is milli, M is mega); write Mohm, or the values in ohm",
            columns[0],
        )
    if unit == "A" and _negative(columns):
        # a current read at a negative voltage: directions are about its size, as the conductance is
        origin.reversed = True
        origin.assumptions.append("the read currents are negative; their sizes were taken")
        return unit, -factor
    if unit is not None and unit != "V":
        return unit, factor
    if unit == "V":
        return "V", factor
    warnings = origin.warnings
    for note in table.notes:
        for match in re.finditer(
            r"(conductance|current|resistance|value|unit|response)s?\s*(?:in|:|=|\(|\[)\s*([^\s,;\)\]]+)",
            note[:500],
            re.IGNORECASE,
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


def _negative(columns: list[Column]) -> bool:
    """Whether nearly all numbers are below 0."""
    values = np.concatenate([c.values[c.present] for c in columns])
    values = values[values != 0]
    return len(values) > 0 and float(np.mean(values < 0)) > 0.95


def rising(origin: Origin) -> int:
    """Sign of the change of the numbers in the file where the conductance rises."""
    return -1 if origin.unit == "ohm" or origin.reversed else 1


def make_run(
    reading: Reading,
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
    if reading.origin.unit == "ohm":
        broken = value <= 0
        value[broken] = np.nan
        flag[broken] = 2
    roles = reading.roles
    extras = {"amplitude": roles.pulse_voltage, "width": roles.width, "time": roles.time}
    told = {name: c.values[rows] * c.header.factor for name, c in extras.items() if c is not None and c.numeric}
    if roles.weight is not None:
        told["weight"] = roles.weight.values[rows]
    if roles.error is not None:
        # kappa is the read noise of a read of the usual error
        told["weight"] = (np.median(roles.error.values) / roles.error.values[rows]) ** 2 * told.get("weight", 1.0)
    if "amplitude" in told:
        told["amplitude"] = np.where(told.get("width", 1.0) == 0, np.nan, told["amplitude"])
    return Run(
        device,
        cycle,
        value,
        np.sign(pulses).astype(np.int8),
        np.abs(pulses).astype(np.int32),
        restart.astype(bool),
        flag.astype(np.uint8),
        **told,
    )


def only_value(reading: Reading, what: str) -> tuple[Column, float]:
    """The one column of reads of a layout that has one, and the factor to its SI unit, which becomes the file's.

    Raises
    ------
    ReadError
        Several candidates.
    """
    values = reading.roles.values
    if len(values) != 1:
        listed = ", ".join(f"'{c.label}'" for c in values)
        raise ReadError(
            f"{what} has one column of reads, but {listed} are candidates; choose with --map value=COLUMN",
            file=reading.table.source.name,
        )
    reading.origin.unit, factor = unit_of(reading.table, values, reading.origin, reading.options)
    return values[0], factor


def directions(reading: Reading, groups: Sequence[tuple[Column, NDArray[np.intp]]]) -> list[NDArray[np.int64]]:
    """Signed pulses before each read, for every group of rows in time order.

    From the column of directions, from signed pulse voltages (turned round where positive ones lower the conductance), from
    the name of the file, or from the response. Reads of a retention file have none.
    """
    table, roles, options, origin = reading.table, reading.roles, reading.options, reading.origin
    sign = rising(origin)
    if options.kind == "retention":
        origin.assumptions.append("reads over time without pulses (retention)")
        return [np.zeros(len(rows), np.int64) for _, rows in groups]
    if roles.direction is not None:
        said = words_to_direction(table, roles.direction)
        if (said >= 0).all() and said.any():
            _refuse_codes(reading, said, [(column.values[rows] * sign, rows) for column, rows in groups])
        return [said[rows] for _, rows in groups]
    if roles.pulse_voltage is not None:
        volts = roles.pulse_voltage.values
        said = np.sign(np.nan_to_num(volts)).astype(np.int64)
        if roles.width is not None and roles.width.numeric:
            said[roles.width.values == 0] = 0
        if sum(_against(column.values[rows] * sign, said[rows]) for column, rows in groups) > 0:
            said = -said
            origin.warnings.append(
                "positive pulse voltages lower the conductance of this device: directions follow the conductance"
            )
        return [said[rows] for _, rows in groups]
    if options.direction is not None:
        origin.assumptions.append("directions were taken of the whole file from its name")
        return [np.full(len(rows), options.direction) for _, rows in groups]
    out = [_from_numbering(reading, column, rows, sign) for column, rows in groups]
    if all(found is not None for found in out):
        origin.assumptions.append("pulses are numbered anew for every ramp; the direction of a ramp was taken from the response")
        return [found for found in out if found is not None]
    _refuse_times(reading, groups)
    origin.assumptions.append("directions were taken from the response")
    return [from_response(column.values[rows] * sign)[0].astype(np.int64) for column, rows in groups]


def _refuse_times(reading: Reading, groups: Sequence[tuple[Column, NDArray[np.intp]]]) -> None:
    """Refuse reads at uneven times without a word of pulses: those are of retention."""
    column = reading.roles.time
    if column is None or not column.numeric or reading.roles.pulse is not None or reading.options.kind == "pulses":
        return
    for _, rows in groups:
        step = np.diff(column.values[rows])
        step = step[np.isfinite(step)]
        # a pause between two ramps is no retention; reads that lie ever farther apart are
        if len(step) >= FEWEST and (step > 0).all() and np.mean(np.abs(np.log(step / np.median(step))) > np.log(2)) > 0.3:
            raise reading.table.header_error(
                f"the reads are at uneven times (column '{column.label}') and nothing tells of pulses; fit reads over time with "
                "--kind retention, name the column of the pulses with --map direction=COLUMN, or leave out the times with --map "
                f"ignore='{column.label}'",
                column,
            )


def _refuse_codes(
    reading: Reading, said: NDArray[np.int64], groups: Sequence[tuple[NDArray[np.float64], NDArray[np.intp]]]
) -> None:
    """Refuse numbers that are codes (0 and 1, 1 and 2) rather than signed pulses: the conductance falls where one stands."""
    column = reading.roles.direction
    assert column is not None
    for code in np.unique(said).tolist():
        steps = [np.diff(values)[said[rows][1:] == code] for values, rows in groups]
        step = np.concatenate([s[np.isfinite(s)] for s in steps])
        if len(step) >= FEWEST and step.mean() < -3 * step.std(ddof=1) / np.sqrt(len(step)) < 0:
            at = int(np.flatnonzero(said == code)[0])
            raise reading.table.error(
                f"the conductance falls where '{column.cells[at]}' stands in column '{column.label}', which has no negative "
                "number; write -1 for down pulses, or leave the column out with --map ignore=COLUMN",
                at,
                column,
            )


def _from_numbering(reading: Reading, column: Column, rows: NDArray[np.intp], sign: int) -> NDArray[np.int64] | None:
    """Directions of ramps that begin where the pulse number falls; None where there are none, or one does not turn."""
    if reading.roles.pulse is None:
        return None
    number = reading.roles.pulse.values[rows]
    starts = np.flatnonzero(np.diff(number) < 0) + 1
    edges = [0, *starts.tolist(), len(rows)]
    if len(edges) < 3 or not np.isfinite(number).all() or min(np.diff(edges)) < FEWEST:
        return None
    out = np.zeros(len(rows), np.int64)
    before = 0
    for a, b in pairwise(edges):
        way = trend(column.values[rows][a:b] * sign)
        if way == 0 or way == before:
            return None
        out[a:b] = before = way
    return out


def _against(values: NDArray[np.float64], direction: NDArray[np.int64]) -> int:
    """1 where positive pulses lower the value and negative ones raise it, -1 for the reverse, 0 where it is not clear."""
    step = np.diff(values)
    up, down = (step[(direction[1:] * s > 0) & np.isfinite(step)] for s in (1, -1))
    if len(up) and len(down):
        if float(up.mean()) < 0 < float(down.mean()):
            return 1
        return -1 if float(up.mean()) > 0 > float(down.mean()) else 0
    return 0


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


def require_reads(reading: Reading, column: Column, rows: NDArray[np.intp], what: str, fewest: int = FEWEST) -> None:
    """Refuse a ramp or trace that is too short; reads that the instrument marks as failed count.

    Raises
    ------
    ReadError
        Fewer than 5 reads; of a retention file, none.
    """
    made = np.isfinite(column.values[rows]) | ((column.flags[rows] & (SENTINEL | COMPLIANCE)) != 0)
    fewest = 1 if reading.options.kind == "retention" else fewest
    if made.sum() < fewest:
        raise reading.table.error(
            f"{what} has {int(made.sum())} read(s), at least {fewest} are needed", int(rows[0]) if len(rows) else None, column
        )
