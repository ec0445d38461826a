"""Keithley SourceMeters (24xx, 26xx, DMM6500): buffers that they save, and ACS exports with `[run][group]` in the names."""

from __future__ import annotations

import re

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.numbers import is_missing, parse
from fitlab.io.reading import Match, Options
from fitlab.io.text import Document

NAME = "sourcemeter"

_ACS = re.compile(r"(?P<unit>\w+)\.(?P<kind>Time|V|I|R)\[(?P<run>\d+)\]\[(?P<group>\d+)\]")
_UNITS = {"Time": "s", "V": "V", "I": "A", "R": "ohm"}


def _header(document: Document) -> tuple[int, list[str]] | None:
    for k, line in enumerate(document.parts[0].lines[:40]):
        cells = [c.strip().strip('"') for c in line.split(",")]
        if any(_ACS.fullmatch(c) for c in cells):
            return k, cells
        lower = {c.lower() for c in cells}
        if {"index", "reading", "unit"} <= lower and lower & {"value", "range digits", "disp digits"}:
            return k, cells
    return None


def match(document: Document, options: Options) -> Match:
    """The names of a buffer or of an ACS export."""
    if len(document.parts) == 1 and _header(document) is not None:
        return Match(0.97, "the columns of a SourceMeter")
    return Match(0.0, "not the columns of a SourceMeter")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block a run and group of an ACS export; one of a buffer.

    Raises
    ------
    ReadError
        The voltage changes from row to row, or the buffer holds no current.
    """
    source = document.parts[0]
    found = _header(document)
    if found is None:
        raise ReadError("there are no columns of a SourceMeter; choose another --format", file=source.name)
    k, names = found
    numbered = source.numbered()
    body = [(n, [c.strip().strip('"') for c in line.split(",")]) for n, line in numbered[k + 1 :] if line.strip()]
    if any(_ACS.fullmatch(n) for n in names):
        return _acs(document, numbered[k][0], names, body, options)
    return [_buffer(document, numbered[k][0], names, body)]


def _constant(cells: list[str]) -> float | None:
    """The value of cells that all hold one number."""
    found = {p[0] for p in (parse(c) for c in cells if not is_missing(c)) if p is not None}
    return found.pop() if len(found) == 1 else None


def _acs(document: Document, line: int, names: list[str], body: list[tuple[int, list[str]]], options: Options) -> list[Block]:
    source = document.parts[0]
    groups: dict[tuple[int, int], dict[str, int]] = {}
    for j, name in enumerate(names):
        found = _ACS.fullmatch(name)
        if found:
            groups.setdefault((int(found["run"]), int(found["group"])), {})[found["kind"]] = j
    out = []
    for k, columns in enumerate(groups.values()):
        if "I" not in columns:
            raise ReadError(
                "the export has no column of currents, which are the reads; export I too", file=source.name, line=line
            )
        used = {kind: j for kind, j in columns.items() if kind != "R"}  # V/I of the same row: meaningless near 0 V
        volts = _constant([cells[columns["V"]] for _, cells in body if columns.get("V", 99999) < len(cells)])
        if volts is None and "V" in columns and "direction" not in options.mapping:
            raise ReadError(
                "the voltage changes from row to row: this is a curve of current over voltage, no response to pulses; export the "
                "reads at one voltage, or name the direction of the pulses with --map direction=COLUMN",
                file=source.name,
                line=line,
                column=columns["V"] + 1,
            )
        header = ",".join(f"{kind} ({_UNITS[kind]})" if j in used.values() else "" for j, kind in _by_column(names, used))
        rows = [(n, ",".join(c if j in used.values() else "" for j, c in enumerate(cells[: len(names)]))) for n, cells in body]
        rows = [(n, text) for n, text in rows if text.strip(",")]
        out.append(Block(source.part([(line, header), *rows], ","), device=source.path.stem, cycle=k, read_voltage_V=volts))
    return out


def _by_column(names: list[str], used: dict[str, int]) -> list[tuple[int, str]]:
    kinds = {j: kind for kind, j in used.items()}
    return [(j, kinds.get(j, "")) for j in range(len(names))]


def _buffer(document: Document, line: int, names: list[str], body: list[tuple[int, list[str]]]) -> Block:
    source = document.parts[0]
    lower = [n.lower() for n in names]
    reading, unit = lower.index("reading"), lower.index("unit")
    units = {cells[unit].upper() for _, cells in body if unit < len(cells) and cells[unit]}
    said = {"AMP": "A", "AMP DC": "A", "A": "A", "OHM": "ohm", "OHMS": "ohm", "VOLT": "V", "VOLT DC": "V", "V": "V"}
    if len(units) != 1 or said.get(next(iter(units))) not in ("A", "ohm"):
        listed = ", ".join(sorted(units)) or "none"
        raise ReadError(
            f"the readings are in {listed}; readings of one current or resistance are needed",
            file=source.name,
            line=line,
            column=unit + 1,
        )
    volts = None
    if "value" in lower or "source value" in lower:
        at = lower.index("value" if "value" in lower else "source value")
        volts = _constant([cells[at] for _, cells in body if at < len(cells)])
    rows = [(n, cells[reading] if reading < len(cells) else "") for n, cells in body]
    header = f"reading ({said[next(iter(units))]})"
    return Block(
        source.part([(line, header), *((n, text or "nan") for n, text in rows)], ","),
        device=source.path.stem,
        read_voltage_V=volts,
        assumptions=("every reading of the buffer follows one pulse",),
    )
