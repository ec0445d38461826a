"""The study engine: points a second with a task that does nothing, with the digits, and what a second worker brings."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.table import Table, verdict

if TYPE_CHECKING:
    from studies.records import Job
    from studies.task import Control

__all__ = ["nothing", "run", "timed_study"]

NOTHING = """
schema = "studies.study/1"
name = "nothing"
[base]
task = "benchmarks.study:nothing"
[factors]
level = {{ linspace = [1, {points}, {points}] }}
[replicates]
count = 5
[target]
factor = "level"
"""
DIGITS = """
schema = "studies.study/1"
name = "digits"
[base]
device = "EcRamPresetDevice"
train = {{ epochs = {epochs} }}
[factors]
step = {{ fields = ["device.dw_min"], multiply = [0.5, 1, 2, 4] }}
[replicates]
count = 6
[target]
factor = "step"
"""


def nothing(job: Job, control: Control) -> list[dict[str, float]]:
    """A task that costs nothing, so that what remains is the engine."""
    return [{"accuracy": 0.5} for _ in job.pairs]


nothing.metrics = ("accuracy",)  # type: ignore[attr-defined]


def run(quick: bool = False) -> list[Table]:
    """Runs (a point and replicate) a second, on local workers that are already up."""
    from studies.cluster import connect

    workers = os.cpu_count() or 1
    points, epochs = (40, 2) if quick else (200, 15)
    table = Table(
        f"study engine, {workers} worker processes [runs a second]",
        ["study", "runs", "in a task", "seconds", "runs a second", "ms a run"],
        notes=["Seconds of the whole run, store included; the workers are up and have imported what they need."],
    )
    with connect(workers) as client, tempfile.TemporaryDirectory() as folder:
        timed_study(client, Path(folder) / "warm", DIGITS.format(epochs=1), None)
        for name, text, group in (
            ("nothing", NOTHING.format(points=points), 1),
            ("nothing", NOTHING.format(points=points), 64),
            (f"digits, {epochs} epochs", DIGITS.format(epochs=epochs), 1),
            (f"digits, {epochs} epochs", DIGITS.format(epochs=epochs), None),
        ):
            path = Path(folder) / f"{name.partition(',')[0]}-{group}"
            runs, seconds = timed_study(client, path, text, group)
            table.add(name, runs, group or "chosen", seconds, runs / seconds, 1e3 * seconds / runs)
    return [table, _overhead(2000 if quick else 10_000), _efficiency(3 if quick else 5, 4 if quick else 15)]


def _overhead(points: int) -> Table:
    """Every pair a task of its own: what the engine costs, by the clock and on the processors, and in memory."""
    import psutil

    from studies.cluster import connect

    table = Table(
        f"study engine, {points} points of a task that does nothing, each a task of its own, 2 workers",
        ["points", "ms a point", "bar", "processor ms, driver and scheduler", "processor ms, workers", "driver MB"],
    )
    own = psutil.Process()
    with connect(2) as client, tempfile.TemporaryDirectory() as folder:
        timed_study(client, Path(folder) / "warm", NOTHING.format(points=50), 1)
        others = own.children(recursive=True)
        for count in (points // 4, points):
            text = NOTHING.format(points=count - 1).replace("count = 5", "count = 1")
            before, idle = _busy([own]), _busy(others)
            runs, seconds = timed_study(client, Path(folder) / f"nothing-{count}", text, 1)
            busy = _busy([own]) - before, _busy(others) - idle
            each = 1e3 * seconds / runs
            memory = own.memory_info().rss / 1e6
            bar = verdict(each, 5.0 if count == points else None)
            table.add(runs, each, bar, 1e3 * busy[0] / runs, 1e3 * busy[1] / runs, memory)
    return table


def _busy(processes: list[Any]) -> float:
    """Processor seconds of processes so far."""
    return sum(sum(p.cpu_times()[:2]) for p in processes)


def _efficiency(repeats: int, epochs: int) -> Table:
    """One study on two one-thread workers against one such worker, in turns; on a busy machine the second finds no processor."""
    from studies.cluster import connect

    table = Table(
        f"study engine, digits, {epochs} epochs, 60 runs in tasks of 3: two one-thread workers against one",
        ["workers", "seconds", "speed-up", "efficiency", "bar"],
        notes=[f"Least of {repeats} repeats of each, in turns, on workers that are up."],
    )
    text = DIGITS.format(epochs=epochs).replace("count = 6", "count = 12") + "[run]\ngroup = 3\n"
    least = {1: float("inf"), 2: float("inf")}
    with connect(1) as one, connect(2) as two, tempfile.TemporaryDirectory() as folder:
        for client, name in ((one, "one"), (two, "two")):
            timed_study(client, Path(folder) / f"warm-{name}", DIGITS.format(epochs=1), 3)
        for repeat in range(repeats):
            for count, client in ((1, one), (2, two)):
                seconds = timed_study(client, Path(folder) / f"run-{count}-{repeat}", text, 3)[1]
                least[count] = min(least[count], seconds)
    gain = least[1] / least[2]
    table.add(1, least[1], 1.0, 1.0, "-")
    table.add(2, least[2], gain, gain / 2, f"{'met' if gain / 2 >= 0.9 else 'not met'} (>= 0.9)")
    return table


def timed_study(client: Any, path: Path, text: str, group: int | None) -> tuple[int, float]:
    """Run a study, given as text, in a new folder: number of runs and seconds."""
    from studies.prepare import prepare
    from studies.run import run_study

    file = path.with_suffix(".toml")
    file.write_text(text)
    resolved, folder = prepare(file, path)
    start = time.perf_counter()
    ended = run_study(resolved, folder, client, group=group, quiet=True)
    seconds = time.perf_counter() - start
    if ended.outcome != "done":
        raise RuntimeError(f"the study of this benchmark ended as {ended.outcome}: {ended.reason or ended.counts}")
    return sum(ended.counts.values()), seconds
