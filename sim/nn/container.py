"""Modules that hold analog layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from sim.nn.module import AnalogContainer
from sim.tiles.tile import Tile

__all__ = ["AnalogContainer", "AnalogSequential", "AnalogWrapper", "analog_tiles", "analog_wrapper"]


def analog_tiles(module: nn.Module) -> Iterator[Tile]:
    """Every tile in a module, in order of registration, each once."""
    return (child for child in module.modules() if isinstance(child, Tile))


class AnalogSequential(AnalogContainer, nn.Sequential):
    """torch's Sequential, with the methods of a module that holds analog layers."""


class AnalogWrapper(AnalogContainer):
    """A model of any class, with the methods of a module that holds analog layers; see `analog_wrapper`."""

    wrapped: type[nn.Module]

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        """Wrapped classes are made on the fly; pickling and copying make them again."""
        return _rebuild, (self.wrapped,), self.__dict__


def analog_wrapper(kind: type[nn.Module]) -> Any:
    """``kind`` with the methods of a module that holds analog layers; its name is ``AnalogWrapper`` and that of ``kind``."""
    return type(f"AnalogWrapper{kind.__name__}", (AnalogWrapper, kind), {"wrapped": kind})


def _rebuild(kind: type[nn.Module]) -> Any:
    wrapper = analog_wrapper(kind)
    return wrapper.__new__(wrapper)
