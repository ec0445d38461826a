"""What a run needs of dask: send jobs, hear what became of them, and know who works on what."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import queue
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studies.cluster import end_worker
from studies.records import Job, Outcome
from studies.task import TOPIC, execute, stop_tasks

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Crew", "Lost", "Settled"]

# Seconds that the scheduler may take to answer, and between looks at the cluster.
_ANSWER = 30.0
_LOOK = 2.0
# A worker that has not been heard of for this long has stopped; dask's heartbeats come every few seconds.
_SILENT = 30.0


class Lost(Exception):
    """The scheduler does not answer any more."""


@dataclass
class Settled:
    """What became of a job: its outcomes, or the error of a worker that died; neither if it was lost on the way."""

    key: str
    outcomes: list[Outcome] | None = None
    error: BaseException | None = None
    started: bool = False


class Crew:
    """The workers of a dask cluster, for one run.

    Parameters
    ----------
    client : Client
    timeout : float
        Seconds that a job may take; it is given up after twice that.
    resources : dict, optional
        What a job takes of its worker, such as ``{"GPU": 1}``.

    Attributes
    ----------
    address : str
        Of the scheduler.
    threads : int
        Of all workers together.

    Raises
    ------
    Lost
        By every method that asks the scheduler.
    """

    def __init__(self, client: Client, timeout: float, resources: dict[str, float] | None = None) -> None:
        self.client: Any = client
        self.address = str(client.scheduler.address)  # type: ignore[union-attr]
        self.threads = 1
        self._limit = 2 * timeout + 5
        self._stop_name = f"stop-{secrets.token_hex(8)}"
        self._timeout = timeout
        self._resources = resources
        self._flying: dict[str, Any] = {}
        self._started: dict[str, tuple[float, str]] = {}
        self._finished: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._looked = self._asked = time.monotonic() - _LOOK
        with _asking():
            client.subscribe_topic(TOPIC, self._heard)
        self.look()

    def close(self) -> None:
        """Forget all jobs; the cluster may be gone."""
        for future in self._flying.values():
            with contextlib.suppress(Exception):
                future.cancel(force=True)
        self._flying.clear()
        with contextlib.suppress(Exception):
            self.client.unsubscribe_topic(TOPIC)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def send(self, jobs: Sequence[Job]) -> list[str]:
        """Hand jobs to the cluster, together, as each message to the scheduler costs more than a job; returns their keys."""
        names = [f"study-{secrets.token_hex(8)}" for _ in jobs]
        with _asking():
            futures = self.client.map(
                execute,
                jobs,
                [self._timeout] * len(jobs),
                [self._stop_name] * len(jobs),
                names,
                key=names,
                pure=False,
                retries=0,
                resources=self._resources,
            )
        for future in futures:
            self._flying[future.key] = future
            future.add_done_callback(lambda f: self._finished.put(f.key))
        return names

    def settled(self, wait: float, linger: float = 0.0) -> list[Settled]:
        """Jobs that ended since the last call; waits ``wait`` seconds for the first of them, then ``linger`` for more."""
        keys = set()
        with contextlib.suppress(queue.Empty):
            keys.add(self._finished.get(timeout=wait))
            if linger:
                time.sleep(linger)
            while True:
                keys.add(self._finished.get_nowait())
        futures = {key: self._flying.pop(key) for key in keys if key in self._flying}
        ready = {key: future for key, future in futures.items() if future.status == "finished"}
        try:
            results = self._fetch(ready)
        except Lost:
            # Their results went with the scheduler: whoever sent them has to know.
            self._flying |= futures
            raise
        found = []
        for key, future in futures.items():
            ended = Settled(key, results.get(key), started=self._started.pop(key, None) is not None)
            if ended.outcomes is None and future.status == "error":
                with contextlib.suppress(Exception, concurrent.futures.CancelledError):
                    ended.error = future.exception(timeout=_ANSWER)
            found.append(ended)
            future.release()
        return found

    def _fetch(self, futures: dict[str, Any]) -> dict[str, Any]:
        """Results of finished futures, all at once; without those that were lost with their worker."""
        if not futures:
            return {}
        with _asking():
            gathering = self.client.gather(futures, errors="skip", asynchronous=True)
            fetch = asyncio.run_coroutine_threadsafe(gathering, self.client.loop.asyncio_loop)
            try:
                return dict(fetch.result(_ANSWER))
            except TimeoutError:
                # A worker died with its result, and dask computes it again: so can we.
                fetch.cancel()
                self._check()
                for future in futures.values():
                    future.cancel(force=True)
                return {}

    def stop(self) -> None:
        """Tell the tasks at work to stop."""
        # Waits for all workers, and one that hangs never answers.
        telling = threading.Thread(target=self._tell_to_stop, daemon=True)
        telling.start()
        telling.join(10)

    def withdraw(self) -> list[str]:
        """Take back the jobs that no worker has begun; returns their keys."""
        keys = [key for key in self._flying if key not in self._started]
        for key in keys:
            with contextlib.suppress(Exception):
                self._flying.pop(key).cancel(force=True)
        return keys

    def _tell_to_stop(self) -> None:
        with contextlib.suppress(Exception):
            self.client.run(stop_tasks, self._stop_name, on_error="ignore")

    # -- workers ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Count the threads, and notice jobs given to workers that do not even begin them; cheap to call often."""
        self._check()
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        with _asking():
            workers = self.client.nthreads(callback_timeout=_ANSWER)
            self.threads = sum(workers.values())
            # What a worker had begun that is gone now waits for another.
            for key, (start, worker) in list(self._started.items()):
                if worker not in workers and start < now:
                    self._started.pop(key, None)
            if now - self._asked > 5 * _LOOK and self._flying:
                self._asked = now
                processing = self.client.sync(self.client.scheduler.processing, workers=None, callback_timeout=_ANSWER)
                busy = {worker for _, worker in list(self._started.values())}
                for worker, keys in processing.items():
                    for key in keys if worker not in busy else ():
                        if key in self._flying:
                            self._started.setdefault(key, (now, worker))

    def equipped(self) -> bool:
        """Whether a worker has what a job takes."""
        if not self._resources:
            return True
        with _asking():
            workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(all(w["resources"].get(name, 0) >= n for name, n in self._resources.items()) for w in workers)

    def hung(self) -> list[tuple[str, bool]]:
        """Jobs that neither ended nor noticed their timeout; their workers are ended.

        Returns
        -------
        list of (str, bool)
            Key, and whether the whole worker is silent, so that the job may not be to blame.
        """
        now = time.monotonic()
        late = {
            key: worker
            for key, (start, worker) in list(self._started.items())
            if key in self._flying and now - start > self._limit
        }
        if not late:
            return []
        with _asking():
            known = self.client.scheduler_info(n_workers=-1)["workers"]
        found, ended, quiet = [], set(), min(_SILENT, 0.75 * self._limit)
        for key, worker in late.items():
            unheard = time.time() - known[worker]["last_seen"] if worker in known else math.inf
            if 0.25 * quiet < unheard <= quiet:
                continue  # it has missed a few heartbeats: the next comes soon, or it has stopped
            self._started.pop(key, None)
            self._flying.pop(key).cancel(force=True)
            found.append((key, unheard > quiet))
            ended.add(worker)
        for worker in ended:
            end_worker(self.client, worker)
        return found

    def _check(self) -> None:
        comm = self.client.scheduler_comm
        if self.client.status != "running" or comm is None or comm.closed():
            raise Lost("the connection is closed")

    def _heard(self, event: tuple[float, dict[str, str]]) -> None:
        """A worker says that it begins a job."""
        _, message = event
        if message["key"] in self._flying:
            self._started[message["key"]] = (time.monotonic(), message["worker"])


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    """What dask raises when the scheduler is gone, as Lost."""
    from distributed.client import ClosedClientError

    try:
        yield
    except (OSError, RuntimeError, ClosedClientError, concurrent.futures.CancelledError, asyncio.CancelledError) as error:
        raise Lost(str(error) or type(error).__name__) from error
