"""Targets in words: tables, sentences, a warning."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from typing import TYPE_CHECKING

import numpy as np

from studies.records import DONE
from studies.targets import Target, device_ratio, knee, targets

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "amount",
    "csv_table",
    "interval_text",
    "latex_table",
    "margin_text",
    "markdown_table",
    "not_learnt",
    "others_text",
    "sentence",
    "sentences",
    "table_cells",
    "target_text",
]

_TIMES = ((365.25 * 86400.0, "a"), (86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (0.0, "us"))

_PREFIXES = ((1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


def amount(value: float | None, units: str = "1") -> str:
    """A number with three digits and its unit, as large as suits it. Empty for None."""
    if value is None:
        return ""
    if units == "1":
        return f"{value:.3g}"
    if value == 0:
        return f"0 {units}"
    if units != "s":
        size, prefix = next(((size, prefix) for size, prefix in _PREFIXES if abs(value) >= size), _PREFIXES[-1])
        return f"{value / size:.3g} {prefix}{units}"
    size, name = next((size, name) for size, name in _TIMES if abs(value) >= size)
    return f"{value / (size or 1e-6):.3g} {name}"


def _place(row: Target, value: float) -> str:
    """A value of the factor in a sentence."""
    return f"{100 * value:.3g} % of the device's" if row.start else amount(value, row.units)


def target_text(row: Target) -> str:
    """The target: a number, or a bound outside the range tried."""
    found = row.threshold
    if found.value is not None:
        return amount(found.value, row.units)
    edge = found.levels[-1] if found.bound == ">" else found.levels[0]
    return f"{found.bound} {amount(float(edge), row.units)} ({'largest' if found.bound == '>' else 'smallest'} tried)"


def interval_text(row: Target) -> str:
    """The 95 % interval; an open end reaches beyond the range tried."""
    found = row.threshold
    if found.value is None:
        return "outside the range tried"
    if found.replicates < 2:
        return "needs 2 replicates or more"
    low = amount(found.low, row.units) if found.low is not None else "smallest tried or less"
    high = amount(found.high, row.units) if found.high is not None else "largest tried or more"
    return f"{low} to {high}"


def others_text(row: Target) -> str:
    """Levels of the other factors."""
    return ", ".join(
        f"{k} = {amount(v, row.other_units.get(k, '1'))}" if isinstance(v, float) else f"{k} = {v}" for k, v in row.others.items()
    )


def margin_text(row: Target) -> str:
    """Target over device value; empty where either is missing."""
    return amount(row.margin)


_HEADER = (
    "factor", "other factors", "target", "interval (95 %)", "level", "normalisation", "replicates",
    "device value", "device interval (95 %)", "margin", "verdict", "in the device's units", "at the best value tried", "knee",
    "remark",
)  # fmt: skip


def _cells(row: Target) -> list[str]:
    found = row.threshold
    remark = ""
    if found.disorder > 3:
        first = "" if found.first is None else f"; first crossing {amount(found.first, row.units)}"
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
        amount(row.device, row.units),
        f"{amount(row.device_low, row.units)} to {amount(row.device_high, row.units)}" if known else "not known",
        margin_text(row),
        row.verdict,
        ", ".join(f"{path} = {_absolute(row, path, value)}" for path, value in row.absolute().items()),
        f"{100 * row.best:.1f} %",
        amount(knee(row), row.units),
        remark,
    ]


def _absolute(row: Target, path: str, value: float) -> str:
    """A field's value, and in the unit of the measurement where it is known."""
    unit = row.measured.get(path)
    return amount(value) if unit is None else f"{amount(value)} ({amount(value * unit[0], unit[1])})"


def table_cells(rows: list[Target]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the targets; columns that are empty everywhere are left out."""
    cells = [_cells(row) for row in rows]
    used = [i for i in range(len(_HEADER)) if any(line[i] for line in cells)]
    return [_HEADER[i] for i in used], [[line[i] for i in used] for line in cells]


def csv_table(rows: list[Target]) -> str:
    """The targets as CSV, one line each below a header; values are plain numbers, their unit stands in the last column."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_HEADER, "unit"])
    writer.writerows([*_cells(dataclasses.replace(row, units="1", other_units={})), row.units] for row in rows)
    return out.getvalue()


def markdown_table(rows: list[Target]) -> str:
    """The targets as a Markdown table; columns that are empty everywhere are left out."""
    header, cells = table_cells(rows)
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in line] for line in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex_table(rows: list[Target]) -> str:
    """The targets as a LaTeX table (booktabs); columns that are empty everywhere are left out."""
    header, cells = table_cells(rows)
    lines = [" & ".join(map(_tex, header)) + r" \\", r"\midrule", *(" & ".join(map(_tex, line)) + r" \\" for line in cells)]
    body = "\n".join(lines)
    return f"\\begin{{tabular}}{{{'l' * len(header)}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def _tex(text: str) -> str:
    text = text.replace("\\", r"\textbackslash ")
    for mark in "&%$#_{}":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("<", "$<$").replace(">", "$>$")


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


def _of(row: Target) -> str:
    """What the level is a share of."""
    whole = f"the digital {row.metric}" if row.digital else f"the {row.metric} of the baseline"
    return whole + (" above chance" if row.normalisation == "above-chance" else "")


def sentences(data: xr.Dataset) -> list[str]:
    """The answers of a study in words, the device itself first.

    Of factors that were varied alone, those that reach the level have a sentence each, the others one for all.
    """
    rows, ratio = targets(data), device_ratio(data)
    if data.attrs.get("design", "grid") != "one-at-a-time":
        return [sentence(row, ratio if number == 0 else None) for number, row in enumerate(rows)]
    said = [] if ratio is None else [f"{_reached(ratio)} {_of(rows[0])}."]
    missed = [row for row in rows if row.threshold.value is None and not row.threshold.passes]
    said += [sentence(row, None) for row in rows if row not in missed]
    if missed:
        best = sorted(missed, key=lambda row: -row.best)
        names = ", ".join(f"{row.label} ({100 * row.best:.1f} %)" for row in best)
        share = f"{100 * rows[0].level:.3g} % of {_of(rows[0])}"
        said.append(f"{share} is not reached by one of these alone (with the best value tried of each): {names}.")
    return said


def _within(row: Target) -> str:
    """The interval of a target in brackets."""
    found = row.threshold
    if found.replicates < 2:
        return ""
    low, high = (
        None if v is None else f"{100 * v:.3g} %" if row.start else amount(v, row.units) for v in (found.low, found.high)
    )
    if low is None and high is None:
        return " (95 % interval wider than the range tried)"
    if low is None or high is None:
        return f" (95 % interval from {low} to beyond the range tried)" if high is None else f" (95 % interval up to {high})"
    return f" (95 % interval {low.removesuffix(' %')} to {high})"


def _reached(ratio: tuple[float, float, float]) -> str:
    mean, low, high = ratio
    within = f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)" if math.isfinite(low) else ""
    return f"This device reaches {100 * mean:.1f} %{within} of"


def sentence(row: Target, ratio: tuple[float, float, float] | None) -> str:
    """The answer in words."""
    share = f"{100 * row.level:.3g} % of {_of(row)}"
    start = "" if ratio is None else f"{_reached(ratio)} {_of(row)}; "
    where = f" at {others_text(row)}" if row.others else ""
    found = row.threshold
    if found.value is None:
        edge = _place(row, float(found.levels[-1] if found.bound == ">" else found.levels[0]))
        if found.passes:
            text = f"{share} is kept{where} over the whole range tried, to {row.label} = {edge}"
        else:
            reached = f"the best value tried, where it is {100 * row.best:.1f} %"
            text = f"{share} is not reached{where} even at {row.label} = {edge}, {reached}"
    else:
        allowed = "at most" if row.better == "lower" else "at least"
        text = f"to keep {share}{where}, its {row.label} must be {allowed} {_place(row, found.value)}{_within(row)}"
    return f"{start}{text[0].lower() if start else text[0].upper()}{text[1:]}: {row.verdict_words()}."
