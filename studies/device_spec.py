"""The useful default about a fitted device: each of its properties varied alone, and what must improve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studies.errors import StudyError

if TYPE_CHECKING:
    from fitlab.parameters import ParameterSet

__all__ = ["spec_text"]

# Field ending -> label; what a device has of these, and is not 0, is varied. All are better when lower.
_PROPERTIES = {
    "dw_min": "step size",
    "dw_min_std": "step noise",
    "dw_min_dtod": "spread of the step size",
    "w_max_dtod": "spread of the upper bound",
    "w_min_dtod": "spread of the lower bound",
    "up_down_dtod": "spread of the asymmetry",
    "write_noise_std": "write noise",
    "gamma_up_dtod": "spread of the upper slope",
    "gamma_down_dtod": "spread of the lower slope",
    "slope_up_dtod": "spread of the upper slope",
    "slope_down_dtod": "spread of the lower slope",
    "reference_std": "spread of the reference",
}
_LEVELS = "[0.0625, 0.125, 0.25, 0.5, 1, 2, 4]"
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
    fields = parameters.device.fields
    found = {n: label for n, label in _PROPERTIES.items() if isinstance(fields.get(n), int | float) and fields[n]}
    if not found:
        raise StudyError(f"{file}: no property of the device is above 0, so there is nothing to vary")
    name, train = _TASKS.get(task, (task, "{}"))
    factors = "\n".join(f'"device.{n}" = {{ multiply = {_LEVELS}, label = "{label}" }}' for n, label in found.items())
    title = "".join(c for c in parameters.name if c.isprintable() and c not in '"\\')
    where = "" if data is None else f'\ndata   = "{Path(data).resolve().as_posix()}"'
    return f"""# Made by: fitlab spec. Every important property of the device varied alone, the others as they were found.
schema = "studies.study/1"
name   = "Spec targets of {title}"

[base]
device = "{file}"
task   = "{name}"{where}
train  = {train}

[base.set]
# The largest starting weight uses 2 % of the measured window, so that weights can grow.
"mapping.weight_scaling_omega" = 0.02
# Ideal converters and products: the answer is about the device alone.
"forward.is_perfect"  = true
"backward.is_perfect" = true

[factors]
{factors}

[design]
kind = "one-at-a-time"

[replicates]
count = {replicates}

[target]
factor = "device.{next(iter(found))}"
level  = 0.99
better = "lower"
"""
