"""Distributions of measured changes as a table over states and quantiles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["REACH", "Tables", "distribution_table"]

REACH = 4.0
"""Columns lie at standard normal coordinates from -REACH to REACH."""
_FEWEST = 10
_NEIGHBOURS = 40


class Tables(NamedTuple):
    """Quantiles (rows, columns) of the change up and of the change down (positive downwards), and the common range."""

    up: NDArray[Any]
    down: NDArray[Any]
    low: float
    high: float


def distribution_table(g: ArrayLike, dg: ArrayLike, direction: ArrayLike, rows: int, columns: int) -> Tables:
    """Quantiles of the change at evenly spread states; ``TableDevice.from_data`` tells the parameters and errors.

    The range goes from the larger of the two minima to the smaller of the two maxima, so that no state has data in one
    direction only (CrossSim). At each state the changes within one row's distance, and at least the nearest 40, are
    brought to that state by their own linear trend; their quantiles at Phi(z) are the row. One column holds the mean.
    """
    import numpy as np

    state, change, sign = (np.asarray(v, dtype=float) for v in (g, dg, direction))
    for name, values in (("g", state), ("dg", change), ("direction", sign)):
        if values.shape != state.shape or values.ndim != 1:
            raise ConfigError(f"{name} has the shape {values.shape}: give g, dg and direction as lists of one length", field=name)
        if not np.isfinite(values).all():
            raise ConfigError(f"{name}[{int(np.argmin(np.isfinite(values)))}] is not finite: leave such pulses out", field=name)
    if rows < 2 or columns < 1:
        raise ConfigError(f"rows = {rows}, columns = {columns}: give at least 2 rows and 1 column", field="rows")
    rising, falling = sign > 0, sign < 0
    for name, chosen in (("up", rising), ("down", falling)):
        if chosen.sum() < _FEWEST:
            raise ConfigError(
                f"direction has {int(chosen.sum())} {name} pulses: give at least {_FEWEST} of each", field="direction"
            )
    low = max(state[rising].min(), state[falling].min())
    high = min(state[rising].max(), state[falling].max())
    if low >= high:
        raise ConfigError(
            f"g has no common range: up pulses start in {state[rising].min():g} ... {state[rising].max():g}, down pulses in "
            f"{state[falling].min():g} ... {state[falling].max():g}: give pulses of both directions from the same states",
            field="g",
        )
    nodes = np.linspace(low, high, rows)
    z = np.linspace(-REACH, REACH, columns) if columns > 1 else np.zeros(0)
    probability = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in z])
    up = _rows(state[rising], change[rising], nodes, probability)
    down = _rows(state[falling], -change[falling], nodes, probability)
    return Tables(up, down, float(low), float(high))


def _rows(state: NDArray[Any], change: NDArray[Any], nodes: NDArray[Any], probability: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    reach, least = nodes[1] - nodes[0], min(_NEIGHBOURS, len(state))
    table = np.empty((len(nodes), max(len(probability), 1)))
    for k, node in enumerate(nodes):
        distance = np.abs(state - node)
        near = distance <= max(reach, np.partition(distance, least - 1)[least - 1])
        offset, y = state[near] - node, change[near]
        spread = float(((offset - offset.mean()) ** 2).sum())
        slope = float(((offset - offset.mean()) * y).sum()) / spread if spread > 0 else 0.0
        at_node = y - slope * offset
        table[k] = np.quantile(at_node, probability, method="hazen") if len(probability) else at_node.mean()
    return table
