"""One model fitted to one device: both estimators, what the data do not determine, and the figures of merit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .free import FAR, NOISE, Adjust
from .models import BOUNDS, GAMMAS, Model
from .output_error import OutputError, fit_output_error, fit_starts, goodness, mean_response
from .prediction_error import PredictionError, fit_prediction_error
from .response import Floats, Trace


@dataclass(frozen=True)
class Candidate:
    """A fitted model.

    Attributes
    ----------
    least_squares : output-error fit (best mean trajectory)
    likelihood : prediction-error fit (what the parameter set holds)
    stored : values with bounds that were not reached put at the end of the states seen
    starts, mean : start values and mean trajectory of `stored`
    r2, nrmse : of that trajectory
    reasons : parameter to the reason why it has no standard error
    profiles : 95 % profile-likelihood intervals, at the stored values, of parameters whose likelihood is not quadratic
    effective_reads : number of independent reads, where the mean response was taken from least squares because the read
        noise is coloured; then it is compared by AICc = n ln(residual mean square) + ...
    """

    model: Model
    mult_noise: bool
    least_squares: OutputError
    likelihood: PredictionError
    stored: dict[str, float]
    starts: Floats
    mean: Floats
    r2: float
    nrmse: float
    reasons: dict[str, str]
    profiles: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    effective_reads: float | None = None

    @property
    def name(self) -> str:
        """Model name, with its noise form where there are two."""
        return self.model.name if len(self.model.noise) == 1 or self.mult_noise else f"{self.model.name} (additive noise)"

    @property
    def parameters(self) -> int:
        """Number of free parameters."""
        return len(self.likelihood.varied)

    @property
    def aicc(self) -> float:
        """-2 ln L + 2k + 2k (k+1) / (n-k-1), with the likelihood of the one-step-ahead predictions."""
        k, n = self.parameters, self.effective_reads or self.likelihood.reads
        return -2 * self.log_likelihood + 2 * k + 2 * k * (k + 1) / max(n - k - 1, 1)

    @property
    def log_likelihood(self) -> float:
        """Logarithm of the likelihood by which models are compared."""
        if self.effective_reads is None:
            return self.likelihood.log_likelihood
        return -self.effective_reads * float(np.log(self.nrmse))

    @property
    def bic(self) -> float:
        """-2 ln L + k ln n."""
        return -2 * self.log_likelihood + self.parameters * float(np.log(self.effective_reads or self.likelihood.reads))

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % interval of a free parameter: of its profile where the likelihood is not quadratic; None without error."""
        low, high = self.profiles.get(name, (None, None))
        if name in self.reasons:
            return None
        return (low, high) if low is not None and high is not None else self.likelihood.interval(name)

    def fields(self) -> tuple[dict[str, float], list[str], Floats]:
        """Device fields, the names of those that have a standard error, and the covariance of those.

        Fields are those of the device class (`dw_min`, `up_down`, bounds, shape, `dw_min_std`, `write_noise_std`) and
        `read_noise` in w. Errors by the delta method.
        """
        values = self.fields_at(self.stored)
        covariance, slopes = self.likelihood.covariance, self.slopes(self.fields_at)
        known = np.isfinite(np.diag(covariance))
        names = list(values)
        has = [
            name
            for name, row in zip(names, slopes, strict=True)
            if np.any(row != 0) and not np.any(row[~known] != 0) and name not in self.reasons
        ]
        part = slopes[[names.index(n) for n in has]][:, known]
        return values, has, part @ covariance[np.ix_(known, known)] @ part.T

    def reason(self, name: str) -> str | None:
        """Why a field has no standard error: its own reason, or that of a parameter that it depends on."""
        if name in self.reasons:
            return self.reasons[name]
        row = self.slopes(self.fields_at)[list(self.fields_at(self.stored)).index(name)]
        return next((self.reasons[n] for n, s in zip(self.likelihood.varied, row, strict=True) if s and n in self.reasons), None)

    def slopes(self, derived: Callable[[dict[str, float]], Mapping[str, float]]) -> Floats:
        """Derivatives (D, V) of derived quantities at the stored values by the varied parameters (central differences)."""
        stored, varied = self.stored, self.likelihood.varied
        out = np.zeros((len(derived(stored)), len(varied)))
        for j, name in enumerate(varied):
            if name not in stored:
                continue
            fitted = self.likelihood.values[name]
            # gammas of a bound that was moved are stored for the new one
            ratio = stored[name] / fitted if name in GAMMAS and fitted else 1.0
            h = 1e-6 * max(abs(stored[name]), 1e-3)
            up, down = (np.array(list(derived({**stored, name: stored[name] + s * h}).values())) for s in (1, -1))
            out[:, j] = ratio * (up - down) / (2 * h)
        # what is not there at all came out of rounding
        size = np.abs(np.array(list(derived(stored).values())))[:, None] + 1e-300
        return np.where(np.abs(out) * np.abs([stored.get(n, 0.0) for n in varied]) < 1e-9 * size, 0.0, out)

    def fields_at(self, stored: dict[str, float]) -> dict[str, float]:
        """Device fields, noises among them, of given parameters."""
        fields = self.model.fields(stored)
        step = fields["dw_min"] if "dw_min" in fields else max(self.model.drawn(stored))
        noise = {n: stored[n] for n in NOISE}
        return {**fields, **noise, "write_noise_std": stored["read_noise"] / step}


def fit_candidate(
    model: Model, trace: Trace, adjust: Adjust | None = None, noise: tuple[bool, ...] | None = None
) -> list[Candidate]:
    """Fit one model in each of its noise forms, or in those that are given."""
    least_squares = fit_output_error(model, trace, adjust=adjust)
    return [_with_noise(model, trace, least_squares, mult_noise, adjust) for mult_noise in noise or model.noise]


def _unbound(values: dict[str, float], name: str) -> dict[str, float]:
    """The same response with a hard bound moved out of reach (gammas refer to the bound)."""
    gamma = "gamma_up" if name == "w_max" else "gamma_down"
    far = FAR if name == "w_max" else -FAR
    out = {**values, name: far}
    if gamma in values:
        out[gamma] = values[gamma] * far / values[name]
    return out


def reachable(model: Model, least_squares: OutputError) -> tuple[dict[str, float], set[str]]:
    """Mean parameters with hard bounds that the trajectory does not reach moved out of the way, and their names."""
    mean: dict[str, float] = dict(least_squares.values)
    fixed: set[str] = set()
    if not model.inner:
        reached = {
            "w_max": int(np.sum(least_squares.mean >= mean["w_max"] - 1e-9)),
            "w_min": int(np.sum(least_squares.mean <= mean["w_min"] + 1e-9)),
        }
        for name, reads in reached.items():
            if reads < 3:
                mean = _unbound(mean, name)
                fixed.add(name)
    return mean, fixed


def _with_noise(model: Model, trace: Trace, least_squares: OutputError, mult_noise: bool, adjust: Adjust | None) -> Candidate:
    mean, fixed = reachable(model, least_squares)
    fit = fit_prediction_error(model, trace, mean, mult_noise=mult_noise, adjust=adjust, tries=2, fixed=frozenset(fixed))
    if not model.inner:
        vague = {n for n in ("w_max", "w_min") if n in fit.varied and (n in fit.reasons or fit.errors.get(n, np.inf) > 1.0)}
        if vague:
            values = fit.values
            for name in vague:
                values = _unbound(values, name)
            fixed |= vague
            mean = {n: values[n] for n in model.parameters}
            fit = fit_prediction_error(model, trace, mean, mult_noise=mult_noise, adjust=adjust, fixed=frozenset(fixed))
    return store(model, trace, least_squares, fit, fixed, mult_noise)


def store(
    model: Model, trace: Trace, least_squares: OutputError, fit: PredictionError, fixed: set[str], mult_noise: bool
) -> Candidate:
    """Candidate of a fit: bounds that were held out of reach are put at the end of the states seen."""
    stored, reasons = dict(fit.values), dict(fit.reasons)
    starts = fit_starts(model, stored, trace)
    path = mean_response(model, stored, trace, starts)
    if model.held:
        reasons |= dict.fromkeys(BOUNDS, "set to the end of the states seen, with a margin")
    elif not model.inner:
        ends = {"w_max": max(1.0, float(path.max())), "w_min": min(-1.0, float(path.min()))}
        for name in fixed:
            gamma = "gamma_up" if name == "w_max" else "gamma_down"
            if gamma in stored:
                stored[gamma] *= ends[name] / stored[name]
            stored[name] = ends[name]
            reasons[name] = (
                "not reached: no plateau in the data, so this is only the end of the "
                f"states seen ({'at least' if name == 'w_max' else 'at most'} this)"
            )
    elif model.soft:
        for name in BOUNDS:
            if abs(stored[name]) > 3.5 and name not in reasons:
                reasons[name] = (
                    "not identifiable: the asymptote lies more than 1.5 windows beyond the data; only step/bound is determined"
                )
    r2, nrmse = goodness(trace, path)
    return Candidate(model, mult_noise, least_squares, fit, stored, starts, path, r2, nrmse, reasons)
