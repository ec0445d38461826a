"""Tables in which pulses and reads are rows of their own: only the reads are states, and the rows between tell their pulses."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .roles import DOWN_WORDS, UP_WORDS, name_of
from .table import Column, Table
from .units import Header

READ_WORDS = frozenset({"read", "r", "verify", "rd", "sense"})
FEWEST = 5


def separated(table: Table, mapping: dict[str, str]) -> Table:
    """The rows of reads, with a column of the signed pulses before each; the table itself where it has no such rows.

    Rows of pulses are told by a column of words (SET, READ, RESET, READ ...) or, where there is none, by a voltage that takes
    turns between one small read voltage and larger ones of the pulses. What is measured during a pulse is no state.

    Raises
    ------
    ReadError
        Up and down pulses between two reads, whose order would be lost.
    """
    said = _by_words(table) or _by_voltage(table, mapping)
    if said is None:
        return table
    column, sign, is_read, what = said
    rows = np.flatnonzero(is_read)
    if len(rows) < FEWEST or is_read.all():
        return table
    count, last = np.zeros(len(is_read), np.int64), np.full(len(is_read), -1)
    before = 0
    for k in rows.tolist():
        between = sign[before:k]
        if np.any(between > 0) and np.any(between < 0):
            raise table.error(
                f"up and down pulses stand before the read in column '{column.label}'; a read is needed after the pulses of each "
                "direction",
                k,
                column,
            )
        count[k] = between.sum()
        last[k] = k - 1 if k > before else -1
        before = k + 1
    values = count[rows].astype(float)
    signs = Header(column.header.text if not column.numeric else "signed pulses", "direction", None, 1.0)
    number = column.number if not column.numeric else len(table.columns) + 1
    cells = [str(int(v)) for v in values]
    columns = [_rows(c, rows) for c in table.columns if c.numeric or c is not column]
    columns.append(Column(signs, values, np.zeros(len(rows), np.uint8), cells, True, number))
    volts = next((c for c in table.columns if _is_voltage(c)), None)
    if volts is not None:
        columns = [_named(c, "v_read") if c.number == volts.number else c for c in columns]
        of_pulse = np.where(last[rows] >= 0, volts.values[last[rows]], np.nan)
        cells = ["" if np.isnan(v) else f"{v:g}" for v in of_pulse]
        header = Header("pulse voltage", "pulse voltage", "V", volts.header.factor)
        columns.append(Column(header, of_pulse, np.zeros(len(rows), np.uint8), cells, True, len(table.columns) + 2))
    note = (
        f"{what}: {int((~is_read).sum())} rows are pulses, {len(rows)} are reads; what was measured during a pulse was not used"
    )
    return replace(table, columns=columns, lines=[table.lines[k] for k in rows], assumptions=[*table.assumptions, note])


def _rows(column: Column, rows: NDArray[np.intp]) -> Column:
    return replace(column, values=column.values[rows], flags=column.flags[rows], cells=[column.cells[k] for k in rows])


def _named(column: Column, name: str) -> Column:
    return replace(column, header=replace(column.header, name=name))


def _is_voltage(column: Column) -> bool:
    return column.numeric and (column.header.unit == "V" or name_of(column) in ("v", "u", "voltage"))


def _by_words(table: Table) -> tuple[Column, NDArray[np.int64], NDArray[np.bool_], str] | None:
    for column in table.columns:
        if column.numeric:
            continue
        words = [c.strip().lower() for c in column.cells]
        known = set(words)
        reads, pulses = known & READ_WORDS, known & (UP_WORDS | DOWN_WORDS)
        if not reads or not pulses or not known <= UP_WORDS | DOWN_WORDS | READ_WORDS:
            continue
        sign = np.array([1 if w in UP_WORDS else -1 if w in DOWN_WORDS else 0 for w in words])
        is_read = np.array([w in READ_WORDS for w in words])
        return column, sign, is_read, f"column '{column.label}' tells pulses from reads"
    return None


def _by_voltage(table: Table, mapping: dict[str, str]) -> tuple[Column, NDArray[np.int64], NDArray[np.bool_], str] | None:
    """A column of voltages that takes turns: a read follows nearly every pulse."""
    if any(role in mapping for role in ("direction", "read_voltage", "amplitude")):
        return None
    currents = [c for c in table.columns if c.numeric and c.header.unit in ("A", "ohm")]
    volts = [c for c in table.columns if _is_voltage(c) and not re.search("read|sense", name_of(c))]
    if len(volts) != 1 or not currents:
        return None
    v = volts[0].values
    size = np.abs(v)
    sizes, counts = np.unique(size[np.isfinite(size)], return_counts=True)
    often = sizes[(counts > 0.2 * len(v)) & (sizes > 0)]
    if not len(often):
        return None
    least = float(often.min())
    odd = ~(size >= 0.98 * least)
    is_read = ~odd & (size <= 1.02 * least)
    pulses = ~odd & ~is_read
    if not 0.3 < is_read.mean() < 0.95 or len(np.unique(np.sign(v[is_read]))) != 1 or odd.mean() > 0.1:
        return None
    if size[pulses].min(initial=np.inf) < 2 * least or not (np.any(v[pulses] > 0) and np.any(v[pulses] < 0)):
        return None
    # between two reads only pulses of one direction, in nearly all places one
    follows = is_read[1:][pulses[:-1]]
    if len(follows) < FEWEST or follows.mean() < 0.9:
        return None
    if odd.any():
        at = int(np.flatnonzero(odd)[0])
        raise table.error(
            f"'{volts[0].cells[at]}' V is neither the voltage of the reads ({least:g} V) nor one of the pulses; correct it, or "
            "remove the row",
            at,
            volts[0],
        )
    return volts[0], np.where(is_read, 0, np.sign(v)).astype(np.int64), is_read, f"rows at {v[is_read][0]:g} V are reads"
