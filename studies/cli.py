"""``fitlab study``: plan, run, watch, resume, read and draw studies."""

from __future__ import annotations

import functools
import inspect
import os
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
_SHARD = typer.Option("--shard", help="I/N: run part I of N, into FILE.study.shard-I-of-N; join with: fitlab study merge.")
_PROFILE = typer.Option("--cluster", help="Cluster profile (TOML) for SLURM, PBS or LSF, through dask-jobqueue.")
_GROUP = typer.Option("--group", min=1, help="Runs in one task (as many as take about a minute if not given).")
_SET = typer.Option("--set", help="KEY=VALUE: change the study (train.epochs=5, device.dw_min=0.01); repeatable.")
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
def plan(
    file: Annotated[Path, _FILE],
    set_: Annotated[list[str] | None, _SET] = None,
    workers: Annotated[int | None, _WORKERS] = None,
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
@_command
def run(
    file: Annotated[Path, _FILE],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the study (FILE with .study if not given).")] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    scheduler: Annotated[str | None, _SCHEDULER] = None,
    group: Annotated[int | None, _GROUP] = None,
    quiet: Annotated[bool, _QUIET] = False,
    set_: Annotated[list[str] | None, _SET] = None,
    shard: Annotated[str | None, _SHARD] = None,
    profile: Annotated[Path | None, _PROFILE] = None,
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
    return _run(lambda: prepare(file, out, set_ or []), workers, scheduler, group, False, quiet, profile, part)


@app.command(epilog="Example: fitlab study resume noise.study --failed")
@_command
def resume(
    directory: Annotated[Path, _DIR],
    failed: Annotated[bool, typer.Option("--failed", help="Run failed points again as well.")] = False,
    workers: Annotated[int | None, _WORKERS] = None,
    scheduler: Annotated[str | None, _SCHEDULER] = None,
    group: Annotated[int | None, _GROUP] = None,
    quiet: Annotated[bool, _QUIET] = False,
    profile: Annotated[Path | None, _PROFILE] = None,
) -> int:
    """Continue a study that was stopped, killed or has failed points."""
    from studies.prepare import open_folder

    resolved, folder = open_folder(directory)
    return _run(lambda: (resolved, folder), workers, scheduler, group, failed, quiet, profile, folder.part())


def _run(
    make: Callable[[], Any],
    workers: int | None,
    scheduler: str | None,
    group: int | None,
    again: bool,
    quiet: bool,
    profile: Path | None,
    part: tuple[int, int] | None,
) -> int:
    import contextlib

    from studies.cluster import connect
    from studies.run import PATIENCE, anything_left, run_study

    patience = PATIENCE
    if profile is not None:
        from studies.batch import load_profile

        # Jobs may wait in their queue for as long.
        patience = max(patience, load_profile(profile).wait)
    with contextlib.ExitStack() as stack:
        client = None
        if scheduler is not None or profile is not None:
            client = stack.enter_context(connect(workers, scheduler, profile=profile))
        resolved, folder = make()
        if part is not None:
            folder.write_part(part)
        if not anything_left(resolved, folder, again=again, part=part):
            typer.echo(f"Nothing left to run; results in {folder.path}")
            return 0
        if client is None:
            run = resolved.study.document.run
            gpus = "all" if run.device == "cuda" else None
            client = stack.enter_context(connect(workers, threads=run.threads, gpus=gpus))
        ended = run_study(resolved, folder, client, group=group, again=again, quiet=quiet, part=part, patience=patience)
    warning = _not_learnt(folder)
    if warning:
        typer.echo(f"Warning: {warning}", err=True)
    if ended.outcome == "stopped":
        typer.echo(f"Stopped early: {ended.reason}. Continue with: fitlab study resume {folder.path}", err=True)
    elif ended.outcome == "failed":
        _print_failures(folder)
    if not quiet:
        typer.echo(f"Results in {folder.path}; next: fitlab study spec {folder.path}")
    return ended.exit_code


@_command
def device_spec(
    file: Annotated[Path, typer.Argument(help="Parameter set of a fitted device (.toml).", show_default=False)],
    task: Annotated[str, typer.Option(help="digits, mnist, or another task of the studies.")] = "digits",
    data: Annotated[Path | None, typer.Option(help="Folder of the data, for tasks other than digits.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the study (FILE with .study if not given).")] = None,
    replicates: Annotated[int, typer.Option(min=2, help="Replicates of every point.")] = 5,
    workers: Annotated[int | None, _WORKERS] = None,
    scheduler: Annotated[str | None, _SCHEDULER] = None,
    quiet: Annotated[bool, _QUIET] = False,
    set_: Annotated[list[str] | None, _SET] = None,
    profile: Annotated[Path | None, _PROFILE] = None,
) -> int:
    """Vary each important property of a fitted device alone, and report what must improve, and to what value.

    A folder that is there already is continued. Exit codes as of fitlab study run.
    """
    import fitlab.parameters
    from studies.dataset import open_study
    from studies.design import parse_study
    from studies.device_spec import MADE, spec_text
    from studies.errors import StudyError
    from studies.folder import Folder, write_text
    from studies.prepare import check_study, prepare
    from studies.report import save_report

    parameters = fitlab.parameters.load(file)
    folder = Folder(out or file.with_suffix(".study"))
    study = folder.path.with_name(f"{file.stem}-spec.toml")
    if not study.absolute().parent.is_dir():
        raise StudyError(f"{study.absolute().parent}: is not a folder; make it, or choose another place with -o DIR")
    place = os.path.relpath(file.resolve(), study.absolute().parent.resolve())
    text = spec_text(parameters, Path(place).as_posix(), task, None if data is None else str(data), replicates)
    if study.exists() and not study.read_text(encoding="utf-8", errors="replace").startswith(MADE):
        raise StudyError(
            f"{study}: is there already, and was not made by fitlab spec; move it, or choose another place with -o DIR"
        )
    check_study(parse_study(text, study, set_ or []), folder.path)
    write_text(study, text)
    code = _run(lambda: prepare(study, folder.path, set_ or []), workers, scheduler, None, False, quiet, profile, None)
    if code != 4:
        page = folder.path / "report.html"
        save_report(folder, page)
        _print_targets(open_study(folder.path))
        typer.echo(f"written: {page}")
    return code


@_command
def tune(
    device: Annotated[
        str,
        typer.Argument(
            help="A preset device, a parameter set (.toml), or a study file, whose base is taken.", show_default=False
        ),
    ],
    algorithm: Annotated[
        str | None, typer.Option(help="sgd, tiki-taka, ttv2, c-ttv2, agad or mp (c-ttv2 if not given).", show_default=False)
    ] = None,
    task: Annotated[str | None, typer.Option(help="digits, mnist, or another task of the studies (digits if not given).")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the data, for tasks other than digits.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the search (DEVICE-ALGORITHM.tune if not given).")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials; whole batches are run.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Trials that are chosen, and trained, together.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each trial.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="PATH=LOW:HIGH, PATH=LOW:HIGH:log or PATH=A,B,C: a setting to vary, or another range; repeatable."),
    ] = None,
    set_: Annotated[list[str] | None, _SET] = None,
    validation: Annotated[float, typer.Option(help="Share of the training images that judges the trials.")] = 0.2,
    test_seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds of the test at the end.")] = 5,
    workers: Annotated[int | None, _WORKERS] = None,
    scheduler: Annotated[str | None, _SCHEDULER] = None,
    quiet: Annotated[bool, _QUIET] = False,
) -> None:
    """Find settings of a training algorithm for a device: rates, granularities, periods, choppers.

    A search that was stopped or killed continues with the same command, with the same bits. Trials are judged by training images
    that are held out; the best settings are then tested on the test set with fresh seeds.
    """
    import contextlib
    import sys

    from studies.cluster import connect, processors
    from studies.tune import conclude, make_plan, search

    plan = make_plan(
        device, algorithm, task, None if data is None else str(data.resolve()), varied=vary or [], changes=set_ or [],
        batch=batch, seeds=seeds, seed=seed, validation=validation,
    )  # fmt: skip
    folder = out or Path(f"{Path(device).stem}-{plan.resolved.study.document.base.algorithm}.tune")
    with contextlib.ExitStack() as stack:
        several = scheduler is not None or (workers or processors()) > 1
        client = stack.enter_context(connect(workers, scheduler)) if several else None
        found = search(plan, folder, trials, client=client, say=(lambda _: None) if quiet else typer.echo)
        command = " ".join(["fitlab", *sys.argv[1:]])
        summary = conclude(plan, folder, found, command=command, test_seeds=test_seeds, client=client)
    for path, value in summary.best.settings.items():
        typer.echo(f"  {path} = {value:g}")
    typer.echo(summary.sentence())
    typer.echo(f"written: {', '.join(map(str, summary.written))}")


def _print_targets(data: Any) -> None:
    """Table and sentences of a study's targets."""
    from studies.targets import targets
    from studies.words import sentences

    _print_rows(targets(data))
    typer.echo("\n".join(sentences(data)))


def _not_learnt(folder: Any) -> str:
    """A sentence where the baseline is no better than guessing, so that a target would mean nothing."""
    from studies.dataset import open_study
    from studies.words import not_learnt

    return not_learnt(open_study(folder.path))


def _print_failures(folder: Any) -> None:
    """Failures grouped by message."""
    from collections import Counter

    groups = Counter((r["error"], r["message"]) for r in folder.read_failures())
    for (kind, message), count in groups.most_common(5):
        typer.echo(f"{count} failed: {kind}: {message}", err=True)
    typer.echo(f"All of them are in {folder.failures}", err=True)


@app.command(epilog="Examples: fitlab study worker tcp://10.0.0.1:8786   |   fitlab study worker tcp://10.0.0.1:8786 --gpus all")
@_command
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
@_command
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
@_command
def rank(
    directory: Annotated[Path, _DIR],
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
@_command
def export(
    directory: Annotated[Path, _DIR],
    target: Annotated[Path, typer.Argument(help="File to write: .nc, .csv or .parquet.", show_default=False)],
) -> None:
    """Write all results as NetCDF, CSV or Parquet."""
    from studies.dataset import open_study
    from studies.export import export_study

    export_study(open_study(directory), target)
    typer.echo(str(target))


@app.command(epilog="Example: fitlab study report noise.study -o noise.html")
@_command
def report(
    directory: Annotated[Path, _DIR],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file (DIR/report.html if not given).")] = None,
) -> None:
    """Write one HTML page with targets, figures, how it was run and what failed."""
    from studies.folder import Folder
    from studies.report import save_report

    path = out or directory / "report.html"
    save_report(Folder(directory), path)
    typer.echo(str(path))


@app.command(epilog="Example: fitlab study fetch mnist data/mnist")
@_command
def fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion or cifar10.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Folder to put the files into.", show_default=False)],
) -> None:
    """Download a data set and check it."""
    from studies.fetch import fetch as download

    for path in download(name, folder):
        typer.echo(str(path))


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
    _print_targets(data)
    warning = not_learnt(data)
    if warning:
        typer.echo(f"Warning: {warning}", err=True)


def _print_rows(rows: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from studies.words import interval_text, margin_text, markdown_table, others_text, target_text

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
