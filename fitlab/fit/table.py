"""The table device of a fit: what a pulse did, as a distribution that depends on the state, instead of a formula.

Pairs (state before a pulse, change by it) of all devices make `sim.devices.TableDevice`. Read noise would enter twice: it
blurs the states, and it adds 2 kappa^2 to the variance of the changes. So a state is the mean of the reads around, and the
quantiles of a state are drawn together about their mean until their variance is that of the steps alone, which keeps their skew.
kappa is that of the state-space likelihood of the model that is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fitlab import parameters as ps
from fitlab.errors import FitError
from sim.devices.table_data import REACH, distribution_table

from .device import local_mean
from .output_error import goodness
from .response import Floats, Trace

if TYPE_CHECKING:
    from .run import Fit

ROWS, COLUMNS = 21, 17
"""States and quantiles of the table."""
ROUGH = 0.2
"""Error of the mean step at a state, in mean steps, from which the fitted model's mean steps are taken instead."""


def pairs(fit: Fit) -> tuple[Floats, Floats, Floats, Floats]:
    """State before each single pulse, change by it, its direction and the read noise of its device, all in w.

    The changes of a device are those of its own step size brought to the mean one, whose spread is `dw_min_dtod`.
    """
    steps = np.array([sum(c.model.drawn(c.stored)) / 2 for c in fit.chosen])
    states, changes, directions, noises = [], [], [], []
    for c, device, step in zip(fit.chosen, fit.devices, steps, strict=True):
        trace = device.trace
        single = np.concatenate(([False], np.diff(trace.segment) == 0)) & (np.abs(trace.pulses) == 1)
        change = np.diff(trace.reads, prepend=np.nan)
        around = local_mean(trace)
        before = np.concatenate(([np.nan], trace.reads[:-1]))
        state = np.where(np.isfinite(around), around, before)
        known = single & np.isfinite(change) & np.isfinite(state)
        states.append(state[known])
        changes.append(change[known] * steps.mean() / step)
        directions.append(trace.pulses[known].astype(float))
        noises.append(np.full(int(known.sum()), c.stored["read_noise"] * steps.mean() / step))
    state, change, direction, noise = (np.concatenate(v) for v in (states, changes, directions, noises))
    fewest = min(int((direction > 0).sum()), int((direction < 0).sum()))
    if fewest < 10:
        raise FitError(
            f"{fit.attrs['source']}: --model table needs at least 10 single pulses in each direction with a read before and "
            f"after, and one direction has {fewest}; fit a formula with --model auto"
        )
    return state, change, direction, noise


def _weight(quantiles: Floats) -> Floats:
    """Probability of each column, which are evenly spread over a standard normal coordinate."""
    density = np.exp(-(np.linspace(-REACH, REACH, quantiles.shape[1]) ** 2) / 2)
    return np.asarray(density / density.sum())


def _means(quantiles: Floats) -> Floats:
    """Mean change at each state."""
    return np.asarray(quantiles @ _weight(quantiles))


def _model_means(fit: Fit, nodes: Floats) -> tuple[Floats, Floats]:
    """Mean steps up and down of the chosen model at the states, over the devices."""
    each = np.array([c.model.mean_steps(c.stored, nodes) for c in fit.chosen])
    up, down = each.mean(axis=0)
    return up, down


def _without_read_noise(quantiles: Floats, noise: float) -> Floats:
    """Quantiles (rows, columns) whose variance about their mean is less by 2 kappa^2, or 0 where it was no more than that."""
    mean = _means(quantiles)[:, None]
    variance = (quantiles - mean) ** 2 @ _weight(quantiles)
    kept = np.sqrt(np.clip(1 - 2 * noise**2 / np.maximum(variance, 1e-300), 0, 1))
    return np.asarray(mean + (quantiles - mean) * kept[:, None])


def _mean_path(up: Floats, down: Floats, low: float, high: float, trace: Trace, starts: Floats) -> Floats:
    """Mean trajectory of the table at the reads of a trace."""
    nodes = np.linspace(low, high, len(up))
    out = np.empty(len(trace.reads))
    w, index = 0.0, trace.segment_index
    for k, n in enumerate(trace.pulses.tolist()):
        if k == 0 or index[k] != index[k - 1]:
            w = float(starts[index[k]])
        else:
            for _ in range(abs(n)):
                step = np.interp(w, nodes, up) if n > 0 else -np.interp(w, nodes, down)
                w = min(max(w + float(step), low), high)
        out[k] = w
    return out


def _crossing(up: Floats, down: Floats, low: float, high: float) -> ps.Estimate:
    nodes, gap = np.linspace(low, high, len(up)), up - down
    at = np.flatnonzero((gap[:-1] > 0) != (gap[1:] > 0))
    if len(at) != 1:
        return ps.Estimate(reason=f"the mean steps of the table are equal at {len(at)} states")
    k = int(at[0])
    value = nodes[k] + (nodes[k + 1] - nodes[k]) * gap[k] / (gap[k] - gap[k + 1])
    return ps.Estimate(value=float(value), reason="where the mean steps of the table are equal; without error")


def as_table(fit: Fit, document: ps.ParameterSet) -> ps.ParameterSet:
    """The parameter set of the fit with a table device instead of the formula that was chosen.

    Raises
    ------
    FitError
        Fewer than ten single pulses in a direction, or no state that has both.
    """
    state, change, direction, noise = pairs(fit)
    kappa = float(np.sqrt(np.mean(noise**2)))
    tables = distribution_table(state, change, direction, ROWS, COLUMNS)
    low, high = tables.low, tables.high
    if not low < 0 < high:
        raise FitError(
            f"{fit.attrs['source']}: the states that have pulses of both directions ({low:.2f} to {high:.2f} in w) do not hold "
            "the middle of the window; fit a formula with --model auto"
        )
    rising, nodes = direction > 0, np.linspace(low, high, ROWS)
    up, down = (_without_read_noise(t, kappa) for t in (tables.up, tables.down))
    up_mean, down_mean = means = _means(up), _means(down)
    modelled = _model_means(fit, nodes)
    step = float(sum(m.mean() for m in modelled)) / 2
    rough = float(np.hypot(*(change[d].std(ddof=1) / np.sqrt(max(40, d.sum() / ROWS)) for d in (rising, ~rising)))) / 2
    if from_model := rough > ROUGH * step:
        up, down = (t + (m - n)[:, None] for t, m, n in zip((up, down), modelled, means, strict=True))
        up_mean, down_mean = modelled
    else:
        step = float(up_mean.mean() + down_mean.mean()) / 2
    read_noise = document.noise.read_noise.value or 0.0
    fields: dict[str, ps.Field] = {
        "dw_min": step, "w_min": low, "w_max": high, "rows": ROWS, "dw_min_std": 1.0, "write_noise_std": read_noise / step,
        "up": (up / step).ravel().tolist(), "down": (down / step).ravel().tolist(),
    }  # fmt: skip
    spread = document.dtod.get("dw_min_dtod")
    if spread is not None and spread.value is not None:
        fields["dw_min_dtod"] = spread.value
    for name in ("corrupt_devices_prob", "dw_min_dtod_log_normal"):
        if name in document.device.fields:
            fields[name] = document.device.fields[name]
    error = 0.5 * float(np.hypot(*(change[d].std(ddof=1) / np.sqrt(d.sum()) for d in (rising, ~rising))))
    named = fit.chosen[0].name
    end = "end of the states that have pulses of both directions"
    parameters = {
        "dw_min": ps.Estimate(value=step, reason=f"mean step of {named}") if from_model else ps.Estimate(value=step, error=error),
        "w_max": ps.Estimate(value=high, reason=end),
        "w_min": ps.Estimate(value=low, reason=end),
        "read_noise": document.noise.read_noise,
    }
    sizes = np.array([sum(c.model.drawn(c.stored)) for c in fit.chosen])
    figures = np.array([
        goodness(d.trace, _mean_path(up_mean * size, down_mean * size, low, high, d.trace, c.starts))
        for c, d, size in zip(fit.chosen, fit.devices, sizes / sizes.mean(), strict=True)
    ])  # fmt: skip
    r2, nrmse = (float(v) for v in figures.mean(axis=0))
    inside = {"up": float((change[rising] < 0).mean()), "down": float((change[~rising] > 0).mean())}
    notes = [
        f"the table is of {int(rising.sum())} up and {int((~rising).sum())} down pulses, of which "
        f"{100 * inside['up']:.0f} and {100 * inside['down']:.0f} % moved the other way; the read noise taken out is that of "
        f"{named}"
    ]
    if from_model:
        notes.append(
            f"the mean step of one state is uncertain by {rough / step:.1f} steps, so the table has the mean steps of {named}, "
            "and about them the measured distributions"
        )
    changed: dict[str, Any] = {
        "device": ps.Device(model="TableDevice", fields=fields),
        "parameters": parameters,
        "dtod": {"dw_min_dtod": spread} if spread is not None else {},
        "symmetry_point": _crossing(up_mean, down_mean, low, high),
        "goodness": ps.Goodness(r2=r2, nrmse=nrmse, least_squares_r2=r2, least_squares_nrmse=nrmse),
        "correlation": None,
        "trends": {},
        "warnings": [*document.warnings, *notes],
    }
    return document.model_copy(update=changed)
