"""Fitting: reading a file, all models on it, and the command as it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.table import Table, verdict
from benchmarks.timing import race
from fitlab.fit import fit
from fitlab.io import read

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
        models = ("ConstantStep", "LinearStep", "SoftBounds", "SoftBoundsReference")
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
    return [table]


def _command(*arguments: str) -> None:
    # What the installed `fitlab` does.
    code = "import sys; from fitlab.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
