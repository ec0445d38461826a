"""``fitlab study``: plan, run, watch, resume, read and draw studies."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="study",
    help="Vary device properties around one simulation, and read the spec target from the result.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_FILE = typer.Argument(help="Study file (TOML).", show_default=False)
_DIR = typer.Argument(help="Folder of a study.", show_default=False)
_WORKERS = typer.Option("--workers", "-n", min=1, help="Processes of the local cluster (one a processor if not given).")
_SCHEDULER = typer.Option("--scheduler", help="Address of a running dask scheduler, such as tcp://10.0.0.1:8786.")
_GROUP = typer.Option("--group", min=1, help="Runs in one task (as many as take about a minute if not given).")
_QUIET = typer.Option("--quiet", "-q", help="Show no progress.")


def _command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Print what the user can put right as a sentence; exit code 2."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        from sim.errors import FitlabError

        try:
            code = function(*args, **kwargs)
        except FitlabError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            typer.echo(f"Error: {where}{error.strerror or error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("Stopped at once; continue with: fitlab study resume DIR", err=True)
            raise typer.Exit(4) from None
        raise typer.Exit(code or 0)

    run.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return run


@app.command(epilog="Example: fitlab study plan noise.toml")
@_command
def plan(file: Annotated[Path, _FILE]) -> None:
    """Check a study file and say what it would run; runs nothing."""
    from studies.design import load_study
    from studies.resolve import resolve

    study = load_study(file)
    resolved = resolve(study)
    points = study.points()
    typer.echo(f"{study.document.name}: {study.document.base.task}")
    for factor in study.factors:
        levels = ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in factor.levels)
        verb = {"multiply": "times", "set": "=", "zip": "sets"}[factor.kind]
        typer.echo(f"  {factor.name}: {', '.join(resolved.fields[factor.name])} {verb} {levels}")
    digital = sum(p.digital for p in points)
    structures = len({resolved.structure(p) for p in points})
    typer.echo(
        f"{len(points)} points ({digital} digital) x {study.replicates} replicates = {len(points) * study.replicates} runs"
    )
    typer.echo(f"{structures} structure{'s' if structures > 1 else ''}; runs of one structure share a task")
    target = study.document.target
    typer.echo(
        f"target: {study.target_factor.name} where {target.metric} crosses {target.level:g} of the baseline"
        f" ({target.normalisation}, {target.better} is better)"
    )


@app.command(epilog="Examples: fitlab study run noise.toml -o noise.study   |   fitlab study run noise.toml --workers 8")
@_command
def run(
    file: Annotated[Path, _FILE],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the study (FILE with .study if not given).")] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    scheduler: Annotated[str | None, _SCHEDULER] = None,
    group: Annotated[int | None, _GROUP] = None,
    quiet: Annotated[bool, _QUIET] = False,
) -> int:
    """Run a study (or what is missing of it) into a folder.

    Exit code: 0 all done, 2 bad input, 3 finished with failed points, 4 stopped early.
    """
    from studies.prepare import prepare

    resolved, folder = prepare(file, out)
    return _run(resolved, folder, workers, scheduler, group, again=False, quiet=quiet)


@app.command(epilog="Example: fitlab study resume noise.study --failed")
@_command
def resume(
    directory: Annotated[Path, _DIR],
    failed: Annotated[bool, typer.Option("--failed", help="Run failed points again as well.")] = False,
    workers: Annotated[int | None, _WORKERS] = None,
    scheduler: Annotated[str | None, _SCHEDULER] = None,
    group: Annotated[int | None, _GROUP] = None,
    quiet: Annotated[bool, _QUIET] = False,
) -> int:
    """Continue a study that was stopped, killed or has failed points."""
    from studies.prepare import open_folder

    resolved, folder = open_folder(directory)
    return _run(resolved, folder, workers, scheduler, group, again=failed, quiet=quiet)


def _run(
    resolved: Any,
    folder: Any,
    workers: int | None,
    scheduler: str | None,
    group: int | None,
    *,
    again: bool,
    quiet: bool,
) -> int:
    from studies.cluster import connect
    from studies.run import anything_left, run_study

    if not anything_left(resolved, folder, again=again):
        typer.echo(f"Nothing left to run; results in {folder.path}")
        return 0
    with connect(workers, scheduler, threads=resolved.study.document.run.threads) as client:
        ended = run_study(resolved, folder, client, group=group, again=again, quiet=quiet)
    if ended.outcome == "stopped":
        typer.echo(f"Stopped early: {ended.reason}. Continue with: fitlab study resume {folder.path}", err=True)
    elif ended.outcome == "failed":
        _print_failures(folder)
    if not quiet:
        typer.echo(f"Results in {folder.path}; next: fitlab study spec {folder.path}")
    return ended.exit_code


def _print_failures(folder: Any) -> None:
    """Failures grouped by message."""
    from collections import Counter

    groups = Counter((r["error"], r["message"]) for r in folder.read_failures())
    for (kind, message), count in groups.most_common(5):
        typer.echo(f"{count} failed: {kind}: {message}", err=True)
    typer.echo(f"All of them are in {folder.failures}", err=True)


@app.command(epilog="Example: fitlab study status noise.study")
@_command
def status(directory: Annotated[Path, _DIR]) -> None:
    """Say how far a study is."""
    import json

    from studies.design import load_study
    from studies.folder import Folder
    from studies.progress import duration
    from studies.store import Store

    folder = Folder(directory).require()
    study = load_study(folder.study)
    store = Store(folder.results)
    counts = store.counts()
    total = max(len(study.points()), len(store.rows)) * study.replicates
    finished = counts["done"] + counts["failed"] + counts["timeout"]
    typer.echo(f"{study.document.name}: {finished} of {total} runs finished, {counts['done']} done")
    for name in ("failed", "timeout"):
        if counts[name]:
            typer.echo(f"  {name}: {counts[name]}")
    if store.median_time() is not None:
        typer.echo(f"  median time of a run: {store.median_time():.3g} s")
    if len(store.attributes["code_versions"]) > 1:
        typer.echo(f"  results of several versions: {', '.join(store.attributes['code_versions'])}")
    if folder.progress.exists():
        last = json.loads(folder.progress.read_text(encoding="utf-8"))
        if last["state"] == "running" and finished < total and folder.busy():
            typer.echo(f"  running: {last['per_second']:.2g}/s, {duration(last['seconds_left'])} left")


@app.command(epilog="Example: fitlab study spec noise.study --csv target.csv")
@_command
def spec(
    directory: Annotated[Path, _DIR],
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write the table as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Also write the table as Markdown.")] = None,
) -> None:
    """Read the spec target, with its interval, margin and verdict."""
    from studies.dataset import open_study
    from studies.folder import write_text
    from studies.targets import csv_table, device_ratio, markdown_table, sentence, targets

    data = open_study(directory)
    rows = targets(data)
    for path, text in ((csv, csv_table(rows)), (markdown, markdown_table(rows))):
        if path is not None:
            write_text(path, text)
    _print_rows(rows)
    for number, row in enumerate(rows):
        typer.echo(sentence(row, device_ratio(data) if number == 0 else None))


def _print_rows(rows: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from studies.targets import interval_text, margin_text, markdown_table, others_text, target_text

    console = Console()
    if not console.is_terminal:
        typer.echo(markdown_table(rows))
        return
    table = Table(title=f"{rows[0].label}: {100 * rows[0].level:.3g} % of the baseline ({rows[0].normalisation})")
    for name in ("other factors", "target", "95 % interval", "margin", "verdict"):
        table.add_column(name)
    for row in rows:
        table.add_row(others_text(row), target_text(row), interval_text(row), margin_text(row), row.verdict)
    console.print(table)


@app.command(epilog="Example: fitlab study plot noise.study --format pdf")
@_command
def plot(
    directory: Annotated[Path, _DIR],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the figures (DIR/figures if not given).")] = None,
    formats: Annotated[list[str] | None, typer.Option("--format", help="svg, png or pdf; may be repeated.")] = None,
) -> None:
    """Draw the target's curve and, with two factors, the map."""
    from studies.dataset import open_study
    from studies.errors import StudyError
    from studies.folder import Folder
    from studies.plot import figures

    chosen = tuple(formats or ("svg", "png"))
    unknown = [f for f in chosen if f not in ("svg", "png", "pdf")]
    if unknown:
        raise StudyError(f"--format: {unknown[0]!r} is not known; write svg, png or pdf")
    for path in figures(open_study(directory), out or Folder(directory).figures, chosen):
        typer.echo(str(path))
