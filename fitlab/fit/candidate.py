"""One model fitted to one device: both estimators, what the data do not determine, and the figures of merit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .free import FAR, Adjust
from .models import Model, device_field_slopes, device_fields
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
    profiles : 95 % profile-likelihood intervals of parameters whose likelihood is not quadratic
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

    def fields(self) -> tuple[dict[str, float], list[str], Floats]:
        """Device fields, the names of those that have a standard error, and the covariance of those.

        Fields are those of the device class (`dw_min`, `up_down`, bounds, gammas, `dw_min_std`, `write_noise_std`) and
        `read_noise` in w.
        """
        stored = self.stored
        steps, slopes = device_fields(stored), device_field_slopes(stored)
        values = {**steps, **{n: stored[n] for n in self.model.parameters if not n.startswith("step_")}}
        values["dw_min_std"], values["read_noise"] = stored["dw_min_std"], stored["read_noise"]
        values["write_noise_std"] = stored["read_noise"] / steps["dw_min"]
        varied = self.likelihood.varied
        jacobian = np.zeros((len(values), len(varied)))
        rows = {name: i for i, name in enumerate(values)}
        for j, name in enumerate(varied):
            if name.startswith("step_"):
                for field, by in slopes.items():
                    jacobian[rows[field], j] = by[name]
                jacobian[rows["write_noise_std"], j] = -values["write_noise_std"] / steps["dw_min"] * slopes["dw_min"][name]
            else:
                fitted = self.likelihood.values[name]
                jacobian[rows[name], j] = stored[name] / fitted if name.startswith("gamma_") and fitted else 1.0
                if name == "read_noise":
                    jacobian[rows["write_noise_std"], j] = 1 / steps["dw_min"]
        variance = np.diag(self.likelihood.covariance)
        known = np.isfinite(variance)
        has = [
            name
            for name, row in rows.items()
            if np.any(jacobian[row] != 0) and not np.any(jacobian[row][~known] != 0) and name not in self.reasons
        ]
        part = jacobian[[rows[n] for n in has]][:, known]
        return values, has, part @ self.likelihood.covariance[np.ix_(known, known)] @ part.T


def fit_candidate(model: Model, trace: Trace, adjust: Adjust | None = None) -> list[Candidate]:
    """Fit one model in each of its noise forms."""
    least_squares = fit_output_error(model, trace, adjust=adjust)
    return [_with_noise(model, trace, least_squares, mult_noise, adjust) for mult_noise in model.noise]


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
    if not model.soft:
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
    if not model.soft:
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
    if not model.soft:
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
    else:
        for name in ("w_max", "w_min"):
            if abs(stored[name]) > 3.5 and name not in reasons:
                reasons[name] = (
                    "not identifiable: the asymptote lies more than 1.5 windows beyond the data; only step/bound is determined"
                )
    r2, nrmse = goodness(trace, path)
    return Candidate(model, mult_noise, least_squares, fit, stored, starts, path, r2, nrmse, reasons)
