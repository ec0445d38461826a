"""The response overview as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fitlab.plot import new_figure

from .simulate import Overview, Response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fitlab.parameters import ParameterSet

DRAWN = 7
_GREY = "0.75"


def draw_response(ax: Axes, response: Response, *, label: str) -> Axes:
    """Drawn devices in grey, the mean of the nominal device, and the band of its noise."""
    ax.plot(response.pulse, response.drawn[:, :DRAWN], color=_GREY, lw=0.5, zorder=1)
    ax.plot([], [], color=_GREY, lw=0.5, label=f"{DRAWN} drawn devices")
    low, high = response.mean - response.deviation, response.mean + response.deviation
    ax.fill_between(response.pulse, low, high, color="C0", alpha=0.25, lw=0, zorder=2, label="± 1 std of the noise")
    ax.plot(response.pulse, response.mean, color="C0", zorder=3, label=label)
    ax.set(xlabel="pulse", ylabel="weight", xlim=(0, response.pulse[-1]))
    return ax


def draw_ramps(ax: Axes, o: Overview) -> Axes:
    """Up pulses, then down pulses."""
    draw_response(ax, o.ramps, label="mean of the nominal device")
    ax.axvline(o.turn, color="0.4", lw=0.6, ls=":")
    for at, text in ((o.turn / 2, "up"), ((o.turn + o.ramps.pulse[-1]) / 2, "down")):
        ax.annotate(text, (at, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top", color="0.3")
    return ax


def draw_alternating(ax: Axes, o: Overview) -> Axes:
    """One up and one down pulse in turn, from the end of the ramps."""
    draw_response(ax, o.alternating, label="up and down in turn")
    if o.symmetry is not None:
        ax.axhline(o.symmetry, color="C1", lw=0.8, ls="--", label=f"symmetry point {o.symmetry:.3g}")
    ax.legend(loc="best")
    return ax


def draw_steps(ax: Axes, o: Overview) -> Axes:
    """Mean step of one pulse against the weight, with the band of the cycle-to-cycle noise."""
    s = o.steps
    for mean, noise, colour, name in ((s.up, s.up_noise, "C0", "up"), (s.down, s.down_noise, "C1", "down")):
        ax.plot(s.weight, mean, color=colour, label=name)
        if np.any(noise > 1e-3 * np.max(np.abs(mean))):
            ax.fill_between(s.weight, mean - noise, mean + noise, color=colour, alpha=0.15, lw=0)
    if o.symmetry is not None:
        ax.axvline(o.symmetry, color="0.4", lw=0.7, ls=":", label=f"symmetry point {o.symmetry:.3g}")
    # a noise of many steps would flatten the steps: the band then leaves the picture, and the text says how wide it is
    largest = float(max(np.max(s.up), np.max(s.down)))
    ax.set_ylim(*np.clip(ax.get_ylim(), -1.5 * largest, 3.0 * largest))
    ax.set(xlabel="weight", ylabel="step of one pulse (weight)", title="mean step, band ± 1 std from pulse to pulse")
    ax.legend(loc="best")
    return ax


def draw_population(ax: Axes, o: Overview) -> Axes:
    """Mean steps up and down of the drawn devices, and the nominal one."""
    up, down = o.at(o.middle)
    ax.plot(o.population.up, o.population.down, ".", color=_GREY, label=f"{len(o.population.up)} drawn devices")
    ax.plot([up], [down], "o", color="C0", ms=4, label="nominal device")
    ends = np.array(
        [min(o.population.up.min(), o.population.down.min(), 0), 1.05 * max(o.population.up.max(), o.population.down.max())]
    )
    ax.plot(ends, ends, color="0.4", lw=0.6, ls=":", label="symmetric")
    ax.set(xlabel=f"up step at w = {o.middle:.3g}", ylabel=f"down step at w = {o.middle:.3g}", title="device to device")
    ax.legend(loc="best")
    return ax


def figure_of_overview(o: Overview, title: str, document: ParameterSet | None = None) -> Figure:
    """Ramps, alternating pulses, steps against weight, spread of the steps; for a parameter set in measured units too."""
    figure = new_figure()
    axes = figure.subplots(2, 2)
    draw_ramps(axes[0, 0], o).legend(loc="lower center")
    draw_alternating(axes[0, 1], o)
    draw_steps(axes[1, 0], o)
    draw_population(axes[1, 1], o)
    states = o.device.num_states()
    figure.suptitle(f"{title}: {type(o.device).__name__}, {states:.4g} states from {o.low:.3g} to {o.high:.3g}")
    if document is not None:
        weight = document.weight
        second = axes[0, 0].secondary_yaxis(
            "right",
            functions=(
                lambda w: weight.low + (w + 1) / 2 * (weight.high - weight.low),
                lambda v: 2 * (v - weight.low) / (weight.high - weight.low) - 1,
            ),
        )
        second.set_ylabel(f"measured ({weight.unit})")
    return figure


def figure_of_several(overviews: Sequence[tuple[str, Overview]]) -> Figure:
    """Ramps and steps of several devices, a pair of panels each, two devices a row."""
    figure = new_figure()
    rows = -(-len(overviews) // 2)
    width, _ = figure.get_size_inches()
    figure.set_size_inches(width * 1.6, 2.0 * rows + 0.3)
    axes = figure.subplots(rows, 4, squeeze=False)
    for k, (name, o) in enumerate(overviews):
        left, right = axes[k // 2, 2 * (k % 2)], axes[k // 2, 2 * (k % 2) + 1]
        draw_ramps(left, o).set_title(name)
        draw_steps(right, o).set(title=type(o.device).__name__, ylabel="step (weight)")
    for ax in axes.flat[2 * len(overviews) :]:
        ax.set_axis_off()
    return figure
