"""The device equations once more, in NumPy from the specification, to make traces with known truth.

One pulse (devices.md 4 and 5): g <- clip(g + d s(g) (1 + sigma xi)) with multiplicative, g <- clip(g + d (s(g) + s0 sigma
xi)) with additive noise; a read is g + kappa eta.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def steps(model: str, truth: dict[str, float], w: Floats) -> tuple[Floats, Floats]:
    """Mean up and down step at w."""
    if model == "PiecewiseStep":
        nodes = np.linspace(truth["w_min"], truth["w_max"], 6)
        up, down = (np.interp(w, nodes, [truth[f"{side}_{k}"] for k in range(6)]) for side in ("up", "down"))
        return up, down
    if model != "SoftBoundsPmax":
        up, down = np.full_like(w, truth["step_up"]), np.full_like(w, truth["step_down"])
    if model == "LinearStep":
        return up * (1 - truth["gamma_up"] * w / truth["w_max"]), down * (1 - truth["gamma_down"] * w / truth["w_min"])
    if model == "SoftBoundsPmax":
        part = 1 - np.exp(-truth["alpha"])
        return part * (truth["w_max"] - w), part * (w - truth["w_min"])
    if model.startswith("SoftBounds"):
        return up * (1 - w / truth["w_max"]), down * (1 - w / truth["w_min"])
    if model == "ExpStep":
        shape = [(truth[f"slope_{side}"], truth[f"bend_{side}"]) for side in ("up", "down")]
        bent = [
            np.maximum(1 - (1 - bend) * np.exp(slope * bend / (1 - bend) * z), 0) / bend
            for (slope, bend), z in zip(shape, (w, -w), strict=True)
        ]
        return up * bent[0], down * bent[1]
    if model.startswith("PowStep"):
        rising, falling = np.clip(1 - w / truth["w_max"], 0, None), np.clip(1 - w / truth["w_min"], 0, None)
        return up * rising ** truth["exponent_up"], down * falling ** truth["exponent_down"]
    return up, down


def traces(
    model: str,
    truth: dict[str, float],
    pulses: NDArray[np.int64],
    repeats: int,
    rng: np.random.Generator,
    start: float,
    additive: bool = False,
) -> Floats:
    """Reads (repeats, n): the first before any pulse, then one after each of the signed single pulses[1:].

    A parameter is one number, or one for each repeat.
    """
    w = np.full(repeats, start)
    out = np.empty((repeats, len(pulses)))
    sigma, kappa = truth["dw_min_std"], truth["read_noise"]
    for k, pulse in enumerate(pulses):
        if k:
            up, down = steps(model, truth, w)
            mean = up if pulse > 0 else down
            zero = truth["step_up" if pulse > 0 else "step_down"] if additive else mean
            noise = sigma * rng.standard_normal(repeats) * zero
            w = np.clip(w + np.sign(pulse) * (mean + noise), truth["w_min"], truth["w_max"])
        out[:, k] = w
    return out + kappa * rng.standard_normal(out.shape)


def ramps(up: int, down: int, cycles: int, pairs: int = 0) -> NDArray[np.int64]:
    """Signed pulses of up/down ramps, then alternating pairs."""
    return np.concatenate([np.tile(np.repeat([1, -1], [up, down]), cycles), np.tile([1, -1], pairs)]).astype(np.int64)
