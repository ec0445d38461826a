"""Where to look next: bisection around the threshold, as a pure function of what is stored."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from studies.design import Point, Study
from studies.spec import normalise, threshold

if TYPE_CHECKING:
    from studies.resolve import Resolved
    from studies.store import Store

__all__ = ["refinement"]


def refinement(resolved: Resolved, store: Store) -> list[Point]:
    """Points of the next round; empty when the bracket is narrow enough or all allowed points are used.

    The bracket of each row's threshold is halved on the factor's scale until its ends differ by less than
    ``resolution`` (relative on a logarithmic scale, as a share of the range tried on a linear one).
    """
    study = resolved.study
    settings = study.document.refine
    if settings is None:
        return []
    stages = store.columns["stage"]
    left = settings.max_points - int(np.count_nonzero(stages))
    stage = int(stages.max(initial=0)) + 1
    factor = study.target_factor
    others = [f for f in study.factors if f.name != factor.name]
    points = []
    for combination in itertools.product(*(f.levels for f in others)):
        fixed = {f.name: level for f, level in zip(others, combination, strict=True)}
        middle = _middle(study, store, fixed, settings.resolution)
        if middle is not None:
            points.append(study.point({**fixed, factor.name: middle}, stage=stage))
    return [p for p in points if p.id not in store.rows][: max(left, 0)]


def _middle(study: Study, store: Store, fixed: dict[str, float | str], resolution: float) -> float | None:
    """Middle of the bracket of one row's threshold, or None."""
    factor, target = study.target_factor, study.document.target
    columns = store.columns
    same = columns["baseline"] == 0
    for name, level in fixed.items():
        column = columns[name]
        # A factor without a say at a point has no level there.
        same &= (column == level) | (np.isnan(column) if column.dtype.kind == "f" else column == "")
    rows = np.flatnonzero(same)
    baseline = [p for p in study.baseline_points() if all(fixed.get(k, v) == v for k, v in p.values.items())]
    if not len(rows) or not baseline or baseline[0].id not in store.rows:
        return None
    chance = (target.chance or 0.0) if target.normalisation == "above-chance" else None
    ratios = normalise(columns[target.metric][rows], columns[target.metric][store.rows[baseline[0].id]], chance)
    levels = columns[factor.name][rows]
    if not np.isfinite(ratios).any():
        return None
    found = threshold(levels, ratios, level=target.level, better=target.better, scale=factor.scale)
    if found.value is None:
        return None
    after = int(np.searchsorted(found.levels, found.value, side="left"))
    low, high = float(found.levels[max(after - 1, 0)]), float(found.levels[min(max(after, 1), len(found.levels) - 1)])
    if factor.scale == "log":
        return float(f"{math.sqrt(low * high):.12g}") if high / low > 1 + resolution else None
    span = float(found.levels[-1] - found.levels[0])
    return (low + high) / 2 if high - low > resolution * span else None
