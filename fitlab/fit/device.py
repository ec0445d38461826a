"""All models on one device, and what is told about the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .candidate import Candidate, fit_candidate
from .free import NOISE, Adjust
from .models import STEPS, Model
from .noise import Law, NoiseMoments, innovation_test, noise_moments
from .prediction_error import fit_prediction_error
from .prepare import DeviceTrace
from .response import Floats, Trace, innovations
from .symmetry import SymmetryPoint, symmetry_point


@dataclass(frozen=True)
class Diagnosis:
    """What is told about one fitted device besides its parameters.

    Attributes
    ----------
    whiteness : float
        Ljung-Box p-value of the standardised innovations.
    limits : dict
        95 % upper limits of noises that were found to be zero.
    """

    moments: NoiseMoments
    symmetry: SymmetryPoint
    whiteness: float
    limits: dict[str, float]
    warnings: tuple[str, ...]


def candidates(models: Sequence[Model], trace: Trace, adjust: Adjust | None = None, threads: int = 1) -> list[Candidate]:
    """Every model in each of its noise forms, fitted to one device; several models at a time where there are threads."""
    if threads == 1:
        return [c for model in models for c in fit_candidate(model, trace, adjust)]
    with ThreadPoolExecutor(threads) as pool:
        # those that take longest first
        tasks = {m.name: pool.submit(fit_candidate, m, trace, adjust) for m in sorted(models, key=lambda m: -len(m.parameters))}
        return [c for m in models for c in tasks[m.name].result()]


def mean_step_of_reads(fit: Candidate, trace: Trace) -> Floats:
    """Mean change of w that the pulses before each read make, from the state just before (signed)."""
    previous = np.concatenate(([0.0], fit.mean[:-1]))
    # where the read before is known, it says better than the mean trajectory where the device was
    local = local_mean(trace)
    state = np.where(np.isfinite(local), local, previous)
    up, down = fit.model.mean_steps(fit.stored, state)
    return np.where(trace.pulses > 0, up, -down) * np.abs(trace.pulses)


def _law(fit: Candidate, trace: Trace) -> Law:
    """Mean response as straight lines, each through two states around the mean before the read."""
    low, high = fit.stored["w_min"], fit.stored["w_max"]
    reach = 0.05 * (high - low)
    before = np.clip(np.concatenate((fit.mean[:1], fit.mean[:-1])), low + 1.01 * reach, high - 1.01 * reach)
    ends = fit.model.mean_steps(fit.stored, np.concatenate((before - reach, before + reach)))
    rising = trace.pulses > 0
    below, above = (np.where(rising, up, -down) for up, down in zip(*(np.split(e, 2) for e in ends), strict=True))
    slope = (above - below) / (2 * reach)
    keep, shift = 1 + slope, (below + above) / 2 - slope * before
    # n pulses of w -> shift + keep w: a geometric series, by its first terms where keep is next to 1
    n = np.abs(trace.pulses).astype(float)
    lost = 1 - keep
    near = np.abs(lost) * n < 1e-6
    offset = shift * np.where(near, n - n * (n - 1) / 2 * lost, (1 - keep**n) / np.where(near, 1.0, lost))
    additive = fit.model.noise == (False,) or not fit.mult_noise
    size = np.abs(shift) if additive else np.abs(shift + (keep - 1) * fit.mean)
    if fit.model.noise_sizes is not None:
        size = np.where(rising, *fit.model.noise_sizes(fit.stored, before))
    return Law(offset, keep**n, low, high, fit.stored["dw_min_std"] * size * np.sqrt(n), fit.stored["read_noise"])


def local_mean(trace: Trace, half: int = 4) -> Floats:
    """Mean of the reads around, without the two that make the increment."""
    n = len(trace.reads)
    value = np.where(trace.used, trace.reads, 0.0)
    total, count = (np.concatenate(([0.0], np.cumsum(v))) for v in (value, trace.used.astype(float)))
    index = trace.segment_index
    edges = np.concatenate((trace.starts, [n]))
    k = np.arange(n)
    low, high = np.maximum(k - 1 - half, edges[index]), np.minimum(k + half + 1, edges[index + 1])
    own = value + np.concatenate(([0.0], value[:-1]))
    own_count = trace.used.astype(float) + np.concatenate(([0.0], trace.used[:-1].astype(float)))
    number = count[high] - count[low] - own_count
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number >= 4, (total[high] - total[low] - own) / number, np.nan)


def diagnose(fit: Candidate, device: DeviceTrace) -> Diagnosis:
    """Noise moments and whiteness, symmetry point, limits of noises that vanish, disagreements of the estimators."""
    trace = device.trace
    mean_steps = mean_step_of_reads(fit, trace)
    moments = noise_moments(trace, mean_steps, fit.mean, device.cycle, _law(fit, trace))
    kernel, _ = fit.model.kernel_values(fit.likelihood.values, fit.mult_noise)
    sigma, kappa = (fit.likelihood.values[n] for n in NOISE)
    _, error, variance = innovations(fit.model.kernel, kernel, sigma, kappa, trace)
    whiteness = innovation_test(error, variance)
    warnings = [*device.warnings, *moments.warnings]
    if not fit.likelihood.converged:
        warnings.append("the likelihood fit did not converge; its errors are not to be trusted")
    if whiteness < 1e-3:
        warnings.append(
            "one-step-ahead predictions are correlated (Ljung-Box p = "
            f"{whiteness:.1g}): the model does not explain all of the response"
        )
    if np.any(trace.pulses > 0) != np.any(trace.pulses < 0):
        warnings.append("only one direction was measured: up_down and the symmetry point are missing")
    mean_step = float(np.mean(np.abs(mean_steps)[trace.pulses != 0]))
    if kappa > 10 * mean_step and "dw_min_std" not in fit.reasons:
        warnings.append(
            f"read noise is {kappa / mean_step:.0f} times the mean step: dw_min_std rests on the slow part of the noise only"
        )
    for name in STEPS:
        if name not in fit.model.parameters:
            continue
        value = fit.least_squares.values[name]
        deviation = fit.likelihood.errors.get(name)
        fitted = fit.likelihood.values[name]
        if deviation and abs(value - fitted) > 2 * deviation:
            warnings.append(
                f"{name}: least squares on the trajectory gives {value:.4g}, the likelihood "
                f"{fitted:.4g} +- {deviation:.2g}; the likelihood's is kept"
            )
    limits = {name: upper_limit(fit, trace, name) for name in NOISE if "lower limit" in fit.reasons.get(name, "")}
    return Diagnosis(moments, symmetry_point(fit.likelihood, trace), whiteness, limits, tuple(dict.fromkeys(warnings)))


def upper_limit(fit: Candidate, trace: Trace, name: str) -> float:
    """95 % upper limit of a noise that vanishes at the optimum: -ln L, profiled, rises by 1.353 (one-sided)."""
    best = -fit.likelihood.log_likelihood
    at = fit.likelihood.values
    fixed = frozenset(n for n in fit.model.parameters if n not in fit.likelihood.varied)

    def rise(value: float) -> float:
        # from the values at the limit before, which lie near
        nonlocal at
        mean, noise = ({n: at[n] for n in names} for names in (fit.model.parameters, NOISE))
        found = fit_prediction_error(
            fit.model, trace, mean, mult_noise=fit.mult_noise, held={name: value}, fixed=fixed, noise=noise, refine=False
        )
        at = found.values
        return -found.log_likelihood - best - 1.353

    low = fit.likelihood.values[name]
    high = max(low * 10, 1e-4)
    while rise(high) < 0 and high < 1e3:
        low, high = high, high * 4
    for _ in range(7):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if rise(middle) < 0 else (low, middle)
    return high
