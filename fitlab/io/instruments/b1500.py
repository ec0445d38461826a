"""Keysight B1500A, EasyEXPERT text export: records of `SetupTitle` ... `DataName` ... `DataValue` lines.

The format has no pulse numbers: a record is a trace of reads in time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.numbers import parse
from fitlab.io.reading import Match, Options
from fitlab.io.text import AbortedError, Document, Source

NAME = "b1500"

_KEYWORDS = ("setuptitle", "primitivetest", "testparameter", "metadata", "analysissetup", "dimension1", "dataname", "datavalue")
_QUANTITY = {"v": "V", "i": "A", "t": "s", "g": "S", "r": "ohm"}

Fields = list[str]


def match(document: Document, options: Options) -> Match:
    """`SetupTitle` and `DataName` lines."""
    if len(document.parts) > 1:
        return Match(0.0, "a workbook")
    words = {line.split(",")[0].strip().lower() for line in document.parts[0].lines[:2000]}
    found = len(words & set(_KEYWORDS))
    if "dataname" in words and found >= 3:
        return Match(0.98, "the keywords of an EasyEXPERT export")
    return Match(0.0, "no keywords of an EasyEXPERT export")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block a record, or one a repetition of a family.

    Raises
    ------
    AbortedError
        No record with data.
    ReadError
        A sweep of the voltage, which is no pulse response.
    """
    source = document.parts[0]
    out = [block for record in _records(source) for block in _blocks(source, record)]
    if not out:
        raise AbortedError("the export has no DataValue line: the run was aborted; leave the file out", file=source.name, line=1)
    return out


def _records(source: Source) -> Iterator[list[tuple[int, Fields]]]:
    record: list[tuple[int, Fields]] = []
    for number, line in source.numbered():
        fields = [f.strip() for f in line.split(",")]
        if fields[0].lower() == "setuptitle" and record:
            yield record
            record = []
        if fields[0]:
            record.append((number, fields))
    if record:
        yield record


def _blocks(source: Source, record: list[tuple[int, Fields]]) -> Iterator[Block]:
    said: dict[str, Fields] = {}
    rows: list[tuple[int, Fields]] = []
    header: tuple[int, Fields] | None = None
    for number, fields in record:
        keyword = fields[0].lower()
        if keyword in ("testparameter", "metadata", "analysissetup") and len(fields) > 1:
            said[fields[1]] = fields[2:]
        elif keyword == "dataname":
            header = (number, fields)
        elif keyword == "datavalue":
            rows.append((number, fields))
        else:
            said[fields[0]] = fields[1:]
    if header is None or not rows:
        return
    kind = " ".join(said.get("PrimitiveTest", []))
    if "sweep" in kind.lower():
        raise ReadError(
            f"the record is an '{kind}', a sweep of the voltage and no response to pulses; give records of sampling (I/V-t)",
            file=source.name,
            line=record[0][0],
        )
    names = [n for n in header[1][1:] if n]
    units = _units(said, names)
    titled = (header[0], "," + ",".join(f"{n} ({u})" if u else n for n, u in zip(names, units, strict=True)))
    target = " ".join(said.get("TestRecord.TestTarget", [])).strip()
    bracket = re.search(r"\[([^\];(]+)", source.path.stem)
    device = target or (bracket[1].strip() if bracket else None)
    index = parse((said.get("TestRecord.IterationIndex") or [""])[0])
    cycle = int(index[0]) if index and index[0] == index[0] else 0
    size = parse((said.get("Dimension1") or [""])[0])
    repeats = parse((said.get("Dimension2") or ["1"])[0])
    length = len(rows)
    warning: tuple[str, ...] = ()
    if size and repeats and size[0] == size[0] and repeats[0] == repeats[0]:
        if int(size[0]) * int(repeats[0]) != len(rows):
            expected = int(size[0]) * int(repeats[0])
            warning = (f"the record announces {expected} rows and holds {len(rows)}: the run was cut short",)
        length = max(1, int(size[0])) if int(repeats[0]) > 1 else len(rows)
    voltage = _read_voltage(said, names, units, rows)
    for k, start in enumerate(range(0, len(rows), length)):
        part = [(n, "," + ",".join(fields[1 : len(names) + 1])) for n, fields in rows[start : start + length]]
        yield Block(
            source.part([titled, *part], ","),
            device=device,
            cycle=cycle + k,
            read_voltage_V=voltage,
            warnings=warning,
            assumptions=("the export has no pulse numbers: every read follows one pulse",),
        )


def _units(said: dict[str, Fields], names: Fields) -> Fields:
    """Units of the data by what the channels call their voltages and currents, else by first letter."""
    known: dict[str, str] = {}
    for key, unit in (("Channel.VName", "V"), ("Channel.IName", "A"), ("Measurement.TimeName", "s")):
        known |= {name: unit for name in said.get(key, []) if name}
    return [
        known.get(n) or ("" if n.lower() in ("index", "no", "no.", "pulse", "time") else _QUANTITY.get(n[:1].lower(), ""))
        for n in names
    ]


def _read_voltage(said: dict[str, Fields], names: Fields, units: Fields, rows: list[tuple[int, Fields]]) -> float | None:
    """The constant voltage of the data; else the bias of the unit whose current is there."""
    for k, unit in enumerate(units):
        cells = {fields[k + 1] for _, fields in rows if k + 1 < len(fields)}
        if unit == "V" and len(cells) == 1:
            found = parse(cells.pop())
            if found and found[0]:
                return found[0]
    bias = [parse(b) for b in said.get("Measurement.Bias.Source", [])]
    volts = {b[0] for b in bias if b and b[0] == b[0] and b[0] != 0}
    return volts.pop() if len(volts) == 1 else None
