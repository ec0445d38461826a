"""Designs for indices of sensitivity, and the indices, by SALib (an extra).

``saltelli``: how much of the metric's variance each factor makes, alone and with all its interactions (Saltelli, Comput.
Phys. Commun. 145, 280, 2002). ``morris``: size and scatter of the effect of single steps, for many factors at few points
(Morris, Technometrics 33, 161, 1991; Campolongo et al., Environ. Model. Softw. 22, 1509, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.errors import StudyError

if TYPE_CHECKING:
    import xarray as xr

    from studies.design import Study

__all__ = ["Index", "block_size", "index_table", "indices", "morris", "saltelli"]

_MORRIS_LEVELS = 4


@dataclass(frozen=True)
class Index:
    """How one factor moves the metric over its whole range.

    Parameters
    ----------
    factor, label : str
    alone, alone_half : float
        ``saltelli``: share of the variance that the factor makes alone. ``morris``: mean size of the effect of a step through
        the whole range. Each with half the width of its 95 % interval.
    together, together_half : float
        ``saltelli``: share with all interactions. ``morris``: standard deviation of the effect (interactions and curvature), for
        which there is no interval (NaN).
    """

    factor: str
    label: str
    alone: float
    alone_half: float
    together: float
    together_half: float


def saltelli(factors: int, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Sample of the unit cube, (count (factors + 2), factors).

    In each block stand a point, the same with one factor after the other taken from a second point, and the second point.
    """
    from scipy.stats import qmc

    base = qmc.Sobol(2 * factors, rng=np.random.default_rng(seed)).random(count)
    first, second = base[:, :factors], base[:, factors:]
    blocks = np.repeat(first[:, None], factors + 2, axis=1)
    for f in range(factors):
        blocks[:, f + 1, f] = second[:, f]
    blocks[:, -1] = second
    return blocks.reshape(-1, factors)


def morris(factors: int, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Trajectories in the unit cube, (count (factors + 1), factors): one factor after the other moves by two of four levels."""
    chance = np.random.default_rng(seed)
    step = _MORRIS_LEVELS / (2 * (_MORRIS_LEVELS - 1))
    blocks = np.empty((count, factors + 1, factors))
    for block in blocks:
        start = chance.integers(0, _MORRIS_LEVELS // 2, factors) / (_MORRIS_LEVELS - 1)
        up = chance.random(factors) < 0.5
        place = np.where(up, start, start + step)
        block[0] = place
        for row, f in enumerate(chance.permutation(factors), 1):
            place[f] += step if up[f] else -step
            block[row] = place
    # The same level has the same digits however it was reached.
    return np.round(blocks, 12).reshape(-1, factors)


def block_size(kind: str, factors: int) -> int:
    """Points of a block, without all of which none counts."""
    return factors + (2 if kind == "saltelli" else 1)


def indices(study: Study, data: xr.Dataset) -> list[Index]:
    """Indices of the factors, the most influential first; blocks with a missing result are left out.

    Raises
    ------
    StudyError
        For another design, too few results, or without SALib.
    """
    from studies.targets import ratios

    design = study.document.design
    name = study.document.name
    if design is None or design.kind not in ("saltelli", "morris"):
        raise StudyError(f'{name}: indices need [design] with kind = "saltelli" or "morris"; others are ranked by correlation')
    try:
        from SALib.analyze import morris as effects
        from SALib.analyze import sobol
    except ImportError:
        raise StudyError("indices of sensitivity need SALib: pip install 'fitlab[sensitivity]'") from None
    count = len(study.factors)
    size = block_size(design.kind, count)
    mean = ratios(data).mean("replicate", skipna=True)
    at = dict(zip(data["point_id"].values.tolist(), mean.values.tolist(), strict=True))
    values = np.array([at.get(i, np.nan) for i in study.design_ids()]).reshape(-1, size)
    whole = np.isfinite(values).all(1)
    if whole.sum() < 2:
        raise StudyError(f"{name}: {whole.sum()} of {len(whole)} blocks of the design are complete; indices need 2 or more")
    found = values[whole].ravel()
    problem = {"num_vars": count, "names": [f.name for f in study.factors], "bounds": [[0.0, 1.0]] * count}
    labels = [f.label or f.name for f in study.factors]
    if np.ptp(found) == 0:
        raise StudyError(f"{name}: all points have the same result, so no factor has an influence")
    if design.kind == "saltelli":
        out = sobol.analyze(problem, found, calc_second_order=False, seed=design.seed)
        columns = out["S1"], out["S1_conf"], out["ST"], out["ST_conf"]
    else:
        sample = study.design_sample().reshape(-1, size, count)[whole].reshape(-1, count)
        out = effects.analyze(problem, sample, found, num_levels=_MORRIS_LEVELS, seed=design.seed)
        columns = out["mu_star"], out["mu_star_conf"], out["sigma"], np.full(count, np.nan)
    rows = [
        Index(f.name, label, *(float(c[n]) for c in columns))
        for n, (f, label) in enumerate(zip(study.factors, labels, strict=True))
    ]
    return sorted(rows, key=lambda row: -(row.together if design.kind == "saltelli" else row.alone))


def index_table(study: Study, rows: list[Index]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells of a table."""
    assert study.document.design is not None
    if study.document.design.kind == "saltelli":
        header = ("factor", "first order", "total")
        return header, [
            (r.label, f"{r.alone:.3f} ± {r.alone_half:.3f}", f"{r.together:.3f} ± {r.together_half:.3f}") for r in rows
        ]
    return ("factor", "mu*", "sigma"), [(r.label, f"{r.alone:.3g} ± {r.alone_half:.2g}", f"{r.together:.3g}") for r in rows]
