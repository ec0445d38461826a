"""Several files as one measurement: copies, joined runs, pairs of up and down files, devices of each file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from fitlab.errors import ReadError

from .record import Origin, Run, joined
from .roles import DOWN_NAME, UP_NAME
from .text import Document


def distinct(documents: list[Document]) -> tuple[list[Document], list[str]]:
    """Documents without those of the same content, and the names of the copies."""
    kept: dict[str, Document] = {}
    copies = []
    for document in documents:
        if document.sha256 in kept:
            copies.append(document.name)
        else:
            kept[document.sha256] = document
    return list(kept.values()), copies


def without_joined(documents: list[Document], skipped: list[str]) -> list[Document]:
    """Without files that only join the lines of others, as bench programs write them beside the single runs."""
    joined = {d.path: d for d in documents if re.search(r"\(ALL\)|_all\b", d.path.stem, re.IGNORECASE)}
    if not joined or len(documents) == len(joined):
        return documents
    single = {_unnumbered(line) for d in documents if d.path not in joined for part in d.parts for line in part.lines}
    out, dropped = [], []
    for document in documents:
        if document.path in joined:
            lines = [line for part in document.parts for line in part.lines if re.match(r"\s*\d", line)]
            if lines and all(_unnumbered(line) in single for line in lines):
                dropped.append(document.name)
                continue
        out.append(document)
    if dropped:
        skipped.append(f"{len(dropped)} files join runs that are given one by one and were left out: {', '.join(dropped)}")
    return out


def _unnumbered(line: str) -> str:
    """A line without its first field, which a joined file numbers on."""
    return line.partition(",")[2].strip()


def pair(documents: list[Document]) -> tuple[Document, Document] | None:
    """The up and the down file, where two names say so."""
    if len(documents) != 2:
        return None
    names = [s.path.stem.lower() for s in documents]
    is_up = [bool(UP_NAME.search(n)) and not DOWN_NAME.search(n) for n in names]
    is_down = [bool(DOWN_NAME.search(n)) and not UP_NAME.search(n) for n in names]
    if is_up[0] and is_down[1]:
        return documents[0], documents[1]
    if is_up[1] and is_down[0]:
        return documents[1], documents[0]
    return None


def branch_sheets(documents: list[Document]) -> tuple[Document, Document] | None:
    """The up and the down sheet of one workbook, each as a document, where the names of its only two sheets say so."""
    if len(documents) != 1:
        return None
    document = documents[0]
    named = [p for p in document.parts if p.sheet is not None and any(line.strip() for line in p.lines)]
    if len(named) != 2:
        return None
    names = [str(p.sheet).lower() for p in named]
    up = [p for p, n in zip(named, names, strict=True) if UP_NAME.search(n) and not DOWN_NAME.search(n)]
    down = [p for p, n in zip(named, names, strict=True) if DOWN_NAME.search(n) and not UP_NAME.search(n)]
    if len(up) != 1 or len(down) != 1:
        return None
    return replace(document, parts=(up[0],)), replace(document, parts=(down[0],))


def add_cycles(runs: list[Run], own: list[Run]) -> None:
    """Add runs of devices that may be there already: their cycles follow."""
    taken = {(r.device, r.cycle) for r in runs}
    if any((r.device, r.cycle) in taken for r in own):
        last = {r.device: 0 for r in runs}
        for r in runs:
            last[r.device] = max(last[r.device], r.cycle)
        for r in own:
            r.cycle += last.get(r.device, -1) + 1
    runs += own


def join(up: tuple[list[Run], Origin], down: tuple[list[Run], Origin]) -> tuple[list[Run], Origin]:
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
        out.append(joined(both, device or name, cycle))
    merged = Origin(
        f"{origin.source} + {other.source}",
        hashlib.sha256((origin.sha256 + other.sha256).encode()).hexdigest(),
        origin.reader,
        origin.unit,
        origin.read_voltage_V or other.read_voltage_V,
        origin.instrument,
        origin.digitised or other.digitised,
        assumptions=list(
            dict.fromkeys(
                [
                    *origin.assumptions,
                    *other.assumptions,
                    "the first file or sheet holds up pulses, the second down pulses; ramps do not join"
                    if origin.source == other.source
                    else f"{origin.source} holds up pulses, {other.source} down pulses; ramps do not join",
                ]
            )
        ),
        warnings=list(dict.fromkeys([*origin.warnings, *other.warnings])),
    )
    return out, merged


def together(parts: list[tuple[list[Run], Origin]]) -> tuple[list[Run], Origin]:
    """Runs of several files, each with devices of its own, as one."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0][1]
    runs: list[Run] = []
    for own, origin in parts:
        if origin.unit != first.unit:
            raise ReadError(
                f"the unit is {origin.unit} here but {first.unit} in {first.source}; fit them apart", file=origin.source
            )
        if origin.read_voltage_V != first.read_voltage_V:
            raise ReadError(
                f"the read voltage is {origin.read_voltage_V} V here but {first.read_voltage_V} V in {first.source}; give one "
                "for all with --read-voltage, or fit them apart",
                file=origin.source,
            )
        if origin.instrument != "table":
            add_cycles(runs, own)  # the instrument names its devices
            continue
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
        first.instrument,
        any(o.digitised for _, o in parts),
        assumptions=list(dict.fromkeys(a for _, o in parts for a in o.assumptions)),
        warnings=list(dict.fromkeys(w for _, o in parts for w in o.warnings)),
    )
    return runs, merged
