"""One line a ramp: lines of unequal length that begin with the name of a device, then words, then reads."""

from __future__ import annotations

import re

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.numbers import is_missing, parse
from fitlab.io.reading import FEWEST, Match, Options
from fitlab.io.roles import DOWN_WORDS, UP_WORDS
from fitlab.io.text import Document

NAME = "ramps"

_WORDS = frozenset(
    {"erase", "program", "prog", "set", "reset", "up", "down", "ltp", "ltd", "pot", "dep", "potentiation", "depression"}
)


def _fields(line: str) -> list[str]:
    """Fields between commas, tabs or semicolons; a name in parentheses is one."""
    held = re.sub(r"\([^()]{0,80}\)", lambda found: re.sub(r"[,;\t]", "\0", found[0]), line)
    return [f.strip().replace("\0", ",") for f in re.split(r"[,;\t]", held)]


def _ramp(line: str) -> tuple[str, str | None, str, list[str]] | None:
    """Device, direction, width and reads of a line."""
    fields = _fields(line)
    while fields and not fields[-1]:
        fields.pop()
    start = 1
    while start < len(fields) and (parse(fields[start]) is None or fields[start].lower() in _WORDS):
        start += 1
    words = fields[1:start]
    said = [w.lower() for w in words if w.lower() in UP_WORDS | DOWN_WORDS]
    if not fields or not said or len(fields) - start < 2 or parse(fields[0]) is not None:
        return None
    width = next((w.split("=")[1].strip() for w in words if re.match(r"t\w*=", w)), "")
    return fields[0], said[0], width, fields[start:]


def match(document: Document, options: Options) -> Match:
    """Nearly all lines are ramps, of several lengths."""
    if len(document.parts) > 1:
        return Match(0.0, "a workbook")
    lines = [line for line in document.parts[0].lines[:200] if line.strip() and not line.lstrip().startswith("#")]
    found = [r for r in map(_ramp, lines) if r is not None]
    if len(found) >= 2 and len(found) >= 0.8 * len(lines):
        return Match(0.95, "lines that begin with a device, a direction and hold a ramp")
    return Match(0.0, "lines are no ramps")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block: device, cycle, direction, read; the first ramp of a device in a direction belongs to cycle 0, and so on.

    Raises
    ------
    ReadError
        A line that is no ramp, or too short a ramp.
    """
    source = document.parts[0]
    rows: list[tuple[int, str]] = []
    seen: dict[tuple[str, bool], int] = {}
    header = None
    for n, line in source.numbered():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        ramp = _ramp(line)
        if ramp is None:
            if header is None and not rows:
                header = line
                continue
            raise ReadError("this line is no ramp (device, direction, reads ...)", file=source.name, line=n)
        device, direction, width, reads = ramp
        up = direction in UP_WORDS
        cycle = seen.get((device, up), 0)
        seen[device, up] = cycle + 1
        if sum(1 for r in reads if not is_missing(r) and parse(r) is not None) < FEWEST:
            raise ReadError(f"the ramp of device {device} has fewer than {FEWEST} reads", file=source.name, line=n)
        for k, read in enumerate(reads):
            if parse(read) is None:
                at = len(_fields(line)) - len(reads) + k + 1
                raise ReadError(
                    f"'{read}' is not a number; write a number or leave the field empty", file=source.name, line=n, column=at
                )
            rows.append((n, f"{device}\t{cycle}\t{'up' if up else 'down'}\t{width}\t{read}"))
    if not rows:
        raise ReadError("the file has no ramp; choose another --format", file=source.name)
    title = (rows[0][0], "device\tcycle\tdirection\twidth (s)\tvalue")
    return [
        Block(
            source.part([title, *rows], "\t"),
            mapping={"device": "device", "cycle": "cycle", "direction": "direction", "value": "value"},
            layout="long",
            ramps_apart=True,
            assumptions=("each line is one ramp; the first read of a ramp was taken after its first pulse; ramps do not join",),
        )
    ]
