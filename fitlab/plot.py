"""Figures of measurements and fits. Deterministic files; styles `paper` and `screen`, used as a context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitlab.errors import FitError
from fitlab.io.record import PulseResponse

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fitlab.fit import Fit
    from fitlab.fit.candidate import Candidate
    from fitlab.fit.prepare import DeviceTrace, Window

STYLES = Path(__file__).parent / "styles"
_GREY = "0.65"


@contextmanager
def style(name: str = "paper") -> Iterator[None]:
    """Matplotlib with one of the package's styles, without a window system, and as before afterwards."""
    import matplotlib as mpl

    path = STYLES / f"{name}.mplstyle"
    if not path.exists():
        raise FitError(
            f"there is no figure style '{name}'; choose from {', '.join(sorted(p.stem for p in STYLES.glob('*.mplstyle')))}"
        )
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.style.use(path)
        yield


def new_figure() -> Figure:
    """An empty figure that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Fresh

    figure = Fresh()
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG, PNG or PDF by its ending; the same figure gives the same bytes.

    Raises
    ------
    FitError
        Another ending.
    """
    import io

    from fitlab.parameters import write_atomically

    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("svg", "png", "pdf"):
        raise FitError(f"{path}: figures are written as .svg, .png or .pdf")
    metadata = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    write_atomically(path, buffer.getvalue())


def unit_of(window: Window) -> tuple[str, float]:
    """Label of the measured quantity and the factor to what is shown."""
    if window.unit == "norm":
        return "response (arbitrary units)", 1.0
    names = {"S": "conductance", "A": "read current", "ohm": "resistance", "counts": "read", "V": "read voltage"}
    largest = max(abs(window.low), abs(window.high))
    for prefix, scale in (("", 1.0), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9), ("p", 1e-12)):
        if largest >= scale or prefix == "p":
            return f"{names[window.unit]} ({prefix}{window.unit})", 1 / scale
    raise AssertionError


def draw_trace(ax: Axes, fit: Fit, *, most: int = 4) -> Axes:
    """Reads of the devices, the first with its fitted mean, against the number of the read."""
    label, factor = unit_of(fit.window)
    for device in fit.devices[1 : most + 8]:
        ax.plot(fit.window.to_value(device.trace.reads) * factor, ".", color="0.85", ms=1, zorder=1, rasterized=True)
    device, chosen = fit.devices[0], fit.chosen[0]
    ax.plot(fit.window.to_value(device.trace.reads) * factor, ".", color=_GREY, zorder=2, label=f"measured, {device.name}")
    mean = fit.window.to_value(chosen.mean) * factor
    first = True
    edges = [*device.trace.starts.tolist(), len(mean)]
    for a, b in pairwise(edges):
        ax.plot(np.arange(a, b), mean[a:b], color="C1", zorder=3, label=f"{chosen.name}, mean" if first else None)
        first = False
    ax.set(xlabel="read (pulse number)", ylabel=label)
    ax.legend(loc="best")
    return ax


def draw_residuals(ax: Axes, fit: Fit) -> Axes:
    """Reads minus mean response of the first device, with the standard deviation of one read."""
    label, factor = unit_of(fit.window)
    device, chosen = fit.devices[0], fit.chosen[0]
    scale = fit.window.per_w * factor
    ax.plot((device.trace.reads - chosen.mean) * scale, ".", color="C0")
    noise = chosen.stored["read_noise"] * scale
    for sign in (-1, 1):
        ax.axhline(sign * noise, color="C1", lw=0.8, ls="--", label="read noise" if sign > 0 else None)
    ax.axhline(0, color="0.3", lw=0.6)
    ax.set(xlabel="read (pulse number)", ylabel=f"residual ({label.split('(')[-1]}")
    ax.legend(loc="best")
    return ax


def binned_steps(device: DeviceTrace, sign: int, bins: int = 14) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """State, mean step and its standard error in bins of the state, one direction; steps positive towards their direction.

    States are means of the reads around the increment, without the two reads that make it.
    """
    from fitlab.fit.device import local_mean

    trace = device.trace
    state = local_mean(trace)
    follows = np.concatenate(([False], np.diff(trace.segment) == 0))
    n = trace.pulses
    step = np.concatenate(([np.nan], np.diff(trace.reads)))
    ok = follows & (np.sign(n) == sign) & np.isfinite(state) & np.isfinite(step)
    if ok.sum() < 2 * bins:
        return (np.zeros(0),) * 3
    state, step = state[ok], sign * step[ok] / np.abs(n[ok])
    order = np.argsort(state)
    parts = np.array_split(order, bins)
    return (
        np.array([state[p].mean() for p in parts]),
        np.array([step[p].mean() for p in parts]),
        np.array([step[p].std(ddof=1) / np.sqrt(len(p)) for p in parts]),
    )


def draw_steps(ax: Axes, fit: Fit) -> Axes:
    """Mean step against state for both directions: data in bins with errors, the model as lines."""
    label, factor = unit_of(fit.window)
    scale = fit.window.per_w * factor
    chosen: Candidate = fit.chosen[0]
    for sign, name, colour in ((1, "up", "C0"), (-1, "down", "C1")):
        state, step, error = binned_steps(fit.devices[0], sign)
        if len(state):
            ax.errorbar(
                fit.window.to_value(state) * factor,
                step * scale,
                error * scale,
                fmt="o",
                color=colour,
                ms=3,
                lw=0.8,
                label=f"{name}, measured",
            )
    reads = fit.devices[0].trace.reads
    w = np.linspace(np.nanmin(chosen.mean), np.nanmax(chosen.mean), 120)
    up, down = chosen.model.mean_steps(chosen.stored, w)
    ax.plot(fit.window.to_value(w) * factor, up * scale, color="C0", label="up, model")
    ax.plot(fit.window.to_value(w) * factor, down * scale, color="C1", label="down, model")
    symmetry = fit.diagnoses[0].symmetry.value
    if symmetry is not None and np.nanmin(reads) <= symmetry <= np.nanmax(reads):
        ax.axvline(float(fit.window.to_value(np.array(symmetry))) * factor, color="0.4", lw=0.7, ls=":", label="symmetry point")
    ax.set(xlabel=label, ylabel=f"mean step per pulse ({label.split('(')[-1]}")
    ax.margins(y=0.08)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.35 * (high - low))  # the legend stands above the data
    ax.legend(loc="upper center", ncols=2)
    return ax


def draw_variogram(ax: Axes, fit: Fit) -> Axes:
    """Variogram of the residuals: a line for white read noise and step noise, concave for coloured read noise."""
    from fitlab.fit.noise import LAGS

    d = fit.diagnoses[0].moments.variogram
    if np.isfinite(d).all():
        ax.plot(LAGS, d, "o", color="C0", label="measured")
        kappa2, q = fit.diagnoses[0].moments.read_noise ** 2, d[0] - 2 * fit.diagnoses[0].moments.read_noise ** 2
        ax.plot(LAGS, 2 * kappa2 + q * np.array(LAGS), color="C1", label="white read and step noise (moments)")
        ax.legend(loc="best")
    ax.set(xlabel="lag (pulses)", ylabel="mean squared difference (w²)")
    return ax


def figure_of_fit(fit: Fit) -> Figure:
    """Data with the fitted mean, residuals, step against state, variogram."""
    figure = new_figure()
    axes = figure.subplots(2, 2)
    draw_trace(axes[0, 0], fit)
    draw_steps(axes[0, 1], fit)
    draw_residuals(axes[1, 0], fit)
    draw_variogram(axes[1, 1], fit)
    chosen = fit.chosen[0]
    figure.suptitle(f"{fit.attrs['source']}: {chosen.name}, R² = {chosen.r2:.4f} (least squares {chosen.least_squares.r2:.4f})")
    return figure


def figure_of_response(response: xr.Dataset | PulseResponse) -> Figure:
    """Measured values of all devices against the number of the read."""
    from fitlab.fit.prepare import Window, measured

    response = PulseResponse.of(response)
    values, unit = measured(response)
    window = Window(float(np.nanmin(values)), float(np.nanmax(values)), unit)
    label, factor = unit_of(window)
    figure = new_figure()
    ax = figure.subplots()
    for d, name in enumerate(response.devices):
        flat = np.concatenate([row[np.isfinite(row)] for row in values[d]])
        ax.plot(flat * factor, ".", ms=2, label=str(name) if len(response.devices) <= 8 else None)
    ax.set(xlabel="read (pulse number)", ylabel=label, title=str(response.attrs["source"]))
    if len(response.devices) <= 8:
        ax.legend(loc="best")
    return figure
