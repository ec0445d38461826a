"""The device models that can be fitted: which parameters are free, and how they become a kernel's.

Free parameters are smooth, so that errors and derivatives exist: the two mean steps at w = 0 rather than `dw_min` and
`up_down`, which follow from them (devices.md 3.2: the stronger direction is `dw_min`)

    dw_min = max(step_up, step_down),   up_down = step_up/dw_min - 1 if step_up < step_down, else 1 - step_down/dw_min

All are in units of the window coordinate w; `gamma_*` are dimensionless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .response import Floats, kernel_parameters

STEPS = ("step_up", "step_down")
BOUNDS = ("w_max", "w_min")
GAMMAS = ("gamma_up", "gamma_down")


@dataclass(frozen=True)
class Model:
    """One device model as the fit sees it.

    Attributes
    ----------
    name : str
        Short name, as `--model` takes it.
    device : str
        Class in `sim.devices`.
    kernel : str
        Header in `sim/core/devices`.
    parameters : tuple of str
        Free parameters of the mean response.
    noise : tuple of bool
        Values of `mult_noise` that are tried: true, step noise in proportion to the step; false, independent of w.
    soft : bool
        Steps vanish at the bounds.
    """

    name: str
    device: str
    kernel: str
    parameters: tuple[str, ...]
    noise: tuple[bool, ...]
    soft: bool = False

    def kernel_values(self, values: Mapping[str, float], mult_noise: bool) -> tuple[Floats, Floats]:
        """Kernel parameters (K,) for free-parameter values, and their derivatives (K, P)."""
        names = kernel_parameters(self.kernel)
        row = {name: i for i, name in enumerate(names)}
        column = {name: i for i, name in enumerate(self.parameters)}
        kernel, jacobian = np.zeros(len(names)), np.zeros((len(names), len(self.parameters)))

        def put(name: str, value: float, **derivatives: float) -> None:
            kernel[row[name]] = value
            for free, slope in derivatives.items():
                jacobian[row[name], column[free]] = slope

        put("dwmin_up", values["step_up"], step_up=1.0)
        put("dwmin_down", values["step_down"], step_down=1.0)
        put("max_bound", values["w_max"], w_max=1.0)
        put("min_bound", values["w_min"], w_min=1.0)
        if "gamma_up" in column:
            for side, bound in (("up", "w_max"), ("down", "w_min")):
                gamma, step, at = values[f"gamma_{side}"], values[f"step_{side}"], values[bound]
                put(
                    f"slope_{side}",
                    -gamma * step / at,
                    **{f"gamma_{side}": -step / at, f"step_{side}": -gamma / at, bound: gamma * step / at**2},
                )
        if "mult_noise" in row:
            kernel[row["mult_noise"]] = float(mult_noise)
        if "reverse_offset" in row:
            kernel[row["reverse_offset"]] = 0.01
        return kernel, jacobian

    def mean_steps(self, values: Mapping[str, float], w: Floats) -> tuple[Floats, Floats]:
        """Mean up and down step (both positive towards their direction) at states w inside the bounds."""
        from .response import Trace, trajectory

        kernel, _ = self.kernel_values(values, True)
        inside = np.clip(np.atleast_1d(w), values["w_min"], values["w_max"])
        steps = []
        for sign in (1, -1):
            pulses = np.tile(np.array([0, sign], np.int32), len(inside))
            segment = np.repeat(np.arange(len(inside), dtype=np.int32), 2)
            path = trajectory(self.kernel, kernel, Trace(np.zeros(len(pulses)), pulses, segment), inside)
            steps.append(sign * (path[1::2] - path[::2]))
        return steps[0], steps[1]


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("ConstantStep", "ConstantStepDevice", "constant_step", STEPS + BOUNDS, (True,)),
        Model("LinearStep", "LinearStepDevice", "linear_step", STEPS + GAMMAS + BOUNDS, (True, False)),
        Model("SoftBounds", "SoftBoundsDevice", "soft_bounds", STEPS + BOUNDS, (True,), soft=True),
        Model("SoftBoundsReference", "SoftBoundsReferenceDevice", "soft_bounds_reference", STEPS + BOUNDS, (False,), soft=True),
    )
}


def device_fields(values: Mapping[str, float]) -> dict[str, float]:
    """`dw_min` and `up_down` for the two mean steps."""
    up, down = values["step_up"], values["step_down"]
    largest = max(up, down)
    return {"dw_min": largest, "up_down": up / largest - 1 if up < down else 1 - down / largest}


def device_field_slopes(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Derivatives of `dw_min` and `up_down` by the two mean steps (the delta method's)."""
    up, down = values["step_up"], values["step_down"]
    if up < down:
        return {
            "dw_min": {"step_up": 0.0, "step_down": 1.0},
            "up_down": {"step_up": 1 / down, "step_down": -up / down**2},
        }
    return {"dw_min": {"step_up": 1.0, "step_down": 0.0}, "up_down": {"step_up": down / up**2, "step_down": -1 / up}}
