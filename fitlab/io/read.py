"""Files to one PulseResponse: choice of the reader, pairs of up and down files, counts and refusals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitlab.errors import ReadError

from .block import Block
from .formats import formats
from .hdf5 import HISTORY
from .instruments import instruments
from .interleaved import separated
from .reading import Match, Options, Reading, read_voltage
from .record import EXTRAS, PADDING, Origin, PulseResponse, Run, record
from .roles import assign
from .several import add_cycles, branch_sheets, distinct, join, pair, together, without_joined
from .table import read_table
from .text import AbortedError, Document, load

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
        raise ReadError("no file was given; name one", file="fitlab")
    skipped: list[str] = []
    documents = _loaded(files, skipped)
    documents, copies = distinct(documents)
    sheets = branch_sheets(documents) if options.sheet is None else None
    both = sheets or pair(documents)
    if both:
        up, down = (_read_one(s, replace(options, direction=d)) for s, d in zip(both, (1, -1), strict=True))
        runs, origin = join(up, down)
        if sheets:
            origin.source, origin.sha256 = documents[0].name, documents[0].sha256
    else:
        parts = []
        for document in without_joined(documents, skipped):
            try:
                parts.append(_read_one(document, options))
            except AbortedError as error:
                if len(documents) == 1:
                    raise
                skipped.append(f"skipped {error}")
        if not parts:
            raise ReadError(f"no file holds a read: {'; '.join(skipped[:3])}", file=documents[0].name)
        runs, origin = together(parts)
    for name in copies:
        origin.warnings.append(f"{name} has the same content as another file and was dropped")
    origin.warnings += skipped
    if origin.unit == "A" and origin.read_voltage_V is None:
        origin.warnings.append(
            "the reads are currents and no read voltage is known, so they stay amperes; give --read-voltage for siemens"
        )
    if options.amplitude_V is not None:
        runs = _of_amplitude(runs, options.amplitude_V, origin)
    _check_flags(runs, origin, options.force)
    return record(runs, origin)


def _loaded(files: Sequence[str | Path], skipped: list[str]) -> list[Document]:
    documents = []
    for path in files:
        try:
            documents.append(load(path))
        except AbortedError as error:
            if len(files) == 1:
                raise
            skipped.append(f"skipped {error}")
    if not documents:
        raise ReadError("all files are empty; give files with data", file=str(files[0]))
    return documents


def _read_one(document: Document, options: Options) -> tuple[list[Run], Origin]:
    """Runs of a file: the instrument, its blocks, the layout of each."""
    instrument, sure = _instrument(document, options)
    found: list[Block] = instruments()[instrument].blocks(document, options)
    runs: list[Run] = []
    first: Origin | None = None
    for block in found:
        own, origin = _read_block(document, block, options)
        origin.instrument = instrument
        if instrument != "table":
            origin.reader = f"{instrument} ({sure:.2f}), {origin.reader}"
        if first is None:
            first = origin
        elif origin.unit != first.unit:
            raise ReadError(f"tables of the file are in {first.unit} and {origin.unit}; give them as files", file=document.name)
        else:
            first.assumptions = list(dict.fromkeys([*first.assumptions, *origin.assumptions]))
            first.warnings = list(dict.fromkeys([*first.warnings, *origin.warnings]))
            if origin.read_voltage_V != first.read_voltage_V:
                raise ReadError(
                    f"tables of the file have the read voltages {first.read_voltage_V} V and {origin.read_voltage_V} V; "
                    "give them as files",
                    file=document.name,
                )
        add_cycles(runs, own)
    assert first is not None
    return runs, first


def _instrument(document: Document, options: Options) -> tuple[str, float]:
    known = instruments()
    if options.format is not None and options.format in known:
        return options.format, 1.0
    if options.format is not None:
        if options.format not in formats():
            raise ReadError(
                f"--format {options.format}: there is no such format; choose from {', '.join([*formats(), *known])}",
                file=document.name,
            )
        return "table", 1.0
    matches: dict[str, Match] = {}
    for name in sorted(known, key=lambda n: n != "recipe"):  # what is said in a recipe is not guessed
        matches[name] = known[name].match(document, options)
        if matches[name].confidence == 1:
            break
    best = max(matches, key=lambda n: matches[n].confidence)
    return best, matches[best].confidence


def _kind(document: Document, block: Block, options: Options) -> str | None:
    """Whether reads are of pulses or over time: as said, or as the names of file and sheet say."""
    said = options.kind or block.kind
    if said is None and re.search(
        r"retention|relax|\bbake|drift|for 1e\d+ ?s\b", f"{document.path.stem} {block.source.sheet or ''}", re.IGNORECASE
    ):
        return "retention"
    return said


def _read_block(document: Document, block: Block, options: Options) -> tuple[list[Run], Origin]:
    options = replace(
        options,
        mapping={**{k: v for k, v in block.mapping.items() if k not in options.mapping}, **options.mapping},
        kind=_kind(document, block, options),
        unit=options.unit or block.unit or _unit_of_name(document),
    )
    source = block.source
    table = separated(read_table(source), options.mapping) if block.layout is None else read_table(source)
    roles = assign(table, options.mapping)
    origin = Origin(document.path.name, document.sha256, "", "norm", assumptions=[*table.assumptions, *roles.assumptions])
    origin.assumptions += block.assumptions
    origin.warnings += block.warnings
    origin.read_voltage_V = read_voltage(table, roles, options, origin)
    if options.read_voltage_V is None and block.read_voltage_V is not None:
        origin.read_voltage_V = block.read_voltage_V
    if source.encoding not in ("utf-8", "utf-8-sig", "utf-16", "workbook", HISTORY):
        origin.assumptions.append(f"the file is not UTF-8 and was read as {_ENCODINGS.get(source.encoding, source.encoding)}")
    reading = Reading(table, roles, options, origin)
    known = formats()
    given = options.format if options.format in known else block.layout
    if given is not None:
        chosen, confidence = given, 1.0
    else:
        chosen, confidence = _layout(reading)
    origin.reader = f"{chosen} ({confidence:.2f})"
    runs: list[Run] = known[chosen].read(reading)
    for run in runs:
        if block.device is not None:
            run.device = block.device if len({r.device for r in runs}) == 1 else f"{block.device}:{run.device}"
        if block.cycle is not None:
            run.cycle += block.cycle
        if block.ramps_apart:
            run.restart[0] = True
            run.restart[1:] |= np.diff(run.direction) != 0
    return runs, origin


_ENCODINGS = {"cp1252": "Windows text (cp1252)", "cp932": "Shift-JIS", "gbk": "GBK", "euc_kr": "EUC-KR"}


def _unit_of_name(document: Document) -> str | None:
    """Unit at the end of a file name, as in `currents_nA.csv`; only where a prefix makes it unmistakable."""
    found = re.search(r"_([fpnumkM](?:S|A|ohm))$", document.path.stem)
    return found[1] if found else None


def _layout(reading: Reading) -> tuple[str, float]:
    """The layout that fits best.

    Raises
    ------
    ReadError
        None, or two alike.
    """
    known, name = formats(), reading.table.source.name
    matches: dict[str, Match] = {n: module.match(reading) for n, module in known.items()}
    order = sorted(matches, key=lambda n: -matches[n].confidence)
    chosen, confidence = order[0], matches[order[0]].confidence
    if confidence < 0.3:
        listed = ", ".join(f"'{c.label}'" for c in reading.table.columns)
        raise ReadError(
            f"the layout is not recognised (columns {listed}); name the columns "
            "with --map value=COLUMN and --map direction=COLUMN",
            file=name,
        )
    second = order[1]
    if confidence - matches[second].confidence < 0.1 and not (chosen == "digitised" and confidence > 0.9):
        raise ReadError(
            f"the file may be {chosen} ({matches[chosen].why}) or {second} "
            f"({matches[second].why}); choose with --format {chosen} or --format {second}",
            file=name,
        )
    return chosen, confidence


def _of_amplitude(runs: list[Run], amplitude: float, origin: Origin) -> list[Run]:
    """Reads after pulses of one size of voltage; what lies between two of them starts anew."""
    out = []
    for run in runs:
        size = np.abs(run.extra("amplitude"))
        keep = np.isfinite(size) & (np.abs(size - abs(amplitude)) <= 0.01 * abs(amplitude))
        if not keep.any():
            continue
        at = np.flatnonzero(keep)
        restart = run.restart[at] | np.append(True, np.diff(at) > 1)
        extras = {n: run.extra(n)[at] for n in EXTRAS}
        out.append(Run(run.device, run.cycle, run.value[at], run.direction[at], run.count[at], restart, run.flag[at], **extras))
    if not out:
        raise ReadError(f"--amplitude {amplitude:g}: no pulse has this voltage", file=origin.source)
    origin.assumptions.append(f"only reads after pulses of {abs(amplitude):g} V were taken")
    return out


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
