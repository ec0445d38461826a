"""A tile whose analog product is written in torch by its user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sim.arrays.array import Array
from sim.arrays.product import Product
from sim.tiles.inference import InferenceTile

__all__ = ["CustomTile", "TorchSimulatorTile"]


class TorchSimulatorTile(nn.Module):
    """The analog product of a tile in plain torch: override `forward`, and name the class in a configuration.

        class TwoPasses(TorchSimulatorTile):
            def forward(self, weight, x):
                positive = super().forward(weight, x.clamp(min=0.0))
                return positive + super().forward(weight, x.clamp(max=0.0))

        @config
        class TwoPassConfig(TorchInferenceRPUConfig):
            simulator_tile_class = TwoPasses

    Scales, bias, input range, programming, drift and modified weights are the tile's; gradients are torch's. Fields of the
    configuration's own are in ``self.configs``, one configuration for each replica.

    Parameters
    ----------
    configs : R configurations of one structure
    keys : R keys of the tile, for random numbers that do not depend on the other replicas
    shape : (out, in), with the bias column
    """

    def __init__(self, configs: Sequence[Any], keys: Sequence[int], shape: tuple[int, int]) -> None:
        super().__init__()
        self.configs, self.keys, self.shape = list(configs), list(keys), shape
        self.product = Product([config.forward for config in configs], keys, transposed=False, shape=shape)

    def forward(self, weight: Tensor, x: Tensor) -> Tensor:
        """Outputs (R, B, out) of inputs x (R, B, in) and weights (R, out, in): here, as of every other tile."""
        return self.product(weight, x)[0]


class CustomProduct(nn.Module):
    """A simulator in the place of the tile's own product."""

    def __init__(self, simulator: TorchSimulatorTile) -> None:
        super().__init__()
        self.simulator = simulator

    @property
    def step(self) -> Tensor:
        """Number of products so far."""
        return self.simulator.product.step

    def forward(self, weight: Tensor, x: Tensor, want_clipped: bool = False) -> tuple[Tensor, Tensor]:
        """Products, and nothing about where a converter clipped: torch's gradient knows."""
        return self.simulator(weight, x), torch.empty(0, dtype=torch.uint8)


class CustomTile(InferenceTile):
    """An inference tile with the product that ``simulator_tile_class`` of its configuration defines."""

    _graph: tuple[Tensor, Tensor, Tensor] | None = None
    _wants_graph = False

    def _parts(self, configs: list[Any], shape: tuple[int, int], keys: Sequence[int]) -> tuple[Array, Any, Product]:
        array, _, backward = super()._parts(configs, shape, keys)
        return array, CustomProduct(type(configs[0]).simulator_tile_class(configs, keys, shape)), backward

    def _before(self, x: Tensor) -> None:
        super()._before(x)
        self._wants_graph = torch.is_grad_enabled()

    def _multiply(self, product: Any, v: Tensor, want_clipped: bool = False) -> tuple[Tensor, Tensor]:
        if product is not self.forward_product or not self._wants_graph:
            return super()._multiply(product, v, want_clipped)
        with torch.enable_grad():
            weight, inputs = self.array.read().detach().clone().requires_grad_(), v.detach().requires_grad_()
            z, clipped = product(weight, inputs)
        self._graph = (weight, inputs, z)
        return z.detach().clone(), clipped

    def record(self, x: Tensor, d: Tensor) -> Tensor | None:
        if not self.array.weight.requires_grad or self._graph is None:
            return None
        weight, _, z = self._graph
        errors = d if self.input_range is None else d * self.input_range.detach().abs().view(-1, 1, 1)
        errors = self._compensated(errors if self.mapping_scales is None else errors / self.mapping_scales.unsqueeze(1))
        return torch.autograd.grad(z, weight, errors, retain_graph=True)[0]

    def _backward(self, d: Tensor) -> Tensor:
        if self._graph is None:
            return super()._backward(d)
        _, inputs, z = self._graph
        x = torch.autograd.grad(z, inputs, self._compensated(d), retain_graph=True)[0]
        return x[:, :, :-1].contiguous() if self.analog_bias else x
