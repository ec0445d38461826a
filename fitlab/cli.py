"""The command line `fitlab`: fit, report, show, export, presets, formats, doctor, spec, tune, and the studies.

Exit codes: 0 done; 1 fault of the program, or (doctor) something is missing; 2 input or usage. Heavy modules are imported
inside the commands, so that help answers at once.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fitlab.options import reading_options, with_reading_options
from sim.errors import FitlabError
from studies.cli import app as study
from studies.commands import device_spec, tune

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 64
"""Devices from which the fit is long enough to keep what is done."""
_Figure = Annotated[Path | None, typer.Option("-o", "--figure", help="Figure to write: .svg, .png or .pdf.", show_default=False)]

_Files = Annotated[
    list[Path], typer.Argument(help="Measurement files; two named up/down, set/reset or LTP/LTD are one.", show_default=False)
]
_Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="auto, or a model: ConstantStep, LinearStep, SoftBounds, SoftBoundsReference, SoftBoundsPmax, ExpStep, PowStep, "
        "PowStepReference, PiecewiseStep; ExpressionDevice: the formulas of --set; table: a table of the measured steps; "
        "repeatable.",
    ),
]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="FIELD=VALUE of --model ExpressionDevice: up, down, noise (formulas), parameters={NAME=START, ...}; repeatable.",
        show_default=False,
    ),
]
_Style = Annotated[str, typer.Option(help="Style of the figure: paper or screen.")]
_Intervals = Annotated[
    str | None,
    typer.Option(help="95 % intervals by profile, bootstrap or emcee (default: the curvature).", show_default=False),
]
_CrossValidate = Annotated[bool, typer.Option("--cross-validate", help="Judge models by cycles that they were not fitted to.")]
_Scale = Annotated[str, typer.Option(help="Weight as linear or log of the measured quantity.")]
_Threads = Annotated[
    int | None, typer.Option(min=1, help="Devices fitted at a time (default: the processors).", show_default=False)
]
_Dask = Annotated[str | None, typer.Option(help="Address of a dask scheduler that fits the devices.", show_default=False)]

app = typer.Typer(
    name="fitlab",
    help="From a measured analog memory cell to a spec target: fit a device "
    "model, simulate networks on it, find what must improve.",
    epilog="Start with: fitlab fit device.csv -o device.toml   then: fitlab show device.toml   and: fitlab study plan study.toml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(study, name="study")
app.command(name="spec", epilog="Example: fitlab spec cell.toml --task digits")(device_spec)
app.command(
    name="tune",
    epilog="Examples: fitlab tune ReRamArrayOMPresetDevice --algorithm agad  |  "
    "fitlab tune cell.toml --task mnist --data data/mnist",
)(tune)


@app.command(
    name="fit",
    epilog="Examples: fitlab fit cell.csv -o cell.toml --figure cell.svg  |  fitlab fit array.csv --columns devices  |  "
    "fitlab fit set.csv reset.csv --columns cycles --read-voltage 0.1V  |  "
    "fitlab fit log.csv --map value='I (A)' --map direction=pulse  |  "
    "fitlab fit cell.csv --model ExpressionDevice --set up='dw_min*exp(-a*w)' --set down='dw_min*exp(b*w)' "
    "--set parameters='{a=1.0, b=1.0}'",
)
@with_reading_options
def fit_command(
    files: _Files,
    model: _Models = None,
    set_: _Set = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Parameter set to write (default: name of the first file, .toml).", show_default=False
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Figure of data, fit and residuals to write: .svg, .png or .pdf.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the device in the parameter set.", show_default=False)] = None,
    style: _Style = "paper",
    threads: _Threads = None,
    dask: _Dask = None,
    intervals: _Intervals = None,
    cross_validate: _CrossValidate = False,
    scale: _Scale = "linear",
    kind: Annotated[
        str, typer.Option(help="pulses: a response to pulses; retention: reads over time, for a noise model of inference.")
    ] = "pulses",
    *,
    reading: dict[str, Any],
) -> None:
    """Fit device models to measured pulse responses and write a parameter set; or a noise model to retention."""
    from fitlab.terminal import print_fit, progress_line, say

    if kind not in ("pulses", "retention"):
        raise FitlabError(f"--kind {kind}: give pulses or retention")
    if kind == "retention":
        from fitlab.retention.command import run

        _check_targets(files, None, None)
        say(run(files, output, reading["map_"] or [], reading["unit"], reading["read_voltage"], reading["sheet"]))
        return
    output = output or Path(files[0].stem + ".toml")
    _check_targets(files, output, figure)
    from fitlab.fit import fit, parameter_set
    from fitlab.io import read_record

    response = read_record(list(files), reading_options(reading))
    # results of many devices are kept beside the set until it is written, so that an interrupted fit goes on
    parts = output.with_name(output.name + ".parts") if len(response.devices) > MANY else None
    again = parts is not None and parts.exists()
    if again:
        say(f"going on with what is in {parts}")
    result = fit(
        response,
        _models(model, set_),
        threads=threads,
        dask=dask,
        keep=parts,
        progress=progress_line if parts else None,
        intervals=intervals,
        cross_validate=cross_validate,
        log_scale=_log_scale(scale),
    )
    document = parameter_set(result, name)
    if figure is not None:
        from fitlab import plot

        with plot.style(style):
            plot.save(plot.figure_of_fit(result), figure)
    document.save(output)
    if parts is not None:
        shutil.rmtree(parts)
    print_fit(document)
    say(f"written: {output}" + (f", {figure}" if figure else ""))


@app.command(
    name="report",
    epilog="Examples: fitlab report cell.csv -o cell.html  |  fitlab report array.csv --columns devices -o array.html",
)
@with_reading_options
def report_command(
    files: _Files,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write, .html or .pdf (default: NAME.html).", show_default=False),
    ] = None,
    model: _Models = None,
    set_: _Set = None,
    threads: _Threads = None,
    dask: _Dask = None,
    intervals: _Intervals = None,
    cross_validate: _CrossValidate = False,
    scale: _Scale = "linear",
    *,
    reading: dict[str, Any],
) -> None:
    """Fit, and write one HTML or PDF file: data, fit, noise, population, simulated device, the next measurement to make."""
    from fitlab.terminal import say

    output = output or Path(files[0].stem + ".html")
    if output.suffix.lower() not in (".html", ".pdf"):
        raise FitlabError(f"-o {output}: a report is written as .html or .pdf")
    start = b"<!doctype html" if output.suffix.lower() == ".html" else b"%pdf"
    if output.exists() and not output.read_bytes()[:15].lower().startswith(start):
        raise FitlabError(f"{output}: exists and is no report; choose another name with -o")
    _check_targets(files, None, None)
    from fitlab.fit import fit, parameter_set
    from fitlab.io import read_record
    from fitlab.report import save_report

    response = read_record(list(files), reading_options(reading))
    result = fit(
        response,
        _models(model, set_),
        threads=threads,
        dask=dask,
        intervals=intervals,
        cross_validate=cross_validate,
        log_scale=_log_scale(scale),
    )
    save_report(result, parameter_set(result), output)
    say(f"written: {output}")


@app.command(
    epilog="Examples: fitlab show cell.toml -o cell.svg  |  fitlab show ReRamSBPresetDevice --set dw_min=0.001 -o device.svg  |  "
    "fitlab show SoftBoundsDevice --set w_max=1 --set w_min=-1  |  fitlab show data.csv -o data.png"
)
@with_reading_options
def show(
    what: Annotated[
        str,
        typer.Argument(
            help="A parameter set (.toml), a device preset, a device model, or a measurement file.", show_default=False
        ),
    ],
    figure: _Figure = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE: a field of the device to change; repeatable.", show_default=False),
    ] = None,
    style: _Style = "paper",
    *,
    reading: dict[str, Any],
) -> None:
    """Print, and draw, how a device answers to pulses, or a measurement."""
    from fitlab import terminal

    path = Path(what)
    _check_targets([path], None, figure)
    if path.suffix.lower() != ".toml" and (path.exists() or path.suffix):
        if set_:
            raise FitlabError(f"--set: {what} is a measurement, which has no fields; name a device or a parameter set")
        from fitlab.io import read_record

        response = read_record(path, reading_options(reading))
        terminal.print_response(response)
        _draw(figure, style, lambda: _plot().figure_of_response(response))
        return
    from fitlab.overview.named import device_named, settings_of

    named = device_named(what, settings_of(set_ or []))
    from fitlab.overview.simulate import overview

    found = overview(named.device, named.name)
    if named.document is not None:
        terminal.print_set(named.document)
    terminal.print_overview(named.name, found, named.citation)

    def make() -> Figure:
        from fitlab.overview.figure import figure_of_overview

        return figure_of_overview(found, named.name, named.document)

    _draw(figure, style, make)


@app.command(
    epilog="Examples: fitlab presets  |  fitlab presets ReRamESPresetDevice ReRamSBPresetDevice -o reram.svg  |  "
    "fitlab presets --all --figure presets.svg"
)
def presets(
    names: Annotated[list[str] | None, typer.Argument(help="Presets (default: list all).", show_default=False)] = None,
    all_: Annotated[bool, typer.Option("--all", help="All device presets.")] = False,
    figure: _Figure = None,
    style: Annotated[str, typer.Option(help="Style of the figure: paper or screen.")] = "paper",
) -> None:
    """List the calibrated devices with their source, the unit cells and configurations; draw how devices answer to pulses."""
    from fitlab import terminal

    _check_targets([], None, figure)
    if names and all_:
        raise FitlabError("--all: names are given too; give names, or --all")
    if figure is not None and not names and not all_:
        raise FitlabError(f"--figure {figure}: say which presets to draw; give names, or --all")
    import sim.presets
    from fitlab.overview.named import device_named

    chosen = [device_named(name) for name in names or sim.presets.names("device")]
    terminal.print_presets(chosen)
    if not names and not all_:
        terminal.print_configurations([sim.presets.get(n) for kind in ("cell", "config") for n in sim.presets.names(kind)])

    def make() -> Figure:
        from fitlab.overview.figure import figure_of_several
        from fitlab.overview.simulate import overview

        return figure_of_several([(c.name, overview(c.device, c.name)) for c in chosen])

    _draw(figure, style, make)


@app.command(epilog="Examples: fitlab export cell.toml --to aihwkit  |  fitlab export cell.toml --to python -o cell.py")
def export(
    what: Annotated[Path, typer.Argument(help="A parameter set (.toml).", show_default=False)],
    to: Annotated[str, typer.Option(help="python, json, aihwkit or neurosim.")] = "python",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write (default: print).", show_default=False)
    ] = None,
) -> None:
    """Write a fitted device for other programs: Python source, JSON, a device of aihwkit, or the numbers of NeuroSim."""
    from fitlab.export import EXPORTS
    from fitlab.parameters import load, write_atomically
    from fitlab.terminal import say

    if to not in EXPORTS:
        raise FitlabError(f"--to {to}: use {', '.join(EXPORTS)}")
    text = EXPORTS[to](load(what))
    if output is None:
        sys.stdout.write(text)
        return
    if output.exists():
        raise FitlabError(f"{output}: exists; choose another name with -o")
    write_atomically(output, text.encode())
    say(f"written: {output}")


@app.command(name="formats", epilog="Example: fitlab formats")
def formats_command() -> None:
    """List the instruments and layouts that are read, by the names that --format takes."""
    from fitlab.io.formats import formats
    from fitlab.io.instruments import instruments
    from fitlab.terminal import print_formats

    print_formats(instruments(), formats())


@app.command(epilog="Example: fitlab doctor")
def doctor() -> None:
    """Say what is installed, which backends work, how many threads there are, and what is missing."""
    from fitlab.doctor import examine

    missing = examine()
    raise typer.Exit(1 if missing else 0)


def _models(names: list[str] | None, settings: list[str] | None) -> list[Any]:
    """Models of --model; the formula of --set in the place of ExpressionDevice."""
    out: list[Any] = list(names or ["auto"])
    at = [i for i, name in enumerate(out) if name.lower().removesuffix("device") == "expression"]
    if settings and not at:
        raise FitlabError("--set: gives the formulas of a model; add --model ExpressionDevice")
    for i in at:
        from fitlab.overview.named import device_named, settings_of

        out[i] = device_named("ExpressionDevice", settings_of(settings or [])).device
    return out


def _log_scale(scale: str) -> bool:
    if scale not in ("linear", "log"):
        raise FitlabError(f"--scale {scale}: give linear or log")
    return scale == "log"


def _check_targets(files: list[Path], output: Path | None, figure: Path | None) -> None:
    """Refuse targets before any work is done: a bad ending, no folder, or a file that is not ours to replace."""
    if figure is not None and figure.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise FitlabError(f"--figure {figure}: figures are written as .svg, .png or .pdf")
    for target in (output, figure):
        if target is None:
            continue
        if target.resolve() in {f.resolve() for f in files}:
            raise FitlabError(f"{target}: is one of the input files; choose another name with -o")
        if not target.resolve().parent.is_dir():
            raise FitlabError(f"{target}: the folder {target.resolve().parent} does not exist; make it or choose another")
    if output is not None and output.exists() and (output.is_dir() or b"schema_version" not in output.read_bytes()[:4096]):
        raise FitlabError(f"{output}: exists and is no parameter set; choose another name with -o")


def _plot() -> ModuleType:
    from fitlab import plot

    return plot


def _draw(figure: Path | None, style: str, make: Callable[[], Figure]) -> None:
    if figure is None:
        return
    from fitlab import plot
    from fitlab.terminal import say

    with plot.style(style):
        plot.save(make(), figure)
    say(f"written: {figure}")


def main() -> NoReturn:
    """Run the command line."""
    try:
        app(standalone_mode=True)
        code = 0
    except FitlabError as error:
        sys.stderr.write(f"Error: {error}\n")
        code = 2
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # the reader of our output is gone; nothing is left to say
        code = 0
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        code = 130
    except Exception as error:
        if os.environ.get("FITLAB_DEBUG"):
            raise
        sys.stderr.write(
            f"Internal error: {type(error).__name__}: {error}. This is a fault of fitlab; FITLAB_DEBUG=1 shows where.\n"
        )
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
