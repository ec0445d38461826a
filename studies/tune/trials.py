"""The search: ask for a batch of trials, train them together, tell their values; all of it in one file that survives a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.design import Point, seed_of
from studies.errors import StudyError
from studies.folder import write_text
from studies.prepare import _differences
from studies.records import DONE, Job, Outcome
from studies.task import execute
from studies.tune.plan import Plan

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Found", "Trial", "open_search", "scores_of", "search"]

_TIMEOUT = 24 * 3600.0
_RANDOM_TRIALS = 10
"""Trials before the first that follows from others."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A finished trial: its settings, and the accuracy of each seed on the images held out (NaN where training diverged)."""

    number: int
    settings: dict[str, float]
    scores: tuple[float, ...]

    @property
    def value(self) -> float:
        """Mean accuracy; a training that diverged counts as 0."""
        return _value(self.scores)


def _value(scores: Sequence[float]) -> float:
    return math.fsum(0.0 if math.isnan(s) else s for s in scores) / len(scores)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search has found.

    Parameters
    ----------
    trials : list of Trial
        In order.
    start : Trial
        The settings as they were, number -1, judged like any trial.
    """

    trials: list[Trial]
    start: Trial

    @property
    def best(self) -> Trial:
        """The best trial, the first of equals; the start if none is better."""
        return max([self.start, *self.trials], key=lambda t: (t.value, -t.number))


@contextlib.contextmanager
def open_search(plan: Plan, folder: Path) -> Iterator[Any]:
    """The stored search of a folder, or a new one; closed at the end.

    Raises
    ------
    StudyError
        When optuna is not installed, or the folder holds something else, or another search; the differences are named.
    """
    optuna = _optuna()
    record = folder / "tune.json"
    # As JSON holds it: tuples are lists there.
    contents = json.loads(json.dumps(plan.contents))
    if record.exists():
        differences = _differences(json.loads(record.read_text(encoding="utf-8")), contents, "tune")
        if differences:
            raise StudyError(f"{folder}: holds another search ({'; '.join(differences)}); choose a new folder with -o DIR")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder}: exists and is not the folder of a search; choose another with -o DIR")
    elif not folder.absolute().parent.is_dir():
        raise StudyError(f"{folder.absolute().parent}: is not a folder; make it, or choose another place with -o DIR")
    else:
        folder.mkdir(exist_ok=True)
        write_text(record, json.dumps(contents, indent=2) + "\n")
    with _quiet(optuna):
        storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / 'trials.db').absolute()}")
        try:
            yield optuna.create_study(storage=storage, study_name="tune", direction="maximize", load_if_exists=True)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def search(plan: Plan, folder: Path, trials: int, *, client: Client | None = None, say: Callable[[str], None] = print) -> Found:
    """Run a search, or what is missing of it.

    Trials are chosen a batch at a time. What is chosen, and what comes out, is a function of the plan: neither workers nor
    interruptions change a bit of it.

    Parameters
    ----------
    plan : Plan
    folder : Path
        Made if it is not there.
    trials : int
        How many there are to be; whole batches are run.
    client : Client, optional
        Of a dask cluster; without one the trials are trained here.
    say : callable
        Gets a line after each batch.

    Returns
    -------
    Found

    Raises
    ------
    StudyError
        As :func:`open_search`; or a training that failed, with its reason.
    """
    total = -(-trials // plan.batch) * plan.batch
    with open_search(plan, folder) as study:
        if "start" not in study.user_attrs:
            study.set_user_attr(
                "start", json.dumps(scores_of(plan, [plan.point({})], range(plan.seeds), client, held_out=True)[0])
            )
        start = Trial(-1, {}, tuple(json.loads(study.user_attrs["start"])))
        say(f"at the start: accuracy {start.value:.4f}")
        done = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
        while done < total:
            first = done // plan.batch * plan.batch
            stored = study.get_trials(deepcopy=False)
            ended = {t.number for t in stored if t.state.is_finished()}
            batch = [_ask(study, plan, n) for n in range(first, first + plan.batch) if n not in ended]
            scores = scores_of(plan, [plan.point(t.params) for t in batch], range(plan.seeds), client, held_out=True)
            for trial, found in zip(batch, scores, strict=True):
                trial.set_user_attr("scores", json.dumps(found))
                study.tell(trial.number, _value(found))
            done = first + plan.batch
            best = study.best_trial
            say(f"{done} of {total} trials: best accuracy {best.value:.4f} (trial {best.number})")
        return Found(_trials(plan, study), start)


def _trials(plan: Plan, study: Any) -> list[Trial]:
    found = []
    for t in study.get_trials(deepcopy=False):
        if t.state.is_finished():
            settings = {v.path: v.value(t.params[v.path]) for v in plan.space}
            found.append(Trial(t.number, settings, tuple(json.loads(t.user_attrs["scores"]))))
    return found


def _ask(study: Any, plan: Plan, number: int) -> Any:
    """The trial of that number: a new one, or one that a killed search has left, as it was.

    A sampler's own state is not stored. So each trial has a sampler of its own, seeded by its number: what it draws is a function
    of the trials before it.
    """
    import optuna

    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=_RANDOM_TRIALS, multivariate=True, constant_liar=True,
        seed=seed_of(plan.seed, number, "tune", None) % 2**32,
    )  # fmt: skip
    stored = study.get_trials(deepcopy=False)
    trial = study.ask() if number == len(stored) else optuna.trial.Trial(study, stored[number]._trial_id)
    for v in plan.space:
        if v.path in trial.params:
            if v.path not in trial.relative_params:
                # Drawn before the kill: drawn again, so that the next one is what it would have been.
                frozen = study.get_trials(deepcopy=False)[number]
                study.sampler.sample_independent(study, frozen, v.path, frozen.distributions[v.path])
        elif v.scale == "choice":
            trial.suggest_categorical(v.path, v.levels)
        else:
            trial.suggest_float(v.path, *v.levels, log=v.scale == "log")
    return trial


def scores_of(
    plan: Plan, points: Sequence[Point], replicates: Sequence[int], client: Client | None = None, *, held_out: bool
) -> list[list[float]]:
    """Accuracy of each seed of each point, trained as replicas of as few networks as structures allow.

    Parameters
    ----------
    plan : Plan
    points : sequence of Point
    replicates : sequence of int
        Numbers of the seeds.
    client : Client, optional
    held_out : bool
        Test with training images that were held out; false: with the test set, after training with all others.

    Raises
    ------
    StudyError
        When a training fails otherwise than by diverging.
    """
    resolved = plan.resolved
    units = [(point, replicate) for point in points for replicate in replicates]
    groups: dict[Any, list[tuple[Point, int]]] = {}
    for unit in units:
        groups.setdefault(resolved.structure(unit[0]), []).append(unit)
    workers = 1 if client is None else max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    jobs = []
    for group in groups.values():
        size = -(-len(group) // workers)
        jobs += [resolved.job(group[start : start + size]) for start in range(0, len(group), size)]
    if held_out:
        jobs = [dataclasses.replace(job, train={**job.train, "validation": plan.validation}) for job in jobs]
    outcomes = _run(jobs, client)
    found: dict[tuple[str, int], float] = {}
    for outcome in outcomes:
        if outcome.status != DONE and outcome.error != "NotFinite":
            raise StudyError(f"a training failed ({outcome.error}: {outcome.message}); settings: {outcome.pair.settings}")
        found[outcome.pair.point_id, outcome.pair.replicate] = outcome.metrics.get("accuracy", math.nan)
    return [[found[point.id, replicate] for replicate in replicates] for point in points]


def _run(jobs: Sequence[Job], client: Client | None) -> list[Outcome]:
    if client is None:
        return [outcome for job in jobs for outcome in execute(job, _TIMEOUT)]
    futures = [client.submit(execute, job, _TIMEOUT, pure=False) for job in jobs]
    return [outcome for found in client.gather(futures) for outcome in found]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise StudyError("fitlab tune needs optuna; install it with: pip install 'fitlab[tune]'") from None
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """No lines of optuna about each trial, nor its warnings about features that are new."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
