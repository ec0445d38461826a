"""One trace: a column of reads, with or without pulse numbers and a column of directions or signed pulse voltages."""

from __future__ import annotations

import numpy as np

from fitlab.io.direction import trend
from fitlab.io.reading import (
    Match,
    Reading,
    counts_from_pulse,
    directions,
    in_order,
    make_run,
    only_value,
    require_reads,
    rising,
    trim,
)
from fitlab.io.record import Run

NAME = "trace"


def match(reading: Reading) -> Match:
    """A single column of reads."""
    roles = reading.roles
    if len(roles.values) != 1 or roles.device or roles.cycle:
        return Match(0.0, "not a single column of reads")
    return Match(0.9 if roles.direction or roles.pulse_voltage else 0.75, "one column of reads")


def read(reading: Reading) -> list[Run]:
    """One device, one cycle.

    Raises
    ------
    ReadError
        Several columns of reads, too short a trace.
    """
    roles, options = reading.roles, reading.options
    column, factor = only_value(reading, "a trace")
    rows = in_order(reading, trim(column))
    require_reads(reading, column, rows, "the trace")
    sign = rising(reading.origin)
    (direction,) = directions(reading, [(column, rows)])
    of_name = options.direction is not None and roles.direction is None and roles.pulse_voltage is None
    if of_name and sign * trend(column.values[rows]) == -(options.direction or 0):
        rows = rows[::-1]
        word = "down" if (options.direction or 0) < 0 else "up"
        reading.origin.warnings.append(
            f"the file is named as {word} pulses but its response goes the other way: "
            "it was taken as stored against remaining pulses and reversed"
        )
    restart = np.zeros(len(rows), bool)
    restart[0] = True
    pulse = roles.pulse.values[rows] if roles.pulse else None
    if pulse is not None and rows[0] > rows[-1]:
        pulse = np.nanmax(pulse) - pulse
    if pulse is not None and np.any(np.isfinite(pulse) & (pulse != np.round(pulse))):
        reading.origin.assumptions.append("pulse numbers are not whole (a digitised figure): they were rounded to whole pulses")
    pulses = counts_from_pulse(reading, rows, pulse, direction, restart)
    return [make_run(reading, reading.stem, 0, column, rows, pulses, restart, factor)]
