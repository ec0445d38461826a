"""Fully connected layers on analog tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from sim.configs.rpu import RPUConfig
from sim.nn.module import AnalogLayer
from sim.tiles.grid import TileGrid

__all__ = ["AnalogLinear", "AnalogLinearMapped"]


class AnalogLinear(AnalogLayer):
    """``y = W x + b`` with W on an analog tile, or on a grid of tiles where the configuration limits their size.

    Parameters
    ----------
    in_features, out_features : size of the layer
    bias : whether there is a bias
    rpu_config, tile_module_class, replicas, seeds, stream : as of `AnalogLayer`

    Raises
    ------
    ConfigError
        for a size below 1, seeds without a stream, or what a tile refuses

    Notes
    -----
    Weights and bias start uniform in +-1/sqrt(in_features), as torch's Linear.
    """

    kind: ClassVar[type[Any] | None] = None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True,
        rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, tile_module_class: type[Any] | None = None,
        replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        checked = self._prepare(rpu_config, replicas, seeds, stream, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.analog_module = self._tiles(out_features, in_features, checked, bias, tile_module_class or self.kind)
        self.reset_parameters()

    @classmethod
    def from_digital(
        cls, module: nn.Linear, rpu_config: RPUConfig | Sequence[RPUConfig] | None = None,
        tile_module_class: type[Any] | None = None, replicas: int | None = None, seeds: Sequence[int] | None = None,
        stream: str = "",
    ) -> Self:  # fmt: skip
        """The analog layer with the weights, bias and flags of a torch layer, the same in all replicas."""
        layer = cls(
            module.in_features, module.out_features, module.bias is not None, rpu_config, tile_module_class, replicas, seeds,
            stream,
        )  # fmt: skip
        layer._take(module)
        return layer

    def to_digital(self) -> nn.Linear:
        """The torch layer with the same weights, bias and flags."""
        return self._give(self._precise_twin())

    def _twin(self) -> nn.Linear:
        return nn.Linear(self.in_features, self.out_features, self.get_weights()[1] is not None)

    def forward(self, x: Tensor) -> Tensor:
        """``W x + b`` for x (..., in_features); replicated: (R B, in_features)."""
        module: Any = self._modules["analog_module"]  # a module's attributes cost a microsecond each
        return module(x)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"


class AnalogLinearMapped(AnalogLinear):
    """The same always on a grid of tiles, be it of one; its bias is digital."""

    kind = TileGrid
