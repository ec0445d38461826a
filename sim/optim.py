"""Optimizers that step analog tiles and digital parameters together.

What is analog: the weight update of a tile, done by its devices from the recorded inputs and errors. What is digital:
everything else. Momentum, weight decay and the like act on digital parameters only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sim.errors import ConfigError
from sim.tiles.tile import tile_of

__all__ = ["AnalogSGD"]


class AnalogSGD(Optimizer):
    """Stochastic gradient descent: pulses on tiles, the usual step on digital parameters.

    Parameters
    ----------
    params : parameters of the model, or groups of them
    lr : learning rate; a list or tensor of R values gives each replica its own
    momentum, dampening, weight_decay, nesterov : as torch's SGD, for digital parameters only

    Raises
    ------
    ConfigError
        for a value out of range

    Notes
    -----
    ``zero_grad`` also drops the uses that tiles have recorded. After all tiles were updated, each does what its devices do
    with time: diffusion, then decay. Digital parameters are stepped by separate multiplications and additions, whose bits
    do not depend on how many replicas stand beside (a fused kernel's do).
    """

    def __init__(
        self, params: Iterable[Any], lr: float | Sequence[float] | Tensor = 0.1, momentum: float = 0.0,
        dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
    ) -> None:  # fmt: skip
        for name, value in (("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ConfigError(f"{name} = {value} is not allowed: give a number of at least 0", field=name, value=value)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ConfigError("nesterov needs a momentum above 0 and a dampening of 0", field="nesterov", value=nesterov)
        digital = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {"lr": _rate(lr), **digital})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every tile with its recorded uses and every digital parameter with its gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        tiles = []
        for group in self.param_groups:
            rate = _rate(group["lr"])
            for parameter in group["params"]:
                tile = tile_of(parameter)
                if tile is not None:
                    tile.set_learning_rate(rate)
                    tile.apply_uses()
                    tiles.append(tile)
                elif parameter.grad is not None:
                    self._step_digital(parameter, group, rate)
        for tile in tiles:
            tile.end_step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop gradients and what the tiles have recorded."""
        super().zero_grad(set_to_none)
        for group in self.param_groups:
            for parameter in group["params"]:
                tile = tile_of(parameter)
                if tile is not None:
                    tile.forget()

    def regroup_param_groups(self, *_modules: Any) -> None:
        """Nothing to do: tiles are found among the parameters of any group. Scripts of the field call it."""

    def _step_digital(self, parameter: Tensor, group: dict[str, Any], rate: float | Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient + parameter * group["weight_decay"]
        if group["momentum"]:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = gradient.clone()
            else:
                kept = state["momentum_buffer"] * group["momentum"]
                state["momentum_buffer"] = kept + gradient * (1.0 - group["dampening"])
            buffer = state["momentum_buffer"]
            gradient = gradient + buffer * group["momentum"] if group["nesterov"] else buffer
        if isinstance(rate, Tensor):
            if parameter.shape[:1] != rate.shape:
                shape = tuple(parameter.shape)
                raise ConfigError(f"learning rates for {rate.numel()} replicas do not go with a parameter of shape {shape}")
            rate = rate.reshape(-1, *[1] * (parameter.dim() - 1))
        parameter.sub_(gradient * rate)


def _rate(lr: float | Sequence[float] | Tensor) -> float | Tensor:
    values = torch.as_tensor(lr, dtype=torch.float32)
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        raise ConfigError(f"lr = {lr} is not allowed: give finite numbers of at least 0", field="lr", value=lr)
    return values if values.dim() else float(lr)  # type: ignore[arg-type]  # not of the float32 copy
