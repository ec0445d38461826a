"""PulseResponse: the one record that every reader ends in, an xarray Dataset over (device, cycle, pulse)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

MISSING, SENTINEL, NOT_FINITE, COMPLIANCE, NEGATIVE, OUTLIER, AFTER_ABORT, PADDING = (1 << i for i in range(8))
"""Bits of `flag`. PADDING marks places that no read was ever meant for: the other cycles are longer."""

UNREADABLE = MISSING | SENTINEL | NOT_FINITE | PADDING


@dataclass
class Run:
    """Reads of one cycle of one device, in time order.

    Attributes
    ----------
    device, cycle : identity
    value : (n,) as measured, in the unit of the file; NaN where missing
    direction : (n,) +1, -1: pulse just applied before the read; 0 none
    count : (n,) number of pulses since the read before
    restart : (n,) the state does not continue from the read before
    flag : (n,) bit set
    """

    device: str
    cycle: int
    value: NDArray[np.float64]
    direction: NDArray[np.int8]
    count: NDArray[np.int32]
    restart: NDArray[np.bool_]
    flag: NDArray[np.uint8]


@dataclass
class Origin:
    """What the file said and what was assumed: becomes the attributes of the Dataset."""

    source: str
    sha256: str
    reader: str
    unit: str
    read_voltage_V: float | None = None
    assumptions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def conductance(value: NDArray[np.float64], unit: str, read_voltage_V: float | None) -> NDArray[np.float64]:
    """Conductance in S of values in SI unit `S`, `A` or `ohm`; NaN where it cannot be known."""
    if unit == "S":
        return value.copy()
    if unit == "A" and read_voltage_V:
        return value / abs(read_voltage_V)
    if unit == "ohm":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(value > 0, 1.0 / value, np.nan)
    return np.full_like(value, np.nan)


def dataset(runs: Sequence[Run], origin: Origin) -> xr.Dataset:
    """Put runs together as a PulseResponse.

    Returns
    -------
    Dataset over (device, cycle, pulse) with `value` (the file's unit, SI), `conductance` (S), `direction`, `count`,
    `restart`, `flag`.
    """
    import xarray as xr

    devices = list(dict.fromkeys(run.device for run in runs))
    cycles = sorted({run.cycle for run in runs})
    longest = max(len(run.value) for run in runs)
    shape = (len(devices), len(cycles), longest)
    value = np.full(shape, np.nan)
    direction, count = np.zeros(shape, np.int8), np.zeros(shape, np.int32)
    restart, flag = np.zeros(shape, bool), np.full(shape, PADDING, np.uint8)
    for run in runs:
        at = (devices.index(run.device), cycles.index(run.cycle), slice(len(run.value)))
        value[at], direction[at], count[at], restart[at], flag[at] = (
            run.value,
            run.direction,
            run.count,
            run.restart,
            run.flag,
        )
    g = conductance(value, origin.unit, origin.read_voltage_V)
    flag[np.isfinite(g) & (g < 0)] |= NEGATIVE
    dims = ("device", "cycle", "pulse")
    units = {"S": "S", "A": "A", "ohm": "ohm", "V": "V", "counts": "counts", "norm": "1"}
    present = (flag & PADDING) == 0
    attrs: dict[str, Any] = {
        "source": origin.source,
        "sha256": origin.sha256,
        "reader": origin.reader,
        "unit": origin.unit,
        "assumptions": list(origin.assumptions),
        "warnings": list(origin.warnings),
        "devices": len(devices),
        "cycles": len(cycles),
        "reads_up": int((present & (direction > 0)).sum()),
        "reads_down": int((present & (direction < 0)).sum()),
        "flagged": int((present & (flag != 0)).sum()),
    }
    if origin.read_voltage_V is not None:
        attrs["read_voltage_V"] = float(origin.read_voltage_V)
    return xr.Dataset(
        {
            "value": (dims, value, {"units": units.get(origin.unit, origin.unit), "long_name": "measured value"}),
            "conductance": (dims, g, {"units": "S", "long_name": "conductance"}),
            "direction": (dims, direction, {"long_name": "pulse just applied: +1 up, -1 down, 0 none"}),
            "count": (dims, count, {"long_name": "pulses since the read before"}),
            "restart": (dims, restart, {"long_name": "state does not continue from the read before"}),
            "flag": (
                dims,
                flag,
                {
                    "long_name": "1 missing 2 sentinel 4 not finite 8 compliance 16 negative "
                    "32 outlier 64 after abort 128 no read here"
                },
            ),
        },
        coords={"device": devices, "cycle": cycles, "pulse": np.arange(longest)},
        attrs=attrs,
    )
