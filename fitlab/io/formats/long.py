"""Long: a column of device names (and of cycles) and one of reads; a database export."""

from __future__ import annotations

import numpy as np

from fitlab.errors import ReadError
from fitlab.io.direction import from_response
from fitlab.io.reading import Match, Reading, counts_from_pulse, in_order, make_run, require_reads, unit_of
from fitlab.io.record import Run
from fitlab.io.roles import words_to_direction

NAME = "long"


def match(reading: Reading) -> Match:
    """A column of identifiers and one column of reads."""
    roles = reading.roles
    if len(roles.values) != 1 or not (roles.device or roles.cycle):
        return Match(0.0, "no column of devices or cycles beside one of reads")
    return Match(0.9, "a column of devices or cycles and one of reads")


def read(reading: Reading) -> list[Run]:
    """One run for each device and cycle, rows in the order of the file."""
    roles, table = reading.roles, reading.table
    if len(roles.values) != 1:
        listed = ", ".join(f"'{c.label}'" for c in roles.values)
        raise ReadError(
            f"a long file has one column of reads, but {listed} are candidates; choose with --map value=COLUMN",
            file=table.source.name,
        )
    value = roles.values[0]
    unit, factor = unit_of(table, [value], reading.origin, reading.options)
    reading.origin.unit = unit
    size = len(value.cells)
    device = [c.strip() or reading.stem for c in roles.device.cells] if roles.device else [reading.stem] * size
    cycle = _cycles(reading, size)
    said = None
    if roles.direction is not None:
        said = words_to_direction(table, roles.direction)
    elif roles.pulse_voltage is not None:
        said = np.sign(np.nan_to_num(roles.pulse_voltage.values)).astype(np.int64)
    else:
        reading.origin.assumptions.append("directions were taken from the response")
    groups: dict[tuple[str, int], list[int]] = {}
    for k in range(size):
        groups.setdefault((device[k], int(cycle[k])), []).append(k)
    runs = []
    for (name, number), members in groups.items():
        rows = in_order(reading, np.array(members))
        require_reads(reading, value, rows, f"device {name}" + (f" cycle {number}" if roles.cycle else ""))
        restart = np.zeros(len(rows), bool)
        restart[0] = number == min(c for d, c in groups if d == name)
        direction = (
            said[rows]
            if said is not None
            else from_response(value.values[rows] * (-1 if unit == "ohm" else 1))[0].astype(np.int64)
        )
        pulse = roles.pulse.values[rows] if roles.pulse else None
        runs.append(
            make_run(name, number, value, rows, counts_from_pulse(reading, rows, pulse, direction, restart), restart, factor)
        )
    return runs


def _cycles(reading: Reading, size: int) -> np.ndarray:
    column = reading.roles.cycle
    if column is None:
        return np.zeros(size, dtype=int)
    if not column.numeric:
        names = list(dict.fromkeys(column.cells))
        return np.array([names.index(c) for c in column.cells])
    bad = np.flatnonzero(~column.present | (column.values != np.round(column.values)))
    if len(bad):
        raise reading.table.error(
            f"'{column.cells[bad[0]]}' in column '{column.label}' is not a cycle number; use whole numbers", int(bad[0]), column
        )
    return column.values.astype(int)
