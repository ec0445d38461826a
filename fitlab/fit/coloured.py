"""Least squares as the final estimate, for read noise that is coloured.

The state-space likelihood takes slow read noise for step noise and then trusts the mean too little. The output-error
fit of the mean does not depend on the colour of the noise, only its errors do: they are those of the sandwich

    C = H^-1 M H^-1,   H = J^T J,   M = sum over lags of (1 - |l| / (L+1)) sum_k s_k s_{k+l}^T,   s = J r

(W. K. Newey and K. D. West, Econometrica 55, 703 (1987)), with L beyond the correlation of the residuals. Noises are the
likelihood's at that mean.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .candidate import Candidate, reachable, store
from .free import NOISE
from .output_error import mean_response
from .prediction_error import PredictionError, fit_prediction_error
from .prepare import DeviceTrace
from .response import Floats, Trace, trajectory_jacobian


def autocorrelation(residual: Floats) -> Floats:
    """Autocorrelation of residuals up to a quarter of their number."""
    r = residual - residual.mean()
    size = len(r)
    spectrum = np.fft.rfft(r, 2 * size)
    rho = np.fft.irfft(np.abs(spectrum) ** 2)[: max(size // 4, 2)]
    return rho / rho[0] if rho[0] > 0 else np.eye(1, len(rho))[0]


def correlation_length(residual: Floats) -> tuple[int, float]:
    """Lag beyond which residuals are uncorrelated, and the number of reads that weigh as one independent read."""
    rho = autocorrelation(residual)
    below = np.flatnonzero(rho < 2 / np.sqrt(len(residual)))
    last = int(below[0]) if len(below) else len(rho)
    return last, float(1 + 2 * np.sum(rho[1:last]))


def from_least_squares(row: list[Candidate], device: DeviceTrace) -> list[Candidate]:
    """All candidates of a device with the mean response of least squares."""
    trace = device.trace
    best = max(row, key=lambda c: c.least_squares.r2)
    residual = (trace.reads - best.least_squares.mean)[trace.used]
    lag, weight = correlation_length(residual)
    return [_candidate(c, trace, 2 * lag, len(residual) / weight) for c in row]


def _candidate(c: Candidate, trace: Trace, lag: int, effective: float) -> Candidate:
    values, fixed = reachable(c.model, c.least_squares)
    free = [n for n in c.model.parameters if n not in fixed]
    mean = {n: values[n] for n in c.model.parameters}
    noise = fit_prediction_error(c.model, trace, values, mult_noise=c.mult_noise, held=mean)
    mean_covariance, reasons = sandwich(c, trace, values, free, lag)
    varied = (*free, *(n for n in NOISE if n in noise.varied))
    covariance = np.zeros((len(varied), len(varied)))
    covariance[: len(free), : len(free)] = mean_covariance
    covariance[len(free) :, len(free) :] = noise.covariance
    fit = PredictionError(
        c.model, c.mult_noise, noise.values, varied, covariance, {**noise.reasons, **reasons}, noise.log_likelihood, noise.reads,
        noise.converged, noise.evaluations,
    )  # fmt: skip
    stored = store(c.model, trace, c.least_squares, fit, fixed, c.mult_noise)
    return replace(stored, effective_reads=effective)


def sandwich(c: Candidate, trace: Trace, values: dict[str, float], free: list[str], lag: int) -> tuple[Floats, dict[str, str]]:
    """Covariance of the free mean parameters, the start values integrated out, and reasons where there is none."""
    kernel, slope = c.model.kernel_values(values, c.mult_noise)
    starts = c.least_squares.starts
    _, jacobian = trajectory_jacobian(c.model.kernel, kernel, trace, starts)
    columns = [c.model.parameters.index(n) for n in free]
    own_start = jacobian[:, -1:] * (trace.segment_index[:, None] == np.arange(len(starts)))
    root = trace.root[trace.used]
    design = np.hstack([(jacobian[:, :-1] @ slope)[:, columns], own_start])[trace.used] * root[:, None]
    residual = (trace.reads - mean_response(c.model, values, trace, starts))[trace.used] * root
    scale = np.sqrt(np.sum(design**2, axis=0))
    alive = scale > 1e-9 * max(float(scale.max()), 1e-300)
    reasons = {n: "not identifiable: the trajectory does not depend on it" for n, a in zip(free, alive, strict=False) if not a}
    design, scale = design[:, alive] / scale[alive], scale[alive]
    eigenvalues, vectors = np.linalg.eigh(design.T @ design)
    covariance = np.full((len(free), len(free)), np.nan)
    if eigenvalues[0] < 1e-9 * eigenvalues[-1]:
        weight = np.abs(vectors[:, 0])
        names = [n for n, a in zip(free, alive, strict=False) if a]
        for i, name in enumerate(names):
            if weight[i] > 0.1:
                reasons[name] = "not identifiable: only a combination with other parameters is determined"
        return covariance, reasons
    inverse = (vectors / eigenvalues) @ vectors.T
    score = design * residual[:, None]
    meat = score.T @ score
    for shift in range(1, min(lag, len(score) - 1) + 1):
        cross = score[shift:].T @ score[:-shift]
        meat += (1 - shift / (lag + 1)) * (cross + cross.T)
    full = inverse @ meat @ inverse / np.outer(scale, scale)
    kept = [i for i, a in enumerate(alive[: len(free)]) if a]
    covariance[np.ix_(kept, kept)] = full[: len(kept), : len(kept)]
    return covariance, reasons
