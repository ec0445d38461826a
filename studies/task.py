"""On the worker: run one job, and return an outcome for each pair whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from studies.errors import StudyError
from studies.records import DONE, FAILED, SKIPPED, TIMEOUT, Job, Outcome, Stopped, TimeUp

__all__ = ["NETWORKS", "TASKS", "TOPIC", "Control", "execute", "find_task", "network_options", "stop_tasks"]

TOPIC = "fitlab-study"
_STOPPED: set[str] = set()
# Seconds after which it is worth telling that a task has begun.
_AT_ONCE = 0.1

# Network -> options with their defaults, and the data it takes. Names instead of imports keep torch out of the driver.
NETWORKS: dict[str, tuple[dict[str, int], tuple[str, ...]]] = {
    "mlp": ({"hidden": 48}, ("digits", "mnist", "fashion", "cifar10")),
    "mlp3": ({"hidden1": 256, "hidden2": 128}, ("digits", "mnist", "fashion", "cifar10")),
    "lenet5": ({}, ("mnist", "fashion", "cifar10")),
    "vgg8": ({"width": 48}, ("mnist", "fashion", "cifar10")),
    "resnet32": ({"width": 16}, ("mnist", "fashion", "cifar10")),
    "lstm": ({"hidden": 64, "context": 32}, ("text",)),
    "transformer": ({"hidden": 32, "heads": 4, "context": 32}, ("text",)),
}
TASKS = tuple(f"{data}-{name}" for name, (_, takes) in NETWORKS.items() for data in takes)


def network_options(task: str) -> dict[str, int] | None:
    """Options of a task's network with their defaults; None for a function of one's own."""
    return dict(NETWORKS[task.partition("-")[2]][0]) if task in TASKS else None


class Control:
    """What a task asks between batches: am I to stop?

    Parameters
    ----------
    timeout : float
        Seconds that the task may take.
    stopped : callable or None
        Says whether the run was cancelled; asked often, so it must be quick.
    """

    def __init__(self, timeout: float = math.inf, stopped: Callable[[], bool] | None = None) -> None:
        self._deadline = time.monotonic() + timeout
        self._stopped = stopped

    def check(self) -> None:
        """Return, or raise Stopped or TimeUp."""
        if time.monotonic() > self._deadline:
            raise TimeUp
        if self._stopped is not None and self._stopped():
            raise Stopped


def find_task(name: str, places: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
    """The function (``module:function``) and the metrics of a task; a module is also looked for in ``places``.

    Raises
    ------
    StudyError
        For a name that is not known, or a function that cannot be imported.
    """
    if name in TASKS:
        return "studies.train:classify", ("accuracy", "loss")
    if ":" not in name:
        raise StudyError(f'base.task: {name!r} is not known; write one of {", ".join(TASKS)}, or "module:function"')
    # Behind everything that is installed.
    sys.path.extend(place for place in places if place not in sys.path)
    function = _import(name)
    return name, tuple(getattr(function, "metrics", ("accuracy",)))


def _import(path: str) -> Callable[[Job, Control], list[dict[str, float]]]:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise StudyError(
            f"base.task: {path!r} cannot be imported ({error}); put the file beside the study, or on the Python path"
        ) from None


def execute(job: Job, timeout: float, stop_name: str = "", key: str = "") -> list[Outcome]:
    """Run a job. Errors come back as outcomes: only the death of the worker reaches dask."""
    with _announced(key) as worker:
        return _execute(job, timeout, stop_name, worker)


def _execute(job: Job, timeout: float, stop_name: str, worker: str) -> list[Outcome]:
    start = time.monotonic()

    def outcomes(status: int, **more: Any) -> list[Outcome]:
        spent = (time.monotonic() - start) / len(job.pairs)
        return [Outcome(pair, status, wall_time=spent, worker=worker, **more) for pair in job.pairs]

    try:
        path, metrics = find_task(job.task, job.places)
        function = _import(path)
        with _threads(job.threads):
            results = function(job, Control(timeout, lambda: stop_name in _STOPPED))
        return [_judge(o, r, metrics) for o, r in zip(outcomes(DONE), _checked(job, results), strict=True)]
    except Stopped:
        return outcomes(SKIPPED)
    except TimeUp:
        text = f"took longer than the {timeout:g} s allowed; raise run.timeout or train less"
        return outcomes(TIMEOUT, error="TimeUp", message=text)
    except Exception as error:  # noqa: BLE001  every error is a result here: it belongs to these pairs, not to the run
        transient = isinstance(error, OSError | MemoryError) or type(error).__name__ == "OutOfMemoryError"
        return outcomes(
            FAILED,
            error=type(error).__name__,
            message=str(error) or type(error).__name__,
            traceback=traceback.format_exc(),
            transient=transient,
        )


def _checked(job: Job, results: Any) -> list[dict[str, float]]:
    """What a task function returned, if it is what it has to be."""
    if not isinstance(results, list | tuple) or len(results) != len(job.pairs):
        got = f"{len(results)}" if isinstance(results, list | tuple) else type(results).__name__
        raise StudyError(f"{job.task} returned {got}, not a list of {len(job.pairs)} dictionaries, one for each pair of the job")
    return list(results)


def _judge(outcome: Outcome, found: dict[str, float], metrics: tuple[str, ...]) -> Outcome:
    """A result that is not finite is a failure of that pair alone."""
    missing = [m for m in metrics if m not in found]
    if missing:
        raise StudyError(
            f"the task returned no {', '.join(missing)}; name what it measures in the attribute metrics of the function"
        )
    values = {m: float(found[m]) for m in metrics}
    wrong = {k: v for k, v in values.items() if not math.isfinite(v)}
    if not wrong:
        return Outcome(outcome.pair, DONE, values, outcome.wall_time, worker=outcome.worker)
    text = ", ".join(f"{k} = {v}" for k, v in wrong.items())
    message = f"the result is not finite ({text}); the training diverged"
    return Outcome(outcome.pair, FAILED, {}, outcome.wall_time, error="NotFinite", message=message, worker=outcome.worker)


@functools.lru_cache(maxsize=1)
def _pools(modules: int) -> Any:
    """The libraries with threads that are loaded; looked for again only when there are more modules, as it takes a while."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextlib.contextmanager
def _threads(count: int) -> Any:
    """Bound the threads of BLAS, OpenMP and torch while a task works."""
    with _pools(len(sys.modules)).limit(limits=count):
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(count)
        yield


@contextlib.contextmanager
def _announced(key: str) -> Iterator[str]:
    """Tell the driver that this task has started, and where, unless it ends at once; gives the worker's address."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        yield ""
        return
    address = str(worker.address)
    # On the worker's own loop: a thread a task would cost more than the message.
    say = functools.partial(worker.log_event, TOPIC, {"key": key, "worker": address})
    loop: asyncio.AbstractEventLoop = worker.loop.asyncio_loop  # type: ignore[attr-defined]
    pending: list[asyncio.TimerHandle] = []

    def ended() -> None:
        for handle in pending:
            handle.cancel()

    loop.call_soon_threadsafe(lambda: pending.append(loop.call_later(_AT_ONCE, say)))
    try:
        yield address
    finally:
        with contextlib.suppress(RuntimeError):  # a worker that is being closed has no loop any more
            loop.call_soon_threadsafe(ended)


def stop_tasks(name: str) -> None:
    """Tell the tasks of this process that their run is over; the driver has every worker call it."""
    _STOPPED.add(name)
