"""Free parameters of a fit: names, limits and ties, and the chain rule down to the kernel.

Where the user adjusts them they are lmfit's Parameters, with its bounds and expressions; the many starts that are only looked
at hold plain ones, because a set of lmfit's takes longer to make than a fit takes to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .models import BENDS, NODES, Model, node_name
from .response import Floats

if TYPE_CHECKING:
    from lmfit import Parameters

Adjust = Callable[["Parameters"], None]
"""Fixes, bounds or ties parameters of the lmfit Parameters it is given."""

NOISE = ("dw_min_std", "read_noise")
FAR = 50.0
"""A hard bound at this w takes no part: the window is [-1, 1]."""

_LIMITS: dict[str, tuple[float, float]] = {
    "step_up": (1e-7, 4.0),
    "step_down": (1e-7, 4.0),
    "w_max": (0.02, FAR),
    "w_min": (-FAR, -0.02),
    "gamma_up": (-np.inf, np.inf),
    "gamma_down": (-np.inf, np.inf),
    "slope_up": (-50.0, 50.0),
    "slope_down": (-50.0, 50.0),
    "exponent_up": (0.02, 20.0),
    "exponent_down": (0.02, 20.0),
    "alpha": (1e-7, 3.0),
    **{node_name(side, k): (0.0, 4.0) for side in ("up", "down") for k in range(NODES)},
    "dw_min_std": (1e-3, 1e3),
    "read_noise": (1e-6, 2.0),
}


_BENT = ((0.002, 0.98), (1.02, 500.0))
"""Limits of a bend below and above 1."""


def limits(name: str, value: float) -> tuple[float, float]:
    """Limits of the search for a parameter that is at `value`."""
    return _LIMITS.get(name, (-np.inf, np.inf)) if name not in BENDS else _BENT[value > 1]


@dataclass
class Parameter:
    """One parameter, in the words of lmfit."""

    value: float
    min: float = -np.inf
    max: float = np.inf
    vary: bool = True
    expr: None = None


def make_parameters(
    model: Model,
    values: Mapping[str, float],
    *,
    fixed: frozenset[str] = frozenset(),
    held: Mapping[str, float] | None = None,
    starts: Sequence[float] = (),
    adjust: Adjust | None = None,
) -> Mapping[str, Any]:
    """Parameters of a model by name, with the two noise parameters when `values` holds them.

    Parameters
    ----------
    fixed : names that keep their value
    held : names that are fixed at another value, whatever `adjust` says
    starts : start values of segments, free
    adjust : what the user changes
    """
    parameters: Any = {}
    fixed = fixed | model.held
    for name in (*model.parameters, *(n for n in NOISE if n in values)):
        low, high = limits(name, values[name])
        parameters[name] = Parameter(float(np.clip(values[name], low, high)), low, high, name not in fixed)
    for i, value in enumerate(starts):
        parameters[start_name(i)] = Parameter(float(value))
    if adjust is not None:
        parameters = as_lmfit(parameters)
        adjust(parameters)
    for name, value in (held or {}).items():
        if adjust is not None:
            parameters[name].set(value=value, vary=False)
        else:
            parameters[name].value, parameters[name].vary = value, False
    return parameters


def as_lmfit(parameters: Mapping[str, Any]) -> Parameters:
    """The same parameters as lmfit's."""
    from lmfit import Parameters

    made = Parameters()
    for name, p in parameters.items():
        made.add(name, value=p.value, min=p.min, max=p.max, vary=p.vary)
    return made


def start_name(segment: int) -> str:
    """Name of the start value of a segment."""
    return f"start_{segment}"


class Space:
    """The vector of varied parameters x, and every parameter's value and derivative as a function of it.

    Quantities of one sign are varied as the logarithm of their size when `log` names them, others in parts of their `units`.
    """

    def __init__(
        self, parameters: Mapping[str, Any], log: tuple[str, ...] = (), units: Mapping[str, float] | None = None
    ) -> None:
        self.parameters: Any = parameters
        self.names = [name for name, p in parameters.items() if p.vary and p.expr is None]
        self.all = list(parameters)
        self.tied = any(p.expr is not None for p in parameters.values())
        self.log = np.array([name in log for name in self.names], dtype=bool)
        limits = [(parameters[name].min, parameters[name].max) for name in self.names]
        self.sign = np.array([-1.0 if high <= 0 else 1.0 for _, high in limits])
        self.unit = np.array([(units or {}).get(name, 1.0) for name in self.names])
        # a step of 2 in a logarithm or in the window goes far; of a user's own parameter only its start is known
        self.reach = np.array([100.0 if name in (units or {}) else 2.0 for name in self.names])
        ends = [
            sorted(float(np.log(max(abs(v), 1e-300))) for v in pair) if lg else [v / unit for v in pair]
            for pair, lg, unit in zip(limits, self.log, self.unit.tolist(), strict=True)
        ]
        self.low, self.high = np.array(ends, dtype=float).reshape(-1, 2).T
        self._fixed = {name: float(p.value) for name, p in parameters.items()}
        self._logs = self.log.tolist()
        self._rows = [self.all.index(name) for name in self.names]

    def x(self) -> Floats:
        """Present values of the varied parameters."""
        v = np.array([self.parameters[name].value for name in self.names], dtype=float)
        return np.where(self.log, np.log(np.maximum(self.sign * v, 1e-300)), v / self.unit)

    def values(self, x: Floats) -> dict[str, float]:
        """All parameter values at x."""
        varied = np.where(self.log, self.sign * np.exp(np.where(self.log, x, 0.0)), x * self.unit).tolist()
        if not self.tied:
            return {**self._fixed, **dict(zip(self.names, varied, strict=True))}
        for name, value in zip(self.names, varied, strict=True):
            self.parameters[name].value = value
        self.parameters.update_constraints()
        return {name: float(p.value) for name, p in self.parameters.items()}

    def together(self, points: Floats) -> tuple[dict[str, Any], Floats]:
        """All parameter values (P,) at points (P, V), and their derivatives (P, all, V) by x."""
        if self.tied:
            values = [self.values(x) for x in points]
            return {n: np.array([v[n] for v in values]) for n in self.all}, np.array([self.jacobian(x) for x in points])
        varied = np.where(self.log, self.sign * np.exp(np.where(self.log, points, 0.0)), points * self.unit)
        out = np.zeros((len(points), len(self.all), len(self.names)))
        out[:, self._rows, np.arange(len(self.names))] = np.where(self.log, varied, self.unit)
        fixed = {n: np.full(len(points), v) for n, v in self._fixed.items()}
        return {**fixed, **dict(zip(self.names, varied.T, strict=True))}, out

    def jacobian(self, x: Floats, values: Mapping[str, float] | None = None) -> Floats:
        """Derivatives (all, varied) of all parameter values by x, where they are `values`."""
        values = values or self.values(x)
        out = np.zeros((len(self.all), len(self.names)))
        for j, (i, lg, name) in enumerate(zip(self._rows, self._logs, self.names, strict=True)):
            out[i, j] = values[name] if lg else self.unit[j]
        if self.tied:
            row = {name: i for i, name in enumerate(self.all)}
            for j in range(len(self.names)):
                h = 1e-6 * max(1.0, abs(x[j]))
                ahead, behind = x.copy(), x.copy()
                ahead[j] += h
                behind[j] -= h
                up, down = self.values(ahead), self.values(behind)
                for name, p in self.parameters.items():
                    if p.expr is not None:
                        out[row[name], j] = (up[name] - down[name]) / (2 * h)
        return out
