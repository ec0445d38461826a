"""Lines to a table: separator, decimal sign, header, notes, and every number with its place in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fitlab.errors import ReadError

from .numbers import has_decimal_comma, has_suffix, is_missing, parse
from .record import MISSING
from .text import Source
from .units import Header, parse_header, parse_unit

_NUMBER_UNIT = re.compile(r"([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*([a-zA-Z\u00b5\u03bc\u03a9\u2126]+)")
_COMMENT = ("#", "%", "//", "!")


@dataclass(eq=False)
class Column:
    """One column: its header, numbers (NaN in text columns), flags and cells as written."""

    header: Header
    values: NDArray[np.float64]
    flags: NDArray[np.uint8]
    cells: list[str]
    numeric: bool
    number: int

    @property
    def label(self) -> str:
        """Header, or the column's number where there is none."""
        return self.header.text or f"column {self.number}"

    @property
    def present(self) -> NDArray[np.bool_]:
        """Cells that hold a number."""
        return np.isfinite(self.values)


@dataclass
class Table:
    """Largest rectangular numeric block of a file.

    Attributes
    ----------
    lines : line number of each row, from 1
    notes : lines outside the block, comment signs taken off
    header_line : line number of the header, None without one
    """

    source: Source
    columns: list[Column]
    lines: list[int]
    notes: list[str]
    header_line: int | None
    assumptions: list[str]

    def error(self, what: str, row: int | None = None, column: Column | None = None) -> ReadError:
        """A ReadError at a place of this table."""
        line = self.lines[row] if row is not None else None
        return ReadError(what, file=self.source.name, line=line, column=column.number if column and line else None)

    def header_error(self, what: str, column: Column | None = None) -> ReadError:
        """A ReadError at the header, or at a column's cell in it."""
        line = self.header_line
        return ReadError(what, file=self.source.name, line=line, column=column.number if column and line else None)

    def find(self, label: str) -> Column:
        """Column by header text, by name without unit, or by number from 1.

        Raises
        ------
        ReadError
            No such column.
        """
        wanted = label.strip().lower()
        for column in self.columns:
            if wanted in (column.header.text.lower(), column.header.name.lower(), str(column.number)):
                return column
        listed = ", ".join(c.label for c in self.columns)
        raise ReadError(f"there is no column '{label}'; the columns are {listed}", file=self.source.name)


def _split(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if '"' in line:
        parts = re.findall(rf'(?:^|{re.escape(separator)})\s*("(?:[^"]|"")*"|[^{re.escape(separator)}]*)', line)
        return [p.strip().strip('"') for p in parts]
    return [p.strip() for p in line.split(separator)]


def _numeric(cells: list[str], comma: bool) -> int:
    return sum(1 for c in cells if not is_missing(c) and parse(c, decimal_comma=comma) is not None)


def _separator(rows: list[str]) -> str:
    """The sign that splits most lines into the same number of fields, more than one."""
    sample = rows[:400]
    best, score = " ", 0.0
    for separator in (";", "\t", ",", "|", " "):
        counts = [len(_split(r, separator)) for r in sample]
        usual = max(set(counts), key=counts.count)
        if usual < 2:
            continue
        share = counts.count(usual) / len(counts)
        # blanks also stand after commas; a later sign must do clearly better
        if share > score + (0.15 if score else 0.0):
            best, score = separator, share
    if score < 0.5:
        return ","
    return best


def read_table(source: Source) -> Table:
    """Find the table in a text file.

    Raises
    ------
    ReadError
        No numeric block, text where a number is expected, lines with too many fields, or a decimal sign that cannot be
        told from the separator.
    """
    notes: list[str] = list(source.notes)
    named: tuple[int, str] | None = None
    rows: list[tuple[int, str]] = []
    for number, raw in source.numbered():
        line = raw.strip("\ufeff").rstrip(None if source.separator is None else "\r\n ")
        if not line.strip():
            continue
        if line.lstrip().startswith(_COMMENT) and not line.startswith(("#N/A", "#,", "#\t", "#;")):
            notes.append(line.lstrip("#%/! \t"))
            if not rows:
                named = (number, notes[-1])
            continue
        rows.append((number, line))
    if not rows:
        raise ReadError("the file holds no table, only comments", file=source.name)
    separator = source.separator or _separator([r for _, r in rows])
    cells = [_split(r, separator) for _, r in rows]
    comma = _decimal_comma(source, rows, cells, separator)
    assumptions = ["numbers have a decimal comma"] if comma else []
    if source.notes:
        assumptions.append(f"{len(source.notes)} lines beside the table are notes, not reads: '{source.notes[0][:60]}' ...")
    first = _first_data_row(cells, comma)
    if first is None:
        raise ReadError(
            "no rows of numbers were found; expected a table of one read a line, with an optional header",
            file=source.name,
            line=rows[0][0],
        )
    first = _with_missing(cells, first)
    last_row = _without_footer(rows, cells, comma, first)
    if last_row < len(rows):
        footer = [r for _, r in rows[last_row:]]
        assumptions.append(f"{len(footer)} lines after the table are notes, not reads: '{footer[0][:60]}' ...")
        notes += footer
        rows, cells = rows[:last_row], cells[:last_row]
    width = len(cells[first])
    body = range(first, len(rows))
    trailing = all(len(cells[i]) <= width and (len(cells[i]) < width or cells[i][-1] == "") for i in body) and width > 1
    header_row: list[str] | None = None
    header_line: int | None = None
    unit_row: list[str] | None = None
    above = [i for i in range(first) if len(cells[i]) >= 1]
    if above:
        last = above[-1]
        if (
            len(cells[last]) >= width - 1
            and all(c.strip() == "" or parse_unit(c.strip("[]() ")) for c in cells[last])
            and len(above) > 1
        ):
            unit_row, above = cells[last], above[:-1]
            last = above[-1]
        if separator == "," and 1 < len(cells[last]) < width and all(re.fullmatch(r"[+-]?\d+", c) for c in cells[first]):
            raise ReadError(
                f"{width} fields, but the header names {len(cells[last])} columns: the comma may be the separator and the "
                "decimal sign; save the file with ';' between columns or with decimal points",
                file=source.name,
                line=rows[first][0],
            )
        if len(cells[last]) >= width - (1 if trailing else 0) or width == 1:
            header_row, header_line, above = cells[last], rows[last][0], above[:-1]
        notes += [rows[i][1] for i in above]
    elif first == 0 and named is not None and _names_columns(_split(named[1], separator), width):
        header_line, header_row = named[0], _split(named[1], separator)
    if header_row and len(header_row) > width and any(h.strip() for h in header_row[width:]):
        raise ReadError(
            f"{width} fields, but the header names {len(header_row)} columns; every line needs one field a column",
            file=source.name,
            line=rows[first][0],
        )
    width -= 1 if trailing else 0
    headers = []
    for j in range(width):
        header = parse_header(header_row[j]) if header_row and j < len(header_row) else parse_header("")
        if unit_row and j < len(unit_row) and header.unit is None:
            unit = parse_unit(unit_row[j].strip("[]() "))
            if unit:
                header = Header(header.text, header.name, *unit)
        headers.append(header)
    if header_row and any(h.strip() and parse(h) is None for h in header_row):
        again = next((i for i in body if cells[i] == header_row or _second_header(cells, i, header_row, comma)), None)
        if again is not None:
            raise ReadError(
                "a second table begins here; save each as a file of its own (two named up and down, set and reset or LTP and LTD "
                "are read as one measurement)",
                file=source.name,
                line=rows[again][0],
            )
    columns = [_column(source, [r[0] for r in rows], cells, body, j, headers[j], comma, width) for j in range(width)]
    return Table(source, columns, [rows[i][0] for i in body], notes, header_line, assumptions)


def _names_columns(names: list[str], width: int) -> bool:
    """Whether the fields of the comment above the first row are names of its columns."""
    short = all(re.fullmatch(r"[^\d\W][^:=]{0,24}", n.strip()) and len(n.split()) <= 3 for n in names)
    return short and len(names) == width > 1 and len(set(names)) == width and any(parse_header(n).unit for n in names)


def _second_header(cells: list[list[str]], i: int, header: list[str], comma: bool) -> bool:
    """Whether a row inside the table begins as its header does, without a number, and numbers follow."""
    row = cells[i]
    if row[0] != header[0] or len(row) != len(header) or i + 1 == len(cells):
        return False
    return not any(is_missing(c) for c in row) and _numeric(row, comma) == 0 < _numeric(cells[i + 1], comma)


def _without_footer(rows: list[tuple[int, str]], cells: list[list[str]], comma: bool, first: int) -> int:
    """Number of rows without the text that follows the table after a blank line."""
    end = len(rows)
    while end > first + 1 and _numeric(cells[end - 1], comma) == 0 and not _only_missing(cells[end - 1]):
        end -= 1
    blank_before = end < len(rows) and rows[end][0] > rows[end - 1][0] + 1
    return end if blank_before else len(rows)


def _with_missing(cells: list[list[str]], first: int) -> int:
    """The first row of the body: rows before the first number that hold only words for a missing value belong to it."""
    while first > 0 and len(cells[first - 1]) == len(cells[first]) and _only_missing(cells[first - 1]):
        first -= 1
    return first


def _only_missing(row: list[str]) -> bool:
    return any(c.strip() for c in row) and all(is_missing(c) for c in row)


def _first_data_row(cells: list[list[str]], comma: bool) -> int | None:
    """First row with numbers that is followed by rows of the same kind."""
    for i, row in enumerate(cells):
        if _numeric(row, comma) == 0:
            continue
        named = sum(1 for c in row if not is_missing(c) and parse(c, decimal_comma=comma) is None)
        following = cells[i + 1 : i + 6]
        if not following:
            return i if named <= _numeric(row, comma) else None
        alike = sum(
            1 for r in following if _numeric(r, comma) >= max(1, _numeric(row, comma) - 1) and abs(len(r) - len(row)) <= 1
        )
        if alike * 2 >= len(following) and not (named and _more_numeric(following, row, comma)):
            return i
    return None


def _more_numeric(following: list[list[str]], row: list[str], comma: bool) -> bool:
    """Whether the rows below have numbers where this one has text: then it is a header with digits in it."""
    hits = 0
    for j, cell in enumerate(row):
        if is_missing(cell) or parse(cell, decimal_comma=comma) is not None:
            continue
        below = [r[j] for r in following if j < len(r)]
        if below and all(parse(c, decimal_comma=comma) is not None and not is_missing(c) for c in below):
            hits += 1
    return hits > 0


def _decimal_comma(source: Source, rows: list[tuple[int, str]], cells: list[list[str]], separator: str) -> bool:
    flat = [c for row in cells[:400] for c in row if c]
    joined = "\n".join(flat)
    with_comma = sum(has_decimal_comma(c) for c in flat) if "," in joined else 0
    with_point = re.search(r"(?m)^[+-]?\d*\.\d+([eE][+-]?\d+)?$", joined) is not None
    if separator != ",":
        if with_comma and with_point:
            line = next(n for (n, _), row in zip(rows, cells, strict=True) if any(has_decimal_comma(c) for c in row))
            raise ReadError(
                "numbers with a decimal comma and with a decimal point are mixed; use one of them", file=source.name, line=line
            )
        return with_comma > 0
    quoted = [c for c in flat if has_decimal_comma(c)] if with_comma else []
    if quoted and not with_point:
        if all(re.fullmatch(r"[+-]?\d{1,3},\d{3}", c) for c in quoted):
            line = next(n for (n, _), row in zip(rows, cells, strict=True) if any(has_decimal_comma(c) for c in row))
            raise ReadError(
                f"'{quoted[0]}' may be {quoted[0].replace(',', '.')} or {quoted[0].replace(',', '')}; save the file with decimal "
                "points and without signs between thousands",
                file=source.name,
                line=line,
            )
        return True
    if with_point:
        return False
    body = [row for row in cells if _numeric(row, False) == len(row) and len(row) >= 2][:400]
    if len(body) >= 5 and all(len(row) % 2 == 0 for row in body):
        odd = [c for row in body for c in row[1::2]]
        even = [c for row in body for c in row[0::2]]
        whole = all(re.fullmatch(r"[+-]?\d+", c) for c in even) and all(re.fullmatch(r"\d+([eE][+-]?\d+)?", c) for c in odd)
        if whole and (any(len(c) > 1 and c.startswith("0") for c in odd) or any(re.search("[eE]", c) for c in odd)):
            raise ReadError(
                "the comma could be the separator or the decimal sign; save the "
                "file with ';' between columns or with decimal points",
                file=source.name,
                line=rows[next(i for i, row in enumerate(cells) if row in body)][0],
            )
    return False


def _engineering(cells: list[str], values: NDArray[np.float64]) -> bool:
    """Whether numbers with and without suffix are one series of engineering notation, such as 980, 1.02k, 1.1k.

    At least three have a suffix, every number before it lies between 1 and 1000, and where one with a suffix follows one
    without, or the other way, the value changes by less than a factor of 2.
    """
    known = [k for k in range(len(cells)) if np.isfinite(values[k]) and values[k] != 0]
    suffix = np.array([has_suffix(cells[k]) for k in known])
    size = np.abs(values[known])
    mantissa = size / 1000.0 ** np.where(suffix, np.floor(np.log10(size) / 3 + 1e-9), 0)
    change = np.abs(np.diff(np.log(size)))[suffix[1:] != suffix[:-1]]
    return bool(suffix.sum() >= 3 and np.all((mantissa >= 1) & (mantissa < 1000)) and np.all(change < np.log(2)))


def _with_units(cells: list[str], comma: bool) -> tuple[NDArray[np.float64], str, NDArray[np.uint8]] | None:
    """Numbers (n,) in SI, their unit and flags where every cell that is not missing is a number with a unit, as 1.25 uS.

    Half of them have a decimal point or comma: 1A, 2A, 3A may be names.
    """
    values, flags = np.full(len(cells), np.nan), np.zeros(len(cells), np.uint8)
    units, points, count = set(), 0, 0
    for k, cell in enumerate(cells):
        if is_missing(cell):
            flags[k] = MISSING
            continue
        match = _NUMBER_UNIT.fullmatch(cell.strip())
        unit = parse_unit(match[2]) if match else None
        number = parse(match[1], decimal_comma=comma) if match else None
        if unit is None or number is None:
            return None
        values[k], flags[k] = number[0] * unit[1], number[1]
        units.add(unit[0])
        points += "." in match[1] or "," in match[1] if match else 0
        count += 1
    return (values, units.pop(), flags) if len(units) == 1 and 2 * points >= count else None


def _refuse_mixed_suffixes(source: Source, lines: list[int], cells: list[str], values: NDArray[np.float64], j: int) -> None:
    """A suffix (1.2k) counts only where the whole column has one, or is engineering notation: a letter behind one is a slip."""
    plain = [k for k, c in enumerate(cells) if np.isfinite(values[k]) and values[k] != 0 and not has_suffix(c)]
    if not plain or len(plain) == len(cells):
        return
    odd = next((k for k, c in enumerate(cells) if has_suffix(c)), None)
    if odd is not None and not _engineering(cells, values):
        raise ReadError(
            f"'{cells[odd]}' has a suffix and other numbers of the column have none; write all with or all without",
            file=source.name,
            line=lines[odd],
            column=j + 1,
        )


# each number matches in one way only: with several, a cell that is none would take forever
_ALL_PLAIN = re.compile(r"(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\n)+", re.ASCII)


def _plain_column(cells: list[list[str]], body: range, j: int, width: int) -> tuple[NDArray[np.float64], list[str]] | None:
    """Numbers and cells of a column of nothing but plain numbers, none of them a code of an instrument: most columns are."""
    rows = cells[body.start : body.stop]
    if any(len(row) <= j or (j == 0 and len(row) > width) for row in rows):
        return None
    text = [row[j] for row in rows]
    if not _ALL_PLAIN.fullmatch("\n".join(text) + "\n"):
        return None
    values = np.array(text, dtype=np.float64)
    if not np.all(np.abs(values) < 9e21) or np.isin(values, (-999.0, -9999.0)).any():
        return None
    return values, text


def _column(
    source: Source, numbers: list[int], cells: list[list[str]], body: range, j: int, header: Header, comma: bool, width: int
) -> Column:
    plain = _plain_column(cells, body, j, width)
    if plain is not None:
        return Column(header, plain[0], np.zeros(len(body), np.uint8), plain[1], True, j + 1)
    values, flags, text = np.full(len(body), np.nan), np.zeros(len(body), np.uint8), []
    words: list[int] = []
    for k, i in enumerate(body):
        row = cells[i]
        if j == 0 and len(row) > width and any(c.strip() for c in row[width:]):
            raise ReadError(
                f"{len(row)} fields where the table has {width} columns; a separator is too many or a quote is missing",
                file=source.name,
                line=numbers[i],
                column=width + 1,
            )
        cell = row[j] if j < len(row) else ""
        text.append(cell)
        parsed = parse(cell, decimal_comma=comma)
        if parsed is None:
            words.append(k)
        else:
            values[k], flags[k] = parsed
    if words and (found := _with_units(text, comma)) is not None and header.unit in (None, found[1]) and header.factor == 1:
        values, flags, words, header = found[0], found[2], [], replace(header, unit=found[1])
    if not words:
        _refuse_mixed_suffixes(source, [numbers[i] for i in body], text, values, j)
        if header.factor != 1 and (at := next((i for i, c in enumerate(text) if has_suffix(c)), None)) is not None:
            raise ReadError(
                f"'{text[at]}' has a suffix and the header '{header.text}' has a prefix too; write it in one of them",
                file=source.name,
                line=numbers[body[at]],
                column=j + 1,
            )
        return Column(header, values, flags, text, True, j + 1)
    if len(words) > 0.5 * sum(1 for c in text if not is_missing(c)):
        return Column(header, np.full(len(body), np.nan), flags, text, False, j + 1)
    k = words[0]
    more = f" ({len(words) - 1} more such cells)" if len(words) > 1 else ""
    name = f" of column '{header.text}'" if header.text else ""
    raise ReadError(
        f"'{text[k]}'{name} is not a number{more}; write a number, or leave the cell empty if the read is missing",
        file=source.name,
        line=numbers[body[k]],
        column=j + 1,
    )
