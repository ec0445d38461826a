"""What each column of a table means: by what the user says, by header names, by units and by values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from fitlab.errors import ReadError

from .table import Column, Table
from .units import Header

ROLES = (
    "device", "cycle", "pulse", "direction", "value", "up", "down", "read_voltage", "amplitude", "width", "time", "weight",
    "error", "ignore",
)  # fmt: skip
_NAMES = {
    "device": r"(device|dev|dut|cell|chip|die|sample|crosspoint|addr|address)([ _]?(id|name|no|number))?",
    "cycle": r"(cycle|cyc|rep|repetition|iteration|loop)s?([ _]?(id|no|number|index))?",
    "pulse": r"(pulse|pulses|puls|n|no\.?|idx|index|step|pulse[ _]?(no|number|index|count|num|#)\.?|#|nr\.?|k|x)",
    "direction": r"(direction|dir|polarity|sign|operation|op|type|phase|branch|pulse[ _]?(direction|sign|type|polarity))",
    "read_voltage": r"(v_?read|read[ _]?v(oltage)?|v_?r|vds|bias|read[ _]?bias)",
    "time": r"(t|time|t_s|timestamp|elapsed)",
    "pulse_voltage": r"(v_?pulse|pulse[ _]?(v|voltage|amplitude)|puls|v_?p|v_?prog|amplitude|v_?write|vg|v_?gate)",
    "temperature": r"(temp|temperature|t_?c)",
    "width": r"(width|pulse[ _]?width|tp|t_?pulse)",
}
UP_NAME = re.compile(r"(^|[^a-z])(up|set|ltp|pot|potentiation|prog|program|potentiate|p)([^a-z]|$)")
DOWN_NAME = re.compile(r"(^|[^a-z])(down|reset|ltd|dep|depression|erase|depress|d)([^a-z]|$)")
UP_WORDS = frozenset({"+1", "1", "+", "up", "u", "set", "p", "pot", "potentiation", "ltp", "prog", "program", "1.0"})
DOWN_WORDS = frozenset({"-1", "-", "down", "d", "reset", "dep", "depression", "ltd", "erase", "e", "-1.0", "\u22121"})
VALUE_UNITS = frozenset({"S", "A", "ohm", "counts", "norm"})
_VALUE_NAMES = re.compile(
    r"(g|i|r|id|ir|iread|conductance|cond|current|resistance|res|value|val|w|weight|read|response|state|signal|counts?|adc)"
    r"([ _]?\d*)?$"
)


@dataclass
class Roles:
    """Columns by role; `values` are those that hold reads."""

    device: Column | None = None
    cycle: Column | None = None
    pulse: Column | None = None
    direction: Column | None = None
    pulse_voltage: Column | None = None
    up: Column | None = None
    down: Column | None = None
    read_voltage: Column | None = None
    time: Column | None = None
    width: Column | None = None
    weight: Column | None = None
    error: Column | None = None
    values: list[Column] = field(default_factory=list)
    assumptions: list[str] = field(default_factory=list)


def name_of(column: Column) -> str:
    """Header name in lower case without unit."""
    return column.header.name.strip().lower()


MOST_PULSES = 1_000_000
"""Pulses between two reads; the mean response is computed pulse by pulse."""


def _is(role: str, column: Column) -> bool:
    return re.fullmatch(_NAMES[role], name_of(column)) is not None


def _is_index(column: Column) -> bool:
    v = column.values
    return len(v) > 2 and bool(column.present.all()) and bool(np.all(v == np.round(v))) and bool(np.all(np.diff(v) == 1))


def _is_direction(column: Column) -> bool:
    if not column.numeric:
        words = {c.strip().lower() for c in column.cells if c.strip()}
        return bool(words) and words <= (UP_WORDS | DOWN_WORDS | {"none", "read", "0"})
    v = column.values[column.present]
    return len(v) > 0 and set(np.unique(v)) <= {-1.0, 0.0, 1.0} and {-1.0, 1.0} <= set(np.unique(v))


def assign(table: Table, mapping: dict[str, str]) -> Roles:
    """Find the role of every column.

    Raises
    ------
    ReadError
        An unknown role or column in the mapping, a unit that is not one of a response, no column of reads.
    """
    roles, taken = Roles(), set()
    for role, label in mapping.items():
        if role not in ROLES:
            raise ReadError(
                f"--map {role}={label}: there is no role '{role}'; roles are {', '.join(ROLES)}", file=table.source.name
            )
        column = table.find(label)
        taken.add(column.number)
        if role == "value":
            roles.values.append(column)
        elif role != "ignore":
            setattr(roles, "pulse_voltage" if role == "amplitude" else role, column)
    rest = [c for c in table.columns if c.number not in taken]
    for column in rest:
        if not column.header.text and not column.numeric and not any(c.strip() for c in column.cells):
            taken.add(column.number)
    for role in ("device", "cycle", "direction", "read_voltage"):
        if getattr(roles, role) is None:
            found = [c for c in rest if c.number not in taken and c.header.text and _is(role, c)]
            if found and (role != "direction" or _is_direction(found[0]) or found[0].header.unit in (None, "norm")):
                setattr(roles, role, found[0])
                taken.add(found[0].number)
    free = [c for c in rest if c.number not in taken]
    # beside reads in siemens, ohms or amperes a column V is no read
    other_unit = any(c.numeric and c.header.unit in ("S", "ohm", "A") for c in [*free, *roles.values])
    for column in free:
        if roles.read_voltage is None and column.numeric and column.header.unit == "V" and _is_setting(column):
            roles.read_voltage = column
            taken.add(column.number)
        elif roles.direction is None and (not column.numeric or column.header.unit is None) and _is_direction(column):
            roles.direction = column
            taken.add(column.number)
        elif (
            column.header.text
            and (_is("time", column) or _is("temperature", column) or _is("width", column))
            and column.header.unit not in VALUE_UNITS
        ):
            for role in ("time", "width"):
                if column.numeric and getattr(roles, role) is None and _is(role, column):
                    setattr(roles, role, column)
            taken.add(column.number)
        elif (
            roles.pulse_voltage is None
            and column.numeric
            and (
                column.header.unit == "V"
                or (other_unit and name_of(column) in ("v", "u", "voltage"))
                or (column.header.text and _is("pulse_voltage", column) and not _is_index(column))
            )
        ):
            v = column.values[column.present]
            if len(v) and v.min() < 0 < v.max():
                roles.pulse_voltage = column
                taken.add(column.number)
                if column.header.unit != "V" and not _is("pulse_voltage", column):
                    roles.assumptions.append(f"column '{column.label}' is the voltage of the pulses, whose sign is the direction")
        elif (
            roles.pulse is None
            and column.numeric
            and (
                (column.header.text and _is("pulse", column) and column.header.unit in (None, "norm"))
                or (column is free[0] and len(free) > 1 and _is_index(column))
            )
        ):
            roles.pulse = column
            taken.add(column.number)
        elif not column.numeric and not column.header.text and column is free[0]:
            roles.device = roles.device or column
            taken.add(column.number)
    if not roles.values and not (roles.up and roles.down):
        _assign_values(table, roles, [c for c in rest if c.number not in taken])
    for role, least in (("weight", "0 or more"), ("error", "above 0")):
        named: Column | None = getattr(roles, role)
        if named is not None:
            _check_weight(table, named, role, least)
    for column in [*roles.values, *(c for c in (roles.up, roles.down) if c)]:
        _check_value(table, column)
    return roles


def _is_setting(column: Column) -> bool:
    """Whether a column holds the same number in every row, not 0."""
    v = column.values[column.present]
    return len(np.unique(v)) == 1 and v[0] != 0


def _assign_values(table: Table, roles: Roles, free: list[Column]) -> None:
    numeric = [c for c in free if c.numeric and c.present.any()]
    texts = [c for c in free if not c.numeric]
    constant = [c for c in numeric if len(c.values[c.present]) > 2 and np.ptp(c.values[c.present]) == 0]
    if len(numeric) > len(constant):
        volts = [c for c in constant if re.fullmatch(r"(voltage|v|u)", name_of(c)) and 0 < abs(_first(c)) <= 10]
        if roles.read_voltage is None and len(volts) == 1:
            roles.read_voltage = volts[0]
            roles.assumptions.append(f"the constant column '{volts[0].label}' is the read voltage")
            constant = [c for c in constant if c is not volts[0]]
            numeric = [c for c in numeric if c is not volts[0]]
        for column in constant:
            roles.assumptions.append(f"column '{column.label}' is constant and was taken as a setting, not as reads")
        numeric = [c for c in numeric if c not in constant]
    known = [c for c in numeric if c.header.unit in VALUE_UNITS or _VALUE_NAMES.fullmatch(name_of(c))]
    counts = [c for c in known if c.header.unit == "counts" or re.fullmatch(r"adc|counts?|codes?|lsb", name_of(c))]
    if counts and len(counts) < len(known) and _proportional([*counts, *(c for c in known if c not in counts)]):
        roles.assumptions += [f"column '{c.label}' holds the same reads in counts and was not used" for c in counts]
        known = numeric = [c for c in known if c not in counts]
    if (roles.device or roles.direction or roles.pulse_voltage) and known and len(known) < len(numeric):
        roles.assumptions += [f"column '{c.label}' was not used" for c in numeric if c not in known]
        numeric = known
    roles.assumptions += [f"text column '{c.label}' was not used" for c in texts]
    roles.values = numeric
    if not numeric:
        listed = ", ".join(c.label for c in table.columns)
        hollow = next((c for c in free if c.numeric and not c.present.any()), None)
        if hollow is not None:
            raise table.error(
                f"column '{hollow.label}' holds no number between -9e21 and 9e21, only blanks, NaN, infinities or instrument "
                f"codes such as '{hollow.cells[0]}'; export the reads again",
                0,
                hollow,
            )
        raise table.header_error(f"no column of reads was found among {listed}; name it with --map value=COLUMN")


def _first(column: Column) -> float:
    return float(column.values[column.present][0])


def _proportional(columns: list[Column]) -> bool:
    """Whether two columns hold the same numbers up to a factor."""
    if len(columns) != 2:
        return False
    a, b = (c.values for c in columns)
    both = np.isfinite(a) & np.isfinite(b) & (a != 0)
    ratio = b[both] / a[both]
    return len(ratio) > 2 and bool(np.ptp(ratio) <= 1e-3 * abs(ratio[0]))


def _check_value(table: Table, column: Column) -> None:
    header: Header = column.header
    if header.unknown is not None:
        raise table.header_error(
            f"column '{header.text}' has the unit '{header.unknown}', which is none of a "
            "response; use S, A, ohm, counts (with prefixes such as uS) or no unit",
            column,
        )
    if header.unit in ("s", "%") or (header.unit == "V" and len(table.columns) > 1 and not column.header.text):
        raise table.header_error(
            f"column '{header.text}' is in {header.unit}, which is no response of a device; give the column of reads with "
            "--map value=COLUMN",
            column,
        )
    if re.fullmatch(r"(d|delta|\u0394|\u2206)[ _]?(g|i|r|w|conductance|current|resistance|weight)", name_of(column)):
        raise table.header_error(
            f"column '{column.label}' holds changes by its name, not states; add them up, or give it another name",
            column,
        )
    if not column.numeric:
        bad = next(k for k, c in enumerate(column.cells) if c.strip())
        raise table.error(f"column '{column.label}' holds text ('{column.cells[bad]}'), but reads must be numbers", bad, column)


def _check_weight(table: Table, column: Column, role: str, least: str) -> None:
    """Refuse a weight or a standard error of a read that is missing or below its least."""
    v = column.values if column.numeric else np.full(len(column.cells), np.nan)
    bad = np.flatnonzero(~((v > 0) | ((v == 0) & (role == "weight"))))
    filled = [k for k in bad.tolist() if not _all_blank(table, k)]
    if filled:
        raise table.error(
            f"'{column.cells[filled[0]]}' in column '{column.label}' is no {role} of a read; give a number {least} for each read",
            filled[0],
            column,
        )


def _all_blank(table: Table, row: int) -> bool:
    return not any(c.cells[row].strip() for c in table.columns)


def words_to_direction(table: Table, column: Column) -> np.ndarray:
    """Directions and pulse counts of a direction column: +n, -n, 0.

    Raises
    ------
    ReadError
        A cell that is neither up nor down.
    """
    out = np.zeros(len(column.cells), dtype=np.int64)
    number = column.present if column.numeric else np.zeros(len(out), bool)
    for k, cell in enumerate(column.cells):
        word = cell.strip().lower()
        if number[k] and abs(column.values[k]) > MOST_PULSES:
            raise table.error(
                f"{cell} pulses are more than the {MOST_PULSES} that a read may follow; thin the data out", k, column
            )
        if number[k] and column.values[k] == round(column.values[k]):
            out[k] = int(column.values[k])
        elif word in UP_WORDS:
            out[k] = 1
        elif word in DOWN_WORDS:
            out[k] = -1
        elif word in ("0", "none", "read", ""):
            out[k] = 0
        else:
            raise table.error(
                f"'{cell}' in column '{column.label}' is not a direction; use +1 and -1, up and down, SET and RESET, or P and D",
                k,
                column,
            )
    return out
