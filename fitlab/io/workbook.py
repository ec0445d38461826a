"""Sheets of a workbook as lines of tab-separated text, so that what reads text reads them; line and field are row and column."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fitlab.errors import ReadError

from .numbers import is_missing, parse
from .text import Source

MOST_CELLS = 20_000_000


def sheets(data: bytes, path: Path, sha256: str) -> tuple[Source, ...]:
    """The sheets of an .xlsx or .xls workbook that hold anything.

    Raises
    ------
    ReadError
        A damaged or protected workbook, one that is none, or formulas without stored values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of features that hold no data: conditional formats, validation
            found = list(_xlsx(data) if data.startswith(b"PK") else _xls(data))
    except ReadError:
        raise
    except Exception as error:  # the libraries raise whatever a damaged file makes them stumble over
        raise ReadError(
            f"the workbook cannot be opened ({type(error).__name__}); save it again as .xlsx without password, or as CSV",
            file=path.name,
        ) from None
    out = []
    for name, rows, formulas in found:
        if not any(cell for row in rows for cell in row):
            if formulas:
                raise ReadError(
                    "the sheet holds formulas without stored values; open and save it in a spreadsheet program, or export CSV",
                    file=f"{path.name}[{name}]",
                )
            continue
        rows, notes = _main_block(rows)
        lines = tuple("\t".join(row) for row in rows)
        out.append(Source(path, sha256, lines, "workbook", notes=tuple(notes), separator="\t", sheet=name))
    if not out:
        raise ReadError("the workbook holds no cell with a value", file=path.name)
    return tuple(out)


def _xlsx(data: bytes) -> Iterable[tuple[str, list[list[str]], bool]]:
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    for sheet in book.worksheets:
        rows, cells = [], 0
        for values in sheet.iter_rows(values_only=True):
            cells += len(values)
            if cells > MOST_CELLS:
                raise ReadError(f"a sheet has more than {MOST_CELLS} cells; save the data alone as CSV", file=sheet.title)
            rows.append([_text(v) for v in values])
        empty = not any(cell for row in rows for cell in row)
        yield sheet.title, _without_tail(rows), empty and _has_formulas(data, sheet.title)


def _has_formulas(data: bytes, title: str) -> bool:
    import openpyxl

    sheet = openpyxl.load_workbook(io.BytesIO(data), read_only=True)[title]
    return any(v is not None for row in sheet.iter_rows(values_only=True, max_row=200) for v in row)


def _xls(data: bytes) -> Iterable[tuple[str, list[list[str]], bool]]:
    import xlrd

    book = xlrd.open_workbook(file_contents=data, logfile=io.StringIO())
    for sheet in book.sheets():
        rows = [[_text(sheet.cell_value(r, c)) for c in range(sheet.ncols)] for r in range(sheet.nrows)]
        yield sheet.name, _without_tail(rows), False


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return " ".join(str(value).split())


def _without_tail(rows: list[list[str]]) -> list[list[str]]:
    while rows and not any(rows[-1]):
        rows.pop()
    width = max((k + 1 for row in rows for k, cell in enumerate(row) if cell), default=0)
    return [row[:width] + [""] * (width - len(row)) for row in rows]


def _main_block(rows: list[list[str]]) -> tuple[list[list[str]], list[str]]:
    """The sheet with side notes blanked, and the notes.

    Blocks are runs of columns between empty ones. The block with the most numbers is the table, and a block with less than a
    twentieth of them a note; blocks of alike size stay, since they may be one table.
    """
    width = len(rows[0])
    filled = [any(row[k] for row in rows) for k in range(width)]
    blocks: list[range] = []
    start = None
    for k in range(width + 1):
        inside = k < width and filled[k]
        if inside and start is None:
            start = k
        elif not inside and start is not None:
            blocks.append(range(start, k))
            start = None
    if len(blocks) < 2:
        return rows, []
    numbers = [_numbers(rows, block) for block in blocks]
    side = [block for block, count in zip(blocks, numbers, strict=True) if count * 20 < max(numbers)]
    notes = []
    for block in side:
        for row in rows:
            text = " ".join(row[k] for k in block if row[k])
            if text:
                notes.append(text)
            for k in block:
                row[k] = ""
    return _without_tail(rows), notes


def _numbers(rows: Sequence[Sequence[str]], block: range) -> int:
    return sum(1 for row in rows for k in block if not is_missing(row[k]) and parse(row[k]) is not None)
