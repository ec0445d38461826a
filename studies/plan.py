"""What to run next: a pure function of the study's points and of what is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from studies.design import Point
from studies.records import DONE, FAILED, TIMEOUT

__all__ = ["Unit", "share_of", "split", "take_group", "what_next"]

Unit = tuple[Point, int]


def what_next(
    points: Sequence[Point],
    replicates: int,
    status: dict[str, np.ndarray[Any, Any]],
    *,
    again: bool = False,
) -> list[Unit]:
    """Pairs of (point, replicate) still to run.

    Replicate after replicate, so that the whole picture is there early; the baseline leads each replicate.

    Parameters
    ----------
    points : sequence of Point
    replicates : int
    status : dict
        Point id -> status of its replicates, (<= replicates,), uint8.
    again : bool
        Whether failed and timed-out pairs are run again.
    """
    finished = {DONE} if again else {DONE, FAILED, TIMEOUT}
    units = []
    for replicate in range(replicates):
        for point in points:
            known = status.get(point.id)
            if known is None or replicate >= len(known) or int(known[replicate]) not in finished:
                units.append((point, replicate))
    return units


def take_group(units: list[Unit], size: int, structure: Callable[[Point], Hashable]) -> tuple[list[Unit], list[Unit]]:
    """First group of equal structure, at most ``size`` long, and what is left, in order."""
    wanted = structure(units[0][0])
    group: list[Unit] = []
    rest: list[Unit] = []
    for index, unit in enumerate(units):
        if len(group) == size:
            rest.extend(units[index:])
            break
        (group if structure(unit[0]) == wanted else rest).append(unit)
    return group, rest


def share_of(units: list[Unit], part: tuple[int, int]) -> list[Unit]:
    """The units of part ``(i, n)``: by the digest of point and replicate, so that no part needs to know of the others."""
    number, count = part

    def place(unit: Unit) -> int:
        text = f"{unit[0].id}/{unit[1]}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % count

    return [unit for unit in units if place(unit) == number - 1]


def split(units: list[Unit]) -> list[list[Unit]]:
    """A failed group in halves."""
    half = (len(units) + 1) // 2
    return [units[:half], units[half:]]
