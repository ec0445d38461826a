"""What to run next: a pure function of the study's points and of what is stored."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from studies.design import Point
from studies.records import DONE, FAILED, TIMEOUT

__all__ = ["Unit", "Units", "Waiting", "fair_share", "share_of", "split", "what_next"]

Unit = tuple[Point, int]


class Units(Sequence[Unit]):
    """Pairs of (point, replicate) in the order to run them; millions take little room.

    Parameters
    ----------
    points : sequence of Point
    order : (n,) int64
        Replicate times number of points, plus index of the point.
    """

    def __init__(self, points: Sequence[Point], order: np.ndarray[Any, Any]) -> None:
        self._points, self._order = points, order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Unit: ...
    @overload
    def __getitem__(self, index: slice) -> Units: ...
    def __getitem__(self, index: int | slice) -> Unit | Units:
        if isinstance(index, slice):
            return Units(self._points, self._order[index])
        replicate, place = divmod(int(self._order[index]), len(self._points))
        return self._points[place], replicate

    def where(self, wanted: Callable[[Unit], bool]) -> Units:
        """Those for which a function says so."""
        kept = np.fromiter((wanted(unit) for unit in self), dtype=bool, count=len(self))
        return Units(self._points, self._order[kept])


def what_next(
    points: Sequence[Point],
    replicates: int,
    status: Mapping[str, np.ndarray[Any, Any]],
    *,
    again: bool = False,
) -> Units:
    """Pairs of (point, replicate) still to run.

    Replicate after replicate, so that the whole picture is there early; the baseline leads each replicate.

    Parameters
    ----------
    points : sequence of Point
    replicates : int
    status : dict
        Point id -> status of its replicates, (any number,), uint8.
    again : bool
        Whether failed and timed-out pairs are run again.
    """
    known = np.zeros((replicates, len(points)), dtype=np.uint8)
    for place, point in enumerate(points):
        row = status.get(point.id)
        if row is not None:
            known[: len(row), place] = row[:replicates]
    finished = [DONE] if again else [DONE, FAILED, TIMEOUT]
    return Units(points, np.flatnonzero(~np.isin(known, finished)))


class Waiting:
    """Pairs that wait, given out in groups of one structure; the pair that waits longest leads the next group.

    Parameters
    ----------
    units : sequence of Unit
    structure : callable
        What pairs must share to run together; asked of no more points than needed.
    """

    def __init__(self, units: Sequence[Unit], structure: Callable[[Point], Hashable]) -> None:
        self._structure = structure
        self._left = len(units)
        self._source: Iterator[tuple[int, Unit]] = enumerate(units)
        self._ready: dict[Hashable, deque[tuple[int, Unit]]] = {}

    def __len__(self) -> int:
        return self._left

    def take(self, size: int) -> list[Unit]:
        """The next group, of at most ``size`` pairs."""
        if not self._ready and not self._more():
            return []
        wanted = min(self._ready, key=lambda s: self._ready[s][0][0])
        while len(self._ready[wanted]) < size and self._more():
            pass
        found = self._ready[wanted]
        group = [found.popleft()[1] for _ in range(min(size, len(found)))]
        if not found:
            del self._ready[wanted]
        self._left -= len(group)
        return group

    def _more(self) -> bool:
        """Look at one more pair; False at the end."""
        item = next(self._source, None)
        if item is None:
            return False
        self._ready.setdefault(self._structure(item[1][0]), deque()).append(item)
        return True


def fair_share(waiting: int, threads: int, started: int | None) -> int:
    """Pairs of the next group at most, that all workers end together.

    Parameters
    ----------
    waiting : pairs that wait
    threads : of all workers
    started : groups that were given out before any ended, or None after the first has ended. At the start every thread gets as
        much as the others; afterwards the groups shrink towards the end.
    """
    free = threads if started is None or started >= threads else threads - started
    return max(1, math.ceil(waiting / max(free, 1)))


def share_of(units: Units, part: tuple[int, int]) -> Units:
    """The units of part ``(i, n)``: by the digest of point and replicate, so that no part needs to know of the others."""
    number, count = part

    def mine(unit: Unit) -> bool:
        text = f"{unit[0].id}/{unit[1]}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % count == number - 1

    return units.where(mine)


def split(units: list[Unit]) -> list[list[Unit]]:
    """A failed group in halves."""
    half = (len(units) + 1) // 2
    return [units[:half], units[half:]]
