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
    "Target",
    "csv_table",
    "device_ratio",
    "interval_text",
    "margin_text",
    "markdown_table",
    "others_text",
    "ratios",
    "sentence",
    "target_text",
    "targets",
]


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
    about = data[name].attrs
    ratio = ratios(data)
    others = [str(d) for d in ratio.dims if d not in (name, "replicate")]
    value, low, high = _device(about, data)
    rows = []
    for combination in itertools.product(*(data[d].values.tolist() for d in others)):
        fixed = dict(zip(others, combination, strict=True))
        table = ratio.sel(fixed).transpose(name, "replicate").values
        if not np.isfinite(table).any():
            continue
        found = threshold(data[name].values, table, level=asked["level"], better=asked["better"], scale=about["scale"])
        rows.append(
            Target(
                factor=name,
                label=about["long_name"],
                others=fixed,
                level=asked["level"],
                normalisation=asked["normalisation"],
                better=asked["better"],
                threshold=found,
                device=value,
                device_low=low,
                device_high=high,
                start=json.loads(about["start"]) if about["kind"] == "multiply" else {},
                verdict=_verdict(found, asked["better"], value, low, high),
            )
        )
    if not rows:
        raise StudyError(
            f"{data.attrs['name']}: no point has both a result and a baseline yet; continue with: fitlab study resume DIR"
        )
    return rows


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
    for name in (str(d) for d in ratio.dims if d != "replicate"):
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
    "device value", "device interval (95 %)", "margin", "verdict", "in the device's units", "remark",
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
        remark,
    ]


def csv_table(rows: list[Target]) -> str:
    """The targets as CSV, one line each below a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(_cells(row) for row in rows)
    return out.getvalue()


def markdown_table(rows: list[Target]) -> str:
    """The targets as a Markdown table; columns that are empty everywhere are left out."""
    cells = [_cells(row) for row in rows]
    used = [i for i in range(len(_HEADER)) if any(line[i] for line in cells)]
    lines = [
        [_HEADER[i] for i in used],
        ["---"] * len(used),
        *([line[i].replace("|", "\\|") for i in used] for line in cells),
    ]
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
