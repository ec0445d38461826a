"""Agilent 4155/4156 spreadsheet save: a comment, the sweep in words, a line of names that begins with `NO.`, one of units."""

from __future__ import annotations

import re

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.reading import Match, Options
from fitlab.io.text import Document
from fitlab.io.units import parse_unit

NAME = "hp4155"

_SIGNS = (",", "\t", ";", " ")


def _cells(line: str, sign: str) -> list[str]:
    return [c.strip().strip("\"'").strip() for c in (line.split() if sign == " " else line.split(sign))]


def _names(document: Document) -> tuple[int, str] | None:
    """Position of the line of names, and the sign between fields: names, then a line of units or blanks."""
    lines = document.parts[0].lines[:60]
    for k, line in enumerate(lines[:-1]):
        for sign in _SIGNS:
            cells, units = _cells(line, sign), _cells(lines[k + 1], sign)
            if (
                len(cells) > 1
                and cells[0].upper() == "NO."
                and len(units) == len(cells)
                and all(not u or parse_unit(u) for u in units)
            ):
                return k, sign
    return None


def match(document: Document, options: Options) -> Match:
    """The two lines of names and units."""
    if len(document.parts) == 1 and _names(document) is not None:
        return Match(0.96, "lines of names and units as of a 4155 or 4156")
    return Match(0.0, "no lines of names and units")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block.

    Raises
    ------
    ReadError
        A sweep of the voltage, which is no pulse response.
    """
    source = document.parts[0]
    found = _names(document)
    if found is None:
        raise ReadError("there is no line of names that begins with NO.; choose another --format", file=source.name)
    k, sign = found
    above = " ".join(source.lines[:k])
    if re.search(r"[\"']?to[\"']?.{1,40}[\"']?step[\"']?", above) and "direction" not in options.mapping:
        raise ReadError(
            "the file is a sweep of the voltage ('to ... step'), no response to pulses; if it is one, name the direction of the "
            "pulses with --map direction=COLUMN",
            file=source.name,
            line=max(k, 1),
        )
    names, units = _cells(source.lines[k], sign), _cells(source.lines[k + 1], sign)
    numbered = source.numbered()
    joint = "," if sign == " " else sign
    header = joint.join(f"{n} ({u})" if u else n for n, u in zip(names, units, strict=True))
    body = [(n, joint.join(_cells(line, sign))) for n, line in numbered[k + 2 :] if line.strip()]
    return [Block(source.part([(numbered[k][0], header), *body], joint))]
