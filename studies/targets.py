"""Spec targets of a study: one row for each setting of the other factors, with margin and verdict."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from dataclasses import dataclass
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
    "csv_table",
    "curve_of",
    "device_ratio",
    "interval_text",
    "knee",
    "latex_table",
    "margin_text",
    "markdown_table",
    "not_learnt",
    "others_text",
    "ranking",
    "ratios",
    "sentence",
    "table_cells",
    "target_text",
    "targets",
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
        verdict=_verdict(found, better, value, low, high),
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
    rows = []
    for name, coordinate in data.coords.items():
        if name == "replicate" or coordinate.dtype.kind != "f":
            continue
        part = table.dropna(subset=[name])
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


def latex_table(rows: list[Target]) -> str:
    """The targets as a LaTeX table (booktabs); columns that are empty everywhere are left out."""
    header, cells = table_cells(rows)
    lines = [" & ".join(map(_tex, header)) + r" \\", r"\midrule", *(" & ".join(map(_tex, line)) + r" \\" for line in cells)]
    body = "\n".join(lines)
    return f"\\begin{{tabular}}{{{'l' * len(header)}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def _tex(text: str) -> str:
    for mark in "&%$#_{}":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("<", "$<$").replace(">", "$>$")


def _device(about: dict[str, Any], data: xr.Dataset) -> tuple[float | None, float | None, float | None]:
    """The device's own value of the factor and its 95 % interval."""
    start, errors = json.loads(about["start"]), json.loads(about["standard_error"])
    if about["kind"] == "multiply":
        if len(start) != 1:
            return 1.0, 1.0, 1.0
        path, own = next(iter(start.items()))
        half = 1.96 * errors.get(path, 0.0) / abs(own)
        return 1.0, 1.0 - half, 1.0 + half
    if about["kind"] == "set" and len(set(start.values())) == 1 and len(start) == len(about["fields"]):
        path, own = next(iter(start.items()))
        half = 1.96 * errors.get(path, 0.0)
        return own, own - half, own + half
    return None, None, None


def _verdict(found: Threshold, better: str, value: float | None, low: float | None, high: float | None) -> str:
    """Compare the device's interval with the target's; overlap means that the data cannot tell."""
    if value is None or low is None or high is None:
        return "no device value"
    if found.value is None:
        inside = found.levels[0] <= value <= found.levels[-1]
        if not (inside and found.certain):
            return "cannot tell"
        return "meets" if found.passes else "misses"
    bottom = -math.inf if found.low is None else found.low
    top = math.inf if found.high is None else found.high
    if better == "lower":
        return "meets" if high <= bottom else "misses" if low > top else "cannot tell"
    return "meets" if low >= top else "misses" if high < bottom else "cannot tell"


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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def target_text(row: Target) -> str:
    """The target: a number, or a bound outside the range tried."""
    found = row.threshold
    if found.value is not None:
        return _number(found.value)
    edge = found.levels[-1] if found.bound == ">" else found.levels[0]
    return f"{found.bound} {_number(float(edge))} ({'largest' if found.bound == '>' else 'smallest'} tried)"


def interval_text(row: Target) -> str:
    """The 95 % interval; an open end reaches beyond the range tried."""
    found = row.threshold
    if found.value is None:
        return "outside the range tried"
    if found.replicates < 2:
        return "needs 2 replicates or more"
    low = _number(found.low) if found.low is not None else "smallest tried or less"
    high = _number(found.high) if found.high is not None else "largest tried or more"
    return f"{low} to {high}"


def others_text(row: Target) -> str:
    """Levels of the other factors."""
    return ", ".join(f"{k} = {v:.3g}" if isinstance(v, float) else f"{k} = {v}" for k, v in row.others.items())


def margin_text(row: Target) -> str:
    """Target over device value; empty where either is missing."""
    return _number(row.margin)


_HEADER = (
    "factor", "other factors", "target", "interval (95 %)", "level", "normalisation", "replicates",
    "device value", "device interval (95 %)", "margin", "verdict", "in the device's units", "knee", "remark",
)  # fmt: skip


def _cells(row: Target) -> list[str]:
    found = row.threshold
    remark = ""
    if found.disorder > 3:
        first = "" if found.first is None else f"; first crossing {_number(found.first)}"
        remark = f"means are not monotone ({found.disorder:.1f} standard errors){first}"
    known = row.device_low is not None and row.device_low != row.device_high
    return [
        f"{row.label} ({'lower' if row.better == 'lower' else 'higher'} is better)",
        others_text(row),
        target_text(row),
        interval_text(row),
        f"{row.level:g}",
        row.normalisation,
        str(found.replicates),
        _number(row.device),
        f"{_number(row.device_low)} to {_number(row.device_high)}" if known else "not known",
        margin_text(row),
        row.verdict,
        ", ".join(f"{path} = {_number(value)}" for path, value in row.absolute().items()),
        _number(knee(row)),
        remark,
    ]


def table_cells(rows: list[Target]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the targets; columns that are empty everywhere are left out."""
    cells = [_cells(row) for row in rows]
    used = [i for i in range(len(_HEADER)) if any(line[i] for line in cells)]
    return [_HEADER[i] for i in used], [[line[i] for i in used] for line in cells]


def not_learnt(data: xr.Dataset) -> str:
    """A sentence where the baseline is hardly better than guessing, so that shares of it mean nothing; else empty."""
    asked = json.loads(data.attrs["target"])
    if asked["metric"] != "accuracy":
        return ""
    chance = asked["chance"] or 0.1
    found = data["baseline_accuracy"].where(data["baseline_status"] == DONE).values
    if not np.isfinite(found).any() or (mean := float(np.nanmean(found))) >= chance + 0.2 * (1 - chance):
        return ""
    return (
        f"the baseline reaches an accuracy of {mean:.3g} only: the network has not learnt, so shares of it mean nothing; "
        "train longer (train.epochs), or with another train.lr"
    )


def csv_table(rows: list[Target]) -> str:
    """The targets as CSV, one line each below a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(_cells(row) for row in rows)
    return out.getvalue()


def markdown_table(rows: list[Target]) -> str:
    """The targets as a Markdown table; columns that are empty everywhere are left out."""
    header, cells = table_cells(rows)
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in line] for line in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def sentence(row: Target, ratio: tuple[float, float, float] | None) -> str:
    """The answer in words."""
    share = f"{100 * row.level:.3g} % of the digital accuracy"
    if row.normalisation == "above-chance":
        share = f"{100 * row.level:.3g} % of the digital accuracy above chance"
    start = ""
    if ratio is not None:
        mean, low, high = ratio
        within = f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)" if math.isfinite(low) else ""
        start = f"This device reaches {100 * mean:.1f} % of the digital accuracy{within}; "
    where = f" at {others_text(row)}" if row.others else ""
    found = row.threshold
    if found.value is None:
        edge = float(found.levels[-1] if found.bound == ">" else found.levels[0])
        if found.passes:
            text = f"{share} is kept{where} over the whole range tried, to {row.label} = {edge:.3g}"
        else:
            text = f"{share} is not reached{where} even at {row.label} = {edge:.3g}, the best value tried"
    else:
        allowed = "at most" if row.better == "lower" else "at least"
        value = f"{100 * found.value:.3g} % of the device's" if row.start else f"{found.value:.3g}"
        within = ""
        if found.replicates >= 2:
            unit = 100 if row.start else 1
            low_end = "under the range tried" if found.low is None else f"{unit * found.low:.3g}"
            high_end = "beyond the range tried" if found.high is None else f"{unit * found.high:.3g}"
            within = f" (95 % interval {low_end} to {high_end}{' %' if row.start else ''})"
        text = f"to keep {share}{where}, its {row.label} must be {allowed} {value}{within}"
    return f"{start}{text[0].lower() if start else text[0].upper()}{text[1:]}: {row.verdict_words()}."
