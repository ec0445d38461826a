"""What `fitlab fit --kind retention` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fitlab.io.units import quantity
from fitlab.retention.fit import fit_retention
from fitlab.retention.read import read_retention
from sim.errors import FitlabError
from sim.settings import to_toml
from sim.settings.text import SCHEMA

__all__ = ["run"]


def run(
    files: Sequence[Path],
    output: Path | None,
    map_: Sequence[str],
    unit: str | None,
    read_voltage: str | None,
    sheet: str | None = None,
) -> str:
    """Fit the devices of one or more files, write the noise model, and give what is printed.

    Raises
    ------
    FitlabError
        for an output that is something else, or what reading and fitting refuse
    """
    target = Path(f"{files[0].name.split('.')[0]}-noise.toml") if output is None else output
    if target.exists() and (target.is_dir() or SCHEMA.encode() not in target.read_bytes()[:200]):
        raise FitlabError(f"{target}: exists and is no noise model; choose another name with -o")
    if not target.resolve().parent.is_dir():
        raise FitlabError(f"{target}: the folder {target.resolve().parent} does not exist; make it or choose another")
    roles: dict[str, str] = {}
    for pair in map_:
        role, separator, column = pair.partition("=")
        if not separator:
            raise FitlabError(f"--map {pair}: give ROLE=COLUMN")
        roles[role] = column
    voltage = None if read_voltage is None else quantity(read_voltage, "V", "--read-voltage")
    result = fit_retention(read_retention(list(files), roles, unit, voltage, sheet))
    temporary = target.with_name(f".{target.name}.part")
    temporary.write_text(to_toml(result.model))
    os.replace(temporary, target)
    return f"{result}\nwritten: {target}"
