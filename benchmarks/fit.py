"""Fitting: reading a file, all models on it, and the command as it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.table import Table, verdict
from benchmarks.timing import race
from fitlab.fit import Fit, fit
from fitlab.fit.models import MODELS
from fitlab.io import Options, read, read_record
from fitlab.io.record import Origin, PulseResponse, Run, record

__all__ = ["run"]

SHARED = Path(os.environ.get("FITLAB_SHARED", Path(__file__).parents[2] / "shared"))
GONG = SHARED / "data" / "measured" / "aihwkit_gong2018" / "gong_et_al.csv"
EXAMPLES = Path(__file__).parents[1] / "data"
BAR_COMMAND, BAR_HELP = 2.0, 0.3
"""Seconds of ``fitlab fit`` on the Gong data, and of ``fitlab --help``."""


def run(quick: bool = False) -> list[Table]:
    """Seconds of reading, of fitting each model and all, and of the commands."""
    seconds = 0.5 if quick else 3.0
    files = ([GONG] if GONG.exists() else []) + sorted(f for f in EXAMPLES.glob("*.csv") if not f.stem.endswith("_truth"))
    table = Table("fit [s]", ["file", "what", "minimum", "median", "bar"])
    if not GONG.exists():
        table.notes.append("The Gong data are not here (FITLAB_SHARED names their folder): only examples of this project.")
    for path in files:
        response = read(path)
        models = [m.name for m in MODELS.values() if m.alike is None]
        calls: dict[str, Callable[[], object]] = {"read": partial(read, path)}
        calls |= {f"fit {name}": partial(fit, response, name) for name in models}
        calls |= {"fit all models": partial(fit, response)}
        for name, t in race(calls, seconds, least=3).items():
            table.add(path.name, name, t.minimum, t.median, "-")
    with tempfile.TemporaryDirectory() as folder:
        if files:
            command = ["fit", str(files[0]), "-o", str(Path(folder) / "set.toml")]
            t = race({"command": partial(_command, *command)}, 2 * seconds, least=3)["command"]
            bar = BAR_COMMAND if files[0] == GONG else None
            table.add(files[0].name, "fitlab fit, whole command", t.minimum, t.median, verdict(t.minimum, bar))
        t = race({"help": partial(_command, "--help")}, seconds, least=3)["help"]
        table.add("-", "fitlab --help, whole command", t.minimum, t.median, verdict(t.minimum, BAR_HELP))
    return [table, _bars(seconds)]


def _bars(seconds: float) -> Table:
    """The measured sets of the bars, and a population, with R² where the bar has one."""
    bars = Table("fits with a bar [s]", ["what", "minimum", "bar", "R²"])
    measured = SHARED / "data" / "measured"
    calls: dict[str, tuple[Callable[[], Fit], float]] = {}
    if GONG.exists():
        gong = read_record(GONG)
        calls["Gong, 2,000 reads, all models"] = partial(fit, gong), 1.0
        taox = read_record(
            [measured / "crosssim_taox_sandia" / f"{n}.csv" for n in ("set", "reset")],
            Options(columns="cycles", read_voltage_V=0.1),
        )
        calls["TaOx, 39 cycles, LinearStep"] = partial(fit, taox, "LinearStep"), 2.0
        calls["organic, mean of 10 cycles, LinearStep"] = (
            partial(fit, _mean_cycle(read_record(measured / "organic_adc" / "Current.xlsx")), "LinearStep"),
            0.5,
        )
    people = _population(100)
    calls["100 devices of 60 pulses, LinearStep"] = partial(fit, people, "LinearStep"), 5.0
    calls["100 devices of 60 pulses, all models"] = partial(fit, people), 5.0
    for name, (call, bar) in calls.items():
        t = race({name: call}, seconds, least=2)[name]
        result = call()
        r2 = float(np.mean([c.least_squares.r2 for c in result.chosen]))
        bars.add(name, t.minimum, verdict(t.minimum, bar), f"{r2:.4f}")
    return bars


def _mean_cycle(response: PulseResponse) -> PulseResponse:
    """Mean over the ten cycles of 2,000 reads that follow one another."""
    mean = response.value[0, 0].reshape(10, 2000).mean(axis=0)
    return _record(mean[None], response.direction[0, 0, :2000].astype(int))


def _population(devices: int) -> PulseResponse:
    """Linear steps with noise, 30 pulses up and 30 down."""
    rng, pulses = np.random.default_rng(1), np.repeat([1, -1], 30)
    w, out = np.full(devices, -0.9), np.empty((devices, len(pulses)))
    gain = 1 + 0.2 * rng.standard_normal(devices)
    for k, sign in enumerate(pulses):
        if k:
            step = gain * (0.06 * (1 - 0.6 * w) if sign > 0 else 0.05 * (1 + 0.4 * w))
            w = np.clip(w + sign * step * (1 + 0.3 * rng.standard_normal(devices)), -1, 1)
        out[:, k] = w
    return _record(out + 0.015 * rng.standard_normal(out.shape), pulses)


def _record(reads: np.ndarray, pulses: np.ndarray) -> PulseResponse:
    """One cycle of every row of reads, a pulse before each."""
    n = len(pulses)
    runs = [
        Run(f"d{k}", 0, row, np.sign(pulses).astype(np.int8), np.ones(n, np.int32), np.arange(n) == 0, np.zeros(n, np.uint8))
        for k, row in enumerate(reads)
    ]
    return record(runs, Origin("made", "0" * 64, "benchmark", "norm"))


def _command(*arguments: str) -> None:
    # What the installed `fitlab` does.
    code = "import sys; from fitlab.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
