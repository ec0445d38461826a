"""Run what is missing of a study on dask, and store every result as it comes."""

from __future__ import annotations

import contextlib
import math
import queue
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from studies.cluster import end_worker
from studies.errors import StudyError
from studies.folder import Folder
from studies.plan import Unit, share_of, split, take_group, what_next
from studies.prepare import code_version, provenance
from studies.progress import Progress
from studies.records import DONE, FAILED, TIMEOUT, Outcome
from studies.refine import refinement
from studies.resolve import Resolved
from studies.store import Store
from studies.task import TOPIC, execute

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Ended", "anything_left", "run_study"]

# Replicas that run together are cheap, so groups are large; but a stop or a crash costs a group.
GROUP_SECONDS = 60.0
LARGEST_GROUP = 64
_FIRST_GROUP = 32
_DEATHS = 4


@dataclass
class Ended:
    """How a run ended.

    Parameters
    ----------
    outcome : str
        ``"done"``, ``"failed"`` (finished, with failed points) or ``"stopped"``.
    reason : str
        Why it stopped early; empty otherwise.
    counts : dict
        Status name -> pairs.
    """

    outcome: str
    reason: str
    counts: dict[str, int]

    @property
    def exit_code(self) -> int:
        """Exit code of the command line."""
        return {"done": 0, "failed": 3, "stopped": 4}[self.outcome]


@dataclass
class _Work:
    """One task: pairs that run together, and what happened to them before."""

    units: list[Unit]
    attempt: int = 0
    deaths: int = 0
    key: str = field(default_factory=lambda: f"study-{secrets.token_hex(8)}")


def run_study(
    resolved: Resolved,
    folder: Folder,
    client: Client,
    *,
    group: int | None = None,
    again: bool = False,
    quiet: bool = False,
    part: tuple[int, int] | None = None,
) -> Ended:
    """Run everything that is missing; results do not depend on workers, groups, order or interruptions.

    Parameters
    ----------
    resolved : Resolved
    folder : Folder
    client : Client
        Of any dask cluster whose workers have this package.
    group : int, optional
        Pairs in a task; by default chosen so that a task takes about a minute.
    again : bool
        Whether failed pairs are run again.
    quiet : bool
        Show no progress.
    part : (int, int), optional
        Only part ``(i, n)`` of the pairs, 1 to n; refinement is left to whoever has them all.

    Raises
    ------
    StudyError
        When another process runs this study, or the cluster is lost.
    """
    with folder.writing():
        store = Store(folder.results, writable=True)
        store.widen(resolved.study.replicates)
        folder.note_start(provenance())
        ended = _Driver(resolved, folder, store, client, group, again, part).run(quiet)
        folder.note_stop(ended.outcome + (f": {ended.reason}" if ended.reason else ""))
        return ended


def anything_left(resolved: Resolved, folder: Folder, *, again: bool = False, part: tuple[int, int] | None = None) -> bool:
    """Whether a run would do anything."""
    store = Store(folder.results)
    units = what_next(resolved.study.points(), resolved.study.replicates, store.status(), again=again)
    if part is not None:
        return bool(share_of(units, part))
    return bool(units or refinement(resolved, store))


class _Driver:
    def __init__(
        self, resolved: Resolved, folder: Folder, store: Store, client: Client, group: int | None, again: bool,
        part: tuple[int, int] | None,
    ) -> None:  # fmt: skip
        self.part = part
        self.resolved, self.folder, self.store, self.client = resolved, folder, store, client
        document = resolved.study.document
        self.fixed_group = group or document.run.group
        self.again, self.retries, self.timeout = again, document.run.retries, document.run.timeout
        self.largest = LARGEST_GROUP
        self.pair_seconds: deque[float] = deque(maxlen=8)
        self.units: list[Unit] = []
        self.repeat: deque[_Work] = deque()
        self.flying: dict[str, tuple[_Work, Any]] = {}
        self.started: dict[str, tuple[float, str]] = {}
        self.finished: queue.Queue[str] = queue.Queue()
        self.signals = 0
        self.reason = ""
        self.errors: list[tuple[str, str]] = []
        self.done = 0
        self.version = code_version()
        self.stop_name = ""
        self._looked, self._known = -math.inf, 1

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self, quiet: bool) -> Ended:
        from distributed import Event

        study = self.resolved.study
        points = study.points()
        self.store.add_points(points)
        self.units = what_next(points, study.replicates, self.store.status(), again=self.again)
        total = len(points) * study.replicates
        if self.part is not None:
            everything = what_next(points, study.replicates, {})
            self.units, total = share_of(self.units, self.part), len(share_of(everything, self.part))
        progress = Progress(self.folder, study.document.name, total, total - len(self.units), quiet=quiet)
        stop_event = Event(f"stop-{secrets.token_hex(8)}", client=self.client)
        self.stop_name = stop_event.name
        with progress, self._interrupts(), self._announcements():
            try:
                while True:
                    self._work_off(progress, stop_event)
                    more = [] if self.reason or self.part else refinement(self.resolved, self.store)
                    if not more:
                        break
                    self.store.add_points(more)
                    self.units = what_next(more, study.replicates, self.store.status())
                    if not self.units:
                        break
                    progress.extend(len(self.units))
            finally:
                for _, future in self.flying.values():
                    future.cancel(force=True)
                stop_event.clear()
            ended = self._ended()
            progress.finish(ended.outcome)
        return ended

    def _work_off(self, progress: Progress, stop_event: Any) -> None:
        stopping = False
        self._look_at_cluster()
        while self.flying or ((self.units or self.repeat) and not self.reason):
            if self.reason and not stopping:
                stopping = True
                stop_event.set()
                self._cancel_queued()
            while not self.reason and (self.units or self.repeat) and len(self.flying) < self._window():
                self._submit(self._next_work())
            with contextlib.suppress(queue.Empty):
                self._settle(self.finished.get(timeout=0.2), progress)
                while True:
                    self._settle(self.finished.get_nowait(), progress)
            self._end_hung(progress)
            self._look_at_cluster()
            progress.show(len(self.flying))

    def _ended(self) -> Ended:
        counts = self.store.counts()
        bad = counts["failed"] + counts["timeout"]
        return Ended("stopped" if self.reason else "failed" if bad else "done", self.reason, counts)

    # -- what goes out ------------------------------------------------------------------------------------------

    def _window(self) -> int:
        # One waiting task for each worker: no worker is idle between tasks, and little is lost at a stop.
        return 2 * self._known

    def _next_work(self) -> _Work:
        if self.repeat:
            return self.repeat.popleft()
        group, self.units = take_group(self.units, self._group_size(), self.resolved.structure)
        return _Work(group)

    def _group_size(self) -> int:
        """Pairs in the next task: long enough to be worth a task, short enough that all workers end together."""
        if self.fixed_group:
            return min(self.fixed_group, self.largest)
        share = max(1, math.ceil(len(self.units) / self._known))
        if not self.pair_seconds:
            return min(_FIRST_GROUP, share)
        seconds = sorted(self.pair_seconds)[len(self.pair_seconds) // 2]
        wanted = int(GROUP_SECONDS / max(seconds, 1e-6))
        return max(1, min(wanted, share, self.largest))

    def _submit(self, work: _Work) -> None:
        job = self.resolved.job(work.units)
        work.key = f"study-{secrets.token_hex(8)}"
        future = self.client.submit(execute, job, self.timeout, self.stop_name, work.key, key=work.key, pure=False, retries=0)
        self.flying[work.key] = (work, future)
        future.add_done_callback(lambda f: self.finished.put(f.key))

    # -- what comes back ----------------------------------------------------------------------------------------

    def _settle(self, key: str, progress: Progress) -> None:
        if key not in self.flying:
            return
        work, future = self.flying.pop(key)
        started = self.started.pop(key, None) is not None
        if future.status == "finished":
            self._judge(work, future.result(), progress)
        elif future.status == "error":
            self._died(work, future.exception(), started, progress)
        elif not self.reason:
            # Lost with its worker or scheduler: nothing was stored, so it simply runs again.
            self.repeat.append(work)
        future.release()

    def _judge(self, work: _Work, outcomes: list[Outcome], progress: Progress) -> None:
        first = outcomes[0]
        together = first.error not in ("", "NotFinite")
        if together and first.error in ("MemoryError", "OutOfMemoryError") and len(work.units) > 1:
            self.largest = max(1, len(work.units) // 2)
        if together and len(work.units) > 1:
            self.repeat.extend(_Work(half) for half in split(work.units))
            return
        if together and first.transient and work.attempt < self.retries:
            self.folder.log_failures(outcomes, work.attempt)
            self.repeat.append(_Work(work.units, work.attempt + 1, work.deaths))
            return
        if first.status == DONE:
            self.pair_seconds.append(first.wall_time)
        self._keep(work, outcomes, progress)

    def _died(self, work: _Work, error: BaseException, started: bool, progress: Progress) -> None:
        """The worker died under the task, or while the task was waiting there."""
        if len(work.units) > 1:
            self.repeat.extend(_Work(half) for half in split(work.units))
            return
        # A task that was only waiting is hardly to blame; but a death may come before the word of the start.
        deaths = work.deaths + (2 if started else 1)
        if deaths < _DEATHS:
            self.repeat.append(_Work(work.units, work.attempt, deaths))
            return
        text = f"the worker process died each time ({error})"
        self._keep(work, self._outcomes(work, FAILED, type(error).__name__, text), progress)

    def _outcomes(self, work: _Work, status: int, error: str, message: str) -> list[Outcome]:
        pairs = [self.resolved.pair(*unit) for unit in work.units]
        return [Outcome(pair, status, error=error, message=message) for pair in pairs]

    def _keep(self, work: _Work, outcomes: list[Outcome], progress: Progress) -> None:
        self.store.commit(outcomes, self.version)
        bad = [o for o in outcomes if o.status in (FAILED, TIMEOUT)]
        good = sum(o.status == DONE for o in outcomes)
        self.done += good
        self.folder.log_failures(bad, work.attempt)
        progress.add(good, len(bad))
        # A training that diverges is an answer about the device, not a fault of the run.
        self.errors += [(o.error, o.message) for o in bad if o.error != "NotFinite"]
        self._too_many_errors()

    def _too_many_errors(self) -> None:
        if self.reason or not self.errors:
            return
        kind, message = max(set(self.errors), key=self.errors.count)
        seen = len(self.errors) + self.done
        if self.done == 0 and len(self.errors) >= 5 and len(set(self.errors)) == 1:
            self.reason = f"the first {len(self.errors)} runs all failed: {kind}: {message}"
        elif seen >= 20 and len(self.errors) > 0.2 * seen:
            self.reason = f"{len(self.errors)} of {seen} runs failed, most often: {kind}: {message}"

    # -- what goes wrong ----------------------------------------------------------------------------------------

    def _end_hung(self, progress: Progress) -> None:
        """A task that neither ends nor notices its own timeout: end its worker."""
        now = time.monotonic()
        for key, (start, address) in list(self.started.items()):
            if key not in self.flying or now - start < 2 * self.timeout + 5:
                continue
            work, future = self.flying.pop(key)
            self.started.pop(key)
            future.cancel(force=True)
            end_worker(self.client, address)
            if len(work.units) > 1:
                self.repeat.extend(_Work(half) for half in split(work.units))
            else:
                text = f"did not end within twice the {self.timeout:g} s allowed; its worker was restarted"
                self._keep(work, self._outcomes(work, TIMEOUT, "TimeUp", text), progress)

    def _look_at_cluster(self) -> None:
        """Notice a lost cluster; count the threads every two seconds."""
        if self.client.status not in ("running", "connecting"):
            raise StudyError("the dask cluster is lost; continue later with: fitlab study resume DIR")
        if time.monotonic() - self._looked > 2:
            self._looked = time.monotonic()
            info = self.client.scheduler_info(n_workers=-1)
            self._known = max(1, sum(w["nthreads"] for w in info["workers"].values()))

    def _cancel_queued(self) -> None:
        for key, (_, future) in list(self.flying.items()):
            if key not in self.started:
                self.flying.pop(key)
                future.cancel(force=True)

    @contextlib.contextmanager
    def _announcements(self) -> Iterator[None]:
        """Hear which task has started where."""

        def heard(event: tuple[float, dict[str, str]]) -> None:
            _, message = event
            if message["key"] in self.flying:
                self.started[message["key"]] = (time.monotonic(), message["worker"])

        self.client.subscribe_topic(TOPIC, heard)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.client.unsubscribe_topic(TOPIC)

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """First Ctrl-C (or SIGTERM): finish the batch and stop. Second: at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _frame: object) -> None:
            self.signals += 1
            self.reason = self.reason or "interrupted"
            if self.signals > 1:
                raise KeyboardInterrupt

        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
