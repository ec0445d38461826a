"""A plain table: the file as it is, or one sheet of a workbook."""

from __future__ import annotations

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.numbers import is_missing, parse
from fitlab.io.reading import FEWEST, Match, Options
from fitlab.io.text import Document, Source

NAME = "table"


def match(document: Document, options: Options) -> Match:
    """Anything, if nothing else."""
    return Match(0.3, "a table")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block.

    Raises
    ------
    ReadError
        A workbook with several sheets of numbers, or without the sheet that is asked for.
    """
    return [Block(chosen_sheet(document, options))]


def chosen_sheet(document: Document, options: Options) -> Source:
    """The part of a document that the user chose, or the only one with numbers."""
    parts = document.parts
    names = [p.sheet or "" for p in parts]
    if options.sheet is not None:
        wanted = options.sheet.strip()
        if wanted in names:
            return parts[names.index(wanted)]
        if wanted.isdecimal() and 1 <= int(wanted) <= len(parts) and names != [""]:
            return parts[int(wanted) - 1]
        listed = ", ".join(f"'{n}'" for n in names if n) or "none: this is no workbook"
        raise ReadError(f"--sheet {options.sheet}: there is no such sheet; the sheets are {listed}", file=document.name)
    if len(parts) == 1:
        return parts[0]
    full = [p for p in parts if _rows_of_numbers(p) >= FEWEST]
    if len(full) == 1:
        return full[0]
    listed = ", ".join(f"'{p.sheet}' ({_rows_of_numbers(p)} rows of numbers)" for p in parts)
    raise ReadError(f"the workbook has several sheets: {listed}; choose with --sheet NAME", file=document.name)


def _rows_of_numbers(source: Source) -> int:
    return sum(1 for line in source.lines if any(not is_missing(cell) and parse(cell) is not None for cell in line.split("\t")))
