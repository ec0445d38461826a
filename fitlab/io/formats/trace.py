"""One trace: a column of reads, with or without pulse numbers and a column of directions or signed pulse voltages."""

from __future__ import annotations

import numpy as np

from fitlab.errors import ReadError
from fitlab.io.direction import from_response, trend
from fitlab.io.reading import Match, Reading, counts_from_pulse, in_order, make_run, require_reads, trim, unit_of
from fitlab.io.record import Run
from fitlab.io.roles import words_to_direction

NAME = "trace"


def match(reading: Reading) -> Match:
    """A single column of reads."""
    roles = reading.roles
    if len(roles.values) != 1 or roles.device or roles.cycle:
        return Match(0.0, "not a single column of reads")
    return Match(0.9 if roles.direction or roles.pulse_voltage else 0.75, "one column of reads")


def read(reading: Reading) -> list[Run]:
    """One device, one cycle."""
    roles, table, options = reading.roles, reading.table, reading.options
    if len(roles.values) != 1:
        listed = ", ".join(f"'{c.label}'" for c in roles.values)
        raise ReadError(
            f"a trace has one column of reads, but {listed} are candidates; choose with --map value=COLUMN",
            file=table.source.name,
        )
    column = roles.values[0]
    unit, factor = unit_of(table, [column], reading.origin, reading.options)
    reading.origin.unit = unit
    rows = in_order(reading, trim(column))
    require_reads(reading, column, rows, "the trace")
    sign = -1 if unit == "ohm" else 1
    values = column.values[rows]
    if roles.direction is not None:
        direction = words_to_direction(table, roles.direction)[rows]
    elif roles.pulse_voltage is not None:
        direction = np.sign(np.nan_to_num(roles.pulse_voltage.values[rows])).astype(np.int64)
        if _against(values * sign, direction):
            direction = -direction
            reading.origin.warnings.append(
                "positive pulse voltages lower the conductance of this device: directions follow the conductance"
            )
    elif options.direction is not None:
        direction = np.full(len(rows), options.direction)
        if sign * trend(values) == -options.direction:
            rows = rows[::-1]
            word = "down" if options.direction < 0 else "up"
            reading.origin.warnings.append(
                f"the file is named as {word} pulses but its response goes the other way: "
                "it was taken as stored against remaining pulses and reversed"
            )
    else:
        direction = from_response(values * sign)[0].astype(np.int64)
        reading.origin.assumptions.append("directions were taken from the response")
    restart = np.zeros(len(rows), bool)
    restart[0] = True
    pulse = roles.pulse.values[rows] if roles.pulse else None
    if pulse is not None and rows[0] > rows[-1]:
        pulse = np.nanmax(pulse) - pulse
    if pulse is not None and np.any(np.isfinite(pulse) & (pulse != np.round(pulse))):
        reading.origin.assumptions.append("pulse numbers are not whole (a digitised figure): they were rounded to whole pulses")
    pulses = counts_from_pulse(reading, rows, pulse, direction, restart)
    return [make_run(reading.stem, 0, column, rows, pulses, restart, factor)]


def _against(values: np.ndarray, direction: np.ndarray) -> bool:
    """Whether positive pulses lower the value and negative ones raise it."""
    step = np.diff(values)
    up, down = step[direction[1:] > 0], step[direction[1:] < 0]
    up, down = up[np.isfinite(up)], down[np.isfinite(down)]
    return len(up) > 0 and len(down) > 0 and float(up.mean()) < 0 < float(down.mean())
