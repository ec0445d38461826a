"""A thousand workers and a million points: a store of that size, and a cluster of that size whose tasks only wait.

``python -m benchmarks.scale [--points 1000000] [--workers 1000] [--runs 128000] [--seconds 1]``. The workers are real dask
workers, many to a process; scheduler and driver are those of a real run. The numbers stand in docs/scale.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.records import Job
    from studies.task import Control

__all__ = ["wait"]

STUDY = """
schema = "studies.study/1"
name = "scale"
[base]
task = "benchmarks.scale:wait"
[factors]
level = {{ linspace = [1, {points}, {points}] }}
[replicates]
count = 1
[target]
factor = "level"
"""
_IN_A_PROCESS = 250


def wait(job: Job, control: Control) -> list[dict[str, float]]:
    """As long as the environment says for each pair; a result that depends on the point."""
    end = time.monotonic() + float(os.environ.get("SCALE_SECONDS", "0")) * len(job.pairs)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))
        control.check()
    return [{"accuracy": 0.0 if pair.digital else 1 / (1 + float(pair.settings["level"]))} for pair in job.pairs]


wait.metrics = ("accuracy",)  # type: ignore[attr-defined]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Measure a large store and a large cluster.")
    parser.add_argument("--points", type=int, default=1_000_000, help="of the store (0: leave it out)")
    parser.add_argument("--workers", type=int, default=1000, help="of the cluster (0: leave it out)")
    parser.add_argument("--runs", type=int, default=128_000, help="on the cluster")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a run waits")
    parser.add_argument("--serve", nargs=2, metavar=("ADDRESS", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.serve[0], int(options.serve[1])))
        return 0
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors: times are upper bounds where the load is above 0.5")
    with tempfile.TemporaryDirectory() as folder:
        if options.points:
            _store(Path(folder), options.points)
        if options.workers:
            _cluster(Path(folder), options.workers, options.runs, options.seconds)
    return 0


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    took, busy = time.perf_counter() - start, time.process_time() - cpu
    print(f"  {name:<44} {took:8.2f} s, processor {busy:8.2f} s, memory {_memory():6.0f} MB", flush=True)


def _memory() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def _store(folder: Path, points: int) -> None:
    from studies.dataset import open_study
    from studies.plan import Waiting, what_next
    from studies.prepare import open_folder, prepare
    from studies.records import DONE, Outcome
    from studies.store import Store

    print(f"A store of {points} points")
    file = folder / "store.toml"
    file.write_text(STUDY.format(points=points))
    with _step("folder made"):
        resolved, made = prepare(file, folder / "store")
    with _step("points, and their rows in the store"):
        store = Store(made.results, writable=True)
        store.add_points(resolved.study.points())
    with _step("results written, 6,400 at a time, all but 1 %"):
        units = what_next(resolved.study.points(), 1, store.status())
        enough = units[: len(units) - points // 100]
        for start in range(0, len(enough), 6400):
            part = [resolved.pair(*unit) for unit in enough[start : start + 6400]]
            store.take([Outcome(pair, DONE, {"accuracy": 0.1 + n / 1e5}, 1.0) for n, pair in enumerate(part)], "1")
            store.flush()
    files = [p for p in made.results.rglob("*") if p.is_file()]
    print(f"  {len(files)} files, {sum(p.stat().st_size for p in files) / 1e6:.1f} MB")
    del store, units, enough, resolved
    with _step("opened as a dataset"):
        open_study(made.path)
    with _step("resumed: until the first task"):
        again, made = open_folder(made.path)
        store = Store(made.results, writable=True)
        store.add_points(again.study.points())
        waiting = Waiting(what_next(again.study.points(), 1, store.status()), again.structure)
        again.job(waiting.take(64))
    print(f"  {len(waiting) + 64} left to run")


def _cluster(folder: Path, count: int, runs: int, seconds: float) -> None:
    import psutil
    from distributed import Client

    from benchmarks.faults import Machines
    from studies.prepare import prepare
    from studies.run import run_study

    print(f"{count} workers, {runs} runs of {seconds:g} s")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    machines = Machines(folder, environment={"SCALE_SECONDS": str(seconds)})
    file = folder / "cluster.toml"
    file.write_text(STUDY.format(points=runs))
    resolved, made = prepare(file, folder / "cluster")
    try:
        address = machines.scheduler()
        for first in range(0, count, _IN_A_PROCESS):
            words = ("--serve", address, str(min(_IN_A_PROCESS, count - first)))
            machines.start(f"workers-{first}", sys.executable, "-m", "benchmarks.scale", *words)
        with Client(address, timeout=60, set_as_default=False) as client:
            with _step("all workers there"):
                client.wait_for_workers(count, timeout=540)
            scheduler = psutil.Process(machines.processes["scheduler"].pid)
            before, start = _busy(scheduler), time.perf_counter()
            with _step("the study (driver)"):
                ended = run_study(resolved, made, client, quiet=True)
            took = time.perf_counter() - start
            print(f"  ended: {ended.outcome} {ended.reason}, {ended.counts['done']} done, {runs / took:.0f} runs a second")
            print(f"  scheduler: processor {_busy(scheduler) - before:.1f} s, memory {scheduler.memory_info().rss / 1e6:.0f} MB")
            print(f"  workers busy {100 * runs * seconds / count / took:.0f} % of the time")
    finally:
        machines.close()


def _busy(process: object) -> float:
    times = process.cpu_times()  # type: ignore[attr-defined]
    return float(times.user + times.system)


async def _serve(address: str, count: int) -> None:
    """Workers of one thread each, all in this process."""
    import dask
    from distributed import Worker

    quiet = {"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "60s"}
    with dask.config.set(quiet):
        workers: list[Worker] = []
        for _ in range(0, count, 25):
            more = [Worker(address, nthreads=1, memory_limit=0, dashboard=False) for _ in range(min(25, count - len(workers)))]
            workers += await asyncio.gather(*more)
        await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    sys.exit(main())
