"""``fitlab spec`` and ``fitlab tune``: whole questions about a device, answered by a study or a search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from studies.terminal import PROFILE, QUIET, SCHEDULER, SET, WORKERS, command, print_targets, run_and_tell

__all__ = ["device_spec", "tune"]


@command
def device_spec(
    file: Annotated[Path, typer.Argument(help="Parameter set of a fitted device (.toml).", show_default=False)],
    task: Annotated[str, typer.Option(help="digits, mnist, or another task of the studies.")] = "digits",
    data: Annotated[Path | None, typer.Option(help="Folder of the data, for tasks other than digits.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the study (FILE with .study if not given).")] = None,
    replicates: Annotated[int, typer.Option(min=2, help="Replicates of every point.")] = 5,
    workers: Annotated[int | None, WORKERS] = None,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    quiet: Annotated[bool, QUIET] = False,
    set_: Annotated[list[str] | None, SET] = None,
    profile: Annotated[Path | None, PROFILE] = None,
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
    code = run_and_tell(lambda: prepare(study, folder.path, set_ or []), workers, scheduler, None, False, quiet, profile, None)
    if code != 4:
        page = folder.path / "report.html"
        save_report(folder, page)
        print_targets(open_study(folder.path))
        typer.echo(f"written: {page}")
    return code


@command
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
    set_: Annotated[list[str] | None, SET] = None,
    validation: Annotated[float, typer.Option(help="Share of the training images that judges the trials.")] = 0.2,
    test_seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds of the test at the end.")] = 5,
    workers: Annotated[int | None, WORKERS] = None,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    quiet: Annotated[bool, QUIET] = False,
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
