"""Options that every command with measurement files takes, once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.errors import FitlabError

if TYPE_CHECKING:
    from fitlab.io import Options

__all__ = ["reading_options", "with_reading_options"]


def _text(help_: str, *names: str) -> Any:
    return Annotated[str | None, typer.Option(*names, help=help_, show_default=False)]


_READING: dict[str, tuple[Any, Any]] = {
    "columns": (_text("What the columns of a wide file are: devices or cycles."), None),
    "read_voltage": (_text("Read voltage, such as 0.1V or 100mV, to turn current into conductance."), None),
    "map_": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--map",
                help="ROLE=COLUMN; roles: device, cycle, pulse, direction, value, up, down, read_voltage, amplitude, width, "
                "time, weight (of a read in the fit), error (its standard deviation), ignore.",
                show_default=False,
            ),
        ],
        None,
    ),
    "format_": (_text("Reader to use instead of detection (fitlab formats lists them).", "--format"), None),
    "sheet": (_text("Sheet of a workbook, by name or number."), None),
    "unit": (_text("Unit of the reads where the file names none: uS, nA, kohm."), None),
    "recipe": (Annotated[Path | None, typer.Option(help="Description of a headerless file (TOML).", show_default=False)], None),
    "amplitude": (_text("Pulses to take where they have several voltages, such as 1.5V."), None),
    "force": (Annotated[bool, typer.Option(help="Read a file even if more than a fifth of its reads are missing.")], False),
}


def with_reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of reading besides its own, and is given them as `reading`."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {name: values.pop(name) for name in _READING}
        command(**values, reading=given)

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "reading"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in _READING.items()
    ]
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    run.__signature__ = inspect.Signature([*keyword, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*keyword, *more]}
    return run


def reading_options(given: dict[str, Any]) -> Options:
    """Options of `fitlab.io.read` from those of the command line.

    Raises
    ------
    FitlabError
        A value that an option does not take.
    """
    from fitlab.io import Options

    if given["columns"] not in (None, "devices", "cycles"):
        raise FitlabError(f"--columns {given['columns']}: use devices or cycles")
    mapping = {}
    for pair in given["map_"] or []:
        role, sign, column = pair.partition("=")
        if not sign or not column.strip():
            raise FitlabError(f"--map {pair}: write ROLE=COLUMN, for example --map value='I (A)'")
        mapping[role.strip()] = column.strip()
    return Options(
        columns=given["columns"],
        read_voltage_V=_volts("--read-voltage", given["read_voltage"]),
        mapping=mapping,
        format=given["format_"],
        force=given["force"],
        sheet=given["sheet"],
        unit=given["unit"],
        recipe=given["recipe"],
        amplitude_V=_volts("--amplitude", given["amplitude"]),
    )


def _volts(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    from fitlab.io.units import quantity

    voltage = quantity(text, "V", option)
    if not 0 < abs(voltage) < 100:
        raise FitlabError(f"{option} {text}: use a voltage that is not zero and below 100 V")
    return voltage
