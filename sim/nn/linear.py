"""Fully connected layer on analog tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from sim.configs.rpu import RPUConfig, SingleRPUConfig
from sim.ops import key_tensor_of, uniform_field
from sim.random import derive_key, fresh_seeds
from sim.tiles.common import Replicas, check_size
from sim.tiles.grid import make_tile
from sim.tiles.tile import Tile

__all__ = ["AnalogLinear"]


class AnalogLinear(nn.Module):
    """``y = W x + b`` with W on an analog tile, or on a grid of tiles where the configuration limits their size.

    Parameters
    ----------
    in_features, out_features : size of the layer
    bias : whether there is a bias
    rpu_config : configuration, or a list of R, which makes R replicas; a default SingleRPUConfig if not given
    replicas : number of replicas of one configuration; activations are then (R B, features), replica after replica
    seeds : seed of each replica; torch's generator if not given
    stream : name of the layer within a replica, needed with seeds

    Raises
    ------
    ConfigError
        for a size below 1, seeds without a stream, or what a tile refuses

    Notes
    -----
    Weights and bias start uniform in +-1/sqrt(in_features), as torch's Linear. All that is random in replica r is a function
    of its seed and the stream, so it trains as it would alone, bit for bit.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True,
        rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, replicas: int | None = None,
        seeds: Sequence[int] | None = None, stream: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        check_size(in_features=in_features, out_features=out_features)
        config = SingleRPUConfig() if rpu_config is None else rpu_config
        checked = Replicas.of(config, replicas)  # refused before anything is drawn
        if seeds is None:
            seeds, stream = fresh_seeds(checked.count), stream or "linear"
        self.in_features, self.out_features = in_features, out_features
        self.analog_module = make_tile(out_features, in_features, checked, bias, seeds=seeds, stream=stream)
        self.seeds, self.stream = list(seeds), stream
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start values, from the seed of each replica."""
        bound = 1.0 / math.sqrt(self.in_features)

        def start(name: str, shape: tuple[int, ...]) -> Tensor:
            keys = key_tensor_of([derive_key(seed, self.stream, name) for seed in self.seeds])
            values = (uniform_field(keys, shape) * 2.0 - 1.0) * bound
            return values if self.analog_module.replicated else values[0]

        has_bias = self.get_weights()[1] is not None
        weight = start("weight", (self.out_features, self.in_features))
        self.set_weights(weight, start("bias", (self.out_features,)) if has_bias else None)

    @classmethod
    def from_digital(
        cls, module: nn.Linear, rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, replicas: int | None = None,
        seeds: Sequence[int] | None = None, stream: str = "",
    ) -> AnalogLinear:  # fmt: skip
        """The analog layer with the weights and bias of a torch layer, the same in all replicas."""
        layer = cls(module.in_features, module.out_features, module.bias is not None, rpu_config, replicas, seeds, stream)
        layer.set_weights(module.weight.detach(), None if module.bias is None else module.bias.detach())
        return layer.train(module.training)

    def analog_tiles(self) -> Iterator[Tile]:
        """The tiles of the layer."""
        yield from (module for module in self.modules() if isinstance(module, Tile))

    @property
    def bias(self) -> Tensor | None:
        """The digital bias, (out,) or (R, out); None where there is none or it is analog."""
        return self.analog_module.bias

    def forward(self, x: Tensor) -> Tensor:
        """``W x + b`` for x (..., in_features); replicated: (R B, in_features)."""
        return self.analog_module(x)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None, apply_weight_scaling: bool = True) -> None:
        """Set weights and bias; see `sim.tiles.Tile.set_weights`."""
        self.analog_module.set_weights(weight, bias, apply_weight_scaling)

    def get_weights(self, apply_weight_scaling: bool = True) -> tuple[Tensor, Tensor | None]:
        """Weights and bias; see `sim.tiles.Tile.get_weights`."""
        return self.analog_module.get_weights(apply_weight_scaling)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
