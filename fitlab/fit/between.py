"""What differs between devices: spreads of the fields that the simulator draws, correlations, devices that do not belong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .candidate import Candidate
from .models import BOUNDS, EXPONENTS, GAMMAS, Model, one_sided
from .population import Outlier, Pair, Spread, censored, correlations, log_normal, outlying, paule_mandel

FEW_BEYOND, MOST_BEYOND = 0.02, 0.8
"""Parts of the devices that do not reach a bound: below the first they are left out, above the second no spread is given."""


@dataclass(frozen=True)
class Population:
    """What differs between devices.

    Attributes
    ----------
    spreads : `*_dtod` field to its random-effects estimate; empty for one device
    log_normal : the spread of the step size is log-normal
    pairs : correlations between devices
    outliers : devices that do not belong
    """

    spreads: dict[str, Spread]
    log_normal: bool
    pairs: list[Pair]
    outliers: list[Outlier]
    warnings: list[str]


def relative_to(model: Model, centre: dict[str, float]) -> Callable[[dict[str, float]], dict[str, float]]:
    """What the simulator draws for a device (devices.md 3), from its parameters and those of the mean device.

    `gain = (up + down) / (2 dw_min) - bias` and `r = (up - down) / (2 dw_min) - bias`; bounds are relative, gammas absolute,
    exponents as steps.
    """

    def drawn(means: tuple[float, float], own: tuple[float, float]) -> tuple[float, float]:
        _, ratio = one_sided(*means)
        bias = min(ratio, 0.0), -max(ratio, 0.0)
        up, down = (o / m * (1 + b) - b for o, m, b in zip(own, means, bias, strict=True))
        return (up + down) / 2, (up - down) / 2

    steps = model.drawn(centre)
    exponents = tuple(centre[n] for n in EXPONENTS) if EXPONENTS[0] in model.parameters else None

    def derived(values: dict[str, float]) -> dict[str, float]:
        out = dict(zip(("dw_min_dtod", "up_down_dtod"), drawn(steps, model.drawn(values)), strict=True))
        for name in BOUNDS:
            out[f"{name}_dtod"] = values[name] / abs(centre[name])
        for name, bound in zip(GAMMAS, BOUNDS, strict=True):
            if name in model.parameters:
                # of the mean bound, to which the simulator refers the slopes of all devices
                out[f"{name}_dtod"] = values[name] * centre[bound] / values[bound]
        for name in model.own:
            out[f"{name}_dtod"] = values[name] / (abs(centre[name]) or 1.0)
        if exponents is not None:
            own = values[EXPONENTS[0]], values[EXPONENTS[1]]
            gain, ratio = drawn((exponents[0], exponents[1]), own)
            out |= {"pow_gamma_dtod": gain, "pow_up_down_dtod": ratio}
        return out

    return derived


def spread_fields(model: Model) -> list[str]:
    """Names of the spreads that a device of this model has beside its class's others, in the order of `relative_to`."""
    out = ["dw_min_dtod", "up_down_dtod", *(f"{n}_dtod" for n in BOUNDS)]
    out += [f"{n}_dtod" for n in (*GAMMAS, *model.own) if n in model.parameters]
    return out + (["pow_gamma_dtod", "pow_up_down_dtod"] if EXPONENTS[0] in model.parameters else [])


def mean_values(chosen: list[Candidate]) -> dict[str, float]:
    """Means of the free parameters over devices."""
    return {n: float(np.mean([c.stored[n] for c in chosen])) for n in chosen[0].stored}


def population(names: list[str], chosen: list[Candidate]) -> Population:
    """Random-effects spreads of the device fields over devices, their correlations, and the devices that do not belong."""
    if len(chosen) < 2:
        return Population({}, False, [], [], [])
    centre = mean_values(chosen)
    derived = relative_to(chosen[0].model, centre)
    fields = list(derived(chosen[0].stored))
    x, s = np.full((len(chosen), len(fields)), np.nan), np.full((len(chosen), len(fields), len(fields)), np.nan)
    for i, c in enumerate(chosen):
        x[i] = list(derived(c.stored).values())
        slopes, covariance = c.slopes(derived), c.likelihood.covariance
        known = np.isfinite(np.diag(covariance)) & np.array([n not in c.reasons for n in c.likelihood.varied])
        s[i] = slopes[:, known] @ covariance[np.ix_(known, known)] @ slopes[:, known].T
        lost = np.any(slopes[:, ~known] != 0, axis=1) | (np.diag(s[i]) <= 0)
        x[i, lost], s[i, lost], s[i, :, lost] = np.nan, np.nan, np.nan
    errors = np.sqrt(np.diagonal(s, axis1=1, axis2=2))
    spreads = {}
    for j, name in enumerate(fields):
        known = np.isfinite(x[:, j]) & np.isfinite(errors[:, j])
        if known.sum() >= 2:
            spreads[name] = paule_mandel(x[known, j], errors[known, j])
    hidden = {}
    for bound, sign in zip(BOUNDS, (1, -1), strict=True):
        j = fields.index(f"{bound}_dtod")
        far = [sign * c.stored[bound] / abs(centre[bound]) for c in chosen if c.reasons.get(bound, "").startswith("not reached")]
        known = np.isfinite(x[:, j]) & np.isfinite(errors[:, j])
        if len(far) <= FEW_BEYOND * len(chosen):
            continue
        hidden[bound] = len(far)
        if known.sum() >= max(8, (1 - MOST_BEYOND) * len(chosen)):
            found = censored(sign * x[known, j], errors[known, j], far)
            spreads[fields[j]] = replace(
                found, tau=found.tau / found.mean, tau_error=(found.tau_error or 0.0) / found.mean, low=found.low / found.mean,
                high=found.high / found.mean,
            )  # fmt: skip
        else:
            spreads.pop(fields[j], None)
        x[:, j] = np.nan  # which devices are known depends on their other parameters
    lognormal = log_normal(x[:, 0], errors[:, 0])
    if lognormal:
        known = np.isfinite(x[:, 0]) & (x[:, 0] > 0) & np.isfinite(errors[:, 0])
        spreads["dw_min_dtod"] = paule_mandel(np.log(x[known, 0]), errors[known, 0] / x[known, 0])
    pairs, outliers = correlations(fields, x, s), outlying(names, fields, x, s)
    warnings = []
    if len(chosen) < 8:
        warnings.append(
            f"spreads between devices rest on {len(chosen)} devices: about {100 / np.sqrt(2 * (len(chosen) - 1)):.0f} % uncertain"
        )
    for bound, count in hidden.items():
        given = "its mean and spread allow for them" if f"{bound}_dtod" in spreads else "its spread is not given"
        warnings.append(
            f"{bound} is not reached by {count} of {len(chosen)} devices; {given}, and its correlations cannot be told: longer "
            "ramps tell them"
        )
    for pair in pairs:
        if pair.notable:
            warnings.append(
                f"{pair.first} and {pair.second} correlate between devices by {pair.value:.2f} [{pair.low:.2f}, "
                f"{pair.high:.2f}]; the simulator draws them independently (the devices' own values are in this file)"
            )
    if outliers:
        listed = ", ".join(f"{o.device} ({o.field.removesuffix('_dtod')} by {o.deviation:+.1f} deviations)" for o in outliers[:6])
        more = f" and {len(outliers) - 6} more" if len(outliers) > 6 else ""
        warnings.append(f"outlying devices: {listed}{more}; the spreads include them")
    return Population(spreads, lognormal, pairs, outliers, warnings)
