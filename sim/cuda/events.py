"""Events beside pulses on a GPU: see `sim.ops.events`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from sim.cuda.launch import quad_grid, start
from sim.cuda.modules import events

if TYPE_CHECKING:
    from sim.ops.events import Crosspoints

__all__ = ["age", "change", "drift"]

MIN, MAX, REFERENCE, SCALE, RATE, TARGET, NU = range(7)


def age(points: Crosspoints, steps: Tensor, diffusing: Tensor, decaying: Tensor) -> None:
    """See `sim.ops.events.Crosspoints.age`."""
    _start("age", points, (MIN, MAX, REFERENCE, SCALE, RATE, TARGET), steps, diffusing, decaying)


def change(
    points: Crosspoints, kind: int, given: Tensor | None, chosen: Tensor | None, having: Tensor | None, noisy: Tensor | None,
    reset_std: Tensor | None, step: Tensor, value: int, write: int, choice: int, only_chosen: bool, n_in: int, first: int,
    count: int, probability: float, bound: float,
) -> None:  # fmt: skip
    """See `sim.ops.events.Crosspoints.change`."""
    _start(
        "change", points, (MIN, MAX, REFERENCE, TARGET), np.int32(kind), given, chosen, having, noisy, reset_std, step,
        *map(np.uint32, (value, write, choice)), *map(np.int32, (only_chosen, n_in, first, count)), np.float32(probability),
        np.float32(bound),
    )  # fmt: skip


def drift(points: Crosspoints, *args: Tensor | None) -> None:
    """See `sim.ops.events.Crosspoints.drift`."""
    _start("drift", points, (MIN, MAX, REFERENCE, NU), *args)


def _start(kernel: str, points: Crosspoints, parameters: tuple[int, ...], *args: Tensor | np.generic | None) -> None:
    module, cells, replicas = events(), points.cells, points.shape[0]
    if not cells or not replicas:
        return
    places = [points.places[k] for k in parameters]
    start(
        module, kernel, quad_grid(module, kernel, cells, replicas), points.weight, points.weight, points.apparent,
        *(address for address, _, _ in places), *(np.int64(stride) for _, stride, _ in places), np.uint64(points.steps),
        points.write_noise(), np.int32(2), points.keys, np.int64(cells), *args,
    )  # fmt: skip
