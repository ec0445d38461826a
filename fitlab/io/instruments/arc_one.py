"""ArC ONE: a session name, a date, then one line a READ or WRITE, grouped by device."""

from __future__ import annotations

import re

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.numbers import parse
from fitlab.io.reading import Match, Options
from fitlab.io.text import AbortedError, Document

NAME = "arc_one"

_MAPPING = {
    "device": "device",
    "cycle": "cycle",
    "amplitude": "pulse voltage (V)",
    "width": "width (s)",
    "value": "Resistance (ohm)",
}
_NAMES = ("wordline", "bitline", "resistance")


def _header(document: Document) -> tuple[int, list[str]] | None:
    for k, line in enumerate(document.parts[0].lines[:12]):
        cells = [c.strip().strip('"').lower() for c in line.split(",")]
        if tuple(cells[:3]) == _NAMES and any(c.startswith("amplitude") for c in cells):
            return k, cells
    return None


def match(document: Document, options: Options) -> Match:
    """Columns Wordline, Bitline, Resistance, Amplitude."""
    if len(document.parts) == 1 and _header(document) is not None:
        return Match(0.99, "the columns of ArC ONE")
    return Match(0.0, "not the columns of ArC ONE")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block: device, cycle (a module run each), signed pulse, resistance after it.

    Raises
    ------
    AbortedError
        No line after the names.
    """
    source = document.parts[0]
    found = _header(document)
    if found is None:
        raise ReadError("there are no columns Wordline, Bitline, Resistance; choose another --format", file=source.name)
    k, names = found
    numbered = source.numbered()
    at = {
        key: next((j for j, n in enumerate(names) if n.startswith(key)), None)
        for key in ("amplitude", "pulse width", "tag", "readvoltage")
    }
    rows: list[tuple[int, str]] = []
    cycles: dict[str, int] = {}
    opened: dict[str, bool] = {}
    left_out = 0
    volts: set[float] = set()
    for n, line in numbered[k + 1 :]:
        cells = [c.strip().strip('"') for c in line.split(",")]
        if not any(cells):
            continue

        def cell(key: str, cells: list[str] = cells) -> str:
            j = at[key]
            return cells[j] if j is not None and j < len(cells) else ""

        tag = cell("tag")
        if tag.startswith("CT"):  # curve tracer: a line of current over voltage
            left_out += 1
            continue
        device = f"W{cells[0]}B{cells[1] if len(cells) > 1 else ''}"
        cycles.setdefault(device, 0)
        if re.search(r"_s\b", tag):
            cycles[device] += opened.get(device, False)
            opened[device] = True
        read = parse(cell("readvoltage"))
        if read and read[0]:
            volts.add(read[0])
        width = parse(cell("pulse width"))
        is_read = tag.startswith(("S R", "F R")) or (width is not None and width[0] == 0)
        amplitude = "" if is_read else cell("amplitude")
        rows.append(
            (
                n,
                ",".join(
                    [
                        device,
                        str(cycles[device]),
                        amplitude,
                        "0" if is_read else cell("pulse width"),
                        cells[2] if len(cells) > 2 else "",
                    ]
                ),
            )
        )
    if not rows:
        raise AbortedError("the session holds no read of a pulse response; leave the file out", file=source.name, line=k + 1)
    header = (numbered[k][0], "device,cycle,pulse voltage (V),width (s),Resistance (ohm)")
    warnings: tuple[str, ...] = (
        (f"{left_out} lines of the curve tracer are no pulse response and were left out",) if left_out else ()
    )
    if len(volts) > 1:
        warnings += (f"the read voltage changes ({min(volts):g} to {max(volts):g} V)",)
    return [
        Block(
            source.part([header, *rows], ","),
            read_voltage_V=volts.pop() if len(volts) == 1 else None,
            mapping={
                "device": "device",
                "cycle": "cycle",
                "amplitude": "pulse voltage (V)",
                "width": "width (s)",
                "value": "Resistance (ohm)",
            },
            layout="long",
            assumptions=("a resistance was read after the pulse of its line",),
            warnings=warnings,
        )
    ]
