"""Output-error fit: the mean trajectory against the reads, by bounded least squares (lmfit)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .free import FAR, Space, make_parameters, start_name
from .guess import lines, starts
from .models import Model
from .response import Floats, Trace, trajectory, trajectory_jacobian

if TYPE_CHECKING:
    from lmfit import Parameters

FREE_STARTS = 10
"""Up to this many segments the start values are free parameters; beyond, a line through the first reads gives them."""


@dataclass(frozen=True)
class OutputError:
    """Best mean trajectory: parameter values, start value of each segment, the trajectory (n,) and its R^2."""

    values: dict[str, float]
    starts: Floats
    mean: Floats
    r2: float
    nrmse: float
    evaluations: int


def goodness(trace: Trace, mean: Floats) -> tuple[float, float]:
    """R^2 and root mean square error over the range of the reads."""
    y, m = trace.reads[trace.used], mean[trace.used]
    residual = float(np.sum((y - m) ** 2))
    return 1 - residual / float(np.sum((y - y.mean()) ** 2)), float(np.sqrt(residual / len(y)) / np.ptp(y))


def first_states(trace: Trace, reads: int = 6) -> Floats:
    """State at the start of every segment: a line through its first reads, or their mean where there are few."""
    out = []
    edges = [*trace.starts.tolist(), len(trace.reads)]
    for a, b in pairwise(edges):
        run = np.arange(a, min(b, a + reads))
        n = trace.pulses[run].astype(int)
        n[0] = 0
        same = np.abs(np.cumsum(n)) == np.cumsum(np.abs(n))
        run, n = run[same], n[same]
        ok = np.isfinite(trace.reads[run])
        x, y = np.cumsum(n)[ok].astype(float), trace.reads[run][ok]
        if len(y) >= 4 and np.ptp(x) > 0:
            out.append(float(np.polyfit(x, y, 1)[1]))
        elif len(y):
            out.append(float(y[0]))
        else:
            rest = trace.reads[a:b]
            out.append(float(rest[np.isfinite(rest)][0]) if np.isfinite(rest).any() else 0.0)
    return np.array(out)


def mean_response(model: Model, values: dict[str, float], trace: Trace, start: Floats, mult_noise: bool = True) -> Floats:
    """Mean trajectory (n,) of a model."""
    kernel, _ = model.kernel_values(values, mult_noise)
    return trajectory(model.kernel, kernel, trace, start)


def fit_starts(model: Model, values: dict[str, float], trace: Trace) -> Floats:
    """Start values that make the mean trajectory of given parameters lie closest to the reads (Gauss-Newton)."""
    kernel, _ = model.kernel_values(values, True)
    start = first_states(trace)
    index, used = trace.segment_index, trace.used
    for _ in range(8):
        mean, jacobian = trajectory_jacobian(model.kernel, kernel, trace, start)
        slope = np.where(used, jacobian[:, -1], 0.0)
        residual = np.where(used, trace.reads - mean, 0.0)
        top = np.bincount(index, slope * residual, len(start))
        bottom = np.bincount(index, slope * slope, len(start))
        move = np.where(bottom > 1e-12, top / np.maximum(bottom, 1e-12), 0.0)
        start = start + np.clip(move, -0.5, 0.5)
        if np.max(np.abs(move)) < 1e-10:
            break
    return start


def fit_output_error(
    model: Model, trace: Trace, *, adjust: Callable[[Parameters], None] | None = None, tries: int = 3
) -> OutputError:
    """Least-squares fit of the mean trajectory.

    Parameters
    ----------
    adjust : callable
        Fixes, bounds or ties parameters of the lmfit Parameters it is given.
    tries : int
        How many of the start values, best first, are followed to their optimum.
    """
    from lmfit import Minimizer

    used, index = trace.used, trace.segment_index
    begin = first_states(trace)
    free_starts = len(begin) <= FREE_STARTS
    target = trace.reads[used]

    def parameters_at(values: dict[str, float]) -> Parameters:
        fixed = frozenset(n for n in ("w_max", "w_min") if not model.soft and abs(values[n]) >= FAR)
        parameters = make_parameters(model, values, fixed=fixed)
        if free_starts:
            for i, value in enumerate(begin):
                parameters.add(start_name(i), value=float(value))
        if adjust is not None:
            adjust(parameters)
        return parameters

    def unpack(values: dict[str, float]) -> Floats:
        return np.array([values[start_name(i)] for i in range(len(begin))]) if free_starts else begin

    def residual(parameters: Parameters) -> Floats:
        values = parameters.valuesdict()
        return mean_response(model, values, trace, unpack(values))[used] - target

    def jacobian(parameters: Parameters) -> Floats:
        values = dict(parameters.valuesdict())
        kernel, by_free = model.kernel_values(values, True)
        _, by_kernel = trajectory_jacobian(model.kernel, kernel, trace, unpack(values))
        columns = [by_kernel[:, :-1] @ by_free]
        if free_starts:
            columns.append(by_kernel[:, -1:] * (index[:, None] == np.arange(len(begin))))
        space = Space(parameters)
        order = [space.all.index(n) for n in (*model.parameters, *(start_name(i) for i in range(len(begin)) if free_starts))]
        return (np.hstack(columns) @ space.jacobian(space.x())[order])[used]

    candidates = [parameters_at(v) for v in starts(model, lines(trace))]
    cost = [float(np.sum(residual(p) ** 2)) for p in candidates]
    best: OutputError | None = None
    evaluations = len(candidates)
    for which in np.argsort(cost)[:tries]:
        with np.errstate(invalid="ignore", divide="ignore"):  # lmfit takes roots and ratios of the variances of flat directions
            result = Minimizer(residual, candidates[which]).least_squares(
                Dfun=jacobian, max_nfev=60, x_scale="jac", ftol=1e-9, xtol=1e-9, gtol=1e-10
            )
        evaluations += int(result.nfev)
        values = dict(result.params.valuesdict())
        start = unpack(values)
        mean = mean_response(model, values, trace, start)
        r2, nrmse = goodness(trace, mean)
        if best is None or r2 > best.r2:
            kept = {name: values[name] for name in model.parameters}
            best = OutputError(kept, start, mean, r2, nrmse, evaluations)
    assert best is not None
    return best
