"""Oscilloscope CSV: waveforms, not states; refused."""

from __future__ import annotations

from typing import NoReturn

from fitlab.errors import ReadError
from fitlab.io.reading import Match, Options
from fitlab.io.text import Document

NAME = "oscilloscope"

_BLOCK = ("record length", "sample interval", "trigger point")


def match(document: Document, options: Options) -> Match:
    """`x-axis` and `second, Volt`, or the block of record length and sample interval."""
    lines = [line.strip().lower() for line in document.parts[0].lines[:30]]
    if lines and lines[0].startswith("x-axis") and len(lines) > 1 and lines[1].startswith("second"):
        return Match(0.97, "axes of an oscilloscope")
    if sum(any(key in line for line in lines) for key in _BLOCK) >= 2:
        return Match(0.97, "settings of an oscilloscope")
    return Match(0.0, "no waveform")


def blocks(document: Document, options: Options) -> NoReturn:
    """Refuse.

    Raises
    ------
    ReadError
        Always: a state needs the shunt resistance and the time window of the read.
    """
    raise ReadError(
        "this is a waveform of an oscilloscope, not states after pulses; take the mean over the read window of each pulse, "
        "divide it by the shunt resistance, and give one line a pulse",
        file=document.name,
        line=1,
    )
