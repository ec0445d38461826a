"""From a PulseResponse to traces in the window coordinate: w = -1 and +1 are the ends of the ramps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fitlab.errors import FitError
from fitlab.io.record import OUTLIER, PADDING, UNREADABLE, PulseResponse

from .guess import ramps
from .response import Floats, Trace
from .workers import Failure

FEWEST_READS = 10
JUMP = 5.0
"""A step between two segments beyond this many read noises is not a pulse's doing: the state restarts there."""


@dataclass(frozen=True)
class Window:
    """The map between a measured quantity v and w: w = 2 (v - low) / (high - low) - 1; low, high in `unit`.

    With `log` the same of the logarithms.
    """

    low: float
    high: float
    unit: str
    log: bool = False

    def to_w(self, v: Floats) -> Floats:
        """Window coordinate of measured values."""
        if self.log:
            with np.errstate(invalid="ignore", divide="ignore"):
                w = 2 * np.log(v / self.low) / np.log(self.high / self.low) - 1
            return np.where(np.isfinite(w), w, np.nan)
        return 2 * (v - self.low) / (self.high - self.low) - 1

    def to_value(self, w: Floats) -> Floats:
        """Measured value of window coordinates."""
        if self.log:
            return self.low * (self.high / self.low) ** ((w + 1) / 2)
        return self.low + (w + 1) / 2 * (self.high - self.low)

    @property
    def per_w(self) -> float:
        """Measured units in one unit of w; of a logarithmic map, in the middle."""
        if self.log:
            return float(np.sqrt(self.low * self.high) * np.log(self.high / self.low) / 2)
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class DeviceTrace:
    """One device's reads in time order, ready to fit, with what was noticed on the way.

    Attributes
    ----------
    cycle : (n,) cycle number of each read
    outlier : (n,) reads that are left out as outliers
    """

    name: str
    trace: Trace
    cycle: np.ndarray
    outlier: np.ndarray
    warnings: tuple[str, ...]


def measured(response: PulseResponse) -> tuple[Floats, str]:
    """Quantity that is fitted and its unit: conductance where it is known, else the value as measured."""
    g = response.conductance
    if np.isfinite(g).any():
        return g, "S"
    return response.value, str(response.attrs["unit"])


def window(response: PulseResponse) -> Window:
    """Ends of the window: medians, over ramps of all devices, of the last reads of the up and of the down ramps.

    The extremes of the reads would follow the noise. Where there is no ramp in a direction, quantiles stand in.
    """
    values, unit = measured(response)
    ends: dict[int, list[float]] = {1: [], -1: []}
    pooled = []
    for d in range(len(response.devices)):
        trace, _ = _raw_trace(response, values, d)
        if not trace.used.any():
            continue
        pooled.append(trace.reads[trace.used])
        for run in ramps(trace):
            reads = trace.reads[run][np.isfinite(trace.reads[run])]
            if len(reads):
                last = max(3, len(reads) // 20)
                ends[int(np.sign(trace.pulses[run][-1]))].append(float(np.median(reads[-last:])))
    if not pooled:
        raise FitError(f"{response.attrs['source']}: no read can be used; all are missing or flagged")
    every = np.concatenate(pooled)
    high = float(np.median(ends[1])) if ends[1] else float(np.quantile(every, 0.98))
    low = float(np.median(ends[-1])) if ends[-1] else float(np.quantile(every, 0.02))
    if not (ends[1] and ends[-1]):
        low, high = min(low, float(np.quantile(every, 0.02))), max(high, float(np.quantile(every, 0.98)))
    spread = float(np.ptp(every))
    if spread <= 1e-9 * float(np.max(np.abs(every))):
        raise FitError(
            f"{response.attrs['source']}: the response is constant at {every[0]:.6g} "
            f"{unit}; pulses did not change the device, so there is nothing to fit"
        )
    if high - low <= 0.02 * spread:
        if low - high > 0.3 * float(np.quantile(every, 0.98) - np.quantile(every, 0.02)):
            raise FitError(
                f"{response.attrs['source']}: up pulses lower the value (ramps "
                f"end at {high:.4g} {unit} after up pulses, {low:.4g} "
                f"{unit} after down pulses); the directions are probably swapped: exchange the columns or the signs"
            )
        low, high = float(np.quantile(every, 0.02)), float(np.quantile(every, 0.98))
    return Window(low, high, unit)


def _raw_trace(response: PulseResponse, values: Floats, d: int) -> tuple[Trace, np.ndarray]:
    flag = response.flag[d]
    there = (flag & PADDING) == 0
    weight = np.where(np.isnan(response.weight[d]), 1.0, response.weight[d])
    read = np.where(((flag & UNREADABLE) != 0) | (weight == 0), np.nan, values[d])[there]
    pulses = (response.direction[d].astype(np.int32) * response.count[d])[there]
    cycle = np.broadcast_to(np.array(response.cycles)[:, None], there.shape)[there]
    segment = np.cumsum(response.restart[d][there])
    own = np.where(weight > 0, weight, 1.0)[there]
    return Trace(read, pulses, segment, None if np.all(own == 1) else own), cycle


def _read_noise(trace: Trace) -> float:
    """Robust scale of one read from second differences inside ramps: drift of the step cancels."""
    second = [np.diff(trace.reads[r], n=2) for r in ramps(trace)]
    pooled = np.concatenate(second) if second else np.diff(trace.reads, n=2)
    pooled = pooled[np.isfinite(pooled)]
    return float(1.4826 * np.median(np.abs(pooled)) / np.sqrt(6)) if len(pooled) else 0.0


def outliers(trace: Trace, threshold: float = 5.0) -> np.ndarray:
    """Single reads far from the mean of their two neighbours in the ramp, in robust sigmas.

    The scale is the larger of that of the ramp and of the 41 reads around, so that noise that changes along the ramp
    makes no outliers; the largest of adjacent candidates is taken, since an outlier also shifts its neighbours.
    """
    found = np.zeros(len(trace.reads), dtype=bool)
    for run in ramps(trace, shortest=15):
        ok = np.flatnonzero(np.isfinite(trace.reads[run]))
        if len(ok) < 15:
            continue
        w = trace.reads[run][ok]
        size = np.zeros(len(w))
        size[1:-1] = np.abs(w[1:-1] - (w[:-2] + w[2:]) / 2)
        if trace.weight is not None:
            # of three reads with the variances v, the difference has that of a uniform ramp times (v1/4 + v2 + v3/4) / 1.5
            v = 1 / trace.weight[run][ok]
            size[1:-1] /= np.sqrt((v[:-2] / 4 + v[1:-1] + v[2:] / 4) / 1.5)
        scale = 1.4826 * np.median(size[1:-1])
        near = np.lib.stride_tricks.sliding_window_view(np.pad(size, 20, mode="reflect" if len(w) > 20 else "edge"), 41)
        limit = threshold * np.maximum(scale, 1.4826 * np.median(near, axis=1))
        # reads of few digits or few steps deviate by nothing, or by one of them
        limit = np.maximum(limit, 2 * np.median(np.abs(np.diff(w))))
        before, after = np.concatenate(([0.0], size[:-1])), np.concatenate((size[1:], [0.0]))
        found[run.start + ok] = (scale > 0) & (size > limit) & (size >= before) & (size >= after)
    return found


def prepare(response: PulseResponse, log_scale: bool = False) -> tuple[Window, list[DeviceTrace], list[Failure]]:
    """Window map, one trace a device, and the devices that have none.

    Raises
    ------
    FitError
        Pulses that are not alike, constant response, directions that contradict the response, or no device with 10 usable
        reads.
    """
    if response.attrs.get("pulses_differ"):
        raise FitError(
            f"{response.attrs['source']}: the pulses are not alike (amplitude or width changes), and a model of identical pulses "
            "does not describe them; take those of one voltage with --amplitude"
        )
    values, _ = measured(response)
    mapping = window(response)
    if log_scale:
        if not 0 < mapping.low < mapping.high:
            raise FitError(
                f"{response.attrs['source']}: the response goes from {mapping.low:.4g} to {mapping.high:.4g} {mapping.unit}; a "
                "logarithmic scale needs values above 0"
            )
        mapping = replace(mapping, log=True)
    traces: list[DeviceTrace] = []
    failures: list[Failure] = []
    for d, name in enumerate(response.devices):
        raw, cycle = _raw_trace(response, values, d)
        warnings: list[str] = []
        if raw.used.sum() < FEWEST_READS:
            failures.append(Failure(str(name), f"{int(raw.used.sum())} usable reads; at least {FEWEST_READS} are needed"))
            continue
        if not np.any(raw.pulses != 0):
            failures.append(
                Failure(str(name), "no pulse; give a column with the directions, or fit reads over time with --kind retention")
            )
            continue
        trace = replace(raw, reads=mapping.to_w(raw.reads))
        flagged = (response.flag[d] & OUTLIER)[(response.flag[d] & PADDING) == 0] != 0
        out = outliers(trace) | flagged
        if out.any():
            warnings.append(f"{int(out.sum())} of {len(out)} reads of device {name} are outliers and were left out of the fit")
        reads = np.where(out, np.nan, trace.reads)
        trace = replace(trace, reads=reads, segment=_split_at_jumps(trace, reads, str(name), warnings))
        traces.append(DeviceTrace(str(name), trace, cycle, out, tuple(warnings)))
    if not traces:
        first = failures[0]
        more = f" (and {len(failures) - 1} more devices)" if len(failures) > 1 else ""
        raise FitError(f"{response.attrs['source']}: device {first.name} has {first.reason}{more}")
    return mapping, traces, failures


def _split_at_jumps(trace: Trace, reads: Floats, name: str, warnings: list[str]) -> np.ndarray:
    """Segments, with one more where the state jumps between two ramps."""
    noise = _read_noise(trace)
    segment = trace.segment.copy()
    runs = ramps(trace)
    jumps = 0
    for run in runs:
        k = run.start
        if k == 0 or segment[k] != segment[k - 1] or not (np.isfinite(reads[k]) and np.isfinite(reads[k - 1])):
            continue
        inside = np.diff(reads[run])
        inside = np.abs(inside[np.isfinite(inside)])
        usual = float(np.max(inside)) if len(inside) else 0.0
        if abs(reads[k] - reads[k - 1]) > max(JUMP * np.sqrt(2) * noise, 2 * usual):
            segment[k:] += 1
            jumps += 1
    if jumps:
        warnings.append(f"device {name}: the state jumps at {jumps} turning point(s); each part was given its own start value")
    return segment
