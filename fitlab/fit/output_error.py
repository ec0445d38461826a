"""Output-error fit: the mean trajectory against the reads, by bounded least squares.

A few Gauss-Newton steps from many starts tell which to follow. What the user fixes, bounds or ties is finished by lmfit; without
that its import would take longer than the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .free import FAR, Adjust, Space, make_parameters, start_name
from .guess import lines, starts
from .models import BOUNDS, EXPONENTS, STEPS, Model
from .newton import minimise
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
    index, used, root = trace.segment_index, trace.used, trace.root
    for _ in range(8):
        mean, jacobian = trajectory_jacobian(model.kernel, kernel, trace, start)
        slope = np.where(used, jacobian[:, -1] * root, 0.0)
        residual = np.where(used, (trace.reads - mean) * root, 0.0)
        top = np.bincount(index, slope * residual, len(start))
        bottom = np.bincount(index, slope * slope, len(start))
        move = np.where(bottom > 1e-12, top / np.maximum(bottom, 1e-12), 0.0)
        start = start + np.clip(move, -0.5, 0.5)
        if np.max(np.abs(move)) < 1e-10:
            break
    return start


class _SumOfSquares:
    """Half the sum of squares of the residuals over their mean square at the start, as a function of the varied parameters."""

    def __init__(self, model: Model, trace: Trace, space: Space, begin: Floats, free_starts: bool) -> None:
        self.model, self.trace, self.space, self.begin, self.free_starts = model, trace, space, begin, free_starts
        row = {name: i for i, name in enumerate(space.all)}
        starts = [start_name(i) for i in range(len(begin))] if free_starts else []
        self.rows = [row[n] for n in (*model.parameters, *starts)]
        self.own = trace.segment_index[:, None] == np.arange(len(begin))
        self.scale = 1.0
        self.scale = trace.used.sum() / max(2 * float(self.values(space.x()[None])[0]), 1e-300)

    def starts(self, values: dict[str, float]) -> Floats:
        """Start values of the segments."""
        return np.array([values[start_name(i)] for i in range(len(self.begin))]) if self.free_starts else self.begin

    def residual(self, mean: Floats) -> Floats:
        """Residuals of the reads that are used, times the roots of their weights."""
        out = mean - self.trace.reads
        if self.trace.weight is not None:
            out *= self.trace.root
        return np.asarray(out[self.trace.used])

    def values(self, points: Floats) -> Floats:
        """Half the scaled sum of squares (P,) at points (P, V)."""
        out = []
        for x in points:
            values = self.space.values(x)
            residual = self.residual(mean_response(self.model, values, self.trace, self.starts(values)))
            out.append(self.scale / 2 * float(residual @ residual))
        return np.array(out)

    def gradients(self, points: Floats) -> tuple[Floats, Floats]:
        """Values (P,) and gradients (P, V)."""
        found = [self.information(x) for x in points]
        return np.array([f[0] for f in found]), np.array([f[1] for f in found])

    def information(self, x: Floats) -> tuple[float, Floats, Floats]:
        """Value, gradient and the Gauss-Newton Hessian J^T J."""
        values, used = self.space.values(x), self.trace.used
        kernel, by_free = self.model.kernel_values(values, True)
        mean, by_kernel = trajectory_jacobian(self.model.kernel, kernel, self.trace, self.starts(values))
        columns = [by_kernel[:, :-1] @ by_free]
        if self.free_starts:
            columns.append(by_kernel[:, -1:] * self.own)
        slope = np.hstack(columns)[used] @ self.space.jacobian(x, values)[self.rows]
        if self.trace.weight is not None:
            slope *= self.trace.root[used, None]
        residual = self.residual(mean)
        return self.scale / 2 * float(residual @ residual), self.scale * residual @ slope, self.scale * slope.T @ slope

    def least_squares(self, x: Floats) -> tuple[dict[str, float], int]:
        """The optimum next to x by lmfit's least squares with the user's bounds and ties, on the compiled response."""
        from lmfit import Minimizer

        at = self.space.values(x)
        for name, p in self.space.parameters.items():
            if p.vary and p.expr is None:
                p.value = at[name]
        used = self.trace.used

        def residual(free: Parameters) -> Floats:
            values = dict(free.valuesdict())
            return self.residual(mean_response(self.model, values, self.trace, self.starts(values)))

        def jacobian(free: Parameters) -> Floats:
            values = dict(free.valuesdict())
            kernel, by_free = self.model.kernel_values(values, True)
            _, by_kernel = trajectory_jacobian(self.model.kernel, kernel, self.trace, self.starts(values))
            columns = [by_kernel[:, :-1] @ by_free]
            if self.free_starts:
                columns.append(by_kernel[:, -1:] * self.own)
            space = Space(free)
            return np.asarray(self.trace.root[used, None] * np.hstack(columns)[used] @ space.jacobian(space.x())[self.rows])

        with np.errstate(invalid="ignore", divide="ignore"):  # lmfit takes roots and ratios of the variances of flat directions
            result = Minimizer(residual, self.space.parameters).least_squares(
                Dfun=jacobian, max_nfev=30, x_scale="jac", ftol=1e-10, xtol=1e-10, gtol=1e-10
            )
        return dict(result.params.valuesdict()), int(result.nfev)


def fit_output_error(model: Model, trace: Trace, *, adjust: Adjust | None = None, tries: int = 2) -> OutputError:
    """Least-squares fit of the mean trajectory.

    Parameters
    ----------
    adjust : callable
        Fixes, bounds or ties parameters of the lmfit Parameters it is given.
    tries : int
        How many of the start values, best after a few steps, are followed to their optimum.
    """
    begin = first_states(trace)
    free_starts = len(begin) <= FREE_STARTS
    problems = []
    for values in starts(model, lines(trace)):
        fixed = frozenset(n for n in BOUNDS if not model.inner and abs(values[n]) >= FAR)
        free = make_parameters(model, values, fixed=fixed, starts=begin.tolist() if free_starts else (), adjust=adjust)
        space = Space(free, log=(*STEPS, *EXPONENTS, "alpha", *BOUNDS), units=model.units)
        problems.append(_SumOfSquares(model, trace, space, begin, free_starts))
    evaluations = len(problems)
    # the sum of squares has several minima where bounds are reached: a few steps from many starts tell which to follow
    order = np.argsort([1 / p.scale for p in problems])[: 4 * tries]
    sketches = []
    for which in order:
        p = problems[which]
        found = minimise(p, p.space.x(), p.space.low, p.space.high, most=6, coarse=1e-2, refine=False, reach=p.space.reach)
        evaluations += found.evaluations
        sketches.append((found.value / p.scale, which, found.x))
    followed = []
    for _, which, x in sorted(sketches, key=lambda s: s[0])[:tries]:
        problem = problems[which]
        found = minimise(problem, x, problem.space.low, problem.space.high, coarse=1e-6, refine=False, reach=problem.space.reach)
        evaluations += found.evaluations
        followed.append((found.value / problem.scale, which, found.x))
    _, which, x = min(followed, key=lambda f: f[0])
    if adjust is None:
        values, more = problems[which].space.values(x), 0
    else:
        values, more = problems[which].least_squares(x)
    start = problems[which].starts(values)
    mean = mean_response(model, values, trace, start)
    r2, nrmse = goodness(trace, mean)
    return OutputError({name: values[name] for name in model.parameters}, start, mean, r2, nrmse, evaluations + more)
