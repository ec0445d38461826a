"""Ramps, alternating pulses and steps against the weight, by single pulses on rows of simulated devices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fitlab.errors import FitError
from sim.devices.base import PulsedDevice

from .rows import Floats, Row
from .variants import without_noise, without_spread, without_write_noise

COPIES = 256
"""Repeats of the nominal device, and devices drawn."""
STATES = 101
"""Weights at which steps are taken."""
MOST = 12000
"""Longest ramp, and longest alternation, in pulses."""
POINTS = 400
"""Most weights that are kept of a train of pulses."""
WIDEST = 1e3
"""Range of weights from which a device counts as unbounded; it is then shown from -1 to 1."""


@dataclass(frozen=True)
class Response:
    """Weights along a train of single pulses.

    Attributes
    ----------
    pulse : (T,) number of pulses before
    mean, deviation : (T,) of the nominal device over repeats: what cycle-to-cycle and write noise do
    drawn : (T, COPIES) devices with their spread, one train each
    """

    pulse: NDArray[np.int64]
    mean: Floats
    deviation: Floats
    drawn: Floats


@dataclass(frozen=True)
class Steps:
    """Change by one pulse of the nominal device against the weight, positive in the direction of the pulse.

    Attributes
    ----------
    weight : (STATES,)
    up, down : (STATES,) mean
    up_noise, down_noise : (STATES,) standard deviation from pulse to pulse, without write noise
    """

    weight: Floats
    up: Floats
    down: Floats
    up_noise: Floats
    down_noise: Floats


@dataclass(frozen=True)
class Population:
    """Devices that were drawn: bounds, and mean steps at the weight `Overview.middle`; each (COPIES,)."""

    low: Floats
    high: Floats
    up: Floats
    down: Floats


@dataclass(frozen=True)
class Overview:
    """Response of a device to pulses.

    Attributes
    ----------
    low, high : ends of the weights that are shown: the bounds of the nominal device unless `unbounded`
    middle : 0, or the middle of the range where 0 is outside
    turn : pulse at which the ramps turn
    complete : whether the ramps are long enough to reach where they lead
    symmetry : weight where both mean steps are equal, or None with the `symmetry_reason`
    """

    device: PulsedDevice
    low: float
    high: float
    unbounded: bool
    middle: float
    ramps: Response
    turn: int
    complete: bool
    alternating: Response
    steps: Steps
    population: Population
    symmetry: float | None
    symmetry_reason: str | None

    def at(self, weight: float) -> tuple[float, float]:
        """Mean up and down step at a weight."""
        s = self.steps
        return float(np.interp(weight, s.weight, s.up)), float(np.interp(weight, s.weight, s.down))


def overview(device: PulsedDevice, title: str = "device", seed: int = 1) -> Overview:
    """Simulate the response of a device; the same numbers for the same seed.

    Raises
    ------
    FitError
        The nominal device has no range, or one pulse does not change its weight.
    """
    nominal = without_spread(device)
    exact = without_noise(nominal)
    (low,), (high,) = Row(exact, 1, seed).bounds()
    unbounded = bool(high - low > WIDEST)
    if unbounded:
        low, high = -1.0, 1.0
    if not high > low:
        raise FitError(f"{title}: its weights have no range (w_min {device.w_min:g}, w_max {device.w_max:g}); set wider bounds")
    steps = _steps(nominal, exact, low, high, seed)
    smallest = 4e-7 * max(abs(low), abs(high), 1e-3)
    if not max(np.max(np.abs(steps.up)), np.max(np.abs(steps.down))) > smallest:
        raise FitError(f"{title}: one pulse does not change its weight (dw_min = {device.dw_min:g}); set a larger dw_min")
    symmetry, reason = _symmetry(steps, smallest)
    n_up, n_down = _pulses(steps.weight, steps.up), _pulses(-steps.weight[::-1], steps.down[::-1])
    rows = Row(nominal, COPIES, seed, "repeats"), Row(device, COPIES, seed, "devices")
    for row in rows:
        row.set(low)
    ramps = _respond(rows, np.repeat([1, -1], [n_up, n_down]))
    alternating = _respond(rows, np.tile([1, -1], _pairs(steps, symmetry)))
    middle = 0.0 if low < 0 < high else (low + high) / 2
    drawn = Row(without_noise(device), COPIES, seed, "devices")
    population = Population(*drawn.bounds(), drawn.step(middle, 1), drawn.step(middle, -1))
    complete = max(n_up, n_down) < MOST
    return Overview(
        device,
        float(low) + 0.0,
        float(high),
        unbounded,
        middle,
        ramps,
        n_up,
        complete,
        alternating,
        steps,
        population,
        symmetry,
        reason,
    )


def _steps(nominal: PulsedDevice, exact: PulsedDevice, low: float, high: float, seed: int) -> Steps:
    weight = low + (high - low) * (np.arange(STATES) + 0.5) / STATES
    mean = [Row(exact, STATES, seed, "mean", sign).step(weight, sign) for sign in (1, -1)]
    quiet = without_write_noise(nominal)
    noise = [Row(quiet, STATES * COPIES, seed, "noise", sign).step(np.repeat(weight, COPIES), sign) for sign in (1, -1)]
    return Steps(weight, *mean, *(n.reshape(STATES, COPIES).std(axis=1) for n in noise))


def _pulses(weight: Floats, step: Floats) -> int:
    """Pulses of a ramp along rising weights, to 2 % before the end or to where steps vanish; at least 10, at most MOST."""
    width = weight[1] - weight[0]
    inside = step[: int(0.98 * len(step))]
    if np.any(inside <= 0):
        inside = inside[: max(int(np.argmax(inside <= 0)), 1)]
    return int(np.clip(np.ceil(np.sum(width / np.maximum(inside, width / MOST))), 10, MOST))


def _pairs(steps: Steps, symmetry: float | None) -> int:
    """Pairs of alternating pulses that settle at the symmetry point: 4 times the pairs of a decay to 1/e."""
    if symmetry is None:
        return 100
    change = np.gradient(steps.down - steps.up, steps.weight)
    rate = float(np.interp(symmetry, steps.weight, change))
    return int(np.clip(np.ceil(4 / max(rate, 1e-9)), 20, MOST // 2))


def _symmetry(steps: Steps, smallest: float) -> tuple[float | None, str | None]:
    """Weight where up and down steps cross; the outermost 5 % are left out, where the bounds cut steps."""
    inside = slice(STATES // 20, -(STATES // 20))
    w, gap = steps.weight[inside], (steps.up - steps.down)[inside]
    if np.all(np.abs(gap) <= smallest):
        return None, "up and down steps are equal everywhere"
    cross = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
    if not len(cross):
        return None, "up and down steps are nowhere equal" if np.all(gap > 0) or np.all(gap < 0) else "no weight is stable"
    k = int(cross[np.argmin(np.abs(w[cross]))])
    slope = (gap[k] - gap[k + 1]) / (w[k + 1] - w[k])
    point = float(w[k] + gap[k] / slope)
    return (0.0 if abs(point) < smallest / slope else point), None


def _respond(rows: tuple[Row, Row], signs: NDArray[np.int64]) -> Response:
    """Weights of the repeats of the nominal device, and of drawn devices, along pulses."""
    marks = np.unique(np.round(np.linspace(0, len(signs), min(POINTS, len(signs)) + 1)).astype(np.int64))
    turns = np.flatnonzero(np.diff(signs)) + 1
    if len(turns) == 1:
        marks = np.union1d(marks, turns)
    elif len(signs) > POINTS:
        marks = np.unique(marks // 2 * 2)  # whole pairs, or the two levels of a pair would beat with the marks
    kept: list[list[Floats]] = [[row.weights()] for row in rows]
    for begin, end in pairwise(marks):
        for row, weights in zip(rows, kept, strict=True):
            row.pulse(signs[begin:end])
            weights.append(row.weights())
    repeats, drawn = (np.array(w) for w in kept)
    return Response(marks, repeats.mean(axis=1), repeats.std(axis=1), drawn)
