"""The dask client of a run: a local cluster by default, or a running scheduler by address."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.errors import StudyError

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

__all__ = ["connect", "end_worker", "processors", "rejoin"]

# A task may keep a worker from answering; dask's five minutes would kill healthy workers.
_SETTINGS = {
    "distributed.scheduler.worker-ttl": "24 hours",
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
}

# Seconds for a first worker to come, where the scheduler itself may have been started a moment ago.
_FIRST_WORKER = 30.0


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def connect(
    workers: int | None = None,
    scheduler: str | None = None,
    *,
    threads: int = 1,
    profile: Path | None = None,
    gpus: str | None = None,
) -> Iterator[Client]:
    """Client of a local cluster of single-threaded processes, or of the scheduler at an address.

    Parameters
    ----------
    workers : int, optional
        Processes of the local cluster; one for each ``threads`` processors by default.
    scheduler : str, optional
        Address such as ``tcp://10.0.0.1:8786``.
    threads : int
        Threads that a task will use.
    profile : Path, optional
        Description of the jobs of a batch system; see :mod:`studies.batch`.
    gpus : str, optional
        A local process for each of these GPUs, which sees only that one: ``"all"``, or ``"0,1"``.

    Raises
    ------
    StudyError
        When there is no scheduler at the address, it has no workers, or a profile is wrong.
    """
    import dask
    from distributed import Client

    if scheduler is not None and profile is not None:
        raise StudyError("--scheduler and --cluster are two places to run; give one")
    with dask.config.set(_SETTINGS):
        if profile is not None:
            from studies.batch import batch_client

            with batch_client(profile, workers) as client:
                client.register_plugin(_plugin())
                yield client
            return
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout="5 s")
            except (OSError, ValueError, TypeError) as error:
                raise StudyError(f"--scheduler: no dask scheduler answers at {scheduler!r} ({error})") from None
            with client:
                try:
                    client.wait_for_workers(1, timeout=_FIRST_WORKER)
                except TimeoutError:
                    told = f"{scheduler} has no workers; start some with: dask worker {scheduler}"
                    raise StudyError(f"--scheduler: {told}") from None
                yield client
            return
        count = workers or max(1, processors() // threads)
        with (
            # A nanny starts its worker again whenever it ends; one that ends twice within dask's 15 seconds would lose it.
            dask.config.set({"distributed.deploy.lost-worker-timeout": "24 hours"}),
            _local(count) if gpus is None else _one_a_gpu(workers, threads, gpus) as cluster,
            Client(cluster) as client,
        ):
            client.register_plugin(_plugin())
            yield client


def _local(count: int) -> SpecCluster:
    """Processes of this machine."""
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )


def _one_a_gpu(count: int | None, threads: int, gpus: str) -> SpecCluster:
    """Processes of this machine, each of which sees one GPU."""
    from distributed import Nanny, Scheduler, SpecCluster

    from studies.workers import slots

    own = {"host": "127.0.0.1", "nthreads": 1, "memory_limit": 0, "resources": {"GPU": 1}, "silence_logs": logging.CRITICAL}
    places = slots(count, threads, gpus)
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}},
        workers={s.number: {"cls": Nanny, "options": own | {"env": s.environment()}} for s in places},
        silence_logs=logging.CRITICAL,
    )


def rejoin(address: str, patience: float, given_up: Callable[[], bool]) -> Client | None:
    """A new client of the scheduler at an address, as soon as one answers there; None after ``patience`` seconds."""
    from distributed import Client

    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and not given_up():
        with contextlib.suppress(OSError):
            return Client(address, timeout="2 s", set_as_default=False)
        time.sleep(0.2)
    return None


def end_worker(client: Client, address: str) -> None:
    """Kill the process of a worker that no longer listens (its nanny starts another), and have no more work sent to it."""

    def ask() -> None:
        # A worker that is gone, or has no nanny, cannot be ended; the run goes on without it.
        with contextlib.suppress(Exception):
            client.run(_kill, workers=[address], nanny=True, on_error="ignore")
        with contextlib.suppress(Exception):
            client.run_on_scheduler(_forget, address=address)

    # dask waits without limit for an answer that may never come.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
    if thread.is_alive():
        with contextlib.suppress(Exception):
            client.run_on_scheduler(_forget, address=address)


async def _forget(dask_scheduler: Any, address: str) -> None:
    await dask_scheduler.remove_worker(address, stimulus_id="fitlab-hung")


def _kill(dask_worker: Any) -> None:
    os.kill(dask_worker.pid, signal.SIGKILL)


def _plugin() -> Any:
    from distributed import WorkerPlugin

    class Quiet(WorkerPlugin):
        """Ctrl-C in a terminal reaches every process; only the driver is to answer it."""

        def setup(self, worker: Any) -> None:
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Quiet()
