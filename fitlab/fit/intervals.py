"""Intervals on request, where those of the curvature at the optimum are not enough: profile likelihood, bootstrap, emcee.

Each gives the 95 % interval of device fields; bootstrap and emcee give the standard deviation beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fitlab.errors import FitError

from .candidate import Candidate
from .free import NOISE, Space, make_parameters
from .models import GAMMAS
from .prediction_error import LOG, Likelihood, fit_prediction_error
from .prepare import DeviceTrace
from .profile import interval
from .response import Floats

BOOTSTRAPS = 200
RUNS, STEPS, BURN = 4, 3000, 1000
"""Chains that are started apart, their steps, and the first of them that are left out."""


@dataclass(frozen=True)
class Interval:
    """95 % interval of a field; None on a side that the data leave open. `error` where the method has one."""

    low: float | None
    high: float | None
    error: float | None = None


@dataclass(frozen=True)
class Requested:
    """Intervals of the fields of one device, and what is to be told about the method."""

    method: str
    fields: dict[str, Interval]
    notes: list[str]


def _stored(c: Candidate, values: dict[str, float]) -> dict[str, float]:
    """Parameters as the candidate stores them: with the bounds that were not reached where it puts them."""
    out = dict(c.stored)
    for name in c.likelihood.varied:
        fitted = c.likelihood.values[name]
        ratio = c.stored[name] / fitted if name in GAMMAS and fitted else 1.0
        out[name] = values[name] * ratio
    return out


def _of_draws(c: Candidate, method: str, draws: list[dict[str, float]], notes: list[str]) -> Requested:
    fields = [c.fields_at(_stored(c, v)) for v in draws]
    free = set(c.fields()[1]) | {n for n in NOISE if n in c.likelihood.varied}
    out = {}
    for name in fields[0]:
        x = np.array([f[name] for f in fields])
        if name in free and np.ptp(x) > 0:
            low, high = np.quantile(x, [0.025, 0.975])
            out[name] = Interval(float(low), float(high), float(np.std(x, ddof=1)))
    return Requested(method, out, notes)


def profile(c: Candidate, device: DeviceTrace) -> Requested:
    """Profile likelihood of every free parameter: where -ln L, minimised over the others, rises by 1.92."""
    out, notes = {}, []
    for name in c.likelihood.errors:
        low, high = interval(c, device.trace, name)
        ratio = _stored(c, c.likelihood.values)[name] / c.likelihood.values[name]
        ends = [None if v is None else v * ratio for v in (low, high)]
        if name in c.fields_at(c.stored):
            out[name] = Interval(ends[0], ends[1])
        elif name in ("step_up", "step_down") and c.stored[name] == max(c.model.drawn(c.stored)):
            out["dw_min"] = Interval(ends[0], ends[1])
        else:
            shown = ["open" if v is None else f"{v:.4g}" for v in ends]
            notes.append(f"profile likelihood of {name}: {shown[0]} to {shown[1]}")
    return Requested("profile likelihood", out, notes)


def bootstrap(c: Candidate, device: DeviceTrace, repeats: int = BOOTSTRAPS, seed: int = 1) -> Requested:
    """Parametric bootstrap: the device is simulated by the product's own arrays and fitted again, many times."""
    from fitlab.predictive import simulated_reads

    trace, fit = device.trace, c.likelihood
    fixed = frozenset(n for n in c.model.parameters if n not in fit.varied)
    mean, noise = ({n: fit.values[n] for n in names} for names in (c.model.parameters, NOISE))
    draws, lost = [], 0
    for row in simulated_reads(c, trace, repeats, seed):
        again = replace(trace, reads=np.where(trace.used, row, np.nan))
        found = fit_prediction_error(c.model, again, mean, mult_noise=c.mult_noise, fixed=fixed, noise=noise)
        if found.converged:
            draws.append(found.values)
        else:
            lost += 1
    notes = [f"{lost} of {repeats} bootstrap fits did not converge and were left out"] if lost else []
    if len(draws) < max(20, repeats // 2):
        raise FitError(f"device {device.name}: only {len(draws)} of {repeats} bootstrap fits converged; no interval can be given")
    return _of_draws(c, f"bootstrap, {repeats} repeats", draws, notes)


def posterior(c: Candidate, device: DeviceTrace, seed: int = 1) -> Requested:
    """Joint posterior by emcee: priors flat within the limits of the search, for steps and noises flat in the logarithm.

    Raises
    ------
    FitError
        emcee is not installed.
    """
    try:
        import emcee
    except ImportError:
        raise FitError("--intervals emcee: emcee is not installed; pip install 'fitlab[mcmc]'") from None
    fit = c.likelihood
    fixed = frozenset(n for n in c.model.parameters if n not in fit.varied)
    space = Space(make_parameters(c.model, fit.values, fixed=fixed), log=(*LOG, *c.model.logs), units=c.model.units)
    likelihood = Likelihood(c.model, c.mult_noise, device.trace, space)
    centre, size = space.x(), len(space.names)

    def log_probability(points: Floats) -> Floats:
        inside = np.all((points >= space.low) & (points <= space.high), axis=1)
        out = np.full(len(points), -np.inf)
        if inside.any():
            value = likelihood.values(points[inside])
            out[inside] = np.where(np.isfinite(value), -value, -np.inf)
        return out

    variance = np.array([fit.errors.get(n, 0.1 * max(abs(fit.values[n]), 1e-3)) ** 2 for n in space.names])
    width = np.sqrt(variance) / np.where(space.log, np.abs([fit.values[n] for n in space.names]), space.unit)
    walkers = max(4 * size, 16) + (4 * size) % 2
    chains, longest = [], 0.0
    for run in range(RUNS):
        rng = np.random.default_rng([seed, run])
        begin = np.clip(centre + 0.5 * np.minimum(width, 1.0) * rng.standard_normal((walkers, size)), space.low, space.high)
        sampler = emcee.EnsembleSampler(walkers, size, log_probability, vectorize=True)
        sampler.random_state = np.random.RandomState(int(rng.integers(2**31))).get_state()  # noqa: NPY002  # emcee takes no other
        sampler.run_mcmc(emcee.State(begin), STEPS)
        chains.append(sampler.get_chain(discard=BURN))
        longest = max(longest, float(np.max(sampler.get_autocorr_time(discard=BURN, quiet=True))))
    kept = np.array(chains)  # (runs, steps, walkers, V)
    rhat = _rhat(kept.mean(axis=2))
    notes = [
        f"emcee: {RUNS} runs of {walkers} walkers and {STEPS - BURN} steps, autocorrelation time {longest:.0f} steps, R-hat at "
        f"most {rhat:.3f}; priors flat in the parameters, in the logarithm of steps and noises"
    ]
    if longest * 50 > STEPS - BURN:
        notes.append(f"emcee: {STEPS - BURN} steps are fewer than 50 autocorrelation times; the intervals are rough")
    flat = kept.reshape(-1, size)[:: max(1, kept.size // size // 4000)]
    return _of_draws(c, "emcee", [space.values(x) for x in flat], notes)


def _rhat(chains: Floats) -> float:
    """Largest potential scale reduction over parameters of chains (M, T, V) (A. Gelman, D. B. Rubin, Stat. Sci. 7, 457 (1992)),
    from the means over walkers, which are one chain a run."""
    length = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean(axis=0)
    between = length * chains.mean(axis=1).var(axis=0, ddof=1)
    # the mean over walkers stays correlated for a while: what is compared is the spread of runs with that of thinned means
    blocks = chains[:, : length // 10 * 10].reshape(chains.shape[0], 10, -1, chains.shape[2]).mean(axis=2)
    inner = blocks.var(axis=1, ddof=1).mean(axis=0) / 10
    outer = between / length
    scale = np.maximum(within, 1e-300)
    return float(np.max(np.sqrt(1 + np.maximum(outer - inner, 0.0) / scale)))


METHODS: dict[str, Callable[[Candidate, DeviceTrace], Requested]] = {
    "profile": profile,
    "bootstrap": bootstrap,
    "emcee": posterior,
}
