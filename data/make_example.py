"""Make the example measurement: pulse responses of eight soft-bounds cells with known truth.

    python data/make_example.py

Writes `reram_8cells.csv` and `reram_8cells_truth.csv` beside this file, the same bytes every time. It uses NumPy only and
none of fitlab's code, so that a fit of it is a test of fitlab.

    up   : g <- clip(g + s_up   ((1 - g / g_max) + sigma xi))
    down : g <- clip(g - s_down ((1 - g / g_min) + sigma xi))        read: y = g + kappa eta

in weight units w, with conductance G = 50 uS + 25 uS w.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SEED = 20240917
DEVICES = 8
DW_MIN, DW_MIN_DTOD = 0.016, 0.3
UP_DOWN, UP_DOWN_DTOD = 0.08, 0.03
W_MAX, W_MAX_DTOD, W_MIN, W_MIN_DTOD = 1.2, 0.2, -1.15, 0.2
SIGMA, KAPPA = 0.4, 0.012
MIDDLE_US, PER_WEIGHT_US = 50.0, 25.0
RAMP, CYCLES, PAIRS = 130, 3, 150


def pulses() -> np.ndarray:
    """Signed pulses: up and down ramps, then alternating pairs."""
    return np.concatenate([np.tile(np.repeat([1, -1], RAMP), CYCLES), np.tile([1, -1], PAIRS)])


def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters of each device from the population."""
    gain = 1 + DW_MIN_DTOD * rng.standard_normal(DEVICES)
    r = UP_DOWN_DTOD * rng.standard_normal(DEVICES)
    return {
        "step_up": np.abs(gain + r) * DW_MIN,
        "step_down": np.abs(gain - UP_DOWN - r) * DW_MIN,
        "w_max": W_MAX * (1 + W_MAX_DTOD * rng.standard_normal(DEVICES)),
        "w_min": W_MIN * (1 + W_MIN_DTOD * rng.standard_normal(DEVICES)),
    }


def simulate(truth: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Reads (pulses + 1, devices) in weight units; the first before any pulse."""
    g = 0.9 * truth["w_min"]
    states = [g]
    for sign in pulses():
        noise = SIGMA * rng.standard_normal(DEVICES)
        up = truth["step_up"] * (1 - g / truth["w_max"] + noise)
        down = truth["step_down"] * (1 - g / truth["w_min"] + noise)
        g = np.clip(g + np.where(sign > 0, up, -down), truth["w_min"], truth["w_max"])
        states.append(g)
    return np.array(states) + KAPPA * rng.standard_normal((len(states), DEVICES))


def main(folder: Path) -> None:
    """Write both files."""
    rng = np.random.default_rng(SEED)
    truth = draw(rng)
    conductance = MIDDLE_US + PER_WEIGHT_US * simulate(truth, rng)
    direction = np.concatenate([[0], pulses()])
    lines = ["# simulated cells, identical pulses; read at 0.1 V after every pulse", "device,pulse,direction,conductance (uS)"]
    for d in range(DEVICES):
        lines += [f"R{d + 1:02d},{k},{direction[k]:+d},{conductance[k, d]:.4f}" for k in range(len(direction))]
    (folder / "reram_8cells.csv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    table = ["device,step_up,step_down,w_max,w_min"]
    table += [f"R{d + 1:02d}," + ",".join(f"{truth[n][d]:.8g}" for n in truth) for d in range(DEVICES)]
    (folder / "reram_8cells_truth.csv").write_text("\n".join(table) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(__file__).parent)
