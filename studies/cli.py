"""``fitlab study``: plan, run, watch, resume, read and draw studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from studies.terminal import (
    DIRECTORY,
    FILE,
    GROUP,
    PROFILE,
    QUIET,
    SCHEDULER,
    SET,
    SHARD,
    WORKERS,
    command,
    print_targets,
    run_and_tell,
)

app = typer.Typer(
    name="study",
    help="Vary device properties around one simulation, and read the spec target from the result.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command(epilog="Example: fitlab study plan noise.toml")
@command
def plan(
    file: Annotated[Path, FILE],
    set_: Annotated[list[str] | None, SET] = None,
    workers: Annotated[int | None, WORKERS] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time a short calibration run, for an estimate.")] = False,
) -> None:
    """Check a study file and say what it would run; stores nothing."""
    from studies.design import load_study
    from studies.resolve import resolve

    study = load_study(file, set_ or [])
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
    if measure:
        from studies.cluster import processors
        from studies.estimate import estimate

        typer.echo(estimate(resolved, workers or max(1, processors() // study.document.run.threads)).sentence())
    else:
        typer.echo("tasks, memory and time: --measure, which takes some seconds")


@app.command(epilog="Examples: fitlab study run noise.toml -o noise.study   |   fitlab study run noise.toml --workers 8")
@command
def run(
    file: Annotated[Path, FILE],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the study (FILE with .study if not given).")] = None,
    workers: Annotated[int | None, WORKERS] = None,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    group: Annotated[int | None, GROUP] = None,
    quiet: Annotated[bool, QUIET] = False,
    set_: Annotated[list[str] | None, SET] = None,
    shard: Annotated[str | None, SHARD] = None,
    profile: Annotated[Path | None, PROFILE] = None,
) -> int:
    """Run a study (or what is missing of it) into a folder.

    Exit code: 0 all done, 2 bad input, 3 finished with failed points, 4 stopped early.
    """
    from studies.prepare import check, default_folder, prepare
    from studies.shards import part_of, shard_folder

    part = None if shard is None else part_of(shard)
    if part is not None:
        out = shard_folder(out or default_folder(file), part)
    # Nothing is made before the cluster is there.
    check(file, out, set_ or [])
    return run_and_tell(lambda: prepare(file, out, set_ or []), workers, scheduler, group, False, quiet, profile, part)


@app.command(epilog="Example: fitlab study resume noise.study --failed")
@command
def resume(
    directory: Annotated[Path, DIRECTORY],
    failed: Annotated[bool, typer.Option("--failed", help="Run failed points again as well.")] = False,
    workers: Annotated[int | None, WORKERS] = None,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    group: Annotated[int | None, GROUP] = None,
    quiet: Annotated[bool, QUIET] = False,
    profile: Annotated[Path | None, PROFILE] = None,
) -> int:
    """Continue a study that was stopped, killed or has failed points."""
    from studies.prepare import open_folder

    resolved, folder = open_folder(directory)
    return run_and_tell(lambda: (resolved, folder), workers, scheduler, group, failed, quiet, profile, folder.part())


@app.command(epilog="Examples: fitlab study worker tcp://10.0.0.1:8786   |   fitlab study worker tcp://10.0.0.1:8786 --gpus all")
@command
def worker(
    address: Annotated[str, typer.Argument(help="Address of the dask scheduler.", show_default=False)],
    workers: Annotated[int | None, typer.Option("--workers", "-n", min=1, help="Processes (one a processor, or a GPU).")] = None,
    gpus: Annotated[str | None, typer.Option(help="One process for each of these GPUs: all, or 0,1,2.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that a task may use.")] = 1,
    host: Annotated[str | None, typer.Option(help="Address under which the scheduler reaches this machine.")] = None,
) -> None:
    """Keep workers at a scheduler, and start them again whenever one ends; stop with Ctrl-C.

    Start a scheduler with: dask scheduler. It may be restarted, and the network may go and come: workers come back.
    """
    from studies.workers import keep_workers, slots

    keep_workers(address, slots(workers, threads, gpus), ["--host", host] if host else [])


@app.command(epilog="Example: fitlab study merge noise.study noise.study.shard-*")
@command
def merge(
    out: Annotated[Path, typer.Argument(help="Folder to make, or to add to.", show_default=False)],
    parts: Annotated[list[Path], typer.Argument(help="Folders of the shards.", show_default=False)],
) -> None:
    """Join the results of shards; refuses parts of different studies, and results that contradict each other."""
    from studies.shards import merge_folders

    counts = merge_folders(out, parts)
    done = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    typer.echo(f"{out}: {done}; next: fitlab study spec {out}")


@app.command(epilog="Example: fitlab study rank noise.study --indices")
@command
def rank(
    directory: Annotated[Path, DIRECTORY],
    indices: Annotated[bool, typer.Option("--indices", help="Indices of a saltelli or morris design (needs SALib).")] = False,
) -> None:
    """Order the factors by how strongly they move the metric: Spearman's correlation, or indices of sensitivity."""
    from studies.dataset import open_study
    from studies.design import load_study
    from studies.folder import Folder
    from studies.sensitivity import index_table
    from studies.sensitivity import indices as found
    from studies.targets import ranking, unranked

    data = open_study(directory)
    if indices:
        study = load_study(Folder(directory).study)
        header, rows = index_table(study, found(study, data))
    else:
        header = ("factor", "correlation", "95 % interval", "points")
        rows = [(r.label, f"{r.correlation:.3f}", f"{r.low:.3f} to {r.high:.3f}", str(r.points)) for r in ranking(data)]
    typer.echo("\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)))
    if not indices and (left := unranked(data)):
        typer.echo(f"Without a rank, as their levels are text: {', '.join(left)}")


@app.command(epilog="Examples: fitlab study export noise.study noise.nc   |   fitlab study export noise.study noise.csv")
@command
def export(
    directory: Annotated[Path, DIRECTORY],
    target: Annotated[Path, typer.Argument(help="File to write: .nc, .csv or .parquet.", show_default=False)],
) -> None:
    """Write all results as NetCDF, CSV or Parquet."""
    from studies.dataset import open_study
    from studies.export import export_study

    export_study(open_study(directory), target)
    typer.echo(str(target))


@app.command(epilog="Example: fitlab study report noise.study -o noise.html")
@command
def report(
    directory: Annotated[Path, DIRECTORY],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file (DIR/report.html if not given).")] = None,
) -> None:
    """Write one HTML page with targets, figures, how it was run and what failed."""
    from studies.folder import Folder
    from studies.report import save_report

    path = out or directory / "report.html"
    save_report(Folder(directory), path)
    typer.echo(str(path))


@app.command(epilog="Example: fitlab study fetch mnist data/mnist")
@command
def fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion or cifar10.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Folder to put the files into.", show_default=False)],
) -> None:
    """Download a data set and check it."""
    from studies.fetch import fetch as download

    for path in download(name, folder):
        typer.echo(str(path))


@app.command(epilog="Example: fitlab study status noise.study")
@command
def status(directory: Annotated[Path, DIRECTORY]) -> None:
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
@command
def spec(
    directory: Annotated[Path, DIRECTORY],
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write the table as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Also write the table as Markdown.")] = None,
    latex: Annotated[Path | None, typer.Option("--latex", help="Also write the table as LaTeX.")] = None,
) -> None:
    """Read the spec target, with its interval, margin and verdict."""
    from studies.dataset import open_study
    from studies.folder import write_text
    from studies.targets import targets
    from studies.words import csv_table, latex_table, markdown_table, not_learnt

    data = open_study(directory)
    rows = targets(data)
    for path, text in ((csv, csv_table(rows)), (markdown, markdown_table(rows)), (latex, latex_table(rows))):
        if path is not None:
            write_text(path, text)
    print_targets(data)
    warning = not_learnt(data)
    if warning:
        typer.echo(f"Warning: {warning}", err=True)


@app.command(epilog="Example: fitlab study plot noise.study --format pdf")
@command
def plot(
    directory: Annotated[Path, DIRECTORY],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the figures (DIR/figures if not given).")] = None,
    formats: Annotated[list[str] | None, typer.Option("--format", help="svg, png or pdf; may be repeated.")] = None,
    slide: Annotated[bool, typer.Option("--slide", help="Pictures in the shape of a slide (16:9).")] = False,
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
    for path in figures(open_study(directory), out or Folder(directory).figures, chosen, slide=slide):
        typer.echo(str(path))
