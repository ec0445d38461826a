"""Modules that hold analog layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from sim.inference.model import drift_analog_weights, program_analog_weights, remap_analog_weights
from sim.inference.noise import BaseNoiseModel
from sim.nn.linear import AnalogLinear
from sim.tiles.tile import Tile

__all__ = ["AnalogContainer", "AnalogSequential", "analog_tiles", "analog_wrapper"]


def analog_tiles(module: nn.Module) -> Iterator[Tile]:
    """Every tile in a module, in order of registration, each once."""
    for child in module.modules():
        if isinstance(child, Tile):
            yield child


class AnalogContainer:
    """Methods of a module that holds analog layers."""

    def analog_tiles(self) -> Iterator[Tile]:
        """Every tile, in order of registration."""
        return analog_tiles(self)  # type: ignore[arg-type]

    def named_analog_tiles(self) -> Iterator[tuple[str, Tile]]:
        """Every tile with its dotted name."""
        for name, child in self.named_modules():  # type: ignore[attr-defined]
            if isinstance(child, Tile):
                yield name, child

    def analog_layers(self) -> Iterator[AnalogLinear]:
        """Every analog layer, in order of registration."""
        for child in self.modules():  # type: ignore[attr-defined]
            if isinstance(child, AnalogLinear):
                yield child

    def program_analog_weights(self, noise_model: BaseNoiseModel | None = None) -> None:
        """See `sim.inference.program_analog_weights`."""
        program_analog_weights(self, noise_model)  # type: ignore[arg-type]

    def drift_analog_weights(self, t_inference: float = 0.0) -> None:
        """See `sim.inference.drift_analog_weights`."""
        drift_analog_weights(self, t_inference)  # type: ignore[arg-type]

    def remap_analog_weights(self, weight_scaling_omega: float | None = 1.0) -> None:
        """See `sim.inference.remap_analog_weights`."""
        remap_analog_weights(self, weight_scaling_omega)  # type: ignore[arg-type]

    def analog_tile_count(self) -> int:
        """Number of tiles."""
        return sum(1 for _ in self.analog_tiles())


class AnalogSequential(AnalogContainer, nn.Sequential):
    """torch's Sequential, with the methods of a module that holds analog layers."""


def analog_wrapper(kind: type[nn.Module]) -> Any:
    """``kind`` with the methods of a module that holds analog layers."""
    return type(f"AnalogWrapper{kind.__name__}", (AnalogContainer, kind), {"__reduce__": _reduce, "wrapped": kind})


def _reduce(module: Any) -> tuple[Any, ...]:
    """Wrapped classes are made on the fly; pickling and copying make them again."""
    return _rebuild, (module.wrapped,), module.__dict__


def _rebuild(kind: type[nn.Module]) -> Any:
    wrapper = analog_wrapper(kind)
    return wrapper.__new__(wrapper)
