"""Simulation-based calibration: truths drawn from a prior, simulated by the NumPy copy of the equations, fitted; where the
truth falls in the stated interval of each parameter (S. Talts et al., arXiv:1804.06788).

`python -m tests.fitlab.calibration 400` prints the table of docs/fitting.md.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.stats import chi2, norm
from threadpoolctl import threadpool_limits

from fitlab.fit.candidate import store
from fitlab.fit.free import FAR
from fitlab.fit.models import BOUNDS, MODELS, NODES
from fitlab.fit.output_error import fit_output_error
from fitlab.fit.prediction_error import fit_prediction_error
from fitlab.fit.profile import with_profiles
from fitlab.fit.response import Trace
from tests.fitlab.simulate import ramps, traces

BINS = 10


def prior(name: str, rng: np.random.Generator) -> tuple[dict[str, float], np.ndarray, bool]:
    """A truth, its pulses, and whether the noise is additive."""
    step = 0.03 * np.exp(rng.uniform(-0.3, 0.3))
    noise = {"dw_min_std": np.exp(rng.uniform(np.log(0.3), np.log(0.8))), "read_noise": 0.01 * 3 ** rng.uniform()}
    steps = {"step_up": step, "step_down": step * np.exp(rng.uniform(-0.3, 0.3))}
    bounds = {"w_max": rng.uniform(0.9, 1.1), "w_min": -rng.uniform(0.9, 1.1)}
    pulses = ramps(110, 110, 3, pairs=40)
    additive = name in ("LinearStep (additive noise)", "SoftBoundsReference")
    kind = name.split(" ")[0]
    if kind == "LinearStep":
        shape = {"gamma_up": rng.uniform(-0.3, 0.6), "gamma_down": rng.uniform(-0.3, 0.6)}
    elif kind == "ExpStep":
        shape = {n: rng.uniform(0.5, 1.0) for n in ("slope_up", "slope_down")}
        shape |= {n: rng.uniform(0.5, 0.75) for n in ("bend_up", "bend_down")}
        # the steps vanish before hard bounds are reached
        pulses, bounds = ramps(150, 150, 5), {"w_max": FAR, "w_min": -FAR}
    elif kind.startswith("PowStep"):
        shape = {n: rng.uniform(0.7, 1.6) for n in ("exponent_up", "exponent_down")}
        pulses = ramps(150, 150, 6)
    elif kind == "PiecewiseStep":
        shape = {f"{side}_{k}": step * rng.uniform(0.5, 1.5) for side in ("up", "down") for k in range(NODES)}
        pulses, steps, bounds = ramps(80, 80, 5), {}, {"w_max": 1.0, "w_min": -1.0}
    else:
        shape = {}
    if kind == "SoftBoundsPmax":
        shape, steps = {"alpha": step}, {}
    return {**steps, **shape, **bounds, **noise}, pulses, additive


def _logarithm(v: float) -> float:
    """Of the size, with the sign."""
    return float(np.sign(v) * np.log(abs(v)))


def draw(name: str, seed: int) -> dict[str, float]:
    """Where the truth falls in the interval of each parameter, as a probability; one repeat."""
    rng = np.random.default_rng([seed, *name.encode()])
    truth, pulses, additive = prior(name, rng)
    model = MODELS[name.split(" ")[0]]
    row = traces(model.name, truth, pulses, 1, rng, rng.uniform(-0.9, -0.6), additive=additive)[0]
    trace = Trace(row, pulses, np.zeros(len(row)))
    least_squares = fit_output_error(model, trace, tries=1)
    # bounds that are held are those of the nodes: the truth's
    mean = {n: truth[n] for n in model.parameters} if model.held else dict(least_squares.values)
    fixed = frozenset(BOUNDS if truth["w_max"] == FAR else ())
    mean |= {n: truth[n] for n in fixed}
    fit = fit_prediction_error(model, trace, mean, mult_noise=not additive, fixed=fixed)
    found = with_profiles(store(model, trace, least_squares, fit, set(fixed), not additive), trace)
    out = {}
    for n in fit.varied:
        ends = found.interval(n)
        if ends is None:
            out[n] = float("nan")
            continue
        scale = _logarithm if n in fit.positive and ends[0] * ends[1] > 0 else float
        low, value, high, true = (scale(v) for v in (ends[0], fit.values[n], ends[1], truth[n]))
        half = high - value if true > value else value - low
        out[n] = float(norm.cdf(1.96 * (true - value) / half))
    return out


def calibration(name: str, repeats: int, first: int = 0) -> dict[str, tuple[float, float, float]]:
    """Parameter to the p-value of uniform ranks, the coverage of the 95 % interval, and the share without an error."""
    with threadpool_limits(1, user_api="blas"):
        rows = [draw(name, first + k) for k in range(repeats)]
    out = {}
    for n in rows[0]:
        u = np.array([r[n] for r in rows])
        known = u[np.isfinite(u)]
        count = np.histogram(known, BINS, (0, 1))[0]
        expected = len(known) / BINS
        p = float(chi2.sf(np.sum((count - expected) ** 2) / expected, BINS - 1))
        out[n] = p, float(np.mean(np.abs(known - 0.5) < 0.475)), float(1 - len(known) / len(u))
    return out


NAMES = [
    "ConstantStep", "LinearStep", "LinearStep (additive noise)", "SoftBounds", "SoftBoundsReference", "SoftBoundsPmax", "ExpStep",
    "PowStep", "PowStepReference", "PiecewiseStep",
]  # fmt: skip

if __name__ == "__main__":
    for model_name in sys.argv[2:] or NAMES:
        found = calibration(model_name, int(sys.argv[1]))
        for parameter, (p, cover, lost) in found.items():
            sys.stdout.write(f"| {model_name} | {parameter} | {p:.3f} | {100 * cover:.1f} % | {100 * lost:.1f} % |\n")
        sys.stdout.flush()
