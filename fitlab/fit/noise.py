"""Read noise against step noise: moments of the increments, and whether the reads are white at all.

With y_k = w_k + kappa eta_k and e_k = y_{k+1} - y_k - d s(w_k), white noises give

    Var e = q + 2 kappa^2,   Cov(e_k, e_{k+1}) = -kappa^2,   zero beyond;   q = E[sigma^2 s^2]

so kappa^2 = -c1 and q = c0 + 2 c1. Coloured read noise breaks this: the lag-1 correlation leaves [-1/2, 0], or the
variogram D(m) = mean (r_{k+m} - r_k)^2 is not the line 2 kappa^2 + m q.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .response import Floats, Trace

LAGS = (1, 2, 3, 5, 8, 12, 20, 32)
SIMULATED = 200
"""Traces of white noise that say what is normal."""
LONGEST = 20_000
"""Reads of which the variogram is taken; more would only take longer."""
COLOURED = 3.0
"""Standard deviations of concavity from which read noise is called coloured."""


@dataclass(frozen=True)
class NoiseMoments:
    """Noise from moments, in w, and the diagnostics.

    Attributes
    ----------
    read_noise : float
        kappa; 0 with `read_noise_limit` where the moment is negative.
    step_noise : float
        sigma, relative to the mean step; 0 with `step_noise_limit` where the moment is negative.
    lag1 : float
        Correlation of successive increments.
    variogram : (len(LAGS),)
        D(m), in w^2.
    curvature : float
        Concavity of the variogram, in standard deviations of what white read and step noise would show.
    """

    read_noise: float
    read_noise_limit: float | None
    step_noise: float
    step_noise_limit: float | None
    lag1: float
    increments: int
    variogram: Floats
    curvature: float
    warnings: tuple[str, ...]

    @property
    def coloured(self) -> bool:
        """Whether slow read noise mimics step noise."""
        return self.curvature > COLOURED


def residual_increments(trace: Trace, mean_steps: Floats, cycle: np.ndarray) -> tuple[Floats, np.ndarray]:
    """Increments minus their mean, and which of them directly follow the one before.

    Where the same protocol was repeated in at least four cycles, the mean over the cycles at the same pulse is taken
    off; a fitted mean step leaves slow residuals there.
    """
    follows = np.concatenate(([False], np.diff(trace.segment) == 0))
    e = np.where(follows, np.diff(trace.reads, prepend=np.nan) - mean_steps, np.nan)
    numbers = np.unique(cycle)
    if len(numbers) >= 4:
        # reads are compared from the start of each ramp, whose length may differ between cycles
        starts = np.flatnonzero(np.diff(np.sign(trace.pulses), prepend=0) != 0)
        since = np.arange(len(cycle)) - starts[np.searchsorted(starts, np.arange(len(cycle)), side="right") - 1]
        place = since + np.where(trace.pulses < 0, len(cycle), 0)
        ok = np.isfinite(e)
        size = int(place.max()) + 1
        number = np.bincount(place[ok], minlength=size)
        average = np.bincount(place[ok], e[ok], minlength=size) / np.maximum(number, 1)
        n = number[place]
        # the mean of n values takes a share 1/n of the variance along
        e = np.where(n >= 4, (e - average[place]) / np.sqrt(np.maximum(1 - 1 / np.maximum(n, 1), 0.5)), np.nan)
    return e, follows


def _variogram(residual: Floats, segment: np.ndarray, known: np.ndarray) -> Floats:
    """D(m) (LAGS, ...) of the residuals (n, ...) that are known, NaN where no pair of reads lies that far apart."""
    out = np.full((len(LAGS), *residual.shape[1:]), np.nan)
    for i, m in enumerate(LAGS):
        there = (segment[m:] == segment[:-m]) & known[m:] & known[:-m]
        if there.any():
            d = residual[m:] - residual[:-m]
            if not there.all():
                d = d[there]
            out[i] = np.einsum("k...,k...->...", d, d) / len(d)
    return out


def _concavity(d: Floats, white: Floats) -> float:
    """Coefficient c of D(m) = a + c ln m + q m, in standard deviations of what white noise shows.

    Generalised least squares: values at neighbouring lags share their reads, so the covariance of `white`, variograms of
    simulated white noise (rows), weighs them.
    """
    m = np.array(LAGS, dtype=float)
    design = np.stack([np.ones_like(m), np.log(m), m], axis=1)
    scale = white.std(axis=0)
    root = np.linalg.cholesky(np.cov(white / scale, rowvar=False) + 1e-6 * np.eye(len(m)))
    fit = np.linalg.pinv(np.linalg.solve(root, design / scale[:, None]))[1]
    found, expected = fit @ np.linalg.solve(root, d / scale), np.linalg.solve(root, (white / scale).T).T @ fit
    return float((found - expected.mean()) / expected.std())


@dataclass(frozen=True)
class Law:
    """Fitted response, linear in the state: the pulses before read k take w to clip(offset_k + keep_k w + noise).

    `step_noise` (n,) and `read_noise` are standard deviations in w, from the likelihood: moments are too uncertain to say
    what white noise would look like.
    """

    offset: Floats
    keep: Floats
    low: float
    high: float
    step_noise: Floats
    read_noise: float


def noise_moments(trace: Trace, mean_steps: Floats, mean: Floats, cycle: np.ndarray, law: Law, *, seed: int = 0) -> NoiseMoments:
    """Separate the two noises by moments and test their whiteness.

    Parameters
    ----------
    mean_steps : (n,) mean change of w before each read (signed)
    mean : (n,) mean trajectory of the segments
    cycle : (n,) cycle numbers
    law : mean response, by which white noise is simulated for comparison
    """
    e, _ = residual_increments(trace, mean_steps, cycle)
    ok = np.isfinite(e)
    e = np.where(ok, e - e[ok].mean(), np.nan) if ok.any() else e
    pair = np.isfinite(e[1:]) & np.isfinite(e[:-1])
    n = int(pair.sum())
    warnings: list[str] = []
    if n < 20:
        return NoiseMoments(
            np.nan,
            None,
            np.nan,
            None,
            np.nan,
            n,
            np.full(len(LAGS), np.nan),
            np.nan,
            ("too few successive reads to separate read noise from step noise by moments",),
        )
    c0 = float(np.mean(e[ok] ** 2))
    c1 = float(np.mean((e[1:] * e[:-1])[pair]))
    lag1 = c1 / c0 if c0 > 0 else 0.0
    s2 = float(np.mean(mean_steps[ok] ** 2))
    kappa2, q = -c1, c0 + 2 * c1
    error_c1, error_q = c0 / np.sqrt(n), c0 * np.sqrt((2 + 4) / n)
    read_limit = float(np.sqrt(max(kappa2, 0) + 2 * error_c1)) if kappa2 <= 0 else None
    step_limit = float(np.sqrt((max(q, 0) + 2 * error_q) / s2)) if q <= 0 and s2 > 0 else None
    if lag1 < -0.5 - 2 / np.sqrt(n):
        warnings.append(f"successive increments correlate by {lag1:.2f}, below -0.5: alternating read noise (converter or mains)")
    elif lag1 > 2 / np.sqrt(n):
        warnings.append(
            f"successive increments correlate by {lag1:.2f}, above 0: slow changes, "
            "or a gain common to a ramp, that the model does not have"
        )
    part = slice(LONGEST)
    residual, segment = (trace.reads - mean)[part], trace.segment[part]
    known = np.isfinite(residual)
    d = _variogram(residual, segment, known)
    curvature = np.nan
    if np.isfinite(d).all() and c0 > 0:
        rng = np.random.default_rng(seed)
        # steps, then states, then reads: in one array, a row a read
        made = law.step_noise[part, None] * rng.standard_normal((len(residual), SIMULATED))
        made += law.offset[part, None]
        begins, state = [True, *(np.diff(segment) != 0).tolist()], made[0]
        for row, begin, keep, first in zip(made, begins, law.keep[part].tolist(), mean[part].tolist(), strict=True):
            if begin:
                row[:] = first
            else:
                row += keep * state
                np.minimum(row, law.high, out=row)
                np.maximum(row, law.low, out=row)
            state = row
        made -= mean[part, None]
        made += law.read_noise / trace.root[part, None] * rng.standard_normal(made.shape)
        curvature = _concavity(d, _variogram(made, segment, known).T)
        if curvature > COLOURED:
            listed = ", ".join(f"{v:.3g}" for v in d)
            warnings.append(
                f"read noise is coloured: the variogram ({listed} at lags "
                f"{', '.join(map(str, LAGS))}) is concave by {curvature:.0f} "
                "standard deviations; most of what looks like step noise is slow read noise, so take dw_min_std as an upper limit"
            )
    return NoiseMoments(
        float(np.sqrt(max(kappa2, 0.0))),
        read_limit,
        float(np.sqrt(max(q, 0.0) / s2)) if s2 > 0 else np.nan,
        step_limit,
        lag1,
        n,
        d,
        curvature,
        tuple(warnings),
    )


def innovation_test(innovation: Floats, variance: Floats, lags: int = 10) -> float:
    """Ljung-Box p-value of the standardised innovations: small where the model leaves correlation behind; `lags` is even."""
    z = (innovation / np.sqrt(variance))[np.isfinite(innovation)]
    n = len(z)
    if n <= lags + 2:
        return float("nan")
    z = z - z.mean()
    total = float(z @ z)
    if total <= 0:
        return float("nan")
    rho = np.array([float(z[k:] @ z[:-k]) / total for k in range(1, lags + 1)])
    statistic = n * (n + 2) * float(np.sum(rho**2 / (n - np.arange(1, lags + 1))))
    # chi-square beyond the statistic, of an even number of degrees of freedom: a finite sum
    terms = np.cumprod([1.0, *(statistic / 2 / k for k in range(1, lags // 2))])
    return float(np.exp(-statistic / 2) * terms.sum())
