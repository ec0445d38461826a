"""Start values in closed form: mean step against state, one straight line a direction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .free import FAR
from .models import Model
from .response import Floats, Trace


@dataclass(frozen=True)
class Lines:
    """Mean steps as straight lines: s_up = a_up - b_up w, s_down = a_down + b_down w; ends of the data in w."""

    a_up: float
    b_up: float
    a_down: float
    b_down: float
    high: float
    low: float


def ramps(trace: Trace, shortest: int = 6) -> list[slice]:
    """Runs of reads with pulses of one direction inside one segment."""
    sign = np.sign(trace.pulses).astype(int)
    first = np.zeros(len(sign), dtype=bool)
    first[trace.starts] = True
    # the read that starts a segment belongs to the ramp that follows it
    sign[:-1] = np.where(first[:-1], sign[1:], sign[:-1])
    breaks = np.flatnonzero((np.diff(sign) != 0) | first[1:]) + 1
    edges = [0, *breaks.tolist(), len(sign)]
    return [slice(a, b) for a, b in pairwise(edges) if b - a >= shortest and sign[b - 1] != 0]


def _block_slopes(trace: Trace, run: slice) -> tuple[Floats, Floats, Floats]:
    """State, step and weight from the means of consecutive blocks of a ramp: read noise averages out."""
    w = trace.reads[run]
    used = np.isfinite(w)
    pulse = np.cumsum(np.abs(trace.pulses[run]))[used].astype(float)
    w = w[used]
    blocks = int(np.clip(len(w) // 3, 2, 12))
    if len(w) < 4:
        return (np.zeros(0),) * 3
    mean_w = np.array([b.mean() for b in np.array_split(w, blocks)])
    mean_p = np.array([b.mean() for b in np.array_split(pulse, blocks)])
    gap = np.maximum(np.diff(mean_p), 1e-9)
    return (mean_w[1:] + mean_w[:-1]) / 2, np.diff(mean_w) / gap, gap


def lines(trace: Trace) -> Lines:
    """Linear regression of the mean step on the state, each direction by itself."""
    w = trace.reads[trace.used]
    high, low = (float(np.quantile(w, q)) for q in (0.98, 0.02))
    runs = ramps(trace)
    found: dict[int, tuple[float, float]] = {}
    for direction in (1, -1):
        parts = [_block_slopes(trace, r) for r in runs if np.sign(trace.pulses[r][-1]) == direction]
        if parts:
            state, step, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
        else:
            state, step, weight = _pairs(trace, direction)
        if len(state) >= 3 and np.ptp(state) > 1e-9:
            slope, at_zero = np.polyfit(state, direction * step, 1, w=np.sqrt(weight))
        else:
            slope, at_zero = 0.0, float(np.mean(direction * step)) if len(step) else 0.0
        found[direction] = (float(at_zero), float(slope))
    floor = 1e-4 * max(high - low, 1e-6)
    (a_up, s_up), (a_down, s_down) = found[1], found[-1]
    return Lines(max(a_up, floor), -s_up, max(a_down, floor), s_down, max(high, 0.05), min(low, -0.05))


def _pairs(trace: Trace, direction: int) -> tuple[Floats, Floats, Floats]:
    """Single increments of one direction, against the read before the last so that read noise is not shared."""
    w, n = trace.reads, trace.pulses
    k = np.arange(2, len(w))
    k = k[(np.sign(n[k]) == direction) & (trace.segment[k] == trace.segment[k - 2])]
    k = k[np.isfinite(w[k]) & np.isfinite(w[k - 1]) & np.isfinite(w[k - 2])]
    step = (w[k] - w[k - 1]) / np.abs(n[k])
    return w[k - 2], step, np.ones(len(k))


def starts(model: Model, line: Lines) -> list[dict[str, float]]:
    """Start values of a model: closed form first, then its reflections and quasi-random neighbours."""
    base = {"step_up": line.a_up, "step_down": line.a_down}
    span = line.high - line.low
    out: list[dict[str, float]] = []
    if model.soft:
        high = line.a_up / line.b_up if line.b_up > 0 else np.inf
        low = -line.a_down / line.b_down if line.b_down > 0 else -np.inf
        nearest = (max(line.high, 0.1), min(line.low, -0.1))
        first = (float(np.clip(high, nearest[0], 10)), float(np.clip(low, -10, nearest[1])))
        for w_max, w_min in (first, (nearest[0] * 1.1, nearest[1] * 1.1), (nearest[0] * 2, nearest[1] * 2)):
            out.append({**base, "w_max": w_max, "w_min": w_min})
    elif "gamma_up" in model.parameters:
        for sign_up, sign_down in ((1, 1), (-1, -1), (1, -1), (-1, 1)):
            for w_max, w_min in ((line.high, line.low), (FAR, -FAR)):
                out.append(
                    {
                        **base,
                        "gamma_up": sign_up * line.b_up * w_max / line.a_up,
                        "gamma_down": sign_down * line.b_down * -w_min / line.a_down,
                        "w_max": w_max,
                        "w_min": w_min,
                    }
                )
    else:
        for scale in (1.0, 2.0, 4.0):
            steps = {name: value * scale for name, value in base.items()}
            out.append({**steps, "w_max": line.high, "w_min": line.low})
        out.append({**base, "w_max": FAR, "w_min": -FAR})
    # additive recurrence with the plastic-number family: even coverage, the same points every time
    neighbours = np.modf(np.outer(np.arange(1, 9), 1 / 1.22074408460575947536 ** np.arange(1, 5)))[0]
    for u in neighbours:
        values = dict(out[0])
        values["step_up"] *= float(np.exp(3 * (u[0] - 0.5)))
        values["step_down"] *= float(np.exp(3 * (u[1] - 0.5)))
        if abs(values["w_max"]) < FAR:
            values["w_max"] = float(max(values["w_max"] + span * (u[2] - 0.3) * 0.5, 0.05))
            values["w_min"] = float(min(values["w_min"] - span * (u[3] - 0.3) * 0.5, -0.05))
        out.append(values)
    return out
