"""The useful default about a fitted device: each of its properties varied alone, and what must improve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.errors import StudyError

if TYPE_CHECKING:
    from fitlab.parameters import ParameterSet

__all__ = ["MADE", "spec_text"]

MADE = "# Made by: fitlab spec."


@dataclass(frozen=True)
class _Property:
    """Fields that are varied together; what a device has of them, and is not 0, is.

    Parameters
    ----------
    label : str
    fields : tuple of str
        Of the device; with a dot, paths of the configuration.
    better : str
    below, above : float
        The varied value stays between these (its absolute value).
    """

    label: str
    fields: tuple[str, ...]
    better: str = "lower"
    below: float = math.inf
    above: float = 0.0


_PROPERTIES = (
    _Property("step size", ("dw_min",)),
    _Property("step noise", ("dw_min_std",)),
    _Property("write noise", ("write_noise_std",)),
    _Property("read noise", ("forward.w_noise", "backward.w_noise")),
    _Property("asymmetry", ("up_down",), below=1.0),
    _Property("nonlinearity", ("gamma_up", "gamma_down")),
    _Property("spread of the step size", ("dw_min_dtod",)),
    _Property("spread of the upper bound", ("w_max_dtod",)),
    _Property("spread of the lower bound", ("w_min_dtod",)),
    _Property("spread of the asymmetry", ("up_down_dtod",)),
    _Property("spread of the nonlinearity", ("gamma_up_dtod", "gamma_down_dtod")),
    _Property("spread of the slope", ("slope_up_dtod", "slope_down_dtod")),
    _Property("spread of the reference", ("reference_std",)),
    _Property("share of stuck devices", ("corrupt_devices_prob",), below=1.0),
    _Property("diffusion", ("diffusion",)),
    _Property("lifetime", ("lifetime",), better="higher", above=1.0),
)
_MULTIPLES = (0.0625, 0.125, 0.25, 0.5, 1, 2, 4)
_PRODUCTS = """\
"{part}.inp_res"   = -1
"{part}.out_res"   = -1
"{part}.out_noise" = 0
"{part}.out_bound" = 1e6
"{part}.w_noise_type" = "ADDITIVE_CONSTANT"
"{part}.w_noise"   = {noise}"""
_TASKS = {"digits": ("digits-mlp", "{ epochs = 15, batch = 10, lr = 0.2 }"), "mnist": ("mnist-mlp3", "{ epochs = 5, lr = 0.05 }")}


def spec_text(parameters: ParameterSet, file: str, task: str, data: str | None = None, replicates: int = 5) -> str:
    """Study file that varies every important property of a fitted device alone, as multiples of what was found.

    Parameters
    ----------
    parameters : ParameterSet
    file : str
        Where the parameter set is, seen from the study file.
    task : str
        ``digits``, ``mnist``, or the name of a task of the studies.
    data : str, optional
        Folder of the data, for tasks that need one.
    replicates : int

    Raises
    ------
    StudyError
        For a device of which nothing can be varied.
    """
    fields: dict[str, Any] = dict(parameters.device.fields)
    read = parameters.parameters.get("read_noise")
    noise = read.value if read is not None and read.value is not None else 0.0
    fields |= {"forward.w_noise": noise, "backward.w_noise": noise}
    found = []
    for item in _PROPERTIES:
        own = [n for n in item.fields if isinstance(fields.get(n), int | float) and fields[n]]
        levels = [m for m in _MULTIPLES if all(item.above < abs(fields[n]) * m < item.below for n in own)]
        if own and len(levels) > 1:
            found.append((item, own, levels))
    if not found:
        raise StudyError(f"{file}: no property of the device is above 0, so there is nothing to vary")
    name, train = _TASKS.get(task, (task, "{}"))
    joint = [n for item, own, _ in found if item.better == "lower" for n in own]
    levels = [m for m in _MULTIPLES if m <= 1]
    together = [(_Property("imperfections together", tuple(joint)), joint, levels)] if len(found) > 1 and joint else []
    factors = "\n".join(_factor(*each) for each in [*found, *together])
    products = "\n".join(_PRODUCTS.format(part=part, noise=noise) for part in ("forward", "backward"))
    title = "".join(c for c in parameters.name if c.isprintable() and c not in '"\\')
    where = "" if data is None else f'\ndata   = "{Path(data).resolve().as_posix()}"'
    return f"""{MADE} Every important property of the device varied alone, the others as they were found.
# It is made anew each time; to change more than --set can, copy it and use: fitlab study run
schema = "studies.study/1"
name   = "Spec targets of {title}"

[base]
device = "{file}"
task   = "{name}"{where}
train  = {train}

[base.set]
# The largest starting weight uses 2 % of the measured window, so that weights can grow.
"mapping.weight_scaling_omega" = 0.02
# Ideal converters, and the device's own read noise: the answer is about the device alone.
{products}

[factors]
{factors}

[design]
kind = "one-at-a-time"

[replicates]
count = {replicates}

[target]
factor = "{_name(*found[0][:2])}"
level  = 0.99
better = "{found[0][0].better}"
"""


def _name(item: _Property, fields: list[str]) -> str:
    return f"device.{fields[0]}" if len(fields) == 1 else item.label.replace(" ", "_")


def _path(name: str) -> str:
    return name if "." in name else f"device.{name}"


def _factor(item: _Property, fields: list[str], levels: list[float]) -> str:
    paths = "" if len(fields) == 1 else "fields = [" + ", ".join(f'"{_path(n)}"' for n in fields) + "], "
    better = "" if item.better == "lower" else f', better = "{item.better}"'
    return f'"{_name(item, fields)}" = {{ {paths}multiply = {levels}, label = "{item.label}"{better} }}'
