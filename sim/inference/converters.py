"""From normalised weights to conductances and back.

A converter is a pair of deterministic maps; ``g_max`` and ``g_min`` are in µS. The scale (µS per unit of weight) follows the
largest weight of the matrix that is converted. Source of the equations: inference.md, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from sim.errors import ConfigError
from sim.settings import Config, NonNegative, Positive, Range, config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BaseConductanceConverter",
    "ConductanceTable",
    "CustomPairConductanceConverter",
    "DualPairConductanceConverter",
    "FusionConductanceConverter",
    "NPairConductanceConverter",
    "SingleDeviceConductanceConverter",
    "SinglePairConductanceConverter",
]

SMALLEST = 1e-7  # a matrix of zeros has a scale too

Converted = tuple[list["Tensor"], dict[str, Any]]
Line = tuple[float, float, float, float, float]
"""A device of a weight: slope and offset over the weight, bounds in µS, and what a µS adds to the weight."""


@config
class BaseConductanceConverter(Config):
    """A map from weights to conductances; a subclass gives both methods, and may have fields ``g_max`` and ``g_min``."""

    abstract = True

    def convert_to_conductances(self, weights: Tensor) -> Converted:
        """Conductances in µS, a list of (out, in), for weights (out, in), and what the way back needs."""
        raise NotImplementedError(f"{type(self).__name__}.convert_to_conductances")

    def convert_back_to_weights(self, conductances: list[Tensor], params: dict[str, Any]) -> Tensor:
        """Weights (out, in) of a list of conductances."""
        raise NotImplementedError(f"{type(self).__name__}.convert_back_to_weights")

    def rules(self) -> None:
        """The range of conductances is not empty."""
        low, high = getattr(self, "g_min", 0.0), getattr(self, "g_max", 0.0)
        if (high > 0 or low > 0) and low >= high:
            raise ConfigError(
                f"g_min = {low:g} does not go with g_max = {high:g}: give a g_min below g_max",
                field="g_min",
                value=low,
                allowed=f"below {high:g}",
            )


def _ends(weights: Tensor) -> tuple[float, float]:
    return float(weights.min()), float(weights.max())


def _count(conductances: list[Tensor], n: int, owner: object) -> None:
    if len(conductances) != n:
        raise ConfigError(f"{type(owner).__name__} takes {n} matrices of conductances back, not {len(conductances)}")


@config
class SinglePairConductanceConverter(BaseConductanceConverter):
    r"""Two devices a weight, :math:`g_\pm = \mathrm{clip}(\pm s W, 0, g_{max}) + g_{min}`,
    :math:`s = (g_{max} - g_{min}) / \max|W|`: the device of the other sign sits at g_min."""

    g_max: Annotated[Positive, "largest conductance, µS"] = 25.0
    g_min: Annotated[NonNegative, "smallest conductance, µS"] = 0.0

    def scaling(self, low: float, high: float) -> dict[str, Any]:
        """What the way back needs, for the smallest and the largest weight."""
        return {"scale": (self.g_max - self.g_min) / max(-low, high, SMALLEST)}

    def lines(self, params: dict[str, Any]) -> list[Line]:
        """The same maps as clipped lines."""
        scale, top = params["scale"], self.g_max + self.g_min
        return [(s * scale, self.g_min, self.g_min, top, s / scale) for s in (1.0, -1.0)]

    def convert_to_conductances(self, weights: Tensor) -> Converted:
        params = self.scaling(*_ends(weights))
        g = weights * params["scale"]
        return [g.clamp(0.0, self.g_max) + self.g_min, (-g).clamp(0.0, self.g_max) + self.g_min], params

    def convert_back_to_weights(self, conductances: list[Tensor], params: dict[str, Any]) -> Tensor:
        _count(conductances, 2, self)
        return ((conductances[0] - self.g_min) - (conductances[1] - self.g_min)) / params["scale"]


@config
class NPairConductanceConverter(BaseConductanceConverter):
    r"""Pairs of rising significance: pair p adds :math:`f_p (g_{+,p} - g_{-,p})`, and is used once the lower ones are full."""

    f_lst: Annotated[Sequence[float], Range(above=0.0), "significance of each pair, least first"] = (1.0,)
    g_max: Annotated[Positive, "largest conductance, µS"] = 25.0
    g_min: Annotated[NonNegative, "smallest conductance, µS"] = 0.0

    def rules(self) -> None:
        super().rules()
        if not self.f_lst:
            raise ConfigError("f_lst = [] is not allowed: give the significance of each pair", field="f_lst", value=[])

    def scaling(self, low: float, high: float) -> dict[str, Any]:
        """What the way back needs, for the smallest and the largest weight."""
        return {"scale": sum(self.f_lst) * (self.g_max - self.g_min) / max(-low, high, SMALLEST)}

    def lines(self, params: dict[str, Any]) -> list[Line]:
        """The same maps as clipped lines."""
        scale, below, lines = params["scale"], 0.0, []
        for f in self.f_lst:
            for s in (scale, -scale):
                lines.append((s / f, self.g_min - below / f, self.g_min, self.g_max, f / s))
            below += f * (self.g_max - self.g_min)
        return lines

    def convert_to_conductances(self, weights: Tensor) -> Converted:
        span, params = self.g_max - self.g_min, self.scaling(*_ends(weights))
        u = weights * params["scale"]
        up, down = u.clamp(min=0.0), (-u).clamp(min=0.0)
        below = 0.0
        conductances = []
        for f in self.f_lst:
            for part in (up, down):
                conductances.append(((part - below) / f + self.g_min).clamp(self.g_min, self.g_max))
            below += f * span
        return conductances, params

    def convert_back_to_weights(self, conductances: list[Tensor], params: dict[str, Any]) -> Tensor:
        return _sum_of_pairs(self.f_lst, conductances, self) / params["scale"]


@config
class DualPairConductanceConverter(NPairConductanceConverter):
    """Two pairs of different significance."""

    f_lst: Annotated[Sequence[float], Range(above=0.0), "significance of both pairs, least first"] = (1.0, 1.0)

    def rules(self) -> None:
        super().rules()
        if len(self.f_lst) != 2:
            raise ConfigError(
                f"f_lst = {list(self.f_lst)} is not allowed: give two numbers, one for each pair",
                field="f_lst",
                value=self.f_lst,
                allowed="two numbers",
            )


def _sum_of_pairs(factors: Sequence[float], conductances: list[Tensor], owner: object) -> Tensor:
    _count(conductances, 2 * len(factors), owner)
    total = factors[0] * (conductances[0] - conductances[1])
    for p in range(1, len(factors)):
        total = total + factors[p] * (conductances[2 * p] - conductances[2 * p + 1])
    return total


@config
class ConductanceTable(Config):
    """Conductance of one device at each point of a uniform grid of weights, from the most negative to the most positive."""

    values: Annotated[Sequence[float], Range(low=0.0), "conductances, µS"] = ()


@config
class CustomPairConductanceConverter(BaseConductanceConverter):
    r"""Pairs whose conductances are tables over a uniform grid of weights.

    With :math:`u_k = \sum_p f_p (g_{+,p}[k] - g_{-,p}[k])` the scale is :math:`s = \max_k |u_k| / \max|W|`, and the grid runs
    from :math:`-\max|u|/s` to :math:`\max|u|/s`; between its points conductances are interpolated.
    """

    f_lst: Annotated[Sequence[float], Range(above=0.0), "significance of each pair"] = (1.0,)
    g_lst: Annotated[Sequence[ConductanceTable], "tables of g+ and g- of each pair in turn, of the same length"] = field(
        default_factory=lambda: (ConductanceTable(values=(0.0, 0.0, 25.0)), ConductanceTable(values=(25.0, 0.0, 0.0)))
    )
    g_max: Annotated[NonNegative, "largest conductance, µS; 0 = that of the tables"] = 0.0
    g_min: Annotated[NonNegative, "smallest conductance, µS"] = 0.0
    invertibility_test: Annotated[bool, "refuse tables whose maps forth and back are not inverse"] = True

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """As of every configuration; a table may be given as a plain list of numbers."""
        if name == "g_lst" and isinstance(value, Sequence):
            value = [v if isinstance(v, ConductanceTable | dict) else ConductanceTable(values=v) for v in value]
            value = [ConductanceTable.from_dict(v, path or name) if isinstance(v, dict) else v for v in value]
        super().assign(name, value, path)

    def rules(self) -> None:
        """Two tables a pair, of one length and within the range; the maps are inverse."""
        lengths = {len(table.values) for table in self.g_lst}
        if len(self.g_lst) != 2 * len(self.f_lst) or not self.f_lst or len(lengths) != 1 or min(lengths) < 2:
            raise ConfigError(
                f"g_lst has {len(self.g_lst)} tables of lengths {sorted(lengths)}: give two for each of the {len(self.f_lst)} "
                "pairs of f_lst, of one length of at least 2",
                field="g_lst",
            )
        largest = max(max(table.values) for table in self.g_lst)
        if self.g_max == 0.0:
            self.g_max = largest
        super().rules()
        if self.invertibility_test:
            self._test()

    def convert_to_conductances(self, weights: Tensor) -> Converted:
        import torch

        tables = [weights.new_tensor(table.values, dtype=torch.float64) for table in self.g_lst]
        u = _sum_of_pairs(self.f_lst, tables, self)
        largest, extent = float(weights.abs().max()), float(u.abs().max())
        scale = extent / max(largest, SMALLEST)
        n = len(u)
        # Position on the grid of n points from -extent / scale to extent / scale.
        at = ((weights * (scale / extent) + 1.0) * (0.5 * (n - 1))).clamp(0.0, n - 1.0)
        left = at.floor().clamp(max=n - 2.0)
        part, index = at - left, left.long()
        conductances = []
        for values in tables:
            table = values.to(weights.dtype)
            low = table[index]
            conductances.append(low + part * (table[index + 1] - low))
        return conductances, {"scale": scale}

    def convert_back_to_weights(self, conductances: list[Tensor], params: dict[str, Any]) -> Tensor:
        return _sum_of_pairs(self.f_lst, conductances, self) / params["scale"]

    def _test(self) -> None:
        import torch

        probe = torch.linspace(-1.0, 1.0, 5).reshape(1, 5)
        back = self.convert_back_to_weights(*self.convert_to_conductances(probe))
        if not torch.allclose(back, probe, atol=1e-4, rtol=1e-5):
            shown = ", ".join(f"{v:.3g}" for v in back.reshape(-1).tolist())
            raise ConfigError(
                f"g_lst is not invertible: weights -1, -0.5, 0, 0.5, 1 come back as {shown}; give tables whose "
                "sum over the pairs is linear in the weight, or invertibility_test=False",
                field="g_lst",
            )


@config
class SingleDeviceConductanceConverter(BaseConductanceConverter):
    r"""One bidirectional device a weight, :math:`g = s (W - \min W) + g_{min}`, :math:`s = (g_{max} - g_{min})/(\max W -
    \min W)`."""

    g_max: Annotated[Positive, "largest conductance, µS"] = 88.199997
    g_min: Annotated[NonNegative, "smallest conductance, µS"] = 9.0

    def scaling(self, low: float, high: float) -> dict[str, Any]:
        """What the way back needs, for the smallest and the largest weight."""
        return {"scale": (self.g_max - self.g_min) / max(high - low, SMALLEST), "min": low}

    def lines(self, params: dict[str, Any]) -> list[Line]:
        """The same maps as lines."""
        scale = params["scale"]
        return [(scale, self.g_min - params["min"] * scale, -math.inf, math.inf, 1.0 / scale)]

    def convert_to_conductances(self, weights: Tensor) -> Converted:
        params = self.scaling(*_ends(weights))
        return [(weights - params["min"]) * params["scale"] + self.g_min], params

    def convert_back_to_weights(self, conductances: list[Tensor], params: dict[str, Any]) -> Tensor:
        _count(conductances, 1, self)
        return params["min"] + (conductances[0] - self.g_min) / params["scale"]


@config
class FusionConductanceConverter(BaseConductanceConverter):
    """Magnitudes for a chip that takes whole µS: :math:`g = |W_{ij}| g_{max} / max_j |W_{ij}|`; signs stay in software.

    On the way back every row is scaled so that it fits the original weights best (least squares with intercept, which is
    dropped): this removes any gain of a row, so it is for export and import, not for the simulation of drift.
    """

    g_max: Annotated[int, Range(low=10, high=40), "conductance of the largest weight of a row, µS"] = 40

    def convert_to_conductances(self, weights: Tensor) -> Converted:
        scale = self.g_max / weights.abs().amax(dim=1, keepdim=True).clamp(min=1e-10)
        return [(weights * scale).abs().clamp(0.0, float(self.g_max))], {"weights": weights.clone()}

    def convert_back_to_weights(self, conductances: list[Tensor], params: dict[str, Any]) -> Tensor:
        _count(conductances, 1, self)
        original = params["weights"]
        v = conductances[0] * original.sign()
        x, y = v.double(), original.double()
        x0, y0 = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
        spread = (x0 * x0).sum(dim=1, keepdim=True)
        # A row of equal entries has no slope of its own: it goes through the origin.
        flat = spread <= 1e-12 * (x * x).sum(dim=1, keepdim=True)
        slope = (x0 * y0).sum(dim=1, keepdim=True) / spread.where(~flat, spread.new_ones(()))
        origin = (x * y).sum(dim=1, keepdim=True) / (x * x).sum(dim=1, keepdim=True).clamp(min=1e-30)
        return v * slope.where(~flat, origin).to(v.dtype)
