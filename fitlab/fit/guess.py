"""Start values in closed form: mean step against state, one straight line a direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .free import FAR
from .models import NODES, Model, node_name
from .response import Floats, Trace


@dataclass(frozen=True)
class Lines:
    """Mean steps as straight lines: s_up = a_up - b_up w, s_down = a_down + b_down w; ends of the data in w.

    c_up and c_down are the curvatures of parabolas through the same steps; lowest and highest are the ends of the data with
    read noise averaged out.
    """

    a_up: float
    b_up: float
    a_down: float
    b_down: float
    high: float
    low: float
    c_up: float = 0.0
    c_down: float = 0.0
    lowest: float = -1.0
    highest: float = 1.0


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
    found: dict[int, tuple[float, float, float]] = {}
    for direction in (1, -1):
        parts = [_block_slopes(trace, r) for r in runs if np.sign(trace.pulses[r][-1]) == direction]
        if parts:
            state, step, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
        else:
            state, step, weight = _pairs(trace, direction)
        if len(state) >= 3 and np.ptp(state) > 1e-9:
            slope, at_zero = np.polyfit(state, direction * step, 1, w=np.sqrt(weight))
            distinct = len(state) >= 6 and len(np.unique(np.round(state, 6))) >= 4
            curvature = np.polyfit(state, direction * step, 2, w=np.sqrt(weight))[0] if distinct else 0.0
        else:
            slope, at_zero, curvature = 0.0, float(np.mean(direction * step)) if len(step) else 0.0, 0.0
        found[direction] = (float(at_zero), float(slope), float(curvature))
    floor = 1e-4 * max(high - low, 1e-6)
    (a_up, s_up, c_up), (a_down, s_down, c_down) = found[1], found[-1]
    smooth = np.convolve(w, np.ones(5) / 5, mode="valid") if len(w) >= 15 else w
    return Lines(
        max(a_up, floor), -s_up, max(a_down, floor), s_down, max(high, 0.05), min(low, -0.05), c_up, c_down,
        float(smooth.min()), float(smooth.max()),
    )  # fmt: skip


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
    first = model.first or _FIRST[model.kernel.name if "alpha" not in model.parameters else "alpha"]
    out = first(line)
    span = line.high - line.low
    # additive recurrence with the plastic-number family: even coverage, the same points every time
    neighbours = np.modf(np.outer(np.arange(1, 9), 1 / 1.22074408460575947536 ** np.arange(1, 7)))[0]
    for u in neighbours:
        values = dict(out[0])
        for name, part in zip(("step_up", "step_down", "alpha"), (u[0], u[1], u[0]), strict=True):
            if name in values:
                values[name] *= float(np.exp(3 * (part - 0.5)))
        for name, part in zip(("exponent_up", "exponent_down"), (u[4], u[5]), strict=True):
            if name in values:
                values[name] *= float(np.exp(2 * (part - 0.5)))
        for k, name in enumerate(model.own):
            values[name] += 2 * (np.modf(u[k % 6] * (1 + k // 6))[0] - 0.5) * model.units.get(name, 1.0)
        if abs(values["w_max"]) < FAR and not model.held:
            values["w_max"] = float(max(values["w_max"] + span * (u[2] - 0.3) * 0.5, 0.05))
            values["w_min"] = float(min(values["w_min"] - span * (u[3] - 0.3) * 0.5, -0.05))
        if not model.held:
            out.append(values)
    return out


def _steps(line: Lines) -> dict[str, float]:
    return {"step_up": line.a_up, "step_down": line.a_down}


def _nearest(line: Lines) -> tuple[float, float]:
    return max(line.high, 0.1), min(line.low, -0.1)


def _soft_bounds(line: Lines) -> list[tuple[float, float]]:
    """Bounds at which the straight lines vanish, and at and beyond the ends of the data."""
    high = line.a_up / line.b_up if line.b_up > 0 else np.inf
    low = -line.a_down / line.b_down if line.b_down > 0 else -np.inf
    near = _nearest(line)
    first = (float(np.clip(high, near[0], 10)), float(np.clip(low, -10, near[1])))
    return [first, (near[0] * 1.1, near[1] * 1.1), (near[0] * 2, near[1] * 2)]


def _constant(line: Lines) -> list[dict[str, float]]:
    out = []
    for scale in (1.0, 2.0, 4.0):
        steps = {name: value * scale for name, value in _steps(line).items()}
        out.append({**steps, "w_max": line.high, "w_min": line.low})
    return [*out, {**_steps(line), "w_max": FAR, "w_min": -FAR}]


def _soft(line: Lines) -> list[dict[str, float]]:
    return [{**_steps(line), "w_max": high, "w_min": low} for high, low in _soft_bounds(line)]


def _alpha(line: Lines) -> list[dict[str, float]]:
    middle = float(np.clip((line.b_up + line.b_down) / 2, 1e-4, 0.9))
    mean = float(np.clip((line.a_up + line.a_down) / (line.high - line.low), 1e-4, 0.9))
    return [
        {"alpha": float(-np.log1p(-part)), "w_max": high, "w_min": low}
        for part in (middle, mean, mean / 3)
        for high, low in _soft_bounds(line)
    ]


def _linear(line: Lines) -> list[dict[str, float]]:
    out = []
    for sign_up, sign_down in ((1, 1), (-1, -1), (1, -1), (-1, 1)):
        for w_max, w_min in ((line.high, line.low), (FAR, -FAR)):
            gamma_up = sign_up * line.b_up * w_max / line.a_up
            gamma_down = sign_down * line.b_down * -w_min / line.a_down
            out.append({**_steps(line), "gamma_up": gamma_up, "gamma_down": gamma_down, "w_max": w_max, "w_min": w_min})
    return out


def _exponential(line: Lines) -> list[dict[str, float]]:
    """Relative slope of the line; the bend of the parabola (curvature over slope), little and much bend to either side."""
    out = []
    slope_up, slope_down = line.b_up / line.a_up, line.b_down / line.a_down

    def bend(slope: float, curvature: float) -> float:
        # s = s(0) (1 - slope w - slope rate w^2 / 2), rate = slope bend / (1 - bend)
        rate = -2 * curvature / slope if slope else 0.0
        return float(np.clip(rate / (rate + slope), 0.02, 20)) if abs(rate + slope) > 1e-9 else 20.0

    own = bend(slope_up, line.c_up / line.a_up), bend(slope_down, line.c_down / line.a_down)
    for up, down in (own, (0.3, 0.3), (3.0, 3.0), (0.3, 3.0), (3.0, 0.3)):
        up, down = (v if abs(v - 1) > 0.05 else 0.95 for v in (up, down))
        for w_max, w_min in ((FAR, -FAR), (line.high, line.low)):
            shape = {"slope_up": slope_up, "slope_down": slope_down, "bend_up": up, "bend_down": down}
            out.append({**_steps(line), **shape, "w_max": w_max, "w_min": w_min})
    return out


def _power(line: Lines) -> list[dict[str, float]]:
    """Relative slope at 0 = exponent / bound, for several bounds."""
    out = []
    near = _nearest(line)
    for scale in (1.03, 1.15, 1.5, 2.5):
        high, low = near[0] * scale, near[1] * scale
        up = float(np.clip(line.b_up / line.a_up * high, 0.1, 8))
        down = float(np.clip(line.b_down / line.a_down * -low, 0.1, 8))
        out.append({**_steps(line), "exponent_up": up, "exponent_down": down, "w_max": high, "w_min": low})
    return out


def _piecewise(line: Lines) -> list[dict[str, float]]:
    """Nodes on the parabolas, on the lines, and all alike; bounds at the ends of the data."""
    margin = 0.02 * (line.high - line.low)
    low, high = min(line.lowest, -0.02) - margin, max(line.highest, 0.02) + margin
    w = np.linspace(low, high, NODES)
    floor = 0.02 * max(line.a_up, line.a_down)
    out = []
    for curved, sloped in ((1.0, 1.0), (0.0, 1.0), (0.0, 0.0)):
        up = line.a_up - sloped * line.b_up * w + curved * line.c_up * w**2
        down = line.a_down + sloped * line.b_down * w + curved * line.c_down * w**2
        values = {node_name("up", k): float(max(v, floor)) for k, v in enumerate(up)}
        values |= {node_name("down", k): float(max(v, floor)) for k, v in enumerate(down)}
        out.append({**values, "w_max": high, "w_min": low})
    return out


_FIRST: dict[str, Callable[[Lines], list[dict[str, float]]]] = {
    "constant_step": _constant,
    "linear_step": _linear,
    "soft_bounds": _soft,
    "soft_bounds_reference": _soft,
    "alpha": _alpha,
    "exp_step": _exponential,
    "pow_step": _power,
    "pow_step_reference": _power,
    "piecewise_step": _piecewise,
}
