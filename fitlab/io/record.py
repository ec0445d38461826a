"""PulseResponse: the one record that every reader ends in, arrays over (device, cycle, pulse) or an xarray Dataset of them.

The command line works on the arrays, since xarray takes longer to import than a file to read and fit.
"""

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


@dataclass(frozen=True)
class PulseResponse:
    """Measured pulse responses; arrays over (device, cycle, pulse).

    Attributes
    ----------
    devices, cycles : names and numbers along the first two axes
    value : as measured, SI unit of the file
    conductance : S; NaN where it cannot be known
    direction, count : pulses applied before the read: +1, -1 or 0, and how many since the read before
    restart : the state does not continue from the read before
    flag : bit set
    attrs : source, unit, counts, assumptions, warnings
    """

    devices: list[str]
    cycles: list[int]
    value: NDArray[np.float64]
    conductance: NDArray[np.float64]
    direction: NDArray[np.int8]
    count: NDArray[np.int32]
    restart: NDArray[np.bool_]
    flag: NDArray[np.uint8]
    attrs: dict[str, Any]

    @classmethod
    def of(cls, response: PulseResponse | xr.Dataset) -> PulseResponse:
        """The record of a Dataset, or the record itself."""
        if isinstance(response, cls):
            return response
        arrays = {name: response[name].values for name in _LONG_NAMES}  # type: ignore[index]
        devices, cycles = ([v.item() for v in response[n].values] for n in ("device", "cycle"))  # type: ignore[index]
        return cls([str(d) for d in devices], cycles, attrs=dict(response.attrs), **arrays)

    def dataset(self) -> xr.Dataset:
        """The same as a Dataset over (device, cycle, pulse)."""
        import xarray as xr

        dims = ("device", "cycle", "pulse")
        variables = {name: (dims, getattr(self, name), {"long_name": text}) for name, text in _LONG_NAMES.items()}
        variables["value"][2]["units"] = "1" if self.attrs["unit"] == "norm" else self.attrs["unit"]
        variables["conductance"][2]["units"] = "S"
        coords = {"device": self.devices, "cycle": self.cycles, "pulse": np.arange(self.value.shape[2])}
        return xr.Dataset(variables, coords=coords, attrs=self.attrs)


_LONG_NAMES = {
    "value": "measured value",
    "conductance": "conductance",
    "direction": "pulse just applied: +1 up, -1 down, 0 none",
    "count": "pulses since the read before",
    "restart": "state does not continue from the read before",
    "flag": "1 missing 2 sentinel 4 not finite 8 compliance 16 negative 32 outlier 64 after abort 128 no read here",
}


def record(runs: Sequence[Run], origin: Origin) -> PulseResponse:
    """Put runs together as a PulseResponse."""
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
    return PulseResponse(devices, cycles, value, g, direction, count, restart, flag, attrs)
