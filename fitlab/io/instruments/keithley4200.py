"""Keithley 4200A-SCS (Clarius, KITE): a workbook with a sheet a run and a `Settings` sheet, or the CSV of one run.

Columns are named after terminals, without units; families are numbered, `DrainI(1), DrainV(1), DrainI(2) ...`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.numbers import is_missing, parse
from fitlab.io.reading import FEWEST, Match, Options
from fitlab.io.text import AbortedError, Document, Source

NAME = "keithley4200"

_TERMINAL = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*?)(?P<kind>I|V|R|G|Time)(?:\((?P<run>\d+)\))?")
_WAVEFORM = re.compile(r"(V|I)MeasCh\d+|StatusCh\d+", re.IGNORECASE)
_ALTERNATING = ("setr", "resetr")
_UNITS = {"I": "A", "V": "V", "R": "ohm", "G": "S", "Time": "s"}
_NO_RUN = ("settings", "calc", "graph")


def match(document: Document, options: Options) -> Match:
    """Sheets `Settings` or `Calc` beside runs, or columns named after terminals."""
    sheets = {(p.sheet or "").strip().lower() for p in document.parts}
    if "settings" in sheets and len(sheets) > 1:
        return Match(0.95, "a workbook with runs and settings")
    if any(_columns(part) is not None for part in document.parts):
        return Match(0.9, "columns named after terminals")
    return Match(0.0, "no columns named after terminals")


def _separator(source: Source) -> str:
    return source.separator or ","


def _columns(source: Source) -> tuple[int, list[str]] | None:
    """Position and cells of a line of names in which every name is one of the 4200's."""
    for k, line in enumerate(source.lines[:20]):
        cells = [c.strip().strip('"') for c in line.split(_separator(source))]
        while cells and not cells[-1]:
            cells.pop()
        lower = [c.lower() for c in cells]
        if set(_ALTERNATING) <= set(lower):
            return k, cells
        if len(cells) < 2 or not all(cells):
            continue
        if any(_WAVEFORM.fullmatch(c) for c in cells) and sum(bool(_WAVEFORM.fullmatch(c)) for c in cells) >= 2:
            return k, cells
        # a numbered family, or a current beside a voltage of terminals such as Drain, Gate, Anode
        found = [_TERMINAL.fullmatch(c) for c in cells]
        terminal = [m for m in found if m and m["name"] and m["name"][0].isupper() and m["kind"] in "IV"]
        numbered = [m for m in terminal if m["run"]]
        if terminal and (numbered or len(terminal) == len(cells)) and {"I"} <= {m["kind"] for m in terminal}:
            return k, cells
    return None


def blocks(document: Document, options: Options) -> list[Block]:
    """One block a run: a sheet, or a numbered family in it.

    Raises
    ------
    AbortedError
        No run with data.
    ReadError
        Waveforms, from which no state is taken.
    """
    runs = [p for p in document.parts if (p.sheet or "").strip().lower() not in _NO_RUN]
    if options.sheet is not None:
        from .plain import chosen_sheet

        runs = [chosen_sheet(document, options)]
    out: list[Block] = []
    for part in runs:
        if sum(1 for line in part.lines if any(parse(c) and not is_missing(c) for c in line.split(_separator(part)))) < FEWEST:
            continue
        out += [replace(b, cycle=len(out) + k) for k, b in enumerate(_blocks(part, document))]
    if not out:
        raise AbortedError("there is no run with data; leave the file out", file=document.name)
    return out


def _blocks(source: Source, document: Document) -> list[Block]:
    found = _columns(source)
    device = document.path.stem
    if found is None:
        return [Block(source, device=device)]
    k, names = found
    if any(_WAVEFORM.fullmatch(n) for n in names):
        raise ReadError(
            "these are waveforms (samples within pulses), not states after pulses; reduce each pulse to the mean of its read "
            "plateau and give one line a pulse",
            file=source.name,
            line=source.numbered()[k][0],
        )
    numbered = source.numbered()
    sign = _separator(source)
    body: list[tuple[int, list[str]]] = []
    for n, line in numbered[k + 1 :]:
        cells = [c.strip() for c in line.split(sign)]
        if not any(cells):
            if body:
                break  # settings may follow after blank lines
            continue
        body.append((n, cells))
    lower = [n.lower() for n in names]
    if set(_ALTERNATING) <= set(lower):
        return [_alternating(source, device, numbered[k][0], names, body)]
    families: dict[int, list[int]] = {}
    for j, name in enumerate(names):
        terminal = _TERMINAL.fullmatch(name)
        run = int(terminal["run"]) if terminal and terminal["run"] else 0
        families.setdefault(run, []).append(j)
    shared = families.pop(0, []) if len(families) > 1 else []
    out = []
    for members in families.values():
        chosen = [*shared, *members]
        header = sign.join(_titled(name) if j in chosen else "" for j, name in enumerate(names))
        rows = []
        for n, cells in body:
            kept = [c if j in chosen else "" for j, c in enumerate(cells)]
            if any(kept):
                rows.append((n, sign.join(kept)))
        out.append(Block(source.part([(numbered[k][0], header), *rows], sign), device=device))
    return out


def _titled(name: str) -> str:
    """The name with its unit, which the 4200 does not write: I is in A, V in V, Time in s, R in ohm."""
    terminal = _TERMINAL.fullmatch(name)
    if name.lower() in ("time", "t"):
        return f"{name} (s)"
    return f"{terminal['name']}{terminal['kind']} ({_UNITS[terminal['kind']]})" if terminal else name


def _alternating(source: Source, device: str, line: int, names: list[str], body: list[tuple[int, list[str]]]) -> Block:
    """A SET and a RESET pulse a row, each with its resistance: two reads in order of time."""
    lower = [n.lower() for n in names]
    up, down = lower.index("setr"), lower.index("resetr")
    voltage = next((j for j, n in enumerate(lower) if n in ("readv", "vread")), None)
    rows = [(line, "direction,R (ohm)" + (",Vread (V)" if voltage is not None else ""))]
    for n, cells in body:
        read = "," + cells[voltage] if voltage is not None and voltage < len(cells) else ("," if voltage is not None else "")
        for word, j in (("up", up), ("down", down)):
            rows.append((n, f"{word},{cells[j] if j < len(cells) else ''}{read}"))
    return Block(
        source.part(rows, ","),
        device=device,
        assumptions=("each row is a SET pulse with its resistance, then a RESET pulse with its own",),
    )
