"""``python -m benchmarks [NAME ...] [--quick] [--save]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

NAMES = ("normals", "update", "mvm", "inference", "epoch", "fit", "study")
ON_A_GPU = ("gpu",)
"""Measured only when asked for."""
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure fitlab's speed on this machine.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (all of these), {', '.join(ON_A_GPU)}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats: a look, not a result")
    parser.add_argument("--save", action="store_true", help="also write benchmarks/results/NAME.json")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - {*NAMES, *ON_A_GPU})
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join((*NAMES, *ON_A_GPU))}")

    from rich.console import Console

    from benchmarks.machine import about
    from benchmarks.table import met

    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    machine = about()
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), soft_wrap=True)
    if machine["load"] > 0.5:
        console.print("Other work is running: take these times as upper limits, and those on several threads as nothing.")
    console.print()
    reached, bars = 0, 0
    for name in options.names or NAMES:
        tables = importlib.import_module(f"benchmarks.{name}").run(options.quick)
        for table in tables:
            table.show(console)
            good, all_ = met(table.rows)
            reached, bars = reached + good, bars + all_
        if options.save:
            _save(name, {"machine": machine, "made": f"{datetime.now(UTC):%Y-%m-%d}", "tables": [t.as_data() for t in tables]})
    console.print(f"{reached} of {bars} bars met")
    return 0


def _save(name: str, result: dict[str, object]) -> None:
    RESULTS.mkdir(exist_ok=True)
    temporary = RESULTS / f".{name}.json"
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(temporary, RESULTS / f"{name}.json")


if __name__ == "__main__":
    sys.exit(main())
