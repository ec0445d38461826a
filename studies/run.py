"""Run what is missing of a study on dask, and store every result as it comes."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studies.cluster import rejoin
from studies.crew import Crew, Lost, Settled
from studies.errors import StudyError
from studies.folder import Folder
from studies.plan import Unit, Waiting, fair_share, share_of, split, what_next
from studies.prepare import code_version, provenance
from studies.progress import Progress, duration
from studies.records import DONE, FAILED, TIMEOUT, Outcome
from studies.refine import refinement
from studies.resolve import Resolved
from studies.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Ended", "anything_left", "run_study"]

# Replicas that run together are cheap, so groups are large; but a stop or a crash costs a group.
GROUP_SECONDS = 60.0
LARGEST_GROUP = 64
_FIRST_GROUP = 32
_DEATHS = 8
# Tasks in flight for each worker: one at work and one waiting, more where they take less than this together.
_AHEAD_SECONDS = 0.2
_MOST_AHEAD = 32
# Tasks sent in one message, and seconds in which the results of shorter tasks are collected.
_TOGETHER = 64
_LINGER = 0.02
# The share of the driver's time that may go into writing results: many short tasks are written together.
_WRITING = 0.1
# Seconds between attempts to write to a disk that refused.
_RETRY_WRITING = 5.0
PATIENCE = 600.0


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


def run_study(
    resolved: Resolved,
    folder: Folder,
    client: Client,
    *,
    group: int | None = None,
    again: bool = False,
    quiet: bool = False,
    part: tuple[int, int] | None = None,
    patience: float = PATIENCE,
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
    patience : float
        Seconds to wait for what should come back: a scheduler that went away, workers, room on the disk.

    Raises
    ------
    StudyError
        When another process runs this study, or the cluster is lost.
    """
    with folder.writing():
        store = Store(folder.results, writable=True)
        store.widen(resolved.study.replicates)
        folder.note_start(provenance())
        ended = _Driver(resolved, folder, store, client, group, again, part, patience).run(quiet)
        with contextlib.suppress(OSError):  # a full disk has been told of
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
        part: tuple[int, int] | None, patience: float,
    ) -> None:  # fmt: skip
        self.part, self.patience = part, patience
        self.resolved, self.folder, self.store, self.client = resolved, folder, store, client
        document = resolved.study.document
        self.fixed_group = group or document.run.group
        self.again, self.retries, self.timeout = again, document.run.retries, document.run.timeout
        self.resources: dict[str, float] | None = {"GPU": 1} if document.run.device == "cuda" else None
        self.largest = LARGEST_GROUP
        self.taken = 0
        self.pair_seconds: deque[float] = deque(maxlen=8)
        self.task_seconds: deque[float] = deque(maxlen=8)
        self.waiting = Waiting([], resolved.structure)
        self.repeat: deque[_Work] = deque()
        self.flying: dict[str, _Work] = {}
        self.signals = 0
        self.reason = ""
        self.errors: Counter[tuple[str, str]] = Counter()
        self.done = 0
        self.version = code_version()
        self.unlogged: list[tuple[list[Outcome], int]] = []
        self.save_next = 0.0
        self.unsaved_since: float | None = None
        self.idle_since: float | None = None

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self, quiet: bool) -> Ended:
        study = self.resolved.study
        points = study.points()
        self.store.add_points(points)
        units = what_next(points, study.replicates, self.store.status(), again=self.again)
        total = len(points) * study.replicates
        if self.part is not None:
            everything = what_next(points, study.replicates, {})
            units, total = share_of(units, self.part), len(share_of(everything, self.part))
        self.waiting = Waiting(units, self.resolved.structure)
        self.progress = Progress(self.folder, study.document.name, total, total - len(units), quiet=quiet)
        try:
            self.crew = Crew(self.client, self.timeout, self.resources)
            equipped = self.crew.equipped()
        except Lost as lost:
            raise StudyError(f"the dask cluster does not answer ({lost})") from None
        if not equipped:
            self.crew.close()
            raise StudyError(
                'run.device = "cuda", and no worker of this cluster has a GPU; start some with: fitlab study worker '
                f"{self.crew.address} --gpus all"
            )
        with self.progress, self._interrupts():
            try:
                while True:
                    self._work_off()
                    self._save(now=True)
                    more = [] if self.reason or self.part else refinement(self.resolved, self.store)
                    if not more:
                        break
                    self.store.add_points(more)
                    units = what_next(more, study.replicates, self.store.status())
                    if not units:
                        break
                    self.waiting = Waiting(units, self.resolved.structure)
                    self.progress.extend(len(units))
                while self.unsaved_since is not None and not self.reason:
                    time.sleep(0.1)
                    self._save()
            finally:
                self._leave()
                self._save(last=True)
            ended = self._ended()
            self.progress.finish(ended.outcome)
        return ended

    def _work_off(self) -> None:
        stopping = False
        while self.flying or ((self.waiting or self.repeat) and not self.reason):
            if self.reason:
                if not stopping:
                    stopping = True
                    self.crew.stop()
                for key in self.crew.withdraw():
                    self.flying.pop(key, None)
            try:
                self._turn()
            except Lost as lost:
                self._rejoin(lost)
            self._save()
            self.progress.show(len(self.flying))

    def _turn(self) -> None:
        """Send what there is room for, and take in what has come back."""
        room = self._window() - len(self.flying)
        while not self.reason and (self.waiting or self.repeat) and room > 0:
            works: list[_Work] = []
            while (self.waiting or self.repeat) and len(works) < min(room, _TOGETHER):
                works.append(self._next_work())
            try:
                keys = self.crew.send([self.resolved.job(work.units) for work in works])
            except Lost:
                self.repeat.extend(works)
                raise
            self.flying |= zip(keys, works, strict=True)
            room -= len(works)
        for settled in self.crew.settled(wait=0.2, linger=self._linger()):
            if settled.key in self.flying:
                self._settle(self.flying.pop(settled.key), settled)
        for key, silent in self.crew.hung():
            self._gave_up(self.flying.pop(key), silent)
        self.crew.look()
        self._mind_the_workers()

    def _rejoin(self, lost: Lost) -> None:
        """The scheduler is gone: what was in flight runs again, on the scheduler that comes back at the same address."""
        self.repeat.extend(self.flying.values())
        self.flying.clear()
        if self.reason:
            return
        address, own = self.crew.address, self.client.cluster is not None
        self._leave()
        client = None
        if not own:
            self.progress.say(f"the scheduler at {address} is away ({lost}); waiting for it, at most {duration(self.patience)}")
            client = rejoin(address, self.patience, lambda: bool(self.reason))
        if client is not None:
            self.crew = Crew(client, self.timeout, self.resources)
        elif not self.reason:
            self.reason = f"the dask cluster is lost ({lost})"

    def _leave(self) -> None:
        self.crew.close()
        if self.crew.client is not self.client:
            self.crew.client.close(timeout=5)

    def _mind_the_workers(self) -> None:
        """Do not wait for ever for workers that never come."""
        now = time.monotonic()
        if self.crew.threads:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        elif now - self.idle_since > self.patience:
            self.reason = self.reason or f"the cluster has had no workers for {duration(self.patience)}"

    def _ended(self) -> Ended:
        counts = self.store.counts()
        bad = counts["failed"] + counts["timeout"]
        return Ended("stopped" if self.reason else "failed" if bad else "done", self.reason, counts)

    # -- what goes out ------------------------------------------------------------------------------------------

    def _window(self) -> int:
        # Waiting tasks keep the workers busy between two; few are lost at a stop.
        ahead = 2
        if self.task_seconds:
            ahead += int(_AHEAD_SECONDS / max(sorted(self.task_seconds)[len(self.task_seconds) // 2], 1e-6))
        return min(ahead, _MOST_AHEAD) * max(self.crew.threads, 1)

    def _linger(self) -> float:
        """How long to collect results before looking at them: short tasks are cheaper by the dozen."""
        if not self.task_seconds:
            return 0.0
        return _LINGER if sorted(self.task_seconds)[len(self.task_seconds) // 2] < _LINGER else 0.0

    def _next_work(self) -> _Work:
        if self.repeat:
            return self.repeat.popleft()
        work = _Work(self.waiting.take(self._group_size()))
        self.taken += 1
        return work

    def _group_size(self) -> int:
        """Pairs in the next task: long enough to be worth a task, short enough that all workers end together."""
        if self.fixed_group:
            return min(self.fixed_group, self.largest)
        share = fair_share(len(self.waiting), self.crew.threads, self.taken if not self.pair_seconds else None)
        if not self.pair_seconds:
            return min(_FIRST_GROUP, share)
        seconds = sorted(self.pair_seconds)[len(self.pair_seconds) // 2]
        wanted = int(GROUP_SECONDS / max(seconds, 1e-6))
        return max(1, min(wanted, share, self.largest))

    # -- what comes back ----------------------------------------------------------------------------------------

    def _settle(self, work: _Work, settled: Settled) -> None:
        if settled.outcomes is not None:
            self._judge(work, settled.outcomes)
        elif settled.error is not None:
            self._died(work, settled.error, settled.started)
        elif not self.reason:
            # Lost with its worker or scheduler: nothing was stored, so it simply runs again.
            self.repeat.append(work)

    def _judge(self, work: _Work, outcomes: list[Outcome]) -> None:
        first = outcomes[0]
        together = first.error not in ("", "NotFinite")
        if together and first.error in ("MemoryError", "OutOfMemoryError") and len(work.units) > 1:
            self.largest = max(1, len(work.units) // 2)
        if together and len(work.units) > 1:
            self.repeat.extend(_Work(half) for half in split(work.units))
            return
        if together and first.transient and work.attempt < self.retries:
            self.unlogged.append((outcomes, work.attempt))
            self.repeat.append(_Work(work.units, work.attempt + 1, work.deaths))
            return
        if first.status == DONE:
            self.pair_seconds.append(first.wall_time)
            self.task_seconds.append(first.wall_time * len(outcomes))
        self._keep(work, outcomes)

    def _died(self, work: _Work, error: BaseException, started: bool) -> None:
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
        self._keep(work, self._outcomes(work, FAILED, type(error).__name__, text))

    def _gave_up(self, work: _Work, silent: bool) -> None:
        """A task that neither ended nor noticed its own timeout; its worker has been ended."""
        if silent:
            self._died(work, TimeoutError("it stopped answering"), started=True)
        elif len(work.units) > 1:
            self.repeat.extend(_Work(half) for half in split(work.units))
        else:
            text = f"did not end within twice the {self.timeout:g} s allowed; its worker was restarted"
            self._keep(work, self._outcomes(work, TIMEOUT, "TimeUp", text))

    def _outcomes(self, work: _Work, status: int, error: str, message: str) -> list[Outcome]:
        pairs = [self.resolved.pair(*unit) for unit in work.units]
        return [Outcome(pair, status, error=error, message=message) for pair in pairs]

    def _keep(self, work: _Work, outcomes: list[Outcome]) -> None:
        self.store.take(outcomes, self.version)
        bad = [o for o in outcomes if o.status in (FAILED, TIMEOUT)]
        good = sum(o.status == DONE for o in outcomes)
        self.done += good
        if bad:
            self.unlogged.append((bad, work.attempt))
        self.progress.add(good, len(bad))
        # A training that diverges is an answer about the device, not a fault of the run.
        self.errors.update((o.error, o.message) for o in bad if o.error != "NotFinite")
        self._too_many_errors()

    def _too_many_errors(self) -> None:
        if self.reason or not self.errors:
            return
        ((kind, message), _), *_ = self.errors.most_common(1)
        count = self.errors.total()
        seen = count + self.done
        if self.done == 0 and count >= 5 and len(self.errors) == 1:
            self.reason = f"the first {count} runs all failed: {kind}: {message}"
        elif seen >= 20 and count > 0.2 * seen:
            self.reason = f"{count} of {seen} runs failed, most often: {kind}: {message}"

    def _save(self, *, now: bool = False, last: bool = False) -> None:
        """Write what has come back: at once where little comes, together where much does.

        A disk that refuses is tried again; meanwhile results wait in memory, and the run goes on for as long as the patience.
        """
        start = time.monotonic()
        due = last or (now and self.unsaved_since is None) or start >= self.save_next
        if not due or not (self.store.dirty or self.unlogged):
            return
        try:
            while self.unlogged:
                self.folder.log_failures(*self.unlogged[0])
                self.unlogged.pop(0)
            self.store.flush()
        except OSError as error:
            text = f"results cannot be written ({error.strerror or error})"
            if last:
                self.reason = f"{text}; those of the last moments will run again"
            elif self.unsaved_since is None:
                self.unsaved_since = start
                self.progress.say(f"{text}; trying again, at most {duration(self.patience)}")
            elif start - self.unsaved_since > self.patience:
                self.reason = self.reason or text
            self.save_next = time.monotonic() + min(_RETRY_WRITING, self.patience / 4)
            return
        self.unsaved_since = None
        self.save_next = time.monotonic() + (time.monotonic() - start) / _WRITING

    # -- what goes wrong ----------------------------------------------------------------------------------------

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
