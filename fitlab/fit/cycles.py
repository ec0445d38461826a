"""Change from cycle to cycle: the chosen model fitted to every cycle by itself, its spread and its trend (wear-out)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .candidate import Candidate
from .free import NOISE
from .population import paule_mandel
from .prediction_error import fit_prediction_error
from .prepare import DeviceTrace
from .response import Floats

FEWEST = 4
"""Cycles from which a trend is looked for."""
MOST = 60
"""Cycles that are fitted, evenly chosen among more."""
FEWEST_READS = 16


@dataclass(frozen=True)
class Trend:
    """One free parameter over the cycles of one device, or of several.

    Attributes
    ----------
    mean : mean over the cycles
    spread, spread_error : standard deviation from cycle to cycle without the errors of the fits (None where it is 0)
    slope, slope_low, slope_high : change per cycle (Theil-Sen) and its 95 % interval
    cycles : number of cycles that were fitted
    """

    mean: float
    spread: float
    spread_error: float | None
    slope: float
    slope_low: float
    slope_high: float
    cycles: int

    @property
    def significant(self) -> bool:
        """Whether the trend differs from none."""
        return self.slope_low > 0 or self.slope_high < 0


def theil_sen(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Median of the slopes of all pairs, and its 95 % interval.

    The interval is that of Kendall's statistic (P. K. Sen, J. Am. Stat. Assoc. 63, 1379 (1968)); x without ties.
    """
    i, j = np.triu_indices(len(x), 1)
    slopes = np.sort((y[j] - y[i]) / (x[j] - x[i]))
    n, pairs = len(x), len(slopes)
    half = 1.96 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = int(np.clip(np.floor((pairs - half) / 2), 0, pairs - 1))
    high = int(np.clip(np.ceil((pairs + half) / 2), 0, pairs - 1))
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def trends(chosen: Candidate, device: DeviceTrace) -> dict[str, Trend]:
    """Spread and trend of every free parameter over the cycles; empty for fewer than four cycles."""
    numbers = np.unique(device.cycle)
    if len(numbers) < FEWEST:
        return {}
    if len(numbers) > MOST:
        numbers = numbers[np.round(np.linspace(0, len(numbers) - 1, MOST)).astype(int)]
    fit, trace = chosen.likelihood, device.trace
    fixed = frozenset(n for n in chosen.model.parameters if n not in fit.varied)
    mean = {n: fit.values[n] for n in chosen.model.parameters}
    noise = {n: fit.values[n] for n in NOISE}
    names = [n for n in fit.varied if n in mean]
    found: dict[str, list[tuple[float, float, float]]] = {n: [] for n in names}
    for number in numbers:
        own = device.cycle == number
        part = trace.part(own)
        if part.used.sum() < FEWEST_READS or np.any(part.pulses > 0) != np.any(trace.pulses > 0):
            continue
        if np.any(part.pulses < 0) != np.any(trace.pulses < 0):
            continue
        # the noises are those of the whole: one cycle says too little about them
        one = fit_prediction_error(chosen.model, part, mean, mult_noise=chosen.mult_noise, held=noise, fixed=fixed, noise=noise)
        if not one.converged:
            continue
        for name in names:
            error = one.errors.get(name)
            if error and name not in one.reasons:
                found[name].append((float(number), one.values[name], error))
    out = {}
    for name, rows in found.items():
        if len(rows) < FEWEST:
            continue
        x, y, s = np.array(rows).T
        spread = paule_mandel(y, s)
        slope, low, high = theil_sen(x, y)
        out[name] = Trend(spread.mean, spread.tau, spread.tau_error, slope, low, high, len(rows))
    return out


def together(single: list[dict[str, Trend]]) -> dict[str, Trend]:
    """Trends over devices: mean slope (random effects), root mean square of the spreads."""
    if len(single) == 1:
        return single[0]
    out = {}
    for name in dict.fromkeys(n for found in single for n in found):
        rows = [found[name] for found in single if name in found]
        if len(rows) < 2:
            continue
        error = np.array([max((r.slope_high - r.slope_low) / 3.92, 1e-12) for r in rows])
        slope = paule_mandel([r.slope for r in rows], error)
        spread = float(np.sqrt(np.mean([r.spread**2 for r in rows])))
        known = [r.spread_error for r in rows if r.spread_error is not None]
        reach = 1.96 * slope.mean_error
        out[name] = Trend(
            float(np.mean([r.mean for r in rows])),
            spread,
            float(np.mean(known) / np.sqrt(len(rows))) if known else None,
            slope.mean,
            slope.mean - reach,
            slope.mean + reach,
            max(r.cycles for r in rows),
        )
    return out
