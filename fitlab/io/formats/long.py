"""Long: a column of device names (and of cycles) and one of reads; a database export."""

from __future__ import annotations

import numpy as np

from fitlab.io.reading import Match, Reading, counts_from_pulse, directions, in_order, make_run, only_value, require_reads
from fitlab.io.record import Run

NAME = "long"


def match(reading: Reading) -> Match:
    """A column of identifiers and one column of reads."""
    roles = reading.roles
    if len(roles.values) != 1 or not (roles.device or roles.cycle):
        return Match(0.0, "no column of devices or cycles beside one of reads")
    return Match(0.9, "a column of devices or cycles and one of reads")


def read(reading: Reading) -> list[Run]:
    """One run for each device and cycle, rows in the order of the file, or of the pulse numbers.

    Raises
    ------
    ReadError
        Several columns of reads, a cycle number that is not whole, too short a run.
    """
    roles = reading.roles
    value, factor = only_value(reading, "a long file")
    size = len(value.cells)
    device = [c.strip() or reading.stem for c in roles.device.cells] if roles.device else [reading.stem] * size
    cycle = _cycles(reading, size)
    found: dict[tuple[str, int], list[int]] = {}
    for k in range(size):
        found.setdefault((device[k], int(cycle[k])), []).append(k)
    first_cycle: dict[str, int] = {}
    for name, number in found:
        first_cycle[name] = min(number, first_cycle.get(name, number))
    groups = {key: _in_time(reading, in_order(reading, _once(reading, key[0], np.array(m)))) for key, m in found.items()}
    for (name, number), rows in groups.items():
        require_reads(reading, value, rows, f"device {name}" + (f" cycle {number}" if roles.cycle else ""))
    runs = []
    for (key, rows), direction in zip(groups.items(), directions(reading, [(value, r) for r in groups.values()]), strict=True):
        restart = np.zeros(len(rows), bool)
        restart[0] = key[1] == first_cycle[key[0]]
        pulse = roles.pulse.values[rows] if roles.pulse else None
        pulses = counts_from_pulse(reading, rows, pulse, direction, restart)
        runs.append(make_run(reading, *key, value, rows, pulses, restart, factor))
    return runs


def _in_time(reading: Reading, rows: np.ndarray) -> np.ndarray:
    """Rows of a retention file in the order of their times."""
    column = reading.roles.time
    if reading.options.kind != "retention" or column is None or not column.numeric:
        return rows
    return rows[np.argsort(column.values[rows], kind="stable")]


def _once(reading: Reading, device: str, rows: np.ndarray) -> np.ndarray:
    """The rows without a second copy of themselves: an export that holds every row twice, side by side or one after the other."""
    half = len(rows) // 2
    if len(rows) % 2 or half < 5:
        return rows
    columns = [c for c in reading.table.columns if any(c.cells)]
    for first, second in ((rows[:half], rows[half:]), (rows[::2], rows[1::2])):
        if all(c.cells[a] == c.cells[b] for c in columns for a, b in zip(first, second, strict=True)):
            what = f"every row of device {device} stands twice; the copies were dropped"
            if not any("stands twice" in w for w in reading.origin.warnings):
                reading.origin.warnings.append(what)
            return first
    return rows


def _cycles(reading: Reading, size: int) -> np.ndarray:
    column = reading.roles.cycle
    if column is None:
        return np.zeros(size, dtype=int)
    if not column.numeric:
        names = list(dict.fromkeys(column.cells))
        return np.array([names.index(c) for c in column.cells])
    bad = np.flatnonzero(~column.present | (column.values != np.round(column.values)) | (np.abs(column.values) > 1e9))
    if len(bad):
        raise reading.table.error(
            f"'{column.cells[bad[0]]}' in column '{column.label}' is not a cycle number; use whole numbers", int(bad[0]), column
        )
    return column.values.astype(int)
