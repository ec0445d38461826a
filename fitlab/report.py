"""A report of a fit: one HTML file that needs nothing else, with data, fit, noise, population, simulated device and advice."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitlab.parameters import Estimate, ParameterSet, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fitlab.fit.run import Fit

__all__ = ["advice", "report", "save_report"]

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.6rem 0}"
    "td,th{padding:.15rem .8rem .15rem 0;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    "svg{max-width:100%;height:auto}.warn{border-left:4px solid #c60;padding-left:.8rem}.small{color:#666;font-size:.85rem}"
)
_ADVICE = {
    "w_max": "continue the up ramps until further pulses no longer change the state",
    "w_min": "continue the down ramps until further pulses no longer change the state",
    "gamma_up": "make the up ramps longer, so that they cross the whole range",
    "gamma_down": "make the down ramps longer, so that they cross the whole range",
    "up_down": "give both directions the same number of pulses, from the same states",
    "dw_min": "repeat the ramps: the error falls with the square root of the number of cycles",
    "dw_min_std": "read after every single pulse, and repeat the ramps: step noise shows only from read to read",
    "read_noise": "read the same state many times without pulses in between",
    "write_noise_std": "read the same state many times without pulses in between",
    "symmetry_point": "alternate single up and down pulses until the state settles",
}


def advice(document: ParameterSet) -> tuple[str, str]:
    """The parameter that is known worst, and the next measurement to make to narrow it."""
    fields = {**document.parameters, "symmetry_point": document.symmetry_point}

    def unknown(item: tuple[str, Estimate]) -> float:
        _, e = item
        if e.value is None or e.error is None:
            return np.inf
        scale = 1.0 if item[0] == "symmetry_point" else abs(e.value)
        return e.error / scale if scale else e.error

    name, worst = max(((n, e) for n, e in fields.items() if n in _ADVICE), key=unknown)
    if unknown((name, worst)) < 0.05 and document.protocol.devices < 8:
        return "spreads between devices", f"measure at least 8 devices; this set rests on {document.protocol.devices}"
    return name, _ADVICE[name]


def report(fit: Fit, document: ParameterSet) -> str:
    """The HTML text; numbers in weight units unless a unit stands beside them."""
    from fitlab import plot
    from fitlab.overview.figure import figure_of_overview
    from fitlab.overview.simulate import overview

    unit = document.weight.unit
    worst, measure = advice(document)
    with plot.style("screen"):
        fitted = _svg(plot.figure_of_fit(fit))
        simulated = _svg(figure_of_overview(overview(document.to_device(), document.name), document.name, document))
        population = _svg(_figure_of_population(document)) if len(document.devices) > 1 else ""
    protocol, noise = document.protocol, document.noise
    parts = [
        f"<h1>{_text(document.name)}: {_text(document.device.model)}</h1>",
        f"<p>{_text(document.source.files)}: {protocol.devices} device(s), {protocol.cycles} cycle(s), {protocol.reads_up} reads "
        f"after up and {protocol.reads_down} after down pulses, {protocol.flagged} flagged. Mean trajectory: R² "
        f"{document.goodness.r2:.4f}. Weight −1 is {document.weight.low:.5g} {_text(unit)}, weight +1 "
        f"{document.weight.high:.5g} {_text(unit)}.</p>",
        f"<p><b>Next measurement.</b> Known worst: {_text(worst)}. {_text(measure[:1].upper() + measure[1:])}.</p>",
        _list("Warnings", document.warnings, "warn"),
        "<h2>Parameters</h2>" + _estimates({**document.parameters, "symmetry_point": document.symmetry_point}),
        "<h2>Spreads between devices</h2>" + _estimates(document.dtod),
        "<h2>Data, fit, residuals, noise</h2>" + fitted,
        f"<p>Read noise {noise.read_noise_value:.3g} {_text(unit)}. Moments of the increments: read noise "
        f"{_number(noise.moments_read_noise)}, step noise {_number(noise.moments_step_noise)}, correlation of neighbours "
        f"{_number(noise.increment_correlation)} (white read noise alone: −0.5). Innovations white: p = "
        f"{_number(noise.innovation_p)}.</p>",
        f"<h2>Population</h2>{population}" if population else "",
        "<h2>The simulated device</h2>" + simulated,
        "<h2>Models</h2>" + _models(document),
        _list("What was assumed", document.source.assumptions, "small"),
        _list("Left out", protocol.left_out, "small"),
        f'<p class="small">SHA-256 of the data {document.source.sha256}; reader {_text(document.source.reader)}; '
        + ", ".join(f"{_text(n)} {_text(v)}" for n, v in document.versions.items())
        + "</p>",
    ]
    title = _text(document.name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )


def save_report(fit: Fit, document: ParameterSet, path: str | Path) -> None:
    """Write the report, whole or not at all."""
    write_atomically(Path(path), report(fit, document).encode())


def _text(value: object) -> str:
    return html.escape(str(value))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _list(title: str, lines: Sequence[str], kind: str) -> str:
    if not lines:
        return ""
    return f'<h2>{title}</h2><ul class="{kind}">' + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{h}</th>" for h in header)
    return (
        f"<table><tr>{head}</tr>" + "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows) + "</table>"
    )


def _estimates(found: dict[str, Estimate]) -> str:
    from fitlab.terminal import value_text

    return _table(("name", "value", "±", "remark"), [(_text(n), *map(_text, value_text(e))) for n, e in found.items()])


def _models(document: ParameterSet) -> str:
    rows = [
        (_text(m.model), str(m.parameters), f"{m.delta_aicc:.1f}", f"{m.delta_bic:.1f}", f"{m.weight:.3f}", f"{m.r2:.4f}")
        for m in document.comparison
    ]
    return _table(("model", "parameters", "ΔAICc", "ΔBIC", "weight", "R² (least squares)"), rows)


def _figure_of_population(document: ParameterSet) -> Figure:
    """Fitted values of every device with their errors, one panel a parameter."""
    from fitlab import plot

    names = [n for n in document.devices[0].values if all(n in d.values for d in document.devices)][:6]
    figure = plot.new_figure()
    axes = np.atleast_1d(figure.subplots(1, len(names))).ravel()
    order = np.arange(len(document.devices))
    for ax, name in zip(axes, names, strict=True):
        values = np.array([d.values[name] for d in document.devices])
        errors = np.array([d.errors.get(name, 0.0) for d in document.devices])
        ax.errorbar(values, order, xerr=errors, fmt="o", ms=3, lw=1)
        ax.set(xlabel=name, yticks=[])
    axes[0].set_ylabel("device")
    return figure
