"""PulseResponse: the one record that every reader ends in, arrays over (device, cycle, pulse) or an xarray Dataset of them.

The command line works on the arrays, since xarray takes longer to import than a file to read and fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitlab.errors import ReadError

if TYPE_CHECKING:
    import xarray as xr

MISSING, SENTINEL, NOT_FINITE, COMPLIANCE, NEGATIVE, OUTLIER, AFTER_ABORT, PADDING = (1 << i for i in range(8))
"""Bits of `flag`. PADDING marks places that no read was ever meant for: the other cycles are longer."""

MOST_PLACES = 50_000_000
"""Largest product of devices, cycles and reads: about 3 GB."""

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
    amplitude, width : (n,) of the pulse just applied, in V and s; NaN, or None for all, where the file does not tell them
    time : (n,) of the read, in s
    weight : (n,) of the read, relative: its variance goes as 1 / weight, and 0 leaves it out of a fit
    """

    device: str
    cycle: int
    value: NDArray[np.float64]
    direction: NDArray[np.int8]
    count: NDArray[np.int32]
    restart: NDArray[np.bool_]
    flag: NDArray[np.uint8]
    amplitude: NDArray[np.float64] | None = None
    width: NDArray[np.float64] | None = None
    time: NDArray[np.float64] | None = None
    weight: NDArray[np.float64] | None = None

    def extra(self, name: str) -> NDArray[np.float64]:
        """One of `EXTRAS`, NaN where the file does not tell it."""
        found: NDArray[np.float64] | None = getattr(self, name)
        return np.full(len(self.value), np.nan) if found is None else found


EXTRAS = ("amplitude", "width", "time", "weight")


def joined(parts: Sequence[Run], device: str, cycle: int) -> Run:
    """Runs one after the other as one."""
    names = ("value", "direction", "count", "restart", "flag")
    arrays = [np.concatenate([getattr(p, name) for p in parts]) for name in names]
    known = {n: np.concatenate([p.extra(n) for p in parts]) for n in EXTRAS if any(getattr(p, n) is not None for p in parts)}
    return Run(device, cycle, *arrays, **known)


@dataclass
class Origin:
    """What the file said and what was assumed: becomes the attributes of the Dataset."""

    source: str
    sha256: str
    reader: str
    unit: str
    read_voltage_V: float | None = None
    instrument: str = "unknown"
    digitised: bool = False
    pulses_differ: bool = False
    reversed: bool = False
    assumptions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def conductance(value: NDArray[np.float64], unit: str, read_voltage_V: float | None) -> NDArray[np.float64]:
    """Conductance in S of values in SI unit `S`, `A` or `ohm`; NaN where it cannot be known."""
    if unit == "S":
        return value.copy()
    if unit == "A" and read_voltage_V:
        return value / abs(read_voltage_V)
    if unit == "ohm":
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            g = np.where(value > 0, 1.0 / value, np.nan)
        return np.where(np.isfinite(g), g, np.nan)
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
    amplitude, width, time : of the pulse just applied in V and s, of the read in s; NaN where the file does not tell them
    weight : of the reads in a fit (variance as 1 / weight, 0 leaves a read out); NaN is 1
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
    amplitude: NDArray[np.float64]
    width: NDArray[np.float64]
    time: NDArray[np.float64]
    weight: NDArray[np.float64]
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
        for name, unit in (("conductance", "S"), ("amplitude", "V"), ("width", "s"), ("time", "s")):
            variables[name][2]["units"] = unit
        coords = {"device": self.devices, "cycle": self.cycles, "pulse": np.arange(self.value.shape[2])}
        return xr.Dataset(variables, coords=coords, attrs=self.attrs)


_LONG_NAMES = {
    "value": "measured value",
    "conductance": "conductance",
    "direction": "pulse just applied: +1 up, -1 down, 0 none",
    "count": "pulses since the read before",
    "restart": "state does not continue from the read before",
    "flag": "1 missing 2 sentinel 4 not finite 8 compliance 16 negative 32 outlier 64 after abort 128 no read here",
    "amplitude": "voltage of the pulse just applied",
    "width": "width of the pulse just applied",
    "time": "time of the read",
    "weight": "weight of the read in a fit; missing is 1",
}


def _warn_of_unlike_pulses(extras: dict[str, NDArray[np.float64]], origin: Origin) -> None:
    for name, unit in (("amplitude", "V"), ("width", "s")):
        sizes = np.abs(extras[name])
        sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
        if len(sizes) and sizes.max() > 1.5 * sizes.min():
            origin.pulses_differ = True
            origin.warnings.append(
                f"the pulses are not alike: their {name} goes from {sizes.min():.4g} to {sizes.max():.4g} {unit}, and a model of "
                f"identical pulses does not describe them; take one kind with --amplitude"
            )


def record(runs: Sequence[Run], origin: Origin) -> PulseResponse:
    """Put runs together as a PulseResponse."""
    devices = list(dict.fromkeys(run.device for run in runs))
    cycles = sorted({run.cycle for run in runs})
    longest = max(len(run.value) for run in runs)
    shape = (len(devices), len(cycles), longest)
    if np.prod(shape, dtype=float) > MOST_PLACES:
        raise ReadError(
            f"{shape[0]} devices x {shape[1]} cycles x {shape[2]} reads are more than {MOST_PLACES} places; are the columns of "
            "devices and cycles the right ones? Name them with --map device=COLUMN --map cycle=COLUMN, or split the file",
            file=origin.source,
        )
    value = np.full(shape, np.nan)
    direction, count = np.zeros(shape, np.int8), np.zeros(shape, np.int32)
    restart, flag = np.zeros(shape, bool), np.full(shape, PADDING, np.uint8)
    extras = {name: np.full(shape, np.nan) for name in EXTRAS}
    device_at = {name: k for k, name in enumerate(devices)}
    cycle_at = {number: k for k, number in enumerate(cycles)}
    for run in runs:
        at = (device_at[run.device], cycle_at[run.cycle], slice(len(run.value)))
        value[at], direction[at], count[at], restart[at], flag[at] = (
            run.value,
            run.direction,
            run.count,
            run.restart,
            run.flag,
        )
        for name, array in extras.items():
            known = getattr(run, name)
            if known is not None:
                array[at] = known
    _warn_of_unlike_pulses(extras, origin)
    g = conductance(value, origin.unit, origin.read_voltage_V)
    flag[np.isfinite(g) & (g < 0)] |= NEGATIVE
    present = (flag & PADDING) == 0
    attrs: dict[str, Any] = {
        "source": origin.source,
        "sha256": origin.sha256,
        "reader": origin.reader,
        "instrument": origin.instrument,
        "unit": origin.unit,
        "assumptions": list(origin.assumptions),
        "warnings": list(origin.warnings),
        "devices": len(devices),
        "cycles": len(cycles),
        "reads_up": int((present & (direction > 0)).sum()),
        "reads_down": int((present & (direction < 0)).sum()),
        "flagged": int((present & (flag != 0)).sum()),
    }
    if origin.pulses_differ:
        attrs["pulses_differ"] = 1
    if origin.digitised:
        attrs["digitised"] = 1
    if origin.read_voltage_V is not None:
        attrs["read_voltage_V"] = float(origin.read_voltage_V)
    return PulseResponse(devices, cycles, value, g, direction, count, restart, flag, **extras, attrs=attrs)
