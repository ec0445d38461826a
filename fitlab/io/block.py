"""A table inside a file, with what the instrument says beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .text import Source


@dataclass(frozen=True)
class Block:
    """Lines that hold one table.

    Attributes
    ----------
    source : the lines, with their numbers in the file
    device, cycle : identity, where the instrument names them
    read_voltage_V : read voltage, where the instrument tells it
    mapping : roles of columns that the instrument fixes; the user's go before
    layout : name of the format, where the instrument fixes it
    kind, unit : "retention" or "pulses", and unit of the reads, where they are known
    ramps_apart : each ramp starts anew
    assumptions, warnings : what to tell the user
    """

    source: Source
    device: str | None = None
    cycle: int | None = None
    read_voltage_V: float | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    layout: str | None = None
    kind: str | None = None
    unit: str | None = None
    ramps_apart: bool = False
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
