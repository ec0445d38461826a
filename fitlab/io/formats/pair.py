"""Two columns, up and down: reads after each of n up pulses beside reads after each of n down pulses.

Named columns (up/down, SET/RESET, LTP/LTD), or two columns without header that are of opposite trend and share their range, as
the ramps of one device do. The file does not say that the ramps join, so each starts anew.
"""

from __future__ import annotations

import numpy as np

from fitlab.io.direction import MAYBE_RAMPS, common_range, trend
from fitlab.io.reading import Match, Reading, make_run, require_reads, trim, unit_of
from fitlab.io.record import Run, joined
from fitlab.io.roles import DOWN_NAME, UP_NAME, name_of
from fitlab.io.table import Column

NAME = "pair"


def _branches(reading: Reading) -> tuple[Column, Column] | None:
    roles = reading.roles
    if roles.up is not None and roles.down is not None:
        return roles.up, roles.down
    if len(roles.values) != 2 or roles.device or roles.direction or roles.pulse_voltage:
        return None
    a, b = roles.values
    if UP_NAME.search(name_of(a)) and DOWN_NAME.search(name_of(b)) and not UP_NAME.search(name_of(b)):
        return a, b
    if DOWN_NAME.search(name_of(a)) and UP_NAME.search(name_of(b)) and not UP_NAME.search(name_of(a)):
        return b, a
    if a.header.text or b.header.text or reading.options.columns is not None:
        return None
    directions = trend(a.values[trim(a)]), trend(b.values[trim(b)])
    if directions == (1, -1):
        return a, b
    if directions == (-1, 1):
        return b, a
    return None


def match(reading: Reading) -> Match:
    """Sure where the columns say so, fairly sure for two columns of opposite trend."""
    branches = _branches(reading)
    if branches is None:
        return Match(0.0, "not one up and one down column")
    if reading.roles.up is not None or branches[0].header.text:
        return Match(0.95, "columns named up and down")
    return Match(0.8, "two columns of opposite trend ")


def read(reading: Reading) -> list[Run]:
    """One device: the up ramp, then the down ramp, each with its own start.

    Raises
    ------
    ReadError
        No such columns; columns without names whose ranges are not those of one device; too few reads.
    """
    branches = _branches(reading)
    if branches is None:
        raise reading.table.error(
            "this file has no pair of an up and a down column; name them with --map up=COLUMN --map down=COLUMN"
        )
    up, down = branches
    _check_range(reading, up, down)
    unit, factor = unit_of(reading.table, [up, down], reading.origin, reading.options)
    reading.origin.unit = unit
    reading.origin.assumptions += [
        f"column {up.number} holds reads after up pulses, column {down.number} after down pulses; the ramps do not join",
        "the first read of a ramp was taken after its first pulse",
    ]
    parts = []
    for column, sign in ((up, 1), (down, -1)):
        rows = trim(column)
        require_reads(reading, column, rows, "the up ramp" if sign > 0 else "the down ramp")
        restart = np.zeros(len(rows), bool)
        restart[0] = True
        parts.append(make_run(reading, reading.stem, 0, column, rows, np.full(len(rows), sign), restart, factor))
    return [joined(parts, reading.stem, 0)]


def _check_range(reading: Reading, up: Column, down: Column) -> None:
    """Refuse columns that neither their names nor the user say to be ramps, and that do not share their range."""
    if up.header.text or reading.roles.up is not None or reading.options.format == NAME:
        return
    common = common_range(up.values[up.present], down.values[down.present])
    if common < MAYBE_RAMPS:
        raise reading.table.error(
            f"two columns without names, of opposite trend but with only {100 * common:.0f} % of their range in common; say with "
            "--format pair that they are an up and a down ramp, with --format digitised that they are the points of a curve, or "
            "with --columns devices that they are two devices"
        )
