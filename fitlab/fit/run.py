"""From a PulseResponse to a Fit: all devices, all models, the choice among them and the population."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from fitlab.errors import FitError
from fitlab.io.record import PulseResponse

from .candidate import Candidate
from .coloured import from_least_squares
from .device import Diagnosis, candidates, diagnose
from .free import Adjust
from .models import MODELS, Model, device_fields
from .population import Spread, paule_mandel
from .prepare import DeviceTrace, Window, prepare
from .profile import with_profiles
from .symmetry import symmetry_point

if TYPE_CHECKING:
    import xarray as xr

OPEN_BOUNDS = 4.0
"""AICc within which a model with bounds near the data is preferred to one without."""


@dataclass(frozen=True)
class ModelRow:
    """One line of the model comparison: sums over the devices."""

    model: str
    parameters: int
    log_likelihood: float
    aicc: float
    delta_aicc: float
    bic: float
    weight: float
    r2: float
    nrmse: float


@dataclass(frozen=True)
class Fit:
    """Result of a fit.

    Attributes
    ----------
    chosen : one candidate a live device, all of the chosen model
    devices, diagnoses : their traces and diagnoses
    dead : names of devices that do not respond
    spreads : `*_dtod` field to its random-effects estimate; empty for one device
    comparison : all models, best first
    """

    window: Window
    devices: list[DeviceTrace]
    candidates: list[list[Candidate]]
    chosen: list[Candidate]
    diagnoses: list[Diagnosis]
    dead: list[str]
    comparison: list[ModelRow]
    spreads: dict[str, Spread]
    warnings: list[str]
    attrs: dict[str, Any]


def models_named(names: Sequence[str] | str) -> list[Model]:
    """Models by name; "auto" is all of them.

    Raises
    ------
    FitError
        A name that is not a model.
    """
    names = [names] if isinstance(names, str) else list(names)
    if names == ["auto"]:
        return list(MODELS.values())
    known = {key.lower(): model for key, model in MODELS.items()}
    out = []
    for name in names:
        key = name.lower().removesuffix("device")
        if key not in known:
            raise FitError(f"--model {name}: there is no such model; choose from auto, {', '.join(MODELS)}")
        out.append(known[key])
    return list(dict.fromkeys(out))


def fit(
    response: xr.Dataset | PulseResponse,
    models: Sequence[str] | str = "auto",
    *,
    adjust: Adjust | None = None,
    threads: int | None = None,
) -> Fit:
    """Fit device models to every device of a PulseResponse and choose among them.

    Parameters
    ----------
    response : Dataset or PulseResponse
        PulseResponse of `fitlab.io.read`, or of `read_record`.
    models : str or sequence of str
        Model names, or "auto" for all; the choice falls by AICc of the state-space likelihood, the simpler model
        within 2.
    adjust : callable
        Is given the lmfit Parameters of each fit, to fix, bound or tie them (names: step_up, step_down, w_max, w_min,
        gamma_up, gamma_down, dw_min_std, read_noise, start_0, ...).
    threads : int
        Devices fitted at a time; default: the processors.

    Raises
    ------
    FitError
        Unknown model, constant or too short response, no device that responds.
    """
    if adjust is not None:
        import lmfit  # noqa: F401  # here, because the limit on threads below reaches only libraries that are loaded

    chosen_models = models_named(models)
    response = PulseResponse.of(response)
    window, devices = prepare(response)
    workers = max(1, min(threads or os.cpu_count() or 1, len(devices)))
    # the matrices are small: threads inside the linear algebra cost more than they give
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        fitted = list(pool.map(lambda d: candidates(chosen_models, d.trace, adjust), devices))
    alive = [i for i, row in enumerate(fitted) if not _dead(row)]
    dead = [devices[i].name for i in range(len(devices)) if i not in alive]
    if not alive:
        raise FitError(
            f"{response.attrs['source']}: no device responds to pulses by more than 5 read noises; nothing can be fitted"
        )
    live, live_fitted = [devices[i] for i in alive], [fitted[i] for i in alive]
    comparison, which = compare(live_fitted)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        chosen = [row[which] for row in live_fitted]
        diagnoses = list(pool.map(diagnose, chosen, live))
        coloured = sum(d.moments.coloured for d in diagnoses) * 2 > len(diagnoses)
        if coloured:
            # the state-space model is wrong then; the best mean trajectory does not depend on the colour of the noise
            live_fitted = list(pool.map(from_least_squares, live_fitted, live))
            comparison, which = compare(live_fitted)
            chosen = [row[which] for row in live_fitted]
            diagnoses = [
                replace(new, moments=old.moments) for old, new in zip(diagnoses, pool.map(diagnose, chosen, live), strict=True)
            ]
        else:
            chosen = list(pool.map(lambda c, d: with_profiles(c, d.trace), chosen, live))
            diagnoses = [
                replace(old, symmetry=symmetry_point(c.likelihood, d.trace))
                for old, c, d in zip(diagnoses, chosen, live, strict=True)
            ]
    spreads, notes = population(chosen)
    warnings = [*map(str, response.attrs["warnings"]), *_merge(live, diagnoses), *notes]
    if coloured:
        warnings.append(
            "because the read noise is coloured, the mean response and the choice of the model are those of least squares, "
            "with errors that allow for correlated residuals"
        )
    if dead:
        warnings.append(f"{len(dead)} of {len(devices)} devices do not respond and were left out: {', '.join(dead[:8])}")
    return Fit(window, live, live_fitted, chosen, diagnoses, dead, comparison, spreads, warnings, dict(response.attrs))


def _dead(row: list[Candidate]) -> bool:
    """Whether the mean response of the best model stays within 5 read noises."""
    best = min(row, key=lambda c: c.aicc)
    span = float(np.ptp(best.least_squares.mean))
    noise = float(np.sqrt(best.stored["read_noise"] ** 2))
    return span < 5 * noise and best.least_squares.r2 < 0.5


def _merge(devices: list[DeviceTrace], diagnoses: list[Diagnosis]) -> list[str]:
    """Warnings of single devices; the same one on several devices is said once."""
    if len(devices) == 1:
        return list(diagnoses[0].warnings)
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for device, diagnosis in zip(devices, diagnoses, strict=True):
        for text in diagnosis.warnings:
            by_kind.setdefault(" ".join(text.split()[:4]), []).append((device.name, text))
    out = []
    for entries in by_kind.values():
        name, text = entries[0]
        more = f" (and {len(entries) - 1} more devices alike)" if len(entries) > 1 else ""
        out.append(text + more if name in text else f"device {name}: {text}{more}")
    return out


def _bounds_open(fitted: list[list[Candidate]], i: int) -> bool:
    """Whether a soft bound lies so far beyond the data, in most devices, that simulated weights would leave them far behind."""
    far = [any(abs(row[i].stored[b]) > 3.5 for b in ("w_max", "w_min")) for row in fitted]
    return fitted[0][i].model.soft and float(np.mean(far)) > 0.5


def compare(fitted: list[list[Candidate]]) -> tuple[list[ModelRow], int]:
    """Model comparison over devices and the index of the chosen candidate.

    Akaike weights are exp(-delta/2), normalised. The simplest model within an AICc of 2 of the best is chosen; a soft-bounds
    model whose bounds lie far outside the data gives way to the best model with bounds inside an AICc of 4.
    """
    count = len(fitted[0])
    aicc = np.array([sum(row[i].aicc for row in fitted) for i in range(count)])
    delta = aicc - aicc.min()
    weight = np.exp(-delta / 2)
    weight /= weight.sum()
    rows = [
        ModelRow(
            fitted[0][i].name,
            sum(row[i].parameters for row in fitted),
            sum(row[i].log_likelihood for row in fitted),
            float(aicc[i]),
            float(delta[i]),
            sum(row[i].bic for row in fitted),
            float(weight[i]),
            float(np.mean([row[i].least_squares.r2 for row in fitted])),
            float(np.mean([row[i].least_squares.nrmse for row in fitted])),
        )
        for i in range(count)
    ]
    near = [i for i in range(count) if delta[i] < 2]
    which = min(near, key=lambda i: (rows[i].parameters, rows[i].aicc))
    if _bounds_open(fitted, which):
        closed = [i for i in range(count) if delta[i] < OPEN_BOUNDS and not _bounds_open(fitted, i)]
        which = min(closed, key=lambda i: rows[i].aicc, default=which)
    return sorted(rows, key=lambda r: r.aicc), which


def population(chosen: list[Candidate]) -> tuple[dict[str, Spread], list[str]]:
    """Random-effects spreads of the device fields over devices (devices.md 3).

    `gain = (su + sd) / (2 dw_min) - bias` and `r = (su - sd) / (2 dw_min) - bias` are what the simulator draws; bounds
    are relative, gammas absolute.
    """
    if len(chosen) < 2:
        return {}, []
    names = ("step_up", "step_down")
    steps = np.array([[c.stored[n] for n in names] for c in chosen])
    mean = steps.mean(axis=0)
    fields = device_fields(dict(zip(names, mean, strict=True)))
    dw, up_down = fields["dw_min"], fields["up_down"]
    bias_up, bias_down = min(up_down, 0.0), -max(up_down, 0.0)
    out: dict[str, Spread] = {}
    warnings: list[str] = []

    def combined(c: Candidate, weights: tuple[float, float]) -> float:
        index = [c.likelihood.varied.index(n) for n in names if n in c.likelihood.varied]
        v = np.array(weights[: len(index)])
        return float(np.sqrt(v @ c.likelihood.covariance[np.ix_(index, index)] @ v))

    for field, sign in (("dw_min_dtod", 1.0), ("up_down_dtod", -1.0)):
        x = (steps[:, 0] + sign * steps[:, 1]) / (2 * dw) - (bias_up + sign * bias_down) / 2
        error = np.array([combined(c, (0.5 / dw, sign * 0.5 / dw)) for c in chosen])
        _add(out, field, x, error)
    for name in chosen[0].model.parameters:
        if name in names:
            continue
        x = np.array([c.stored[name] for c in chosen])
        scale = 1.0 if name.startswith("gamma_") else abs(float(np.mean(x)))
        error = np.array([_field_error(c, name) for c in chosen]) / scale
        _add(out, f"{name}_dtod", x / scale, error)
    if len(chosen) < 8:
        warnings.append(
            f"spreads between devices rest on {len(chosen)} devices: about {100 / np.sqrt(2 * (len(chosen) - 1)):.0f} % uncertain"
        )
    return out, warnings


def _field_error(c: Candidate, name: str) -> float:
    if name in c.reasons or name not in c.likelihood.varied:
        return float("nan")
    ratio = c.stored[name] / c.likelihood.values[name] if name.startswith("gamma_") and c.likelihood.values[name] else 1.0
    return c.likelihood.errors.get(name, float("nan")) * abs(ratio)


def _add(out: dict[str, Spread], field: str, x: np.ndarray, error: np.ndarray) -> None:
    known = np.isfinite(error) & (error > 0)
    if known.sum() >= 2:
        out[field] = paule_mandel(x[known], error[known])
