"""Prediction-error fit: maximum likelihood of the reads in the state-space model, with read and step noise.

Each pulse moves the state by its mean step and step noise, each read adds read noise; the likelihood is that of the
one-step-ahead predictions (a Kalman filter in `sim/core/response.h`). It is right for any ratio of the two noises,
where least squares on the trajectory or on increments is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .free import NOISE, Adjust, Space, make_parameters
from .models import EXPONENTS, NODE_NAMES, STEPS, Model
from .newton import Minimum, hessian, minimise
from .response import Floats, Trace, likelihood_gradient, likelihood_values

LOG = (*STEPS, *EXPONENTS, "alpha", *NOISE)


@dataclass(frozen=True)
class PredictionError:
    """Maximum of the likelihood, the noises corrected for the mean parameters having been fitted.

    Attributes
    ----------
    values : dict
        Mean-response parameters, `dw_min_std` (relative) and `read_noise` (w).
    varied : tuple of str
        Parameters that were free; rows of `covariance`.
    covariance : (V, V)
        Inverse Hessian of -ln L in the parameters themselves; NaN rows where there is none.
    reasons : dict
        Parameter to the reason why it has no standard error.
    """

    model: Model
    mult_noise: bool
    values: dict[str, float]
    varied: tuple[str, ...]
    covariance: Floats
    reasons: dict[str, str]
    log_likelihood: float
    reads: int
    converged: bool
    evaluations: int

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors of the varied parameters that have one."""
        variance = np.diag(self.covariance)
        return {n: float(np.sqrt(v)) for n, v in zip(self.varied, variance, strict=True) if np.isfinite(v)}

    @property
    def positive(self) -> tuple[str, ...]:
        """Parameters whose errors are those of their logarithm: steps and noises, and nodes that are steps for sure."""
        return (*LOG, *self.model.logs, *(n for n, e in self.errors.items() if n in NODE_NAMES and self.values[n] > 2 * e))

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % interval: symmetric in the logarithm for what is positive; None without error."""
        error = self.errors.get(name)
        if error is None:
            return None
        value = self.values[name]
        if name in self.positive:
            factor = float(np.exp(np.clip(1.96 * error / value, -500, 500)))
            return value / factor, value * factor
        return value - 1.96 * error, value + 1.96 * error


def predicted_reads(trace: Trace) -> int:
    """Reads that the likelihood predicts: all but the first of each segment."""
    firsts = len(np.unique(trace.segment_index[trace.used]))
    return int(trace.used.sum()) - firsts


class Likelihood:
    """-ln L of one trace as a function of the varied parameters, with the chain rule down to the kernel."""

    def __init__(self, model: Model, mult_noise: bool, trace: Trace, space: Space) -> None:
        self.model, self.mult_noise, self.trace, self.space = model, mult_noise, trace, space
        row = {name: i for i, name in enumerate(space.all)}
        self.mean_rows = [row[n] for n in model.parameters]
        self.noise_rows = [row[n] for n in NOISE]
        _, slope = model.kernel_values(space.values(space.x()), mult_noise)
        self.active = np.flatnonzero(np.any(slope != 0, axis=1)).astype(np.int32)

    def _kernels(self, points: Floats) -> tuple[Floats, ...]:
        """Kernel parameters (P, K), sigma and kappa (P,), and the derivatives (P, A + 2, V) of the active kernel parameters,
        sigma and kappa by the varied parameters."""
        if len(points) == 1:  # plain numbers are faster than arrays of one
            single = self.space.values(points[0])
            kernel, by_one = self.model.kernel_values(single, self.mult_noise)
            chain = self.space.jacobian(points[0], single)
            slope = np.concatenate([by_one[self.active] @ chain[self.mean_rows], chain[self.noise_rows]])
            return kernel[None], *(np.array([single[n]]) for n in NOISE), slope[None]
        values, chain = self.space.together(points)
        kernels, by_free = self.model.kernel_values(values, self.mult_noise, (len(points),))
        slopes = np.concatenate([by_free[:, self.active] @ chain[:, self.mean_rows], chain[:, self.noise_rows]], axis=1)
        sigma, kappa = (values[n] for n in NOISE)
        return kernels, sigma, kappa, slopes

    def values(self, points: Floats) -> Floats:
        each = [self.space.values(x) for x in points]
        kernels = np.array([self.model.kernel_values(v, self.mult_noise)[0] for v in each])
        sigma, kappa = np.array([[v[n] for n in NOISE] for v in each]).T
        return likelihood_values(self.model.kernel, kernels, sigma, kappa, self.trace)

    def gradients(self, points: Floats) -> tuple[Floats, Floats]:
        kernels, sigma, kappa, slopes = self._kernels(points)
        value, by_kernel, _ = likelihood_gradient(self.model.kernel, kernels, self.active, sigma, kappa, self.trace)
        return value, (by_kernel[:, None] @ slopes)[:, 0]

    def information(self, x: Floats) -> tuple[float, Floats, Floats]:
        kernels, sigma, kappa, slopes = self._kernels(x[None])
        value, by_kernel, information = likelihood_gradient(
            self.model.kernel, kernels, self.active, sigma, kappa, self.trace, information=True
        )
        slope = slopes[0]
        return float(value[0]), by_kernel[0] @ slope, slope.T @ information[0] @ slope


def noise_starts(model: Model, mult_noise: bool, mean: dict[str, float], trace: Trace, count: int = 2) -> list[dict[str, float]]:
    """Best points of a coarse grid of step and read noise at given mean parameters."""
    step = np.diff(trace.reads[trace.used])
    scale = max(float(np.median(np.abs(step - np.median(step)))) * 1.4826, 1e-5)
    kernel, _ = model.kernel_values(mean, mult_noise)
    size = max(model.drawn(mean) if model.noise_sizes is None else (s[0] for s in model.noise_sizes(mean, np.zeros(1))))
    grid = [
        (s, k)
        for k in scale * np.array([0.02, 0.2, 0.4, 0.7, 1.0])
        for s in np.clip(np.array([0.05, 0.3, 0.7, 1.0]) * scale / size, 2e-3, 500)
    ]
    sigma, kappa = np.array(grid).T
    value = likelihood_values(model.kernel, np.tile(kernel, (len(grid), 1)), sigma, kappa, trace)
    order = np.argsort(np.where(np.isfinite(value), value, np.inf))[:count]
    return [dict(zip(NOISE, (float(v) for v in grid[i]), strict=True)) for i in order]


def fit_prediction_error(
    model: Model,
    trace: Trace,
    mean: dict[str, float],
    *,
    mult_noise: bool,
    adjust: Adjust | None = None,
    tries: int = 1,
    fixed: frozenset[str] = frozenset(),
    held: Mapping[str, float] | None = None,
    noise: dict[str, float] | None = None,
    refine: bool = True,
) -> PredictionError:
    """Maximum likelihood from the mean parameters of an output-error fit, and from given noises or the best of a grid.

    Parameters that are `held` are fixed at those values, whatever `adjust` says.
    """
    best: tuple[Minimum, Space] | None = None
    evaluations = 0
    begins = [noise] if noise is not None else noise_starts(model, mult_noise, mean, trace, tries)
    for begin in begins:
        parameters = make_parameters(model, {**mean, **begin}, fixed=fixed, held=held, adjust=adjust)
        space = Space(parameters, log=(*LOG, *model.logs), units=model.units)
        likelihood = Likelihood(model, mult_noise, trace, space)
        # of several starts only the best is followed by the steps with the exact Hessian, which cost most
        last = refine and len(begins) == 1
        found = minimise(likelihood, space.x(), space.low, space.high, refine=last, reach=space.reach)
        evaluations += found.evaluations
        if best is None or found.value < best[0].value:
            best = (found, space)
    assert best is not None
    found, space = best
    if refine and len(begins) > 1:
        found = minimise(Likelihood(model, mult_noise, trace, space), found.x, space.low, space.high, reach=space.reach)
        evaluations += found.evaluations
    at = _restricted(Likelihood(model, mult_noise, trace, space), found, space) if refine else found
    values = space.values(at.x)
    covariance, reasons = _covariance(at, space)
    return PredictionError(
        model,
        mult_noise,
        values,
        tuple(space.names),
        covariance,
        reasons,
        -found.value,
        predicted_reads(trace),
        found.converged,
        evaluations,
    )


def _restricted(likelihood: Likelihood, found: Minimum, space: Space) -> Minimum:
    """The maximum of the likelihood of the noises that allows for the mean parameters having been fitted.

    Maximum likelihood finds noises too small, as a variance over n instead of n - 1 is, and errors with them. One Newton
    step leads from there to the maximum of the adjusted profile likelihood

        ln L - 1/2 ln det J,   J = information of the mean parameters

    (D. R. Cox and N. Reid, J. R. Stat. Soc. B 49, 1 (1987); for straight lines it gives the divisor n - p).
    """
    noise = np.array([n in NOISE for n in space.names]) & ~found.at_limit
    mean = np.array([n not in NOISE for n in space.names]) & ~found.at_limit
    free = noise | mean
    if not (noise.any() and mean.any() and found.converged):
        return found
    part = found.hessian[np.ix_(free, free)]
    scale = 1 / np.sqrt(np.maximum(np.diag(part), 1e-300))
    eigenvalues = np.linalg.eigvalsh(part * np.outer(scale, scale))
    if not eigenvalues[0] > 1e-6 * eigenvalues[-1]:
        return found

    def log_det(x: Floats) -> float:
        _, _, information = likelihood.information(x)
        return float(np.linalg.slogdet(information[np.ix_(mean, mean)])[1])

    pull = np.zeros(len(space.names))
    h = 0.02
    for j in np.flatnonzero(noise):
        move = h * (np.arange(len(pull)) == j)
        pull[j] = -(log_det(found.x + move) - log_det(found.x - move)) / (4 * h)
    shift = np.zeros(len(pull))
    shift[free] = np.linalg.solve(part, pull[free])
    if not np.isfinite(shift).all() or np.max(np.abs(shift[noise])) > 0.5:
        return found  # noises so uncertain that one step does not lead there
    x = np.clip(found.x + shift, space.low, space.high)
    value, gradient, second = hessian(likelihood, x, space.low, space.high)
    if not np.isfinite(second).all():
        return found
    return Minimum(x, value, gradient, second, found.at_limit, True, found.evaluations)


def _covariance(found: Minimum, space: Space) -> tuple[Floats, dict[str, str]]:
    """Inverse Hessian by the parameters, or the reason per parameter why there is none."""
    names = space.names
    reasons: dict[str, str] = {}
    for name, limited, x, low in zip(names, found.at_limit, found.x, space.low, strict=True):
        if limited:
            side = "lower" if x <= low + 1e-9 else "upper"
            reasons[name] = f"at the {side} limit of the search"
    free = ~found.at_limit
    covariance = np.full((len(names), len(names)), np.nan)
    for name, curvature, f in zip(names, np.diag(found.hessian), free, strict=True):
        if f and not curvature > 1e-6:
            reasons[name] = "not identifiable: the likelihood does not depend on it"
    free &= np.array([n not in reasons for n in names])
    while free.any():
        part = found.hessian[np.ix_(free, free)]
        scale = 1 / np.sqrt(np.diag(part))
        eigenvalues, vectors = np.linalg.eigh(part * np.outer(scale, scale))
        if eigenvalues[0] > 1e-8 * eigenvalues[-1]:
            inverse = (vectors / eigenvalues) @ vectors.T * np.outer(scale, scale)
            # from ln p to p: dp = p d(ln p)
            values = space.values(found.x)
            chain = np.where(space.log, [values[n] for n in names], space.unit)[free]
            covariance[np.ix_(free, free)] = inverse * np.outer(chain, chain)
            break
        # the flat direction is named, and its largest component leaves
        members = np.flatnonzero(free)
        weight = np.abs(vectors[:, 0])
        together = [names[members[i]] for i in np.argsort(-weight) if weight[i] > 0.3]
        worst = int(members[int(np.argmax(weight))])
        reasons[names[worst]] = (
            "not identifiable: only a combination with " + ", ".join(n for n in together if n != names[worst]) + " is determined"
            if len(together) > 1
            else "not identifiable: the likelihood is flat"
        )
        free[worst] = False
    return covariance, reasons
