"""The device models that can be fitted: which parameters are free, and how they become a kernel's and a device's.

Free parameters are smooth and close to the data, so that errors and derivatives exist and models share start values: the two
mean steps at w = 0 rather than `dw_min` and `up_down`, which follow from them (devices.md 3.2: the
stronger direction is `dw_min`)

    dw_min = max(step_up, step_down),   up_down = step_up/dw_min - 1 if step_up < step_down, else 1 - step_down/dw_min

All are in units of the window coordinate w; exponents, bends and `gamma_*` are dimensionless, slopes are per w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .response import Floats, Kernel, kernel_parameters

if TYPE_CHECKING:
    from .guess import Lines

STEPS = ("step_up", "step_down")
BOUNDS = ("w_max", "w_min")
GAMMAS = ("gamma_up", "gamma_down")
SLOPES = ("slope_up", "slope_down")
BENDS = ("bend_up", "bend_down")
EXPONENTS = ("exponent_up", "exponent_down")
OWN = "own_"
"""Before the names of a user's own parameters, which may be like those here."""
NODES = 6
"""Nodes a direction of the piecewise step: the most whose errors ramps of a hundred pulses can carry."""

Values = Mapping[str, float]
Entry = tuple[str, float, dict[str, float]]
"""A kernel parameter: its name, its value, and its derivatives by the free parameters."""


def _zero_steps(values: Values) -> tuple[float, float]:
    return values["step_up"], values["step_down"]


def _numbers_only(values: Values) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Model:
    """One device model as the fit sees it.

    Attributes
    ----------
    name : str
        Short name, as `--model` takes it.
    device : str
        Class in `sim.devices`.
    kernel : Kernel
        The compiled step.
    parameters : tuple of str
        Free parameters of the mean response.
    noise : tuple of bool
        Values of `mult_noise` that are tried: true, step noise in proportion to the step; false, independent of w.
    law : callable
        Free parameters to the entries of the kernel beside steps and bounds, which it may replace.
    fields : callable
        Free parameters to the fields of the device class.
    drawn : callable
        Free parameters to the two steps whose spread `dw_min_dtod` and `up_down_dtod` describe.
    structure : callable
        Free parameters to the fields of the device class that are not single numbers.
    first : callable or None
        Straight lines through the steps to start values, where `guess` has none for the kernel.
    noise_sizes : callable or None
        Free parameters and states to the noise scales up and down, where they are neither the steps nor constant.
    own : tuple of str
        Free parameters that the user named, with `OWN` before the name.
    units : dict
        Parameters that are not of order 1 to their size.
    held : frozenset of str
        Parameters that keep their start value.
    soft : bool
        Steps vanish at the bounds.
    inner : bool
        The bounds belong to the shape of the response: they are kept although no read reaches them.
    alike : str or None
        The model whose likelihood is the same; this one is fitted only where it is named.
    nodes : int
        Nodes that follow the kernel's parameters as data.
    writes : bool
        The device class has `write_noise_std`.
    forms : bool
        The device class has `mult_noise`.
    """

    name: str
    device: str
    kernel: Kernel
    parameters: tuple[str, ...]
    noise: tuple[bool, ...]
    law: Callable[[Values], Iterator[Entry]]
    fields: Callable[[Values], dict[str, float]]
    drawn: Callable[[Values], tuple[float, float]] = _zero_steps
    structure: Callable[[Values], dict[str, Any]] = _numbers_only
    first: Callable[[Lines], list[dict[str, float]]] | None = None
    noise_sizes: Callable[[Values, Floats], tuple[Floats, Floats]] | None = None
    own: tuple[str, ...] = ()
    units: Mapping[str, float] = field(default_factory=dict, hash=False)
    held: frozenset[str] = frozenset()
    soft: bool = False
    inner: bool = False
    alike: str | None = None
    nodes: int = 0
    writes: bool = True
    forms: bool = False

    @property
    def logs(self) -> tuple[str, ...]:
        """Parameters besides steps and noises that are varied as the logarithm of their size: bounds that may lie far out, where
        only their ratio to the steps is known."""
        return BOUNDS if self.soft else ()

    def kernel_values(self, values: Values, mult_noise: bool, points: tuple[int, ...] = ()) -> tuple[Floats, Floats]:
        """Kernel parameters (..., K) for free-parameter values, and their derivatives (..., K, P).

        Each value may be an array over `points` points.
        """
        row, column = self._places
        kernel, jacobian = np.zeros((*points, len(row))), np.zeros((*points, len(row), len(column)))
        for name, value, slopes in self.law(values):
            at = row[name]
            kernel[..., at] = value
            for free, slope in slopes.items():
                jacobian[..., at, column[free]] = slope
        if "mult_noise" in row:
            kernel[..., row["mult_noise"]] = float(mult_noise)
        if "reverse_offset" in row:
            kernel[..., row["reverse_offset"]] = 0.01
        return kernel, jacobian

    @cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int]]:
        """Row of every kernel parameter and column of every free one."""
        nodes = [node_name(side, k) for side in ("up", "down") for k in range(self.nodes)]
        names = [*kernel_parameters(self.kernel), *nodes]
        return {n: i for i, n in enumerate(names)}, {n: i for i, n in enumerate(self.parameters)}

    def mean_steps(self, values: Values, w: Floats) -> tuple[Floats, Floats]:
        """Mean up and down step (both positive towards their direction) at states w inside the bounds."""
        from .response import Trace, trajectory

        kernel, _ = self.kernel_values(values, True)
        inside = np.clip(np.atleast_1d(w), values["w_min"], values["w_max"])
        count = len(inside)
        pulses = np.repeat(np.array([[0, 1], [0, -1]], np.int32), count, axis=0).ravel()
        segment = np.repeat(np.arange(2 * count, dtype=np.int32), 2)
        path = trajectory(self.kernel, kernel, Trace(np.zeros(4 * count), pulses, segment), np.tile(inside, 2))
        change = path[1::2] - path[::2]
        return change[:count], -change[count:]


def node_name(side: str, k: int) -> str:
    """Name of the free parameter that is the step at a node, from the lower bound on."""
    return f"{side}_{k}"


def device_fields(values: Values) -> dict[str, float]:
    """`dw_min` and `up_down` for the two mean steps."""
    largest, ratio = one_sided(values["step_up"], values["step_down"])
    return {"dw_min": largest, "up_down": ratio}


def one_sided(up: float, down: float) -> tuple[float, float]:
    """The larger of two quantities, and the asymmetry that weakens the other (devices.md 3.2)."""
    largest = max(up, down)
    return largest, up / largest - 1 if up < down else 1 - down / largest


def _bounds(values: Values) -> Iterator[Entry]:
    yield "max_bound", values["w_max"], {"w_max": 1.0}
    yield "min_bound", values["w_min"], {"w_min": 1.0}


def _plain(values: Values) -> Iterator[Entry]:
    yield "dwmin_up", values["step_up"], {"step_up": 1.0}
    yield "dwmin_down", values["step_down"], {"step_down": 1.0}
    yield from _bounds(values)


def _plain_fields(values: Values) -> dict[str, float]:
    return {**device_fields(values), "w_max": values["w_max"], "w_min": values["w_min"]}


def _linear(values: Values) -> Iterator[Entry]:
    """s = step (1 - gamma w / bound)."""
    yield from _plain(values)
    for side, bound in (("up", "w_max"), ("down", "w_min")):
        gamma, step, at = values[f"gamma_{side}"], values[f"step_{side}"], values[bound]
        yield (
            f"slope_{side}",
            -gamma * step / at,
            {f"gamma_{side}": -step / at, f"step_{side}": -gamma / at, bound: gamma * step / at**2},
        )


def _linear_fields(values: Values) -> dict[str, float]:
    return {**_plain_fields(values), **{n: values[n] for n in GAMMAS}}


def _far_steps(values: Values) -> tuple[float, float]:
    """Power steps at the far bound, S = s(0) (R / |bound|)^exponent, R the distance of the bounds."""
    width = values["w_max"] - values["w_min"]
    up = values["step_up"] * (width / values["w_max"]) ** values["exponent_up"]
    return up, values["step_down"] * (width / -values["w_min"]) ** values["exponent_down"]


def _power(values: Values) -> Iterator[Entry]:
    """s = step ((bound - w) / bound)^exponent, both directions; the kernel takes the step at the far bound."""
    high, low = values["w_max"], values["w_min"]
    width, (up, down) = high - low, _far_steps(values)
    a, b = values["exponent_up"], values["exponent_down"]
    yield (
        "dwmin_up",
        up,
        {
            "step_up": up / values["step_up"],
            "exponent_up": up * np.log(width / high),
            "w_max": up * a * (1 / width - 1 / high),
            "w_min": -up * a / width,
        },
    )
    yield (
        "dwmin_down",
        down,
        {
            "step_down": down / values["step_down"],
            "exponent_down": down * np.log(width / -low),
            "w_max": down * b / width,
            "w_min": down * b * (-1 / width - 1 / low),
        },
    )
    yield from _bounds(values)
    yield "gamma_up", a, {"exponent_up": 1.0}
    yield "gamma_down", b, {"exponent_down": 1.0}


def _power_fields(values: Values) -> dict[str, float]:
    up, down = _far_steps(values)
    gamma, ratio = one_sided(values["exponent_up"], values["exponent_down"])
    return {
        **_plain_fields({**values, "step_up": up, "step_down": down}),
        "pow_gamma": gamma,
        "pow_up_down": ratio,
    }


def _exponential(values: Values) -> Iterator[Entry]:
    """s = (step / bend) (1 - (1 - bend) exp(rate w)) towards the bound, rate = slope bend / (1 - bend); the kernel's z is w.

    The relative slope at 0 is -slope. A bend of 0 is a straight line, of infinity an exponential without plateau; between 0
    and 1 the step bends down (away from a plateau before), above 1 it bends up (towards one that is not 0). At 1 the rate is
    infinite: a fit stays on its side.
    """
    for side in ("up", "down"):
        step, slope, bend = values[f"step_{side}"], values[f"slope_{side}"], values[f"bend_{side}"]
        yield f"dwmin_{side}", step / bend, {f"step_{side}": 1 / bend, f"bend_{side}": -step / bend**2}
        yield f"A_{side}", 1 - bend, {f"bend_{side}": -1.0}
        yield (
            f"gamma_{side}",
            _rate(slope, bend),
            {f"slope_{side}": bend / (1 - bend), f"bend_{side}": slope / (1 - bend) ** 2},
        )
    yield from _bounds(values)
    yield "a", (values["w_max"] - values["w_min"]) / 2, {"w_max": 0.5, "w_min": -0.5}


def _rate(slope: float, bend: float) -> float:
    return slope * bend / (1 - bend)


def _exponential_fields(values: Values) -> dict[str, float]:
    plateau = {**values, **{f"step_{s}": values[f"step_{s}"] / values[f"bend_{s}"] for s in ("up", "down")}}
    return {
        **_plain_fields(plateau),
        **{f"A_{s}": 1 - values[f"bend_{s}"] for s in ("up", "down")},
        **{f"gamma_{s}": _rate(values[f"slope_{s}"], values[f"bend_{s}"]) for s in ("up", "down")},
        "a": (values["w_max"] - values["w_min"]) / 2,
        "b": 0.0,
    }


def _pmax(values: Values) -> Iterator[Entry]:
    """Soft bounds whose steps keep the same part exp(-alpha) of the distance to either bound."""
    part, slope = -np.expm1(-values["alpha"]), np.exp(-values["alpha"])
    yield "dwmin_up", part * values["w_max"], {"alpha": slope * values["w_max"], "w_max": part}
    yield "dwmin_down", -part * values["w_min"], {"alpha": -slope * values["w_min"], "w_min": -part}
    yield from _bounds(values)


def _pmax_fields(values: Values) -> dict[str, float]:
    """The range that 99 % of the distance takes: B (1 + exp(-alpha p_max)) = w_max - w_min (sim.devices.SoftBoundsPmaxDevice)."""
    span = (values["w_max"] - values["w_min"]) / 1.01
    return {
        "alpha": values["alpha"],
        "p_max": np.log(100) / values["alpha"],
        "range_min": values["w_max"] - span,
        "range_max": values["w_min"] + span,
    }


def _pmax_steps(values: Values) -> tuple[float, float]:
    part = float(-np.expm1(-values["alpha"]))
    return part * values["w_max"], -part * values["w_min"]


def _piecewise(values: Values) -> Iterator[Entry]:
    """The nodes are the steps themselves."""
    for side in ("up", "down"):
        yield f"dwmin_{side}", 1.0, {}
        for k in range(NODES):
            name = node_name(side, k)
            yield name, values[name], {name: 1.0}
    yield from _bounds(values)


def _node_values(values: Values, side: str) -> list[float]:
    return [values[node_name(side, k)] for k in range(NODES)]


def _node_means(values: Values) -> tuple[float, float]:
    return float(np.mean(_node_values(values, "up"))), float(np.mean(_node_values(values, "down")))


def _piecewise_fields(values: Values) -> dict[str, float]:
    """`dw_min` and `up_down` of the mean steps; the nodes are lists: `structure`."""
    up, down = _node_means(values)
    return _plain_fields({**values, "step_up": up, "step_down": down})


def _piecewise_lists(values: Values) -> dict[str, Any]:
    """Lists of nodes, relative to the mean step of their direction."""
    return {
        f"piecewise_{side}": [v / mean for v in _node_values(values, side)]
        for side, mean in zip(("up", "down"), _node_means(values), strict=True)
    }


_SOFT = STEPS + BOUNDS
_POWER = STEPS + EXPONENTS + BOUNDS
NODE_NAMES = tuple(node_name(side, k) for side in ("up", "down") for k in range(NODES))

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("ConstantStep", "ConstantStepDevice", Kernel("constant_step"), _SOFT, (True,), _plain, _plain_fields,
              writes=False),
        Model("LinearStep", "LinearStepDevice", Kernel("linear_step"), STEPS + GAMMAS + BOUNDS, (True, False), _linear,
              _linear_fields, forms=True),
        Model("SoftBounds", "SoftBoundsDevice", Kernel("soft_bounds"), _SOFT, (True,), _plain, _plain_fields, soft=True,
              inner=True, forms=True),
        Model(
            "SoftBoundsReference", "SoftBoundsReferenceDevice", Kernel("soft_bounds_reference"), _SOFT, (False,), _plain,
            _plain_fields, soft=True, inner=True, forms=True,
        ),
        Model(
            "SoftBoundsPmax", "SoftBoundsPmaxDevice", Kernel("soft_bounds"), ("alpha", *BOUNDS), (True,), _pmax, _pmax_fields,
            drawn=_pmax_steps, soft=True, inner=True, alike="SoftBounds", forms=True,
        ),
        Model(
            "ExpStep", "ExpStepDevice", Kernel("exp_step"), STEPS + SLOPES + BENDS + BOUNDS, (True,), _exponential,
            _exponential_fields,
        ),
        Model(
            "PowStep", "PowStepDevice", Kernel("pow_step"), _POWER, (True,), _power, _power_fields, drawn=_far_steps, soft=True,
            inner=True,
        ),
        Model(
            "PowStepReference", "PowStepReferenceDevice", Kernel("pow_step_reference"), _POWER, (True,), _power, _power_fields,
            drawn=_far_steps, soft=True, inner=True, alike="PowStep", writes=False,
        ),
        Model(
            "PiecewiseStep", "PiecewiseStepDevice", Kernel("piecewise_step"), NODE_NAMES + BOUNDS, (True,), _piecewise,
            _piecewise_fields, drawn=_node_means, structure=_piecewise_lists, held=frozenset(BOUNDS), inner=True, nodes=NODES,
        ),
    )
}  # fmt: skip
