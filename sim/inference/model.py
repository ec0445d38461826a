"""Programming and drift of all tiles of a model."""

from __future__ import annotations

from torch import nn

from sim.errors import ModuleError
from sim.inference.noise import BaseNoiseModel
from sim.tiles.inference import InferenceTile
from sim.tiles.tile import Tile

__all__ = ["drift_analog_weights", "program_analog_weights", "remap_analog_weights"]


def program_analog_weights(model: nn.Module, noise_model: BaseNoiseModel | None = None) -> None:
    """Program every tile of a model, each once; tiles of in-memory training in a closed loop.

    Parameters
    ----------
    model : a model in evaluation mode
    noise_model : replaces the noise models of the inference tiles

    Raises
    ------
    ModuleError
        if the model is in training mode
    """
    _evaluating(model, "program_analog_weights")
    for tile in model.modules():
        if isinstance(tile, InferenceTile):
            tile.program_weights(noise_model=noise_model)
        elif isinstance(tile, Tile):
            tile.program_weights()


def drift_analog_weights(model: nn.Module, t_inference: float = 0.0) -> None:
    """Let every inference tile of a model be as it is ``t_inference`` seconds after programming; other tiles do not drift.

    Raises
    ------
    ModuleError
        if the model is in training mode
    ConfigError
        for a time that a noise model does not take
    """
    _evaluating(model, "drift_analog_weights")
    for tile in model.modules():
        if isinstance(tile, InferenceTile):
            tile.drift_weights(t_inference)


def remap_analog_weights(model: nn.Module, weight_scaling_omega: float | None = 1.0) -> None:
    """Set the logical weights of every tile again, scaled so that the largest is ``weight_scaling_omega``."""
    for tile in model.modules():
        if isinstance(tile, Tile):
            tile.remap_weights(weight_scaling_omega)


def _evaluating(model: nn.Module, name: str) -> None:
    if model.training:
        raise ModuleError(f"{name}: the model is in training mode; call model.eval() first")
