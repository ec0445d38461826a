"""A parameter set for other programs: Python source, JSON, keyword arguments of aihwkit's devices, NeuroSim's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fitlab.errors import FitlabError
from fitlab.neurosim import to_neurosim
from fitlab.parameters import ParameterSet

__all__ = ["EXPORTS", "aihwkit_arguments", "to_aihwkit", "to_json", "to_python"]


def _fields(document: ParameterSet) -> dict[str, Any]:
    """Fields that are not the default of the class; spreads that were not measured are 0, which is none."""
    device = document.to_device()
    defaults = type(device)().to_dict()
    return {name: value for name, value in device.to_dict().items() if value != defaults[name]}


def _notes(document: ParameterSet) -> list[str]:
    errors = [
        f"{name} {e.value:.4g} +- {e.error:.2g}" for name, e in document.parameters.items() if e.value is not None and e.error
    ]
    unit = document.weight.unit
    return [
        f"{document.name}: fitted to {document.source.files} (SHA-256 {document.source.sha256[:12]})",
        f"weight -1 is {document.weight.low:.6g} {unit}, weight +1 is {document.weight.high:.6g} {unit}",
        *([f"standard errors: {', '.join(errors)}"] if errors else []),
        *(f"warning: {text}" for text in document.warnings),
    ]


def _source(document: ParameterSet, module: str) -> str:
    model, fields = document.device.model, _fields(document)
    lines = [f"# {' '.join(note.split())}" for note in _notes(document)]
    lines += [f"from {module} import {model}", "", f"device = {model}("]
    lines += [f"    {name}={value!r}," for name, value in fields.items()]
    return "\n".join([*lines, ")", ""])


def to_python(document: ParameterSet) -> str:
    """Python source that makes the device of the simulator, with its provenance as comments."""
    return _source(document, "sim.devices")


def to_json(document: ParameterSet) -> str:
    """The whole set as JSON; `ParameterSet.model_validate_json` is the way back."""
    return json.dumps(document.model_dump(mode="json", exclude_none=True), indent=2) + "\n"


def aihwkit_arguments(document: ParameterSet) -> tuple[str, dict[str, Any]]:
    """Class name and keyword arguments of the device in aihwkit's `simulator.configs.devices`.

    Names, defaults and meanings are the same there; spreads that were not measured are given as 0, since its defaults are not.
    """
    return document.device.model, _fields(document)


def to_aihwkit(document: ParameterSet) -> str:
    """Python source that makes the device of aihwkit.

    Raises
    ------
    FitlabError
        A device that aihwkit does not have.
    """
    if document.device.model in ("TableDevice", "ExpressionDevice"):
        raise FitlabError(f"{document.name}: aihwkit has no {document.device.model}; fit one of its models with --model auto")
    return _source(document, "aihwkit.simulator.configs.devices")


EXPORTS: dict[str, Callable[[ParameterSet], str]] = {
    "python": to_python,
    "json": to_json,
    "aihwkit": to_aihwkit,
    "neurosim": to_neurosim,
}
