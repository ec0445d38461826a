"""Many devices at a time: threads for few, processes for many, or a dask cluster.

Local processes are started as `python -m fitlab.fit.worker` and spoken to over pipes. Unlike those of multiprocessing they do
not import the caller's main module again, so that a script without a guard around its first line works, and one that dies takes
its own batch along only.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

from threadpoolctl import threadpool_limits

from fitlab.errors import FitError

BATCH = 16
"""Devices handed over at a time."""
FEWEST_FOR_PROCESSES = 24
"""Devices below which a process takes longer to start than it saves."""

Work = Callable[[Any], Any]
"""A function of one item, importable by name."""


@dataclass(frozen=True)
class Failure:
    """A device that could not be fitted, and why."""

    name: str
    reason: str


def attempt(work: Work, item: Any, name: str) -> Any:
    """The result of one item, or the failure that it ended in."""
    try:
        return work(item)
    except Exception as error:
        text = str(error) or "no reason given"
        return Failure(name, text if isinstance(error, FitError) else f"{type(error).__name__}: {text}")


def run_batch(batch: tuple[Work, list[tuple[str, Any]]]) -> list[Any]:
    """Results or failures of a batch of named items, on one thread."""
    work, items = batch
    with threadpool_limits(1, user_api="blas"):  # the matrices are small: threads inside cost more than they give
        return [attempt(work, item, name) for name, item in items]


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Attributes
    ----------
    workers : processes or threads on this machine
    processes : use processes where there are many items; what cannot be pickled needs threads
    dask : address of a dask scheduler, whose workers do everything
    """

    workers: int
    processes: bool = True
    dask: str | None = None

    def batches(self, work: Work, batches: Sequence[list[tuple[str, Any]]]) -> Iterator[tuple[int, list[Any]]]:
        """Index and results of each batch of named items, as they are done."""
        items = sum(map(len, batches))
        if not items:
            return
        if self.dask is not None:
            yield from self._on_dask(work, batches)
        elif self.processes and self.workers > 1 and items >= FEWEST_FOR_PROCESSES:
            yield from _in_processes(work, batches, min(self.workers, len(batches)))
        else:
            with ThreadPoolExecutor(min(self.workers, items)) as pool, threadpool_limits(1, user_api="blas"):
                for index, batch in enumerate(batches):
                    yield index, list(pool.map(lambda named: attempt(work, named[1], named[0]), batch))

    def _on_dask(self, work: Work, batches: Sequence[list[tuple[str, Any]]]) -> Iterator[tuple[int, list[Any]]]:
        from distributed import Client, as_completed

        try:
            client = Client(self.dask, timeout=30)
        except (OSError, TimeoutError, ValueError) as error:
            raise FitError(f"--dask {self.dask}: no scheduler answers there ({error}); start one with: dask scheduler") from None
        with client:
            futures = {client.submit(run_batch, (work, batch), pure=False): k for k, batch in enumerate(batches)}
            for future in as_completed(list(futures)):
                index = futures[future]
                failed = future.exception()
                if failed is None:
                    yield index, future.result()
                else:
                    reason = f"the dask worker failed: {failed}"
                    yield index, [Failure(name, reason) for name, _ in batches[index]]
                future.release()


class _Process:
    """A worker process: takes batches, gives results."""

    def __init__(self) -> None:
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(p for p in sys.path if p)
        self.child = subprocess.Popen(
            [sys.executable, "-m", "fitlab.fit.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **single, "PYTHONPATH": path},
        )

    def run(self, batch: Any) -> list[Any]:
        """Results of a batch.

        Raises
        ------
        EOFError
            The process died.
        """
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        try:
            send(self.child.stdin, batch)
        except BrokenPipeError:
            raise EOFError from None
        return list(receive(self.child.stdout))

    def stop(self) -> None:
        """End the process and wait for it."""
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def send(pipe: IO[bytes], message: Any) -> None:
    """Write a message with its length before it."""
    data = pickle.dumps(message, protocol=5)
    pipe.write(len(data).to_bytes(8, "little"))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read a message.

    Raises
    ------
    EOFError
        The other side is gone.
    """
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    data = pipe.read(int.from_bytes(head, "little"))
    return pickle.loads(data)


def _in_processes(work: Work, batches: Sequence[list[tuple[str, Any]]], workers: int) -> Iterator[tuple[int, list[Any]]]:
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(batches)):
        waiting.put(index)
    done: queue.SimpleQueue[tuple[int, list[Any] | BaseException]] = queue.SimpleQueue()
    processes: list[_Process] = []
    stopped = threading.Event()

    def start() -> _Process:
        process = _Process()
        processes.append(process)
        return process

    def serve() -> None:
        process = start()
        while not stopped.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            batch = batches[index]
            try:
                done.put((index, process.run((work, batch))))
                continue
            except EOFError:
                process.stop()
            except BaseException as error:
                done.put((index, error))
                return
            # the process died: one device at a time tells which of them it was
            results: list[Any] = []
            process = start()
            for named in batch:
                if stopped.is_set():
                    return
                try:
                    results += process.run((work, [named]))
                except EOFError:
                    process.stop()
                    results.append(Failure(named[0], "its worker process died"))
                    process = start()
            done.put((index, results))

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for _ in batches:
            index, result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield index, result
    finally:
        stopped.set()
        for process in processes:
            process.stop()
        for thread in threads:
            thread.join()
