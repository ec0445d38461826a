"""A report of a fit: one HTML or PDF file that needs nothing else, with data, fit, noise, population, simulation and advice."""

from __future__ import annotations

import html
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitlab.parameters import Estimate, ParameterSet, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fitlab.fit.run import Fit
    from fitlab.predictive import Check

__all__ = ["advice", "report", "report_pdf", "save_report"]

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


@dataclass(frozen=True)
class Figures:
    """Figures of a report; population is None for one device."""

    fitted: Figure
    checked: Figure
    simulated: Figure
    population: Figure | None


def _figures(fit: Fit, document: ParameterSet, checks: list[Check]) -> Figures:
    from fitlab import plot
    from fitlab.overview.figure import figure_of_overview
    from fitlab.overview.simulate import overview

    return Figures(
        plot.figure_of_fit(fit),
        _figure_of_check(fit, checks[0]),
        figure_of_overview(overview(document.to_device(), document.name), document.name, document),
        _figure_of_population(document) if len(document.devices) > 1 else None,
    )


def _lead(document: ParameterSet) -> tuple[str, str]:
    """What was measured and fitted, and what to measure next, in words."""
    protocol, unit = document.protocol, document.weight.unit
    worst, measure = advice(document)
    log = " on a logarithmic scale" if document.weight.scale == "log" else ""
    return (
        f"{document.source.files}: {protocol.devices} device(s), {protocol.cycles} cycle(s), {protocol.reads_up} reads after up "
        f"and {protocol.reads_down} after down pulses, {protocol.flagged} flagged. Mean trajectory: R² "
        f"{document.goodness.r2:.4f}. Weight −1 is {document.weight.low:.5g} {unit}, weight +1 {document.weight.high:.5g} "
        f"{unit}{log}.",
        f"Known worst: {worst}. {measure[:1].upper() + measure[1:]}.",
    )


def _noise(document: ParameterSet) -> str:
    noise = document.noise
    return (
        f"Read noise {noise.read_noise_value:.3g} {document.weight.unit}. Moments of the increments: read noise "
        f"{_number(noise.moments_read_noise)}, step noise {_number(noise.moments_step_noise)}, correlation of neighbours "
        f"{_number(noise.increment_correlation)} (white read noise alone: −0.5). Innovations white: p = "
        f"{_number(noise.innovation_p)}."
    )


def _people(document: ParameterSet) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Tables of the population and of the cycles: title, header, rows; those without rows are left out."""
    tables = [
        (
            "Correlations between devices",
            ("fields", "correlation", "±", "95 % interval"),
            [
                (f"{p.first}, {p.second}", f"{p.value:.2f}", f"{p.error:.2f}", f"{p.low:.2f} to {p.high:.2f}")
                for p in document.dtod_correlation
            ],
        ),
        (
            "Outlying devices",
            ("device", "field", "deviations"),
            [(o.device, o.field, f"{o.deviation:+.1f}") for o in document.outliers],
        ),
        (
            "Devices that could not be fitted",
            ("device", "reason"),
            list(document.protocol.failed.items()),
        ),
        (
            "From cycle to cycle",
            ("parameter of the fit", "spread", "change a cycle", "95 % interval", "cycles"),
            [
                (n, f"{t.spread:.3g}", f"{t.slope:.3g}", f"{t.low:.3g} to {t.high:.3g}", str(t.cycles))
                for n, t in document.trends.items()
            ],
        ),
    ]
    return [t for t in tables if t[2]]  # type: ignore[misc]


def report(fit: Fit, document: ParameterSet) -> str:
    """The HTML text; numbers in weight units unless a unit stands beside them."""
    from fitlab import plot
    from fitlab.predictive import check_fit

    checks = check_fit(fit)
    with plot.style("screen"):
        figures = _figures(fit, document, checks)
        fitted, checked, simulated = (_svg(f) for f in (figures.fitted, figures.checked, figures.simulated))
        population = _svg(figures.population) if figures.population else ""
    lead, measure = _lead(document)
    parts = [
        f"<h1>{_text(document.name)}: {_text(document.device.model)}</h1>",
        f"<p>{_text(lead)}</p>",
        f"<p><b>Next measurement.</b> {_text(measure)}</p>",
        _list("Warnings", document.warnings, "warn"),
        "<h2>Parameters</h2>" + _estimates({**document.parameters, "symmetry_point": document.symmetry_point}),
        f'<p class="small">95 % intervals by: {_text(document.intervals)}.</p>',
        "<h2>Spreads between devices</h2>" + _estimates({**document.dtod, "corrupt_devices_prob": document.corrupt_devices}),
        "<h2>Data, fit, residuals, noise</h2>" + fitted,
        f"<p>{_text(_noise(document))}</p>",
        "<h2>The simulated device over its measurement</h2>" + checked + _list("", [c.sentence() for c in checks], "small"),
        f"<h2>Population</h2>{population}" if population else "",
        *(
            f"<h2>{title}</h2>" + _table(header, [[_text(c) for c in row] for row in rows])
            for title, header, rows in _people(document)
        ),
        "<h2>The simulated device</h2>" + simulated,
        "<h2>Models</h2>" + _models(document),
        _list("What was assumed", document.source.assumptions, "small"),
        _list("Left out", document.protocol.left_out, "small"),
        f'<p class="small">{_text(_provenance(document))}</p>',
    ]
    title = _text(document.name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )


def _provenance(document: ParameterSet) -> str:
    return (
        f"SHA-256 of the data {document.source.sha256}; reader {document.source.reader}; "
        + ", ".join(f"{n} {v}" for n, v in document.versions.items())
    )  # fmt: skip


def report_pdf(fit: Fit, document: ParameterSet) -> bytes:
    """The same as a PDF: pages of text and tables, then the figures."""
    from matplotlib.backends.backend_pdf import PdfPages

    from fitlab import plot
    from fitlab.predictive import check_fit
    from fitlab.terminal import value_text

    checks = check_fit(fit)
    lead, measure = _lead(document)
    lines = [f"{document.name}: {document.device.model}", "", *_wrapped(lead), "", *_wrapped(f"Next measurement. {measure}")]
    if document.warnings:
        lines += ["", "Warnings", *(part for w in document.warnings for part in _wrapped(w, "- "))]
    estimates = {**document.parameters, "symmetry_point": document.symmetry_point}
    spreads = {**document.dtod, "corrupt_devices_prob": document.corrupt_devices}
    for title, found in (("Parameters", estimates), ("Spreads between devices", spreads)):
        lines += ["", title, *_columns(("name", "value", "±", "remark"), [(n, *value_text(e)) for n, e in found.items()])]
    lines += ["", f"95 % intervals by: {document.intervals}.", "", *_wrapped(_noise(document))]
    lines += ["", "The simulated device over its measurement", *(p for c in checks for p in _wrapped(c.sentence(), "- "))]
    for title, header, rows in _people(document):
        lines += ["", title, *_columns(header, rows)]
    lines += ["", "Models", *_columns(_MODEL_HEADER, _model_rows(document))]
    if document.source.assumptions:
        lines += ["", "What was assumed", *(part for a in document.source.assumptions for part in _wrapped(a, "- "))]
    lines += ["", *_wrapped(_provenance(document))]
    out = io.BytesIO()
    with plot.style("paper"), PdfPages(out, metadata={"CreationDate": None, "Title": document.name}) as pages:
        for k in range(0, len(lines), _LINES):
            figure = plot.new_figure()
            figure.set_size_inches(8.27, 11.69)
            figure.set_layout_engine("none")
            figure.text(0.07, 0.95, "\n".join(lines[k : k + _LINES]), va="top", family="monospace", size=7.5, parse_math=False)
            pages.savefig(figure)
        figures = _figures(fit, document, checks)
        for one in (figures.fitted, figures.checked, figures.population, figures.simulated):
            if one is not None:
                pages.savefig(one)
    return out.getvalue()


_LINES, _WIDTH = 78, 110


def _wrapped(text: str, mark: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark)) or [""]


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table in columns; the last one is wrapped."""
    widths = [max(len(str(r[i])) for r in [header, *rows]) for i in range(len(header) - 1)]
    out = []
    for row in [header, *rows]:
        first = "  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=False)) + "  "
        last = textwrap.wrap(str(row[-1]), max(_WIDTH - len(first), 30)) or [""]
        out += [first + last[0], *(" " * len(first) + part for part in last[1:])]
    return out


def save_report(fit: Fit, document: ParameterSet, path: str | Path) -> None:
    """Write the report as HTML, or as PDF where the name ends so, whole or not at all."""
    path = Path(path)
    data = report_pdf(fit, document) if path.suffix.lower() == ".pdf" else report(fit, document).encode()
    write_atomically(path, data)


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
    head = f"<h2>{title}</h2>" if title else ""
    return f'{head}<ul class="{kind}">' + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{h}</th>" for h in header)
    return (
        f"<table><tr>{head}</tr>" + "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows) + "</table>"
    )


def _estimates(found: dict[str, Estimate]) -> str:
    from fitlab.terminal import value_text

    return _table(("name", "value", "±", "remark"), [(_text(n), *map(_text, value_text(e))) for n, e in found.items()])


_MODEL_HEADER = ("model", "parameters", "ΔAICc", "ΔBIC", "weight", "held-out cycles", "R² (least squares)")


def _model_rows(document: ParameterSet) -> list[tuple[str, ...]]:
    return [
        (
            m.model,
            str(m.parameters),
            f"{m.delta_aicc:.1f}",
            f"{m.delta_bic:.1f}",
            f"{m.weight:.3f}",
            "–" if m.held_out is None else f"{m.held_out:.1f} ± {m.held_out_error:.1f}",
            f"{m.r2:.4f}",
        )
        for m in document.comparison
    ]


def _models(document: ParameterSet) -> str:
    return _table(_MODEL_HEADER, [[_text(c) for c in row] for row in _model_rows(document)])


def _figure_of_check(fit: Fit, check: Check) -> Figure:
    """Reads of the first device over the band of its simulation."""
    from fitlab import plot

    figure = plot.new_figure()
    ax = figure.subplots()
    device = fit.devices[0]
    label, factor = plot.unit_of(fit.window)
    n = np.arange(len(check.low))
    low, high, middle = (fit.window.to_value(v) * factor for v in (check.low, check.high, check.middle))
    ax.fill_between(n, low, high, color="C1", alpha=0.3, lw=0, label="simulated, 5 to 95 %")
    ax.plot(n, middle, color="C1", label="simulated, mean")
    ax.plot(n, fit.window.to_value(device.trace.reads) * factor, ".", ms=2, color="0.3", label=f"measured, {device.name}")
    ax.set(xlabel="read (pulse number)", ylabel=label)
    ax.legend(loc="best")
    return figure


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
