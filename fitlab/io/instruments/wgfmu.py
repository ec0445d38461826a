"""WGFMU bench programs (B1530A through custom software): key<TAB>value lines, `Measurement Data`, a comma table.

Each row is one pulse of its own amplitude with two reads of resistance, at minus and at plus the read voltage.
"""

from __future__ import annotations

import re

from fitlab.io.block import Block
from fitlab.io.numbers import parse
from fitlab.io.reading import Match, Options
from fitlab.io.text import AbortedError, Document

NAME = "wgfmu"

READ_VOLTAGE = 0.1
LARGEST_OHM = 1e11
"""Resistances above are an open contact."""
_START = "measurement data"


def match(document: Document, options: Options) -> Match:
    """The title lines of the bench program."""
    head = [line.split("\t")[0].strip().lower() for line in document.parts[0].lines[:12]]
    keys = {"setup title", "device id", "test date"} & set(head)
    if len(document.parts) == 1 and "setup title" in keys and len(keys) == 3:
        return Match(0.98, "the title lines of a WGFMU bench program")
    return Match(0.0, "no title lines of a WGFMU bench program")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block a run; a joined file has several, where the index starts anew.

    Raises
    ------
    AbortedError
        No `Measurement Data`, or no row after it.
    """
    source = document.parts[0]
    numbered = source.numbered()
    title = {key.strip().lower(): value.strip() for key, tab, value in (line.partition("\t") for line in source.lines) if tab}
    start = next((k for k, (_, line) in enumerate(numbered) if line.strip().lower() == _START), None)
    body = [(n, line) for n, line in numbered[start + 1 :] if line.strip()] if start is not None else []
    if len(body) < 2:
        raise AbortedError(
            "the run was aborted: there is no Measurement Data; leave the file out", file=source.name, line=numbered[-1][0]
        )
    header, rows = body[0], [(n, _masked(line)) for n, line in body[1:]]
    runs: list[list[tuple[int, str]]] = []
    before = None
    for n, line in rows:
        index = parse(line.split(",")[0])
        value = index[0] if index else None
        if before is None or (value is not None and value <= before):
            runs.append([])
        runs[-1].append((n, line))
        before = value if value is not None else before
    device = title.get("device id") or source.path.stem
    names = [name.strip() for name in header[1].split(",")]
    stimulus = next((name for name in names if re.search(r"amplitude|width", name)), None)
    reads = [name for name in names if name.startswith("R_")]
    mapping = {}
    if "R_high (ohm)" in reads and "value" not in options.mapping:
        mapping["value"] = "R_high (ohm)"
        if "R_low (ohm)" in reads:
            mapping["ignore"] = "R_low (ohm)"
    if stimulus is not None and "amplitude" in stimulus:
        mapping["amplitude"] = stimulus
    count = parse(title.get("count", ""))
    first = int(count[0]) if count and count[0] == count[0] else 0
    return [
        Block(
            source.part([header, *run], ","),
            device=device,
            cycle=first + k,
            read_voltage_V=READ_VOLTAGE,
            mapping=mapping,
            layout="trace",
            assumptions=(
                f"R_high, at +{READ_VOLTAGE:g} V, is the read; R_low, at -{READ_VOLTAGE:g} V, is a second one of the same pulse: "
                "--map value='R_low (ohm)' takes it instead",
                f"a resistance of -1 is a failed read, one above {LARGEST_OHM:g} ohm an open contact: both are flagged",
            ),
        )
        for k, run in enumerate(runs)
    ]


def _masked(line: str) -> str:
    """The line with failed reads and open contacts in the codes that every reader knows."""
    cells = line.split(",")
    for k in range(2, len(cells)):
        found = parse(cells[k])
        if found is not None and found[0] == -1.0:
            cells[k] = "-999"
        elif found is not None and found[0] > LARGEST_OHM:
            cells[k] = "9.9E37"
    return ",".join(cells)
