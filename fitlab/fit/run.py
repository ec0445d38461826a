"""From a PulseResponse to a Fit: all devices, all models, the choice among them and the population."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial as partial_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fitlab.errors import FitError
from fitlab.io.record import PulseResponse

from .between import Population, population
from .candidate import Candidate, fit_candidate
from .coloured import from_least_squares
from .crossval import held_out
from .cycles import Trend, together, trends
from .device import Diagnosis, candidates, diagnose
from .free import Adjust
from .intervals import METHODS, Requested
from .models import MODELS, Model
from .partial import Partial
from .prepare import DeviceTrace, Window, prepare
from .profile import with_profiles
from .symmetry import symmetry_point
from .workers import BATCH, Crew, Failure, Work, attempt

if TYPE_CHECKING:
    import xarray as xr

    from sim.devices import ExpressionDevice

Progress = Callable[[int, int], None]

TABLE = "table"
"""Name that asks for a table of measured steps, beside the models that tell states and noise."""
SAMPLE = 32
"""Devices on which models are compared."""
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
    held_out: float | None = None
    held_out_error: float | None = None


@dataclass(frozen=True)
class Fit:
    """Result of a fit.

    Attributes
    ----------
    chosen : one candidate a live device, all of the chosen model
    devices, diagnoses : their traces and diagnoses
    dead : names of devices that do not respond
    failures : devices that could not be fitted, and why
    comparison : all models, best first
    population : spreads, correlations and outliers between devices
    trends : free parameter to its spread and trend over cycles
    requested : intervals by the method that was asked for, of each device
    table : whether the parameter set shall hold a table of measured steps instead of the chosen model
    """

    window: Window
    devices: list[DeviceTrace]
    candidates: list[list[Candidate]]
    chosen: list[Candidate]
    diagnoses: list[Diagnosis]
    dead: list[str]
    failures: list[Failure]
    comparison: list[ModelRow]
    population: Population
    trends: dict[str, Trend]
    requested: list[Requested | None]
    warnings: list[str]
    attrs: dict[str, Any]
    table: bool = False


def models_named(names: Sequence[str | ExpressionDevice] | str | ExpressionDevice) -> list[Model]:
    """Models by name, or formulas; "auto" is all that have a name.

    Raises
    ------
    FitError
        A name that is not a model.
    """
    named = _listed(names)
    known = {key.lower(): model for key, model in MODELS.items()}
    out: list[Model] = []
    for name in named:
        if not isinstance(name, str):
            from .formula import formula_model  # it needs the simulator's devices, whose import takes longer than a fit

            model = formula_model(name)
            formulas = sum(m.device == model.device for m in out)
            out.append(replace(model, name=f"{model.name} {formulas + 1}") if formulas else model)
        elif name.lower() == "auto":
            out += [m for m in MODELS.values() if m.alike is None]
        elif (key := name.lower().removesuffix("device")) in known:
            out.append(known[key])
        elif key == "expression":
            raise FitError(f"--model {name}: has no formula; give --set up=FORMULA --set down=FORMULA")
        else:
            raise FitError(
                f"--model {name}: there is no such model; choose from auto, table, ExpressionDevice, {', '.join(MODELS)}"
            )
    return list(dict.fromkeys(out))


def _listed(names: Sequence[str | ExpressionDevice] | str | ExpressionDevice) -> list[str | ExpressionDevice]:
    return list(names) if isinstance(names, Sequence) and not isinstance(names, str) else [names]


def fit(
    response: xr.Dataset | PulseResponse,
    models: Sequence[str | ExpressionDevice] | str | ExpressionDevice = "auto",
    *,
    adjust: Adjust | None = None,
    threads: int | None = None,
    dask: str | None = None,
    keep: str | Path | None = None,
    progress: Progress | None = None,
    intervals: str | None = None,
    cross_validate: bool = False,
    log_scale: bool = False,
) -> Fit:
    """Fit device models to every device of a PulseResponse and choose among them.

    Of more than 32 devices the models are compared on 32, evenly chosen; the rest are fitted by the model that is chosen. A
    device that cannot be fitted is listed with the reason, and the others are fitted.

    Parameters
    ----------
    response : Dataset or PulseResponse
        PulseResponse of `fitlab.io.read`, or of `read_record`.
    models : str, ExpressionDevice, or sequence of these
        Model names, "auto" for all of them, or formulas, whose parameters, `dw_min` and bounds are then free; the choice falls
        by AICc of the state-space likelihood, the simpler model within 2. "table", alone or beside names: the parameter set
        holds a table of the measured steps (`sim.devices.TableDevice`), whose states and read noise are told by the model that
        is chosen.
    adjust : callable
        Is given the lmfit Parameters of each fit, to fix, bound or tie them (names: step_up, step_down, w_max, w_min,
        gamma_up, gamma_down, dw_min_std, read_noise, start_0, ...). Devices are then fitted in threads.
    threads : int
        Devices fitted at a time, many of them in processes; default: the processors. The result does not depend on it.
    dask : str
        Address of a dask scheduler whose workers fit the devices.
    keep : path
        Folder for results while the fit runs; the same call takes up from there what was done before.
    progress : callable
        Is given the number of devices done and of all.
    intervals : str
        "profile", "bootstrap" or "emcee": 95 % intervals by that method instead of by the curvature at the optimum.
    cross_validate : bool
        Judge the models by cycles that they were not fitted to, beside AICc.
    log_scale : bool
        The logarithm of the measured quantity is the weight: another physical claim, for responses over decades.

    Raises
    ------
    FitError
        Unknown model, constant or too short response, no device that responds, no device that could be fitted.
    """
    if adjust is not None:
        import lmfit  # noqa: F401  # here, because the limit on threads below reaches only libraries that are loaded

    names = _listed(models)
    rest_of_names = [n for n in names if not (isinstance(n, str) and n.lower() == TABLE)]
    table = len(rest_of_names) < len(names)
    chosen_models = models_named(rest_of_names or "auto")
    response = PulseResponse.of(response)
    source = str(response.attrs["source"])
    if intervals is not None and intervals not in METHODS:
        raise FitError(f"--intervals {intervals}: choose from {', '.join(METHODS)}")
    window, devices, failures = prepare(response, log_scale)
    crew = Crew(max(1, threads or os.cpu_count() or 1), adjust is None, dask)
    partial = None
    if keep is not None:
        told = {
            "sha256": response.attrs["sha256"], "models": [[m.name, *m.kernel.program] for m in chosen_models],
            "devices": len(devices),
            "intervals": intervals, "log_scale": log_scale, "cross_validate": cross_validate,
        }  # fmt: skip
        partial = Partial(Path(keep), told)
    job = _Job(crew, partial, progress, len(devices))
    still = [float(np.ptp(d.trace.reads[d.trace.used])) == 0 for d in devices]
    moving = [i for i, s in enumerate(still) if not s]
    sample = moving
    if len(moving) > SAMPLE:
        sample = [moving[k] for k in np.unique(np.round(np.linspace(0, len(moving) - 1, SAMPLE)).astype(int))]
    # fewer devices than threads: each takes several, a model to each
    each = max(1, crew.workers // max(1, len(sample))) if dask is None else 1
    rows = job.run("models", partial_of(_all_models, chosen_models, adjust, each), devices, sample)
    failed = {i: r for i, r in rows.items() if isinstance(r, Failure)}
    alive = [i for i in sample if i not in failed and not _dead(rows[i])]
    if not alive:
        if failed:
            first = next(iter(failed.values()))
            raise FitError(f"{source}: no device could be fitted; device {first.name}: {first.reason}")
        raise FitError(f"{source}: no device responds to pulses by more than 5 read noises; nothing can be fitted")
    comparison, which = compare([rows[i] for i in alive])
    looks_of = list(alive)
    looks = job.run(
        "look", _look, [(rows[i][which], devices[i]) for i in alive], range(len(alive)), named=[devices[i] for i in alive]
    )
    moments = [d.moments for d in looks.values() if not isinstance(d, Failure)]
    coloured = sum(m.coloured for m in moments) * 2 > len(moments)
    if coloured:
        # the state-space model is wrong then; the best mean trajectory does not depend on the colour of the noise
        for i in alive:
            rows[i] = attempt(partial_of(_least_squares, rows[i]), devices[i], devices[i].name)
        failed |= {i: rows[i] for i in alive if isinstance(rows[i], Failure)}
        alive = [i for i in alive if i not in failed]
        comparison, which = compare([rows[i] for i in alive])
    if cross_validate and len(comparison) > 1:
        tests = job.run(
            "held", _held, [(rows[i], devices[i]) for i in alive], range(len(alive)), named=[devices[i] for i in alive]
        )
        comparison = with_held_out(comparison, [rows[i] for i in alive], list(tests.values()))
    first = rows[alive[0]][which]
    form = (first.model, first.mult_noise, coloured, adjust, intervals)
    rest = [i for i in moving if i not in set(sample)]
    known = {i: rows[i][which] for i in alive}
    seen = {i: look for i, look in zip(looks_of, looks.values(), strict=True) if isinstance(look, Diagnosis)}
    items = [(form, known.get(i), seen.get(i), devices[i]) for i in range(len(devices))]
    found = job.run("devices", _conclude, items, sorted([*alive, *rest]), named=devices)
    failed |= {i: r for i, r in found.items() if isinstance(r, Failure)}
    good = [i for i in sorted(found) if i not in failed and found[i] is not None]
    lost = {*good, *failed}
    dead = [devices[i].name for i in range(len(devices)) if i not in lost]
    failures += [failed[i] for i in sorted(failed)]
    if not good:
        raise FitError(f"{source}: no device could be fitted; device {failures[0].name}: {failures[0].reason}")
    live = [devices[i] for i in good]
    concluded: list[Concluded] = [found[i] for i in good]
    chosen, diagnoses = [c.chosen for c in concluded], [c.diagnosis for c in concluded]
    people = population([d.name for d in live], chosen)
    changes = together([c.trends for c in concluded])
    warnings = [*map(str, response.attrs["warnings"]), *_merge(live, diagnoses), *people.warnings, *_wear(changes, chosen[0])]
    if coloured:
        warnings.append(
            "because the read noise is coloured, the mean response and the choice of the model are those of least squares, "
            "with errors that allow for correlated residuals"
        )
    if dead:
        warnings.append(f"{len(dead)} of {len(devices)} devices do not respond and were left out: {', '.join(dead[:8])}")
    if failures:
        listed = "; ".join(f"{f.name}: {f.reason}" for f in failures[:4])
        more = f"; and {len(failures) - 4} more" if len(failures) > 4 else ""
        warnings.append(
            f"{len(failures)} of {len(failures) + len(good) + len(dead)} devices could not be fitted ({listed}{more})"
        )
    if len(alive) < len(good):
        warnings.append(f"the models were compared on {len(alive)} of {len(good)} devices, evenly chosen")
    every = [rows[i] if i in known else [c.chosen] for i, c in zip(good, concluded, strict=True)]
    requested = [c.requested for c in concluded]
    warnings += list(dict.fromkeys(note for r in requested if r is not None for note in r.notes))[:20]
    return Fit(
        window, live, every, chosen, diagnoses, dead, failures, comparison, people, changes, requested, warnings,
        dict(response.attrs), table,
    )  # fmt: skip


@dataclass(frozen=True)
class Concluded:
    """All that is told about one device."""

    chosen: Candidate
    diagnosis: Diagnosis
    trends: dict[str, Trend]
    requested: Requested | None


def _all_models(models: list[Model], adjust: Adjust | None, threads: int, device: DeviceTrace) -> list[Candidate]:
    return candidates(models, device.trace, adjust, min(threads, len(models)))


def _look(item: tuple[Candidate, DeviceTrace]) -> Diagnosis:
    return diagnose(*item)


def _least_squares(row: list[Candidate], device: DeviceTrace) -> list[Candidate]:
    return from_least_squares(row, device)


def _conclude(
    item: tuple[tuple[Model, bool, bool, Adjust | None, str | None], Candidate | None, Diagnosis | None, DeviceTrace],
) -> Concluded | None:
    """The chosen model on one device, which may have been fitted and looked at; None for a device that does not respond."""
    (model, mult_noise, coloured, adjust, intervals), chosen, before, device = item
    if chosen is None:
        row = fit_candidate(model, device.trace, adjust, (mult_noise,))
        if _dead(row):
            return None
        if coloured:
            row = from_least_squares(row, device)
        chosen = row[0]
    diagnosis = before if before is not None and not coloured else diagnose(chosen, device)
    if coloured and before is not None:
        diagnosis = replace(diagnosis, moments=before.moments)  # of the likelihood's mean, which the noise was told from
    if not coloured:
        chosen = with_profiles(chosen, device.trace)
        diagnosis = replace(diagnosis, symmetry=symmetry_point(chosen.likelihood, device.trace))
    requested = METHODS[intervals](chosen, device) if intervals else None
    return Concluded(chosen, diagnosis, trends(chosen, device), requested)


def _held(item: tuple[list[Candidate], DeviceTrace]) -> list[np.ndarray]:
    row, device = item
    return [held_out(c, device) for c in row]


def with_held_out(rows: list[ModelRow], fitted: list[list[Candidate]], tests: list[Any]) -> list[ModelRow]:
    """The comparison with ln p of the cycles held out, summed over folds and devices, below the best's."""
    known = [t for t in tests if not isinstance(t, Failure) and len(t[0])]
    if not known:
        return rows
    each = np.array([np.concatenate([t[i] for t in known]) for i in range(len(fitted[0]))])
    best = int(np.argmax(each.sum(axis=1)))
    gap = each - each[best]
    found = {c.name: (float(gap[i].sum()), float(gap[i].std(ddof=1) * np.sqrt(gap.shape[1]))) for i, c in enumerate(fitted[0])}
    return [replace(r, held_out=found[r.model][0], held_out_error=found[r.model][1]) for r in rows]


class _Job:
    """Runs the stages of a fit over devices, in batches that are kept and counted."""

    def __init__(self, crew: Crew, kept: Partial | None, progress: Progress | None, devices: int) -> None:
        self.crew, self.kept, self.progress, self.devices = crew, kept, progress, devices

    def run(
        self, stage: str, work: Work, items: Sequence[Any], chosen: Iterable[int], named: Sequence[DeviceTrace] | None = None
    ) -> dict[int, Any]:
        """Result or failure of each chosen item."""
        order = list(chosen)
        batches = [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
        names = named or items
        out: dict[int, Any] = {}
        missing = []
        for b, batch in enumerate(batches):
            before = self.kept.get(stage, b) if self.kept else None
            if before is not None and len(before) == len(batch):
                out |= dict(zip(batch, before, strict=True))
            else:
                missing.append(b)
        tasks = [[(names[i].name, items[i]) for i in batches[b]] for b in missing]
        for k, results in self.crew.batches(work, tasks):
            batch = batches[missing[k]]
            out |= dict(zip(batch, results, strict=True))
            if self.kept:
                self.kept.put(stage, missing[k], results)
            if self.progress and stage == "devices":
                self.progress(len(out), len(order))
        return {i: out[i] for i in order}


def _wear(changes: dict[str, Trend], first: Candidate) -> list[str]:
    """Warnings of parameters that change from cycle to cycle: the device models have no such term."""
    out = []
    for name, t in changes.items():
        if t.significant and abs(t.slope) * t.cycles > 0.02 * max(abs(t.mean), 0.1):
            percent = 100 * t.slope / abs(t.mean) if t.mean else float("nan")
            out.append(
                f"{name} changes by {t.slope:.2g} ({percent:+.2g} %) a cycle over {t.cycles} cycles [{t.slope_low:.2g}, "
                f"{t.slope_high:.2g}]: wear or break-in, which {first.model.device} does not have"
            )
        elif t.spread_error is not None and t.spread > 3 * t.spread_error and t.spread > 0.02 * max(abs(t.mean), 0.1):
            out.append(
                f"{name} varies by {t.spread:.2g} from cycle to cycle beyond the errors of the fits; {first.model.device} has no "
                "such term (--columns devices takes every cycle as a device)"
            )
    return out


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

    Akaike weights are exp(-delta/2), normalised. The simplest model within an AICc of 2 of the best is chosen, or within two
    standard errors of the difference between devices; a soft-bounds model whose bounds lie far outside the data gives way to
    the best model with bounds inside an AICc of 4.
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
    best = int(np.argmin(aicc))
    each = np.array([[c.aicc for c in row] for row in fitted])
    # over many devices the sum of the differences scatters by more than 2 (Q. H. Vuong, Econometrica 57, 307 (1989))
    scatter = np.std(each - each[:, [best]], axis=0, ddof=1) * np.sqrt(len(fitted)) if len(fitted) >= 4 else np.zeros(count)
    near = [i for i in range(count) if delta[i] < max(2.0, 2 * scatter[i])]
    which = min(near, key=lambda i: (rows[i].parameters, rows[i].aicc))
    if _bounds_open(fitted, which):
        closed = [i for i in range(count) if delta[i] < OPEN_BOUNDS and not _bounds_open(fitted, i)]
        which = min(closed, key=lambda i: rows[i].aicc, default=which)
    return sorted(rows, key=lambda r: r.aicc), which
