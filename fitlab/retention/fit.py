"""Tables of a noise model from reads over time.

Within a bin of devices of like start, with l = ln(1 + t / t_0) and a read noise of spread r at each read, the first included:

    LOGARITHM   g(t) - g(0)       ~ normal(m l, s^2 l + 2 r^2)
    POWER       -ln(g(t) / g(0))  ~ normal(m l, s^2 l^2 + 2 r^2),  r relative

Read noise is thus the spread that is there at once and does not grow; reads at three times at least tell it. For a given t_0
the most likely m, s and r of a bin follow by reweighted means; t_0, the same for all bins, is searched. The law with the
smaller AICc is taken. Reads of one device at different times count as independent, which leaves m, s and r unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from fitlab.errors import FitError
from fitlab.retention.read import Retention
from sim.inference import DriftLaw, MeasuredNoiseModel

__all__ = ["RetentionFit", "fit_retention"]

A = np.ndarray[Any, Any]
STEPS = 8
FEW = 8  # devices of a bin below which its spread is not taken


@dataclass(frozen=True)
class RetentionFit:
    """What was fitted.

    Attributes
    ----------
    model : for ``InferenceRPUConfig(noise_model=...)``
    aicc : of each law that was tried
    devices : number of devices, of each bin
    notes : what a reader must know
    """

    model: MeasuredNoiseModel
    aicc: dict[str, float]
    devices: A
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        model = self.model
        heads = f"{'g [µS]':>10} {'devices':>8} {'m':>10} {'s':>10} {'read [µS]':>10}"
        columns = (model.g_lst, self.devices, model.drift_mean_lst, model.drift_std_lst, model.read_std_lst)
        lines = [f"law {model.law.name}, t_0 = {model.t_0:.3g} s", heads]
        for g, n, m, s, r in zip(*columns, strict=True):
            lines.append(f"{g:10.4g} {n:8d} {m:10.3g} {s:10.3g} {r:10.3g}")
        return "\n".join([*lines, *self.notes])


def fit_retention(data: Retention, bins: int = 16) -> RetentionFit:
    """Fit a noise model.

    Parameters
    ----------
    data : reads; the first of each device is what was programmed
    bins : bins of devices by start, of equal numbers of devices; fewer where there are fewer devices

    Raises
    ------
    FitError
        for less than two times, or no drift to fit
    """
    order = np.lexsort((data.time, data.device))
    device, time, g = data.device[order], data.time[order], data.g[order]
    starts = np.flatnonzero(np.r_[True, device[1:] != device[:-1]])
    owner = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(device)]))
    g_start, elapsed = g[starts], time - time[starts][owner]
    later = elapsed > 0
    if not later.any():
        raise FitError(f"{data.source}: no device was read twice; drift needs reads at two times at least")
    notes = [f"conductances in {data.unit}", *data.notes]
    if int((g < 0).sum()):
        notes.append(f"{int((g < 0).sum())} reads are below 0 (an offset of the instrument?); they are kept")
    edges = np.quantile(g_start, np.linspace(0, 1, min(bins, len(starts)) + 1))
    where = np.clip(np.searchsorted(edges[1:-1], g_start, side="right"), 0, len(edges) - 2)
    used = np.unique(where)
    where = np.searchsorted(used, where)
    count = np.bincount(where)
    centre = np.maximum(np.bincount(where, g_start) / count, 0.0)
    bin_of, then, before, t = where[owner][later], g[later], g_start[owner][later], elapsed[later]
    positive = (then > 0) & (before > 0)
    mine, t_of, then, before = bin_of[positive], t[positive], then[positive], before[positive]
    found = {
        DriftLaw.LOGARITHM: _best(mine, then - before, t_of, 1.0, 0.0),
        DriftLaw.POWER: _best(mine, np.log(before / then), t_of, 2.0, float(np.log(then).sum())),
    }
    law = min(found, key=lambda kind: found[kind][0])
    _, t_0, mean, spread, read = found[law]
    if law is DriftLaw.POWER:  # from relative to absolute
        read = read * np.sqrt(np.bincount(mine, then**2, len(count)) / np.maximum(np.bincount(mine, minlength=len(count)), 1))
    if (count < FEW).any():
        notes.append(f"{int((count < FEW).sum())} bins have fewer than {FEW} devices: no spread is taken from them")
        spread, read = np.where(count < FEW, 0.0, spread), np.where(count < FEW, 0.0, read)
    if (mean > 0).any() and (mean < 0).any():
        notes.append("low and high conductances drift in opposite directions: no single exponent holds")
    programming = np.zeros(len(count))
    if data.target is None:
        notes.append("no targets: the spread of programming is not measured, and 0 in the model")
    else:
        error = g_start - data.target[order][starts]
        programming = np.sqrt(np.maximum(np.bincount(where, error**2) / count - read**2, 0.0))
        notes += _shape_of(error)
    if not read.any():
        notes.append("read noise is not measured (it takes reads of many devices at three times), and 0 in the model")
    model = MeasuredNoiseModel(
        law=law, t_0=t_0, g_max=float(centre.max()), g_lst=_rising(centre).tolist(), prog_std_lst=programming.tolist(),
        drift_mean_lst=mean.tolist(), drift_std_lst=spread.tolist(), read_std_lst=read.tolist(),
    )  # fmt: skip
    return RetentionFit(model, {kind.name: value[0] for kind, value in found.items()}, count, notes)


def _best(bin_of: A, moved: A, t: A, growth: float, jacobian: float) -> tuple[float, float, A, A, A]:
    """AICc, t_0, m, s and read noise of a law with a variance ``s^2 l^growth + 2 r^2``."""
    bins, n = int(bin_of.max()) + 1, len(t)
    number = np.bincount(bin_of, minlength=bins)
    first, last = np.full(bins, np.inf), np.zeros(bins)
    np.minimum.at(first, bin_of, t)
    np.maximum.at(last, bin_of, t)
    reading = (last > first) & (number >= FEW)
    some = bool(reading.any())

    def total(v: A) -> A:
        return np.bincount(bin_of, v, bins)

    def at(log_t_0: float) -> tuple[float, A, A, A]:
        length = np.log1p(t / np.exp(log_t_0))
        power = length**growth
        mean = total(moved * length / power) / total(length**2 / power)
        own, read = np.maximum(total((moved - mean[bin_of] * length) ** 2 / power) / np.maximum(number, 1), 1e-12), np.zeros(bins)
        for _ in range(STEPS if some else 0):  # scoring of the normal likelihood, in both parts of the variance
            v = own[bin_of] * power + read[bin_of]
            w, rest = 1.0 / v**2, (moved - mean[bin_of] * length) ** 2
            a, b, c = total(w * power**2), total(w * power), total(w)
            d, e = total(w * power * rest), total(w * rest)
            read = np.where(reading, np.maximum((a * e - b * d) / np.maximum(a * c - b * b, 1e-300), 0.0), 0.0)
            own = np.maximum((d - b * read) / a, 1e-12)
            read = np.where(reading, np.maximum((e - b * own) / c, 0.0), 0.0)
            v = own[bin_of] * power + read[bin_of]
            mean = total(moved * length / v) / total(length**2 / v)
        v = own[bin_of] * power + read[bin_of]
        likelihood = 0.5 * np.log(2 * np.pi * v) + 0.5 * (moved - mean[bin_of] * length) ** 2 / v
        return float(likelihood.sum()) + jacobian, mean, np.sqrt(own), np.sqrt(read / 2.0)

    low, high = np.log(t.min() * 1e-3), np.log(t.max())
    grid = np.linspace(low, high, 41)
    best = grid[int(np.argmin([at(x)[0] for x in grid]))]
    step = grid[1] - grid[0]
    x = float(minimize_scalar(lambda v: at(v)[0], bounds=(best - step, best + step), method="bounded").x)
    loss, mean, spread, read = at(x)
    k = 2 * bins + int(reading.sum()) + 1
    correction = 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else float("inf")
    return 2 * loss + 2 * k + correction, float(np.exp(x)), mean, spread, read


def _rising(centre: A) -> A:
    """Centres of bins, made distinct where devices start alike."""
    return np.maximum.accumulate(centre + np.arange(len(centre)) * 1e-9 * max(float(centre.max()), 1e-9))


def _shape_of(error: A) -> list[str]:
    """A note where errors look as a window of acceptance leaves them, not normal."""
    v = error - error.mean()
    kurtosis = float((v**4).mean() / max(float((v**2).mean()) ** 2, 1e-300))
    if len(v) >= 50 and kurtosis < 2.2:
        return [
            f"programming errors are flat (kurtosis {kurtosis:.2f}, 1.8 for uniform ones): a window of acceptance, not a normal"
        ]
    return []
