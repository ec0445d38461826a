"""Files to one PulseResponse: choice of the reader, pairs of up and down files, counts and refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitlab.errors import ReadError

from .formats import formats
from .reading import Match, Options, Reading, read_voltage
from .record import PADDING, Origin, PulseResponse, Run, record
from .roles import DOWN_NAME, UP_NAME, assign
from .table import read_table
from .text import Source, load

if TYPE_CHECKING:
    import xarray as xr


def read(paths: str | Path | Sequence[str | Path], options: Options | None = None) -> xr.Dataset:
    """Read one or more measurement files.

    Parameters
    ----------
    paths : path or paths
        Two files whose names say up and down (set/reset, LTP/LTD, ...) are one measurement; otherwise each file holds
        devices of its own.
    options : Options
        What the files do not say.

    Returns
    -------
    Dataset
        PulseResponse over (device, cycle, pulse): `value` (SI unit of the file), `conductance` (S), `direction`, `count`,
        `restart`, `flag`.

    Raises
    ------
    ReadError
        With file, line and column, and what to do.
    """
    return read_record(paths, options).dataset()


def read_record(paths: str | Path | Sequence[str | Path], options: Options | None = None) -> PulseResponse:
    """As `read`, but plain arrays."""
    options = options or Options()
    files = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not files:
        raise ReadError("no file was given", file="fitlab")
    sources, copies = _distinct([load(p) for p in files])
    pair = _pair(sources)
    if pair:
        up, down = (_read_one(s, replace(options, direction=d)) for s, d in zip(pair, (1, -1), strict=True))
        runs, origin = _join(up, down)
    else:
        parts = [_read_one(s, options) for s in sources]
        runs, origin = _together(parts)
    for name in copies:
        origin.warnings.append(f"{name} has the same content as another file and was dropped")
    if origin.unit == "A" and origin.read_voltage_V is None:
        origin.warnings.append(
            "the reads are currents and no read voltage is known, so they stay amperes; give --read-voltage for siemens"
        )
    _check_flags(runs, origin, options.force)
    return record(runs, origin)


def _distinct(sources: list[Source]) -> tuple[list[Source], list[str]]:
    kept: dict[str, Source] = {}
    copies = []
    for source in sources:
        if source.sha256 in kept:
            copies.append(source.name)
        else:
            kept[source.sha256] = source
    return list(kept.values()), copies


def _pair(sources: list[Source]) -> tuple[Source, Source] | None:
    if len(sources) != 2:
        return None
    names = [s.path.stem.lower() for s in sources]
    is_up = [bool(UP_NAME.search(n)) and not DOWN_NAME.search(n) for n in names]
    is_down = [bool(DOWN_NAME.search(n)) and not UP_NAME.search(n) for n in names]
    if is_up[0] and is_down[1]:
        return sources[0], sources[1]
    if is_up[1] and is_down[0]:
        return sources[1], sources[0]
    return None


def _read_one(source: Source, options: Options) -> tuple[list[Run], Origin]:
    table = read_table(source)
    roles = assign(table, options.mapping)
    origin = Origin(source.name, source.sha256, "", "norm", assumptions=[*table.assumptions, *roles.assumptions])
    origin.read_voltage_V = read_voltage(table, roles, options, origin.assumptions)
    if source.encoding == "cp1252":
        origin.assumptions.append("the file is not UTF-8 and was read as Windows text (cp1252)")
    reading = Reading(table, roles, options, origin)
    if options.direction is None:
        name = source.path.stem.lower()
        if (
            UP_NAME.search(name)
            and not DOWN_NAME.search(name)
            and len(name) < 12
            and not (roles.direction or roles.pulse_voltage)
        ):
            reading.options = replace(options, direction=None)
    known = formats()
    if options.format is not None:
        if options.format not in known:
            raise ReadError(
                f"--format {options.format}: there is no such format; choose from {', '.join(known)}", file=source.name
            )
        chosen, confidence = options.format, 1.0
    else:
        matches: dict[str, Match] = {name: module.match(reading) for name, module in known.items()}
        order = sorted(matches, key=lambda n: -matches[n].confidence)
        chosen, confidence = order[0], matches[order[0]].confidence
        if confidence < 0.3:
            listed = ", ".join(f"'{c.label}'" for c in table.columns)
            raise ReadError(
                f"the layout is not recognised (columns {listed}); name the columns "
                "with --map value=COLUMN and --map direction=COLUMN",
                file=source.name,
            )
        second = order[1]
        if confidence - matches[second].confidence < 0.1:
            raise ReadError(
                f"the file may be {chosen} ({matches[chosen].why}) or {second} "
                f"({matches[second].why}); choose with --format {chosen} or --format {second}",
                file=source.name,
            )
    origin.reader = f"{chosen} ({confidence:.2f})"
    return known[chosen].read(reading), origin


def _join(up: tuple[list[Run], Origin], down: tuple[list[Run], Origin]) -> tuple[list[Run], Origin]:
    """Cycle k of the down file follows cycle k of the up file."""
    (ups, origin), (downs, other) = up, down
    if origin.unit != other.unit:
        raise ReadError(
            f"the unit is {other.unit} here but {origin.unit} in {origin.source}; both files must agree", file=other.source
        )
    by_device: dict[tuple[str, int], dict[int, Run]] = {}
    several = len({r.device for r in ups}) > 1
    for sign, runs in ((1, ups), (-1, downs)):
        for run in runs:
            by_device.setdefault((run.device if several else "", run.cycle), {})[sign] = run
    name = "device"
    out = []
    for (device, cycle), parts in sorted(by_device.items(), key=lambda item: item[0]):
        both = [parts[s] for s in (1, -1) if s in parts]
        joined = [
            np.concatenate(x) for x in zip(*((p.value, p.direction, p.count, p.restart, p.flag) for p in both), strict=True)
        ]
        out.append(Run(device or name, cycle, *joined))
    merged = Origin(
        f"{origin.source} + {other.source}",
        hashlib.sha256((origin.sha256 + other.sha256).encode()).hexdigest(),
        origin.reader,
        origin.unit,
        origin.read_voltage_V or other.read_voltage_V,
        list(
            dict.fromkeys(
                [
                    *origin.assumptions,
                    *other.assumptions,
                    f"{origin.source} holds up pulses, {other.source} down pulses; ramps do not join",
                ]
            )
        ),
        list(dict.fromkeys([*origin.warnings, *other.warnings])),
    )
    return out, merged


def _together(parts: list[tuple[list[Run], Origin]]) -> tuple[list[Run], Origin]:
    if len(parts) == 1:
        return parts[0]
    first = parts[0][1]
    runs: list[Run] = []
    for own, origin in parts:
        if origin.unit != first.unit:
            raise ReadError(
                f"the unit is {origin.unit} here but {first.unit} in {first.source}; fit them apart", file=origin.source
            )
        stem = Path(origin.source).stem
        several = len({r.device for r in own}) > 1
        taken = {r.device for r in runs}
        for run in own:
            if several and run.device in taken:
                run.device = f"{stem}:{run.device}"
            elif run.device in taken:
                run.device = f"{run.device} (2)"
            runs.append(run)
    merged = Origin(
        " + ".join(o.source for _, o in parts),
        hashlib.sha256("".join(o.sha256 for _, o in parts).encode()).hexdigest(),
        first.reader,
        first.unit,
        first.read_voltage_V,
        list(dict.fromkeys(a for _, o in parts for a in o.assumptions)),
        list(dict.fromkeys(w for _, o in parts for w in o.warnings)),
    )
    return runs, merged


def _check_flags(runs: list[Run], origin: Origin, force: bool) -> None:
    total = sum(len(r.flag) for r in runs)
    bad = sum(int(np.sum((r.flag & ~np.uint8(PADDING)) != 0)) for r in runs)
    share = bad / max(total, 1)
    what = "missing, instrument codes or resistances not above 0" if origin.unit == "ohm" else "missing or instrument codes"
    if share > 0.2 and not force:
        raise ReadError(
            f"{bad} of {total} reads are {what}, more than a fifth; remove the broken part, or take it as it is with --force",
            file=origin.source,
        )
    if share > 0.01:
        origin.warnings.append(f"{bad} of {total} reads are {what} and were left out")
