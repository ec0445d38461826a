"""What a study will take, from a short calibration run in this process."""

from __future__ import annotations

import dataclasses
import math
import resource
import sys
import time
from dataclasses import dataclass

from studies.errors import StudyError
from studies.progress import duration
from studies.records import DONE, Job
from studies.resolve import Resolved
from studies.run import GROUP_SECONDS, LARGEST_GROUP
from studies.task import execute

__all__ = ["Estimate", "estimate"]

_REPLICAS = 4


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Parameters
    ----------
    runs, tasks, workers : int
    group : int
        Runs in a task.
    run_seconds : float
        Of one run in such a task.
    seconds : float
        Of the whole study on the workers, as if all runs were as the calibrated one.
    memory_mb : float
        Of one worker.
    """

    runs: int
    tasks: int
    workers: int
    group: int
    run_seconds: float
    seconds: float
    memory_mb: float

    def sentence(self) -> str:
        """The estimate in words."""
        return (
            f"about {duration(self.seconds)} on {self.workers} worker{'s' if self.workers > 1 else ''}: {self.tasks} tasks of "
            f"up to {self.group} runs, {self.run_seconds:.3g} s a run, {self.memory_mb:.0f} MB a worker (from a calibration run)"
        )


def estimate(resolved: Resolved, workers: int) -> Estimate:
    """Time one epoch of one and of a few replicas at the first point, and scale up.

    Raises
    ------
    StudyError
        When the calibration run fails; says how.
    """
    study = resolved.study
    point = next(p for p in study.grid_points())
    epochs = 1 if resolved.config is None else study.document.base.train.epochs
    one = _seconds(_job(resolved, [(point, 0)]))
    alone = _seconds(_job(resolved, [(point, 0)]))
    before = _memory()
    several = _seconds(_job(resolved, [(point, r) for r in range(_REPLICAS)]))
    memory = max(_memory() - before, 0.0) / (_REPLICAS - 1)
    each = max((several - alone) / (_REPLICAS - 1), alone / 100) * epochs
    start = max(min(one, alone) * epochs - each, 0.0)
    runs = len(study.points()) * study.replicates
    fixed = study.document.run.group
    group = fixed or max(1, min(LARGEST_GROUP, math.ceil(runs / workers), int(max(GROUP_SECONDS - start, 0) / each) or 1))
    tasks = math.ceil(runs / group)
    task = start + each * group
    return Estimate(runs, tasks, workers, group, task / group, math.ceil(tasks / workers) * task, _memory() + memory * group)


def _job(resolved: Resolved, units: list[tuple[object, int]]) -> Job:
    job = resolved.job(units)  # type: ignore[arg-type]
    if resolved.config is None:
        return job
    pairs = tuple(
        dataclasses.replace(p, settings={k: v for k, v in p.settings.items() if k != "train.epochs"}) for p in job.pairs
    )
    return dataclasses.replace(job, train=job.train | {"epochs": 1}, pairs=pairs)


def _seconds(job: Job) -> float:
    start = time.perf_counter()
    outcome = execute(job, math.inf)[0]
    if outcome.status != DONE and outcome.error != "NotFinite":
        raise StudyError(f"the calibration run failed: {outcome.error}: {outcome.message}")
    return time.perf_counter() - start


def _memory() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
