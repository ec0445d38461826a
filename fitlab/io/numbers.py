"""Cells to numbers: missing tokens, sentinels of instruments, decimal commas, engineering suffixes, exponents."""

from __future__ import annotations

import math
import re

from .record import COMPLIANCE, MISSING, NOT_FINITE, SENTINEL

MISSING_TOKENS = frozenset(
    {"", "nan", "na", "n/a", "#n/a", "#na", "--", "---", "-", "null", "none", "1.#qnan", "-1.#ind", "#ref", "#value!", "?"}
)
LONGEST = 80
"""A longer cell is text."""
_SUFFIX = {
    "f": 1e-15,
    "p": 1e-12,
    "n": 1e-9,
    "u": 1e-6,
    "\u00b5": 1e-6,
    "\u03bc": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
}
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ENGINEERING = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*([fpnu\u00b5\u03bcmkKMG])")
_LETTER_POINT = re.compile(r"([+-]?\d+)([fpnu\u00b5\u03bcmkKMGR])(\d+)")
_STATUS = re.compile(r"([NTCVXFGS])([A-H])([VIFT])\s*(?=[+-]?[\d.])")
_COMMA = re.compile(r"[+-]?\d*,\d+([eEdD][+-]?\d+)?")


def is_missing(cell: str) -> bool:
    """Whether a cell stands for no value."""
    return cell.strip().lower() in MISSING_TOKENS


def has_decimal_comma(cell: str) -> bool:
    """Whether a cell reads as a number with a decimal comma."""
    return _COMMA.fullmatch(cell.strip()) is not None


def has_suffix(cell: str) -> bool:
    """Whether a cell is a number with an engineering suffix, such as 1.2k or 2M2."""
    text = cell.strip().strip('"').strip()
    return len(text) <= LONGEST and bool(_ENGINEERING.fullmatch(text) or _LETTER_POINT.fullmatch(text))


def parse(cell: str, *, decimal_comma: bool = False) -> tuple[float, int] | None:
    """Value and flag bits of a cell; None where it is text.

    Missing values are NaN with the flag MISSING; codes of instruments for "no reading" (9.91e37, -999) NaN with
    SENTINEL, for overrange (9.9e37, 7e22, 1e22) NaN with COMPLIANCE; infinities NaN with NOT_FINITE.
    """
    text = cell.strip().strip('"').strip()
    if len(text) > LONGEST:
        return None
    if _PLAIN.fullmatch(text):
        return _judge(float(text), 0)
    if text.lower() in MISSING_TOKENS:
        return math.nan, MISSING
    flag = 0
    status = _STATUS.match(text)
    if status:
        text = text[status.end() :]
        if status[1] in "CTVX":
            flag |= COMPLIANCE
    text = text.replace("\u2212", "-").replace("\u2009", "").replace("\u202f", "").replace("'", "")
    text = re.sub(r"(?:\s*[x\u00d7*]\s*10\^?\s*|\*\^)\(?([+-]?\d+)\)?$", r"e\1", text)
    if decimal_comma:
        if "." in text and re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?", text):
            text = text.replace(".", "")
        text = text.replace(",", ".")
    elif "," in text and re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    text = re.sub(r"(?<=\d)[dD](?=[+-]?\d)", "e", text)
    if text.lower().lstrip("+-") in ("inf", "infinity", "overflow", "ovl", "ol"):
        return math.nan, flag | NOT_FINITE
    if _PLAIN.fullmatch(text):
        return _judge(float(text), flag)
    engineering = _ENGINEERING.fullmatch(text)
    if engineering:
        return float(engineering[1]) * _SUFFIX[engineering[2]], flag
    letter = _LETTER_POINT.fullmatch(text)
    if letter:
        return float(f"{letter[1]}.{letter[3]}") * _SUFFIX.get(letter[2], 1.0), flag
    return None


def _judge(value: float, flag: int) -> tuple[float, int]:
    if not math.isfinite(value):
        return math.nan, flag | NOT_FINITE
    if abs(value) >= 9.905e37:
        return math.nan, flag | SENTINEL
    if abs(value) >= 9e21:
        return math.nan, flag | COMPLIANCE
    if value in (-999.0, -9999.0):
        return math.nan, flag | SENTINEL
    return value, flag
