"""The study engine: points a second with a task that does nothing, and with the digits."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.table import Table

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
    return [table]


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
