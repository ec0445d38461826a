"""A user's own formula as a model: `sim.devices.ExpressionDevice` with its parameters free.

Free are the parameters of the formula (`OWN` before their names here), `dw_min` of each direction whose formula has it
(`step_up`, `step_down`), and the bounds. Steps and derivatives are those of the compiled formula. The search starts at the
values given for the user's parameters, whose sizes are its units, and at steps and bounds told from the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.devices import ExpressionDevice
from sim.formula import evaluate, variables

from .free import FAR
from .guess import Lines
from .models import BOUNDS, OWN, STEPS, Entry, Model, Values, device_fields
from .response import Floats, Kernel

SIDES = ("up", "down")


@dataclass(frozen=True)
class Formula:
    """The device whose parameters are free, and what follows from their values."""

    device: ExpressionDevice

    def steps(self, values: Values) -> tuple[Any, Any]:
        """`dw_min` up and down: free, or the device's."""
        given = self.device.mean_steps()
        return values.get(STEPS[0], given[0]), values.get(STEPS[1], given[1])

    def law(self, values: Values) -> Iterator[Entry]:
        """Entries of the kernel."""
        for side, step in zip(SIDES, self.steps(values), strict=True):
            yield f"dwmin_{side}", step, {f"step_{side}": 1.0} if f"step_{side}" in values else {}
        yield "max_bound", values["w_max"], {"w_max": 1.0}
        yield "min_bound", values["w_min"], {"w_min": 1.0}
        for k, name in enumerate(self.device.parameters):
            yield f"p{k}", values[OWN + name], {OWN + name: 1.0}

    def fields(self, values: Values) -> dict[str, float]:
        """Fields that are single numbers, the user's parameters among them under their free names."""
        up, down = self.steps(values)
        own = {OWN + name: values[OWN + name] for name in self.device.parameters}
        step = device_fields({"step_up": up, "step_down": down})
        return {**step, "w_max": values["w_max"], "w_min": values["w_min"], **own}

    def structure(self, values: Values) -> dict[str, Any]:
        """The formulas and the values of their parameters."""
        d = self.device
        own = {"parameters": {name: float(values[OWN + name]) for name in d.parameters}} if d.parameters else {}
        return {"up": d.up, "down": d.down, "noise": d.noise, **own}

    def at(self, field: str, values: Values, w: float, side: int, step: float = 0.0) -> float:
        """Value of a formula at a state; 0 where it is not finite, as in the kernel."""
        own = [values[OWN + name] for name in self.device.parameters]
        inner = [w, self.steps(values)[side], values["w_max"], values["w_min"], step, *own]
        found = evaluate(self.device.program(field), inner)
        return found if np.isfinite(found) else 0.0

    def noise_sizes(self, values: Values, w: Floats) -> tuple[Floats, Floats]:
        """Scale of the noise up and down at states w, between 65 of which it is interpolated."""
        grid = np.linspace(float(np.min(w)), float(np.max(w)), 65) if len(w) > 65 else np.sort(w)
        sizes = [[abs(self.at("noise", values, v, k, self.at(s, values, v, k))) for v in grid] for k, s in enumerate(SIDES)]
        up, down = (np.interp(w, grid, row) for row in sizes)
        return up, down

    def drawn(self, values: Values) -> tuple[float, float]:
        """Steps whose spread between devices is that of `dw_min`."""
        up, down = self.steps(values)
        return float(up), float(down)

    def first(self, line: Lines) -> list[dict[str, float]]:
        """Start values: steps that agree with the data's at the middle, the user's parameters as given, halved and doubled."""
        bounds = [(max(line.high, 0.1) * f, min(line.low, -0.1) * f) for f in (1.03, 1.3, 2.0)]
        if not self.inner:
            bounds = [(FAR, -FAR), (line.high, line.low)]
        given = {OWN + name: value for name, value in self.device.parameters.items()}
        shapes = [given, *({**given, name: given[name] * f} for name in given for f in (0.5, 2.0, -1.0))]
        out = []
        for w_max, w_min in [*bounds, (self.device.w_max, self.device.w_min)]:
            for shape in shapes:
                values = {**shape, "w_max": w_max, "w_min": w_min}
                for k, (side, measured) in enumerate(zip(SIDES, (line.a_up, line.a_down), strict=True)):
                    if f"step_{side}" in self.free:
                        unit = self.at(side, {**values, f"step_{side}": 1.0}, 0.0, k)
                        values[f"step_{side}"] = measured / unit if unit > 1e-3 * measured else measured
                out.append({name: values[name] for name in self.free})
        return out

    @property
    def inner(self) -> bool:
        """Whether a formula has the bounds."""
        return any({"w_max", "w_min"} & variables(getattr(self.device, f), self.names) for f in (*SIDES, "noise"))

    @property
    def names(self) -> tuple[str, ...]:
        """Names that the formulas may have."""
        return ("w", "dw_min", "w_max", "w_min", "step", *self.device.parameters)

    @property
    def free(self) -> tuple[str, ...]:
        """Free parameters."""
        steps = tuple(f"step_{s}" for s in SIDES if "dw_min" in variables(getattr(self.device, s), self.names))
        return (*steps, *(OWN + name for name in self.device.parameters), *BOUNDS)


def formula_model(device: ExpressionDevice) -> Model:
    """The model of a formula."""
    f = Formula(device)
    follows = bool({"w", "step"} & variables(device.noise, f.names))
    units = {OWN + name: abs(value) or 1.0 for name, value in device.parameters.items()}
    return Model(
        "ExpressionDevice", "ExpressionDevice", Kernel("expression", tuple(device.shared())), f.free, (follows,), f.law, f.fields,
        drawn=f.drawn, structure=f.structure, first=f.first, noise_sizes=f.noise_sizes, inner=f.inner,
        own=tuple(OWN + name for name in device.parameters), units=units,
    )  # fmt: skip
