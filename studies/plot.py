"""Figures of a study: metric against one factor, and the map of two factors with its iso-line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.folder import write_text
from studies.targets import SPREAD, Rank, Target, curve_of, ranking, ratios, targets
from studies.words import others_text

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawings", "figures", "plot_map", "plot_ranking", "plot_target"]

_INSIDE = 4
_LINES = ("-", "--", ":", "-.")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def _what(data: xr.Dataset) -> str:
    asked = json.loads(data.attrs["target"])
    metric = data[asked["metric"]].attrs.get("long_name", asked["metric"])
    above = " above chance" if asked["normalisation"] == "above-chance" else ""
    base = "digital" if asked["baseline"] == "digital" else "baseline"
    return f"{metric}{above} / {base}"


def _label(data: xr.Dataset, name: str) -> str:
    about = data[name].attrs
    if about["kind"] == "multiply":
        return f"{about['long_name']} (× device)"
    return str(about["long_name"]) if about["units"] == "1" else f"{about['long_name']} ({about['units']})"


def plot_target(data: xr.Dataset, rows: list[Target] | None = None, ax: Axes | None = None) -> Axes:
    """Ratio to the baseline against the target's factor: replicates as dots, monotone curve, level, interval.

    Parameters
    ----------
    data : Dataset
        From :func:`studies.open_study`.
    rows : list of Target, optional
        Which rows to draw; all by default (one colour each).
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    from matplotlib.figure import Figure
    from scipy.interpolate import PchipInterpolator

    rows = targets(data) if rows is None else rows
    if ax is None:
        ax = Figure(figsize=(3.5, 2.6), layout="constrained").subplots()
    name, scale = rows[0].factor, data[rows[0].factor].attrs["scale"]
    for number, row in enumerate(rows):
        colour = _COLOURS[number % len(_COLOURS)]
        levels, table = curve_of(data, row)
        x = np.repeat(levels, table.shape[1])
        ax.plot(x, table.ravel(), ".", color=colour, markersize=3, alpha=0.5, markeredgewidth=0)
        found = row.threshold
        label = _short(row)
        line = _LINES[number // len(_COLOURS) % len(_LINES)]
        if len(found.levels) > 1:
            bend = np.log if scale == "log" else np.asarray
            fine = np.linspace(bend(found.levels[0]), bend(found.levels[-1]), 200)
            curve = PchipInterpolator(bend(found.levels), found.isotonic)(fine)
            ax.plot(np.exp(fine) if scale == "log" else fine, curve, color=colour, linestyle=line, label=label or None)
        if found.value is not None:
            if len(rows) == 1:
                ax.axvline(found.value, color=colour, linewidth=0.8, linestyle=":")
            else:
                ax.plot([found.value], [row.level], "o", color=colour, markersize=3.5)
            low = found.levels[0] if found.low is None else found.low
            high = found.levels[-1] if found.high is None else found.high
            if found.replicates >= 2 and len(rows) == 1:
                ax.axvspan(low, high, color=colour, alpha=0.12, linewidth=0)
            elif found.replicates >= 2:
                ax.plot([low, high], [row.level] * 2, color=colour, linewidth=3.5, alpha=0.35, solid_capstyle="butt")
    ax.axhline(rows[0].level, color="0.35", linewidth=0.8, linestyle="--")
    ax.annotate(f"{100 * rows[0].level:.3g} %", (1.0, rows[0].level), xycoords=("axes fraction", "data"),
                ha="right", va="bottom", fontsize=7, color="0.35")  # fmt: skip
    bottom, top = ax.get_ylim()
    # Room for the words above the level.
    ax.set_ylim(bottom, max(top, rows[0].level + 0.1 * (top - bottom)))
    own = rows[0].device
    shown = own is not None and bool(data[name].min() <= own <= data[name].max()) and len({row.device for row in rows}) == 1
    if shown and own is not None:
        ax.axvline(own, color="0.7", linewidth=0.8, zorder=0)
    ax.set_xscale("log" if scale == "log" else "linear")
    if scale == "log":
        _plain_ticks(ax.xaxis, data[name].values)
    ax.set_xlabel(_label(data, name))
    ax.set_ylabel(_what(data))
    mark = "shaded" if len(rows) == 1 else "bars"
    device = "; grey: the device" if shown else ""
    ax.set_title(f"{rows[0].threshold.replicates} replicates; {mark}: 95 % interval{device}")
    if any(row.others for row in rows):
        # Many do not fit inside.
        ax.legend(**({} if len(rows) <= _INSIDE else {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22)}))
    return ax


def _short(row: Target) -> str:
    """Levels of the other factors, without the parts that the fields belong to."""
    last = {name: name.rpartition(".")[2] for name in row.others}
    others = {last[name]: level for name, level in row.others.items()}
    return others_text(dataclasses.replace(row, others=others, other_units={last[k]: v for k, v in row.other_units.items()}))


def plot_map(data: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Mean ratio over two factors as a map, with the line at the level and each row's threshold.

    Parameters
    ----------
    data : Dataset
        Of a study with two numeric factors.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    from matplotlib.figure import Figure

    if ax is None:
        ax = Figure(figsize=(3.5, 2.8), layout="constrained").subplots()
    rows = targets(data)
    name = rows[0].factor
    other = next(iter(rows[0].others))
    scales = {n: data[n].attrs["scale"] for n in (name, other)}
    mean = ratios(data).mean("replicate").transpose(other, name)
    # Refinement adds columns for single rows; the map shows those that are complete.
    mean = mean.dropna(name, how="any") if mean.isnull().any() else mean
    x, y, z = mean[name].values, mean[other].values, mean.values
    mesh = ax.pcolormesh(_edges(x, scales[name]), _edges(y, scales[other]), z, cmap="viridis", rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label=_what(data))
    if min(z.shape) >= 2 and z.min() < rows[0].level < z.max():
        fine, surface = _surface(x, z, rows[0].better, scales[name])
        ax.contour(fine, y, surface, levels=[rows[0].level], colors="white", linewidths=1.4)
    known = [(r.threshold, float(r.others[other])) for r in rows if r.threshold.value is not None]
    for found, at in known:
        assert found.value is not None
        low = found.levels[0] if found.low is None else found.low
        high = found.levels[-1] if found.high is None else found.high
        if found.replicates >= 2:
            ax.plot([low, high], [at, at], color="white", linewidth=0.8)
        ax.plot([found.value], [at], "o", color="white", markersize=3.5, markeredgecolor="black", markeredgewidth=0.5)
    ax.set_xscale("log" if scales[name] == "log" else "linear")
    ax.set_yscale("log" if scales[other] == "log" else "linear")
    for axis, n, values in ((ax.xaxis, name, x), (ax.yaxis, other, y)):
        if scales[n] == "log":
            _plain_ticks(axis, values)
    ax.set_xlabel(_label(data, name))
    ax.set_ylabel(_label(data, other))
    ax.set_title(f"line and dots: {100 * rows[0].level:.3g} %; bars: 95 % interval, {data.sizes['replicate']} replicates")
    return ax


def _plain_ticks(axis: Any, values: np.ndarray[Any, Any]) -> None:
    """On a logarithmic axis: plain numbers, at the levels themselves when they are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    few = len(values) <= 6
    wide = float(np.max(values) / np.min(values)) > 100
    axis.set_major_locator(
        FixedLocator(list(values)) if few else LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=12)
    )
    if few:
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
    axis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _edges(values: np.ndarray[Any, Any], scale: str) -> np.ndarray[Any, Any]:
    """Borders of cells around levels."""
    v = np.log(values) if scale == "log" else values.astype(float)
    if len(v) == 1:
        edges = np.array([v[0] - 0.5, v[0] + 0.5])
    else:
        middle = (v[1:] + v[:-1]) / 2
        edges = np.concatenate([[2 * v[0] - middle[0]], middle, [2 * v[-1] - middle[-1]]])
    return np.exp(edges) if scale == "log" else edges


def _surface(
    x: np.ndarray[Any, Any], z: np.ndarray[Any, Any], better: str, scale: str
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Each row as the curve that the threshold is read from, on a fine grid of the target's factor."""
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import isotonic_regression

    position = np.log(x) if scale == "log" else x
    fine = np.linspace(position[0], position[-1], 300)
    curves = [PchipInterpolator(position, isotonic_regression(row, increasing=better == "higher").x)(fine) for row in z]
    return (np.exp(fine) if scale == "log" else fine), np.array(curves)


def figures(data: xr.Dataset, folder: Path, formats: tuple[str, ...] = ("svg", "png"), *, slide: bool = False) -> list[Path]:
    """Draw what suits the study: the target's curves, and the map where there are two numeric factors.

    Parameters
    ----------
    data : Dataset
    folder : Path
        Made if needed; the data behind the figures is written beside them as CSV.
    formats : tuple of str
    slide : bool
        16:9, 1920 x 1080 pixels, for a slide (``target-slide.png``) rather than for the column of a paper.

    Returns
    -------
    list of Path
        Files written.
    """
    from fitlab.plot import style

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with style():
        for title, figure in drawings(data):
            if slide:
                _to_slide(figure)
            written += _save(figure, data, folder / (title.lower() + ("-slide" if slide else "")), formats, slide=slide)
    table = ratios(data).to_dataframe("ratio").reset_index().dropna(subset=["ratio"])
    write_text(folder / "ratios.csv", table.to_csv(index=False))
    return [*written, folder / "ratios.csv"]


def drawings(data: xr.Dataset) -> list[tuple[str, Figure]]:
    """Title and figure of all that suits the study."""
    from matplotlib.figure import Figure

    design = data.attrs.get("design", "grid")
    if design in SPREAD:
        ranks = ranking(data)
        figure = Figure(figsize=(3.5, 0.6 + 0.3 * len(ranks)), layout="constrained")
        plot_ranking(ranks, figure.subplots())
        return [("Ranking", figure)]
    rows = targets(data)
    if design == "one-at-a-time":
        wide = min(3, len(rows))
        high = -(-len(rows) // wide)
        figure = Figure(figsize=(2.6 * wide, 2.2 * high), layout="constrained")
        axes = np.atleast_1d(figure.subplots(high, wide, squeeze=False)).ravel()
        for ax, row in zip(axes, rows, strict=False):
            plot_target(data, [row], ax).set_title("")
        # One scale, so that it is seen which factor matters.
        ends = [ax.get_ylim() for ax in axes[: len(rows)]]
        for place, ax in enumerate(axes):
            if place >= len(rows):
                ax.set_axis_off()
                continue
            ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
            if place % wide:
                ax.set_ylabel("")
        told = "dots: replicates; dotted: target; shaded: its 95 % interval; grey: the device"
        figure.suptitle(told, fontsize=8)
        return [("Target", figure)]
    more = len(rows) if len(rows) > _INSIDE else 0
    # Room for the words beside and below the axes.
    width = max(3.5, 1.1 + 0.05 * max(len(_short(row)) for row in rows) if more else 0.0)
    figure = Figure(figsize=(width, 2.6 + 0.16 * more), layout="constrained")
    plot_target(data, rows, figure.subplots())
    drawn = [("Target", figure)]
    dims = [str(d) for d in ratios(data).dims if d != "replicate"]
    if len(dims) == 2 and all(data[d].dtype.kind == "f" for d in dims):
        figure = Figure(figsize=(3.7, 2.8), layout="constrained")
        plot_map(data, figure.subplots())
        drawn.append(("Map", figure))
    return drawn


# Text of the paper's size, in a picture of this height, is as large on a slide as it should be.
_SLIDE_INCHES, _SLIDE_PIXELS = (3.0, 4.5), 1080


def _to_slide(figure: Figure) -> None:
    """Give a figure the shape of a slide: as low as its panels allow."""
    places = [place for ax in figure.axes if (place := ax.get_subplotspec()) is not None]
    high = _SLIDE_INCHES[0 if all(place.rowspan.start == 0 for place in places) else 1]
    legends = [legend for ax in figure.axes if (legend := ax.get_legend()) is not None]
    words = [text.get_text() for legend in legends for text in legend.get_texts()]
    if len(words) > _INSIDE:
        # Beside the axes rather than below; the picture grows until all of it is there.
        for legend in legends:
            legend.set_loc("upper left")
            legend.set_bbox_to_anchor((1.02, 1.0))
        high = max(_SLIDE_INCHES[1], 0.6 + 0.17 * len(words), (3.5 + 0.06 * max(map(len, words))) * 9 / 16)
    figure.set_size_inches(high * 16 / 9, high)


def plot_ranking(ranks: list[Rank], ax: Axes) -> Axes:
    """Spearman's correlation of every factor with its interval, the strongest on top."""
    places = np.arange(len(ranks))[::-1]
    for place, r in zip(places, ranks, strict=True):
        ax.plot([r.low, r.high], [place, place], color=_COLOURS[0], linewidth=3, alpha=0.35, solid_capstyle="butt")
        ax.plot([r.correlation], [place], "o", color=_COLOURS[0], markersize=4)
    ax.axvline(0, color="0.35", linewidth=0.8)
    ax.set_yticks(places, [r.label for r in ranks])
    ax.set_xlim(-1, 1)
    ax.set_xlabel("Spearman's correlation with the metric")
    return ax


def _save(figure: Figure, data: xr.Dataset, stem: Path, formats: tuple[str, ...], *, slide: bool = False) -> list[Path]:
    import os

    content = np.ascontiguousarray(ratios(data).values)
    mark = f"{data.attrs['study_digest']} {hashlib.blake2b(content.tobytes(), digest_size=8).hexdigest()}"
    dateless: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Description": mark},
        "png": {"Software": None, "Description": mark},
        "pdf": {"CreationDate": None, "Keywords": mark},
    }
    written = []
    for suffix in formats:
        path = stem.with_suffix(f".{suffix}")
        temporary = stem.with_name(f".{stem.name}.{suffix}")
        resolution: dict[str, Any] = {"dpi": _SLIDE_PIXELS / figure.get_figheight()} if slide else {}
        figure.savefig(temporary, format=suffix, metadata=dateless.get(suffix), **resolution)
        os.replace(temporary, path)
        written.append(path)
    return written
