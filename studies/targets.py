"""Spec targets of a study: one row for each setting of the other factors, with margin and verdict."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.errors import StudyError
from studies.records import DONE
from studies.spec import Threshold, mean_interval, normalise, threshold

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "SPREAD",
    "Rank",
    "Target",
    "curve_of",
    "device_ratio",
    "knee",
    "ranking",
    "ratios",
    "targets",
    "unranked",
]

SPREAD = ("sobol", "latin-hypercube", "saltelli", "morris")
"""Designs that spread points over the ranges of all factors: they rank factors rather than give targets."""


@dataclass(frozen=True)
class Target:
    """The answer for one setting of the other factors.

    Parameters
    ----------
    factor, label : str
        The factor asked about.
    others : dict
        Levels of the other factors.
    level : float
    normalisation, better : str
    threshold : Threshold
    device : float or None
        The device's own value of the factor (1 for a multiplier).
    device_low, device_high : float or None
        95 % interval of that value; equal to it where no standard error is known.
    start : dict
        For a multiplier: the fields' own values, so that the target can be read in their unit.
    verdict : str
        ``"meets"``, ``"misses"``, ``"cannot tell"``, or ``"no device value"`` where there is none to compare with.
    metric : str
    digital : bool
        Whether the baseline is the digital network rather than a setting.
    units : str
        Of the factor's values.
    other_units : dict
        Of the other factors'.
    measured : dict
        Field -> how much of the measured quantity 1 of it is, and its unit; for steps of a fitted device.
    """

    factor: str
    label: str
    others: dict[str, float | str]
    level: float
    normalisation: str
    better: str
    threshold: Threshold
    device: float | None
    device_low: float | None
    device_high: float | None
    start: dict[str, float]
    verdict: str
    metric: str = "accuracy"
    digital: bool = True
    units: str = "1"
    other_units: dict[str, str] = field(default_factory=dict)
    measured: dict[str, tuple[float, str]] = field(default_factory=dict)

    @property
    def best(self) -> float:
        """The ratio at the best value that was tried."""
        return float(self.threshold.isotonic[0 if self.better == "lower" else -1])

    @property
    def margin(self) -> float | None:
        """How far the device may still go: target over device value, or its inverse where more is better."""
        if self.threshold.value is None or not self.device:
            return None
        ratio = self.threshold.value / self.device
        return ratio if self.better == "lower" else 1.0 / ratio if ratio else None

    def verdict_words(self) -> str:
        """The verdict as the end of a sentence."""
        words = {
            "meets": "the device meets this",
            "misses": "the device misses this",
            "no device value": "there is no device value to compare with",
        }
        return words.get(self.verdict, "whether the device meets this cannot be told from the data")

    def absolute(self) -> dict[str, float]:
        """For a multiplier: the target value of each field."""
        value = self.threshold.value
        return {} if value is None else {path: own * value for path, own in self.start.items()}


def ratios(data: xr.Dataset) -> xr.DataArray:
    """Metric over its paired baseline, at every point and replicate; NaN where either is missing."""
    target = json.loads(data.attrs["target"])
    metric = target["metric"]
    chance = (target["chance"] or 0.0) if target["normalisation"] == "above-chance" else None
    own = data[metric].where(data["status"] == DONE)
    base = data[f"baseline_{metric}"].where(data["baseline_status"] == DONE)
    ratio: xr.DataArray = normalise(own, base, chance)
    return ratio


def targets(data: xr.Dataset) -> list[Target]:
    """Targets of the study's factor, one for each combination of the other factors.

    Raises
    ------
    StudyError
        When nothing has been run yet.
    """
    asked = json.loads(data.attrs["target"])
    name = asked["factor"]
    ratio = ratios(data)
    rows = []
    if data.attrs.get("design", "grid") == "one-at-a-time":
        rows = [row for factor in _alone(data) if (row := _target(data, asked, factor, {}, *_slice(data, ratio, factor)))]
    elif data.attrs.get("design", "grid") != "grid":
        raise StudyError(
            f"{data.attrs['name']}: a design of kind {data.attrs['design']} ranks factors (fitlab study rank DIR); for a target, "
            'make a study with a grid of the factors that matter, or kind = "one-at-a-time"'
        )
    else:
        others = [str(d) for d in ratio.dims if d not in (name, "replicate")]
        when = json.loads(data[name].attrs.get("when", "[]"))
        for combination in itertools.product(*(data[d].values.tolist() for d in others)):
            fixed = dict(zip(others, combination, strict=True))
            if not all(fixed.get(other) in allowed for other, allowed in when):
                continue
            table = ratio.sel(fixed).transpose(name, "replicate").values
            row = _target(data, asked, name, fixed, data[name].values, table)
            rows += [row] if row else []
    if not rows:
        raise StudyError(
            f"{data.attrs['name']}: no point has both a result and a baseline yet; continue with: fitlab study resume DIR"
        )
    return rows


def _alone(data: xr.Dataset) -> list[str]:
    """Numeric factors of a design that varies every factor alone."""
    return [str(n) for n, c in data.coords.items() if c.dims == ("point",) and c.dtype.kind == "f"]


def _slice(data: xr.Dataset, ratio: xr.DataArray, name: str) -> tuple[Any, Any]:
    """Levels and ratios of a factor that is varied alone, with the device's own point among them."""
    levels, table = data[name].values, ratio.transpose("point", "replicate").values
    known = np.isfinite(levels)
    coords = [c.values for n, c in data.coords.items() if c.dims == ("point",) and n != "point_id"]
    base = np.all([np.isnan(v) if v.dtype.kind == "f" else v == "" for v in coords], axis=0)
    own = _device(data[name].attrs, data)[0]
    if own is None or not base.any() or np.isclose(levels[known], own, rtol=1e-9, atol=0).any():
        return levels[known], table[known]
    return np.concatenate([levels[known], [own]]), np.concatenate([table[known], table[base][:1]])


def curve_of(data: xr.Dataset, row: Target) -> tuple[Any, Any]:
    """Levels (n,) and ratios (n, replicates) behind a target."""
    ratio = ratios(data)
    if data.attrs.get("design", "grid") == "one-at-a-time":
        return _slice(data, ratio, row.factor)
    return data[row.factor].values, ratio.sel(row.others).transpose(row.factor, "replicate").values


def _target(data: xr.Dataset, asked: dict[str, Any], name: str, fixed: dict[str, Any], levels: Any, table: Any) -> Target | None:
    """One answer; None where there is no result."""
    if not np.isfinite(table).any():
        return None
    about = data[name].attrs
    better = about.get("better") or asked["better"]
    value, low, high = _device(about, data)
    scale = about["scale"] if np.min(levels) > 0 else "linear"
    found = threshold(levels, table, level=asked["level"], better=better, scale=scale)
    return Target(
        factor=name,
        label=about["long_name"],
        others=fixed,
        level=asked["level"],
        normalisation=asked["normalisation"],
        better=better,
        threshold=found,
        device=value,
        device_low=low,
        device_high=high,
        start=json.loads(about["start"]) if about["kind"] == "multiply" else {},
        verdict=_verdict(found, better, (value, low, high), levels, table, asked["level"]),
        metric=asked["metric"],
        digital=asked["baseline"] == "digital",
        units=about.get("units", "1"),
        other_units={other: str(data[other].attrs.get("units", "1")) for other in fixed},
        measured={path: (size, unit) for path, (size, unit) in json.loads(about.get("measured", "{}")).items()},
    )


@dataclass(frozen=True)
class Rank:
    """How strongly a factor moves the metric over the whole study.

    Parameters
    ----------
    factor, label : str
    correlation : float
        Spearman's, between level and ratio (mean over replicates) of all points.
    low, high : float
        95 % interval (Bonett and Wright, Psychometrika 65, 23, 2000); independent points are assumed.
    points : int
    """

    factor: str
    label: str
    correlation: float
    low: float
    high: float
    points: int


def ranking(data: xr.Dataset) -> list[Rank]:
    """Numeric factors, the one that moves the metric most first.

    Raises
    ------
    StudyError
        When fewer than four points have a result, or factors were varied alone.
    """
    from scipy.stats import spearmanr

    if data.attrs.get("design", "grid") == "one-at-a-time":
        raise StudyError(f"{data.attrs['name']}: factors that were varied alone are compared by their targets: fitlab study spec")
    ratio = ratios(data).mean("replicate")
    table = ratio.to_dataframe("ratio").reset_index().dropna(subset=["ratio"])
    spoken = {str(n): _has_a_say(c.attrs, table) for n, c in data.coords.items() if c.attrs.get("when", "[]") != "[]"}
    if data.attrs.get("design", "grid") == "grid":
        for quiet, active in spoken.items():
            # Where a factor has no say, its results stand at all its levels: once is enough.
            table = table[active.reindex(table.index) | (table[quiet] == data[quiet].values[0])]
    rows = []
    for name, coordinate in data.coords.items():
        if name == "replicate" or coordinate.dtype.kind != "f":
            continue
        part = table.dropna(subset=[name])
        if name in spoken:
            part = part[spoken[str(name)].reindex(part.index)]
        n = len(part)
        if n < 4:
            raise StudyError(f"{data.attrs['name']}: {n} points have a result; a ranking needs 4 or more")
        if part[name].nunique() < 2 or part["ratio"].nunique() < 2:
            continue
        rho = float(spearmanr(part[name], part["ratio"]).statistic)
        z, half = math.atanh(max(min(rho, 1 - 1e-12), 1e-12 - 1)), 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
        about = coordinate.attrs
        rows.append(Rank(str(name), about["long_name"], rho, math.tanh(z - half), math.tanh(z + half), n))
    return sorted(rows, key=lambda r: -abs(r.correlation))


def _has_a_say(about: dict[str, Any], table: Any) -> Any:
    """Rows of a table at which a conditional factor counts."""
    active = table["ratio"].notna()
    for other, allowed in json.loads(about["when"]):
        active &= table[other].isin(allowed)
    return active


def unranked(data: xr.Dataset) -> list[str]:
    """Factors whose levels are text, which have no order to correlate with."""
    about = [c.attrs for n, c in data.coords.items() if n not in ("replicate", "point_id") and c.dtype.kind != "f"]
    return [str(a["long_name"]) for a in about]


def knee(row: Target) -> float | None:
    """Where the curve bends most: largest distance from the straight line between its ends; None for fewer than 3 levels."""
    found = row.threshold
    low, high = float(found.levels[0]), float(found.levels[-1])
    if len(found.levels) < 3 or found.isotonic[0] == found.isotonic[-1]:
        return None
    x = np.log(found.levels / low) / math.log(high / low) if low > 0 else (found.levels - low) / (high - low)
    y = (found.isotonic - found.isotonic[0]) / (found.isotonic[-1] - found.isotonic[0])
    distance = np.abs(y - x)
    return float(found.levels[int(np.argmax(distance))]) if distance.max() > 0 else None


def _device(about: dict[str, Any], data: xr.Dataset) -> tuple[float | None, float | None, float | None]:
    """The device's own value of the factor and its 95 % interval."""
    start, errors = json.loads(about["start"]), json.loads(about["standard_error"])
    intervals = json.loads(about.get("interval", "{}"))

    def within(path: str, own: float) -> tuple[float, float]:
        half = 1.96 * errors.get(path, 0.0)
        low, high = intervals.get(path, (own - half, own + half))
        return float(low), float(high)

    if about["kind"] == "multiply":
        if len(start) != 1:
            return 1.0, 1.0, 1.0
        path, own = next(iter(start.items()))
        low, high = sorted(end / own for end in within(path, own))
        return 1.0, low, high
    if about["kind"] == "set" and len(set(start.values())) == 1 and len(start) == len(about["fields"]):
        path, own = next(iter(start.items()))
        return own, *within(path, own)
    return None, None, None


def _verdict(
    found: Threshold, better: str, device: tuple[float | None, float | None, float | None], levels: Any, table: Any, level: float
) -> str:
    """Compare the device's interval with the target's; where they overlap, look at what was measured beside the device."""
    value, low, high = device
    if value is None or low is None or high is None:
        return "no device value"
    sign = 1.0 if better == "lower" else -1.0
    good, bad = (low, high) if better == "lower" else (high, low)
    if found.value is None:
        if found.certain and found.levels[0] <= value <= found.levels[-1]:
            return "meets" if found.passes else "misses"
    else:
        bottom = -math.inf if found.low is None else found.low
        top = math.inf if found.high is None else found.high
        if (high <= bottom) if better == "lower" else (low >= top):
            return "meets"
        if (low > top) if better == "lower" else (high < bottom):
            return "misses"
    # The metric falls towards the bad side: what the nearest level on the good side misses, the device misses too.
    place, slack = sign * np.asarray(levels, float), 1e-9 * abs(value)
    before, behind = np.flatnonzero(place <= sign * good + slack), np.flatnonzero(place >= sign * bad - slack)
    keeps = found.passes if found.value is None else sign * found.value >= sign * value
    if not keeps and before.size and mean_interval(table[before[np.argmax(place[before])]])[1] < level:
        return "misses"
    if keeps and behind.size and mean_interval(table[behind[np.argmin(place[behind])]])[0] >= level:
        return "meets"
    return "cannot tell"


def device_ratio(data: xr.Dataset) -> tuple[float, float, float] | None:
    """Mean and 95 % interval of the ratio at the device's own values; None when they are not on the grid."""
    ratio = ratios(data)
    place = {}
    if data.attrs.get("design", "grid") == "one-at-a-time":
        base = np.all([np.isnan(data[n].values) for n in _alone(data)], axis=0)
        if not base.any():
            return None
        place["point"] = int(np.flatnonzero(base)[0])
    elif data.attrs.get("design", "grid") != "grid":
        return None
    for name in (str(d) for d in ratio.dims if d not in ("replicate", "point")):
        value = _device(data[name].attrs, data)[0]
        if value is None:
            return None
        near = np.flatnonzero(np.isclose(data[name].values.astype(float), value))
        if len(near) != 1:
            return None
        place[name] = int(near[0])
    values = ratio.isel(place).values
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    return (float(values.mean()), *mean_interval(values))
