"""The whole path on one file: fit a device, study it, and say what must improve.

``python -m studies.demo [--csv FILE] [--out DIR]``, behind ``make demo``.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fitlab.parameters import ParameterSet

__all__ = ["demo", "study_text"]

EXAMPLE = Path(__file__).parents[1] / "data" / "reram_8cells.csv"

_STUDY = """\
# Made by the demo. How small must the step of this device be, and how quiet, to train a network on it?
schema = "studies.study/1"
name   = "Step size and noise of {name}"

[base]
device = "device.toml"
task   = "digits-mlp"
train  = {{ epochs = 15, batch = 10, lr = 0.2 }}

[base.set]
# The largest starting weight uses 2 % of the measured window, so that weights can grow.
"mapping.weight_scaling_omega" = 0.02
# Ideal converters and products: the answer is about the device alone.
"forward.is_perfect"  = true
"backward.is_perfect" = true

[factors]
"device.dw_min" = {{ multiply = [0.0625, 0.125, 0.25, 0.5, 1, 2], label = "step size" }}
{noise}
[replicates]
count = {replicates}

[target]
factor = "device.dw_min"
level  = 0.99
better = "lower"
"""


def study_text(parameters: ParameterSet, replicates: int = 8) -> str:
    """The demo's study of a fitted device: its step size, and the noise that was found, as multiples."""
    fields = parameters.device.fields
    noisy = [n for n in ("dw_min_std", "write_noise_std") if fields.get(n)]
    noise = ""
    if noisy:
        paths = ", ".join(f'"device.{name}"' for name in noisy)
        noise = f'noise = {{ fields = [{paths}], multiply = [0, 0.5, 1, 2], label = "noise" }}\n'
    name = "".join(c for c in parameters.name if c.isprintable() and c not in '"\\')
    return _STUDY.format(name=name, noise=noise, replicates=replicates)


def demo(
    csv: Annotated[Path | None, typer.Option(help="Measured pulse response (the example of the project if not given).")] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("demo-output"),
    columns: Annotated[str | None, typer.Option(help="What the columns of a wide file are: devices or cycles.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (one a processor if not given).")] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Replicates of every point.")] = 8,
) -> None:
    """Fit a measured device, study its step size and noise on the digits, and end with a spec target."""
    from sim.errors import FitlabError

    try:
        raise typer.Exit(_demo(csv or EXAMPLE, out, columns, workers, replicates))
    except FitlabError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


def _demo(csv: Path, out: Path, columns: str | None, workers: int | None, replicates: int) -> int:
    from fitlab.terminal import print_fit
    from studies.cluster import connect
    from studies.dataset import open_study
    from studies.folder import Folder, write_text
    from studies.plot import figures
    from studies.prepare import prepare
    from studies.run import run_study
    from studies.targets import device_ratio, targets
    from studies.words import csv_table, markdown_table, sentence

    start = time.monotonic()
    parameters = _fit(csv, out, columns)
    print_fit(parameters)
    typer.echo(f"fitted in {time.monotonic() - start:.1f} s; {out}/device.toml, {out}/fit.svg\n")
    study = out / "demo.toml"
    write_text(study, study_text(parameters, replicates))
    folder = Folder(out / "demo.study")
    if folder.exists():
        # A demo shows the whole way again.
        shutil.rmtree(folder.path)
    resolved, folder = prepare(study, folder.path)
    with connect(workers) as client:
        ended = run_study(resolved, folder, client)
    if ended.outcome == "stopped":
        typer.echo(f"Stopped early: {ended.reason}", err=True)
        return ended.exit_code
    if ended.outcome == "failed":
        typer.echo(f"Some runs failed; see {folder.failures}", err=True)
    data = open_study(folder.path)
    rows = targets(data)
    write_text(out / "target.csv", csv_table(rows))
    write_text(out / "target.md", markdown_table(rows))
    written = figures(data, out)
    typer.echo(f"\n{markdown_table(rows)}")
    typer.echo(f"written: {', '.join(str(p) for p in [*written, out / 'target.csv', out / 'target.md'])}")
    typer.echo(f"{time.monotonic() - start:.0f} s altogether\n")
    own = [row for row in rows if row.others.get("noise", 1.0) == 1.0]
    typer.echo(sentence(own[0] if own else rows[0], device_ratio(data)))
    return ended.exit_code


def _fit(csv: Path, out: Path, columns: str | None) -> Any:
    """Fit the file; write parameter set and figure; a bad file leaves nothing behind."""
    import fitlab.plot
    from fitlab.fit import fit, parameter_set
    from fitlab.io import Options, read
    from studies.errors import StudyError

    if columns not in (None, "devices", "cycles"):
        raise StudyError(f"--columns {columns}: write devices or cycles")
    result = fit(read([csv], Options(columns=columns)), "auto")
    parameters = parameter_set(result, None)
    out.mkdir(parents=True, exist_ok=True)
    parameters.save(out / "device.toml")
    with fitlab.plot.style("paper"):
        figure = fitlab.plot.figure_of_fit(result)
        for suffix in ("svg", "png"):
            fitlab.plot.save(figure, out / f"fit.{suffix}")
    return parameters


if __name__ == "__main__":
    typer.run(demo)
