"""Directions of pulses from the response itself, where the file does not say them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAYBE_RAMPS, SURELY_RAMPS = 0.3, 0.5
"""Two columns with such a `common_range` may be, or are, an up and a down ramp of one device. Of measured ramps it is 0.58 to
0.97; of an abscissa and its values mostly less than 0.1."""


def turning_points(values: Floats) -> list[int]:
    """Indices at which a trace of ramps turns round (the first read of each later ramp).

    A zigzag over the smoothed trace: a turn counts where the response then goes back by a third of its whole range. Four or
    more ramps whose turns are those of one length, but for 6 %, have that length.
    """
    index = np.flatnonzero(np.isfinite(values))
    if len(index) < 10:
        return []
    y = values[index]
    width = int(np.clip(len(y) // 40, 3, 25)) | 1
    smooth = np.convolve(np.pad(y, width // 2, mode="edge"), np.ones(width) / width, mode="valid")
    back = np.ptp(smooth) / 3
    turns: list[int] = []
    high = low = 0
    trend = 0
    for k in range(len(smooth)):
        if smooth[k] > smooth[high]:
            high = k
        if smooth[k] < smooth[low]:
            low = k
        if trend >= 0 and smooth[high] - smooth[k] > back:
            if trend > 0 or high > 0:
                turns.append(high)
            trend, low = -1, k
            high = k
        elif trend <= 0 and smooth[k] - smooth[low] > back:
            if trend < 0 or low > 0:
                turns.append(low)
            trend, high = 1, k
            low = k
    return _evened([int(index[t]) + 1 for t in turns if 5 <= t <= len(y) - 5], len(values))


def _evened(turns: list[int], size: int) -> list[int]:
    """Turns of many ramps of one length, which noise moves by a few reads, at the multiples of that length."""
    ramps = len(turns) + 1
    length = size // ramps
    if ramps < 4 or size % ramps or any(abs(t - (k + 1) * length) > 0.06 * length for k, t in enumerate(turns)):
        return turns
    return [(k + 1) * length for k in range(len(turns))]


def trend(values: Floats) -> int:
    """Direction of a ramp: sign of the change between the first and the last quarter (medians)."""
    y = values[np.isfinite(values)]
    if len(y) < 2:
        return 0
    part = max(1, len(y) // 4)
    return int(np.sign(np.median(y[-part:]) - np.median(y[:part])))


def common_range(one: Floats, other: Floats) -> float:
    """Common part of the ranges of two columns of opposite trend, as a part of their union; in decades, where that is less.

    0 for columns that are not of opposite trend. Ranges are without the outermost reads, of which one may be wrong.
    """
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    if trend(one) * trend(other) >= 0:
        return 0.0
    ranges = _inner_range(one), _inner_range(other)
    common = overlap(*ranges)
    if min(r[0] for r in ranges) < 0:
        return common
    one, other = one[one > 0], other[other > 0]
    if not (len(one) and len(other)):
        return 0.0
    return min(common, overlap(np.log(_inner_range(one)), np.log(_inner_range(other))))


def overlap(a: Floats, b: Floats) -> float:
    """Common part of two ranges, as a part of their union."""
    common = min(a.max(), b.max()) - max(a.min(), b.min())
    union = max(a.max(), b.max()) - min(a.min(), b.min())
    return max(0.0, float(common / union)) if union > 0 else 1.0


def _inner_range(values: Floats) -> Floats:
    """Least and largest value; of five or more without the outermost (1 and 2 % at either end), of which one may be wrong."""
    ordered = np.sort(values)
    out = 1 + len(ordered) // 50 if len(ordered) >= 5 else 0
    return ordered[[out, -1 - out]]


def from_response(values: Floats) -> tuple[NDArray[np.int8], list[int]]:
    """Direction of the pulse before every read, and the turning points, from the trace alone."""
    turns = turning_points(values)
    direction = np.zeros(len(values), np.int8)
    edges = [0, *turns, len(values)]
    for a, b in pairwise(edges):
        direction[a:b] = trend(values[max(a - 1, 0) : b])
    return direction, turns
