"""Repeated timing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Times", "race", "threads"]


@dataclass(frozen=True)
class Times:
    """Seconds of each repeat of a call."""

    taken: tuple[float, ...]

    @property
    def minimum(self) -> float:
        return min(self.taken)

    @property
    def median(self) -> float:
        return statistics.median(self.taken)

    def __add__(self, other: Times) -> Times:
        """The repeats of both."""
        return Times(self.taken + other.taken)

    def __truediv__(self, other: Times) -> float:
        """Ratio of the minima."""
        return self.minimum / other.minimum


def race(
    calls: Mapping[str, Callable[[], object]], seconds: float = 0.3, least: int = 5, most: int = 200,
    prepare: Callable[[], object] | None = None,
) -> dict[str, Times]:  # fmt: skip
    """Time calls in turn: one after the other, again and again.

    Parameters
    ----------
    calls : what is timed, by name; each is called once before
    seconds : time to spend on each; at least ``least`` and at most ``most`` repeats are made
    prepare : called before each call, not timed

    Returns
    -------
    dict
        Times of each call.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    slowest = 0.0
    for call in calls.values():
        if prepare is not None:
            prepare()
        start = time.perf_counter()
        call()
        slowest = max(slowest, time.perf_counter() - start)
    for _ in range(max(least, min(most, int(seconds / max(slowest, 1e-9))))):
        for name, call in calls.items():
            if prepare is not None:
                prepare()
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: Times(tuple(t)) for name, t in taken.items()}


def threads(count: int) -> None:
    """Let torch and the compiled kernels use this many threads."""
    import torch

    torch.set_num_threads(count)
