"""Progress of a run: a bar in a terminal, lines elsewhere, and ``progress.json`` for whoever watches."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from typing import Any, Self

from studies.folder import Folder, write_text

__all__ = ["Progress", "duration"]


def duration(seconds: float | None) -> str:
    """A span of time in words of two units at most."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Counts and the three ways to show them; use as a context.

    Parameters
    ----------
    folder : Folder
    name : str
    total, done : int
        Pairs of the whole study, and how many are stored already.
    quiet : bool
        Whether to show nothing (``progress.json`` is written all the same).
    """

    def __init__(self, folder: Folder, name: str, total: int, done: int, *, quiet: bool = False) -> None:
        from rich.console import Console

        self._folder, self._name, self._total, self._before = folder, name, total, done
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._start = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._start, 0)], maxlen=64)
        self._done, self._failed, self._running = 0, 0, 0
        self._written, self._line = -1e9, self._start
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._console.is_terminal and not self._quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[more]}"),
            )
            self._bar = Bar(*columns, console=self._console)
            self._task = self._bar.add_task(self._name, total=self._total, completed=self._before, more="")
            self._bar.start()
        elif not self._quiet:
            self.say(f"{self._name}: {self._total} runs, {self._before} already there")
        self._write("running")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def extend(self, pairs: int) -> None:
        """Make the study longer: refinement asked for more."""
        self._total += pairs
        if self._bar is not None:
            self._bar.update(self._task, total=self._total)

    def add(self, done: int, failed: int) -> None:
        """Count finished pairs."""
        self._done += done
        self._failed += failed
        self._recent.append((time.monotonic(), self._done + self._failed))

    def show(self, running: int) -> None:
        """Bring the display up to date; cheap enough for every turn of the driver's loop."""
        self._running = running
        now = time.monotonic()
        if self._bar is not None:
            more = f"{self._rate():.2g}/s, {duration(self.left())} left" if self.left() is not None else ""
            more += f", {self._failed} failed" if self._failed else ""
            self._bar.update(self._task, completed=self._before + self._done + self._failed, more=more)
        elif not self._quiet and now - self._line >= 30:
            self._line = now
            self.say(self._sentence())
        if now - self._written >= 0.5:
            self._write("running")

    def finish(self, outcome: str) -> None:
        """Say how the run ended."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._before + self._done + self._failed, more="")
        elif not self._quiet:
            self.say(self._sentence())
        self._write(outcome)

    def left(self) -> float | None:
        """Seconds until the end at the recent rate; None before anything has finished."""
        rate = self._rate()
        return (self._total - self._before - self._done - self._failed) / rate if rate > 0 else None

    def _rate(self) -> float:
        (first, counted), now = self._recent[0], time.monotonic()
        return (self._done + self._failed - counted) / (now - first) if now > first else 0.0

    def _sentence(self) -> str:
        finished = self._before + self._done + self._failed
        text = f"{self._name}: {finished} of {self._total} runs"
        if self._failed:
            text += f", {self._failed} failed"
        if finished < self._total and self.left() is not None:
            text += f", {self._rate():.2g}/s, {duration(self.left())} left"
        return text

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if not self._quiet:
            (self._bar.console if self._bar is not None else self._console).print(
                text, highlight=False, soft_wrap=True, markup=False
            )

    def _write(self, state: str) -> None:
        self._written = time.monotonic()
        record = {
            "name": self._name,
            "state": state,
            "total": self._total,
            "done": self._before + self._done,
            "failed": self._failed,
            "running": self._running,
            "per_second": self._rate(),
            "seconds_left": self.left(),
            "updated": int(time.time()),
        }
        with contextlib.suppress(OSError):  # a full disk; what matters is said elsewhere
            write_text(self._folder.progress, json.dumps(record) + "\n")
