"""Wide: one column of reads a device, or one a cycle of one device. The file does not say which: the user must."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from fitlab.errors import ReadError
from fitlab.io.direction import trend
from fitlab.io.reading import Match, Reading, counts_from_pulse, directions, make_run, require_reads, trim, unit_of
from fitlab.io.record import EXTRAS, Run, joined
from fitlab.io.roles import DOWN_WORDS, UP_WORDS
from fitlab.io.table import Column

NAME = "wide"


def match(reading: Reading) -> Match:
    """Several columns of reads without a column of device names."""
    values, roles = reading.roles.values, reading.roles
    if len(values) < 2 or (roles.device and len({c.strip() for c in roles.device.cells}) > 1):
        return Match(0.0, "not several columns of reads")
    stems = Counter(re.sub(r"[\d_\- ]+$", "", c.header.name.lower()) for c in values)
    alike = stems.most_common(1)[0][1] / len(values)
    if len(values) > 2:
        return Match(0.85 if alike > 0.8 else 0.7, "several columns of reads")
    return Match(0.6 if alike == 1 and values[0].header.text else 0.4, "two columns of reads of equal kind")


def read(reading: Reading) -> list[Run]:
    """One run a column.

    Raises
    ------
    ReadError
        `columns` was not given: devices or cycles.
    """
    values, roles, options = reading.roles.values, reading.roles, reading.options
    unit, factor = unit_of(reading.table, values, reading.origin, options)
    reading.origin.unit = unit
    scales = [float(np.median(np.abs(c.values[c.present]))) for c in values]
    if options.columns is None and not any(c.header.text for c in values) and max(scales) > 1e3 * min(scales):
        raise ReadError(
            f"{len(values)} columns without names and of different sizes: the file does not say what they are; say it in a "
            "recipe (--recipe FILE, or NAME.recipe.toml beside the file) or with --map ROLE=NUMBER",
            file=reading.table.source.name,
        )
    branches = _branches(values)
    if branches:
        return _of_branches(reading, branches, factor)
    if options.columns not in ("devices", "cycles"):
        raise ReadError(
            f"{len(values)} columns of reads may be {len(values)} devices or "
            f"{len(values)} cycles of one device; say which with --columns "
            "devices or --columns cycles",
            file=reading.table.source.name,
        )
    reading.origin.assumptions.append(f"columns are {options.columns}, as given by the user")
    names = [c.header.name or f"column {c.number}" for c in values]
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1 and options.columns == "devices":
            names[i] = f"{name} ({seen[name]})"
            reading.origin.warnings.append(f"two columns are named '{name}'; the second became '{names[i]}'")
    groups = [(c, trim(c)) for c in values]
    for c, rows in groups:
        require_reads(reading, c, rows, f"column '{c.label}'")
    runs = []
    for i, ((c, rows), direction) in enumerate(zip(groups, directions(reading, groups), strict=True)):
        restart = np.zeros(len(rows), bool)
        restart[0] = True
        pulse = roles.pulse.values[rows] if roles.pulse else None
        pulses = counts_from_pulse(reading, rows, pulse, direction, restart)
        device, cycle = (names[i], 0) if options.columns == "devices" else (reading.stem, i)
        runs.append(make_run(reading, device, cycle, c, rows, pulses, restart, factor))
    _note_reversed(reading, runs)
    return runs


def _branches(values: list[Column]) -> dict[str, tuple[Column, Column]]:
    """Stem to its up and its down column, where every column is one of such a pair (`dev1_up`, `dev1_down`); else empty."""
    found: dict[str, dict[int, Column]] = {}
    for column in values:
        words = re.split(r"[_\- .]+", column.header.name.strip().lower())
        sides = [1 if w in UP_WORDS else -1 for w in words if len(w) > 1 and (w in UP_WORDS or w in DOWN_WORDS)]
        if len(sides) != 1 or len(words) < 2:
            return {}
        stem = "_".join(w for w in words if not (len(w) > 1 and (w in UP_WORDS or w in DOWN_WORDS)))
        found.setdefault(stem, {})[sides[0]] = column
    if any(set(sides) != {1, -1} for sides in found.values()) or 2 * len(found) != len(values):
        return {}
    return {stem: (sides[1], sides[-1]) for stem, sides in found.items()}


def _of_branches(reading: Reading, branches: dict[str, tuple[Column, Column]], factor: float) -> list[Run]:
    """Up ramp, then down ramp of each device, or of each cycle."""
    cycles = reading.options.columns == "cycles"
    what = "cycles of one device" if cycles else "devices"
    reading.origin.assumptions.append(
        f"pairs of columns are the up and the down ramp of {len(branches)} {what}; ramps do not join"
    )
    out = []
    for i, (stem, pair) in enumerate(branches.items()):
        parts = []
        for column, sign in zip(pair, (1, -1), strict=True):
            rows = trim(column)
            require_reads(reading, column, rows, f"column '{column.label}'")
            restart = np.arange(len(rows)) == 0
            parts.append(make_run(reading, stem, 0, column, rows, np.full(len(rows), sign), restart, factor))
        out.append(joined(parts, reading.stem if cycles else stem, i if cycles else 0))
    return out


def _note_reversed(reading: Reading, runs: list[Run]) -> None:
    """A file that is named down but whose response rises (or the reverse) is stored in reverse order of time."""
    wanted = reading.options.direction
    if wanted is None:
        return
    sign = -1 if reading.origin.unit == "ohm" else 1
    against = [r for r in runs if sign * trend(r.value) == -wanted]
    if len(against) == len(runs):
        for run in runs:
            run.value, run.flag = run.value[::-1].copy(), run.flag[::-1].copy()
            for name in EXTRAS:
                if getattr(run, name) is not None:
                    setattr(run, name, getattr(run, name)[::-1].copy())
        word = "down" if wanted < 0 else "up"
        reading.origin.warnings.append(
            f"the file is named as {word} pulses but its response goes the other way: "
            "it was taken as stored against remaining pulses and reversed"
        )
