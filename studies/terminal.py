"""What the commands of the studies share: options, faults as sentences, a run that is told of, targets as a table."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

__all__ = [
    "DIRECTORY",
    "FILE",
    "GROUP",
    "PROFILE",
    "QUIET",
    "SCHEDULER",
    "SET",
    "SHARD",
    "WORKERS",
    "command",
    "print_targets",
    "run_and_tell",
]

FILE = typer.Argument(help="Study file (TOML).", show_default=False)
DIRECTORY = typer.Argument(help="Folder of a study.", show_default=False)
WORKERS = typer.Option("--workers", "-n", min=1, help="Processes of the local cluster (one a processor if not given).")
SCHEDULER = typer.Option("--scheduler", help="Address of a running dask scheduler, such as tcp://10.0.0.1:8786.")
SHARD = typer.Option("--shard", help="I/N: run part I of N, into FILE.study.shard-I-of-N; join with: fitlab study merge.")
PROFILE = typer.Option("--cluster", help="Cluster profile (TOML) for SLURM, PBS or LSF, through dask-jobqueue.")
GROUP = typer.Option("--group", min=1, help="Runs in one task (as many as take about a minute if not given).")
SET = typer.Option("--set", help="KEY=VALUE: change the study (train.epochs=5, device.dw_min=0.01); repeatable.")
QUIET = typer.Option("--quiet", "-q", help="Show no progress.")


def command(function: Callable[..., Any]) -> Callable[..., Any]:
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


def run_and_tell(
    make: Callable[[], Any],
    workers: int | None,
    scheduler: str | None,
    group: int | None,
    again: bool,
    quiet: bool,
    profile: Path | None,
    part: tuple[int, int] | None,
) -> int:
    """Run what ``make`` gives on the cluster that is asked for, and say how it ended; the exit code."""
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


def print_targets(data: Any) -> None:
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
