"""Optimizers that step analog tiles and digital parameters together.

What is analog: the weight update of a tile, done by its devices from the recorded inputs and errors. What is digital:
everything else, and the weights of tiles that torch trains. Momentum, weight decay, moments and the like act on digital
parameters only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import optimizer as hooks

from sim.errors import ConfigError
from sim.gpu import may_look, numbers
from sim.tiles.tile import Tile, tile_of

__all__ = ["AnalogAdam", "AnalogOptimizer", "AnalogOptimizerMixin", "AnalogSGD"]

Rate = float | Sequence[float] | Tensor


class AnalogOptimizerMixin:
    """What an optimizer of torch does with tiles; it stands in front of that optimizer among the bases of a class.

    ``zero_grad`` also drops the uses that tiles have recorded. In a step the digital parameters come first, then the updates
    of all tiles, then what their devices do with time: diffusion, then decay (and, where torch trains the weights, clipping,
    remapping and modifying).
    """

    param_groups: list[dict[str, Any]]
    _found: tuple[tuple[int, ...], list[list[Tile]]] | None = None

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every digital parameter with its gradient and every tile with its recorded uses."""
        if _watched(self):
            return _hooked_step(self, closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # or torch puts its hooks around it, which cost as much as the digital step

    @torch.no_grad()
    def _step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        super().step()  # type: ignore[misc]
        groups = self._tiles()
        for group, tiles in zip(self.param_groups, groups, strict=True):
            if not tiles:
                continue
            rate = _rate(group["lr"])
            for tile in tiles:
                tile.set_learning_rate(rate)
                tile.apply_uses()
        for tiles in groups:
            for tile in tiles:
                tile.end_step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop gradients and what the tiles have recorded."""
        if set_to_none:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        else:
            super().zero_grad(set_to_none)  # type: ignore[misc]
        for tiles in self._tiles():
            for tile in tiles:
                tile.forget()

    def set_learning_rate(self, learning_rate: Rate) -> None:
        """Set the learning rate of all groups and all tiles."""
        rate = _rate(learning_rate)
        for group in self.param_groups:
            group["lr"] = _kept(learning_rate)
        for tiles in self._tiles():
            for tile in tiles:
                tile.set_learning_rate(rate)

    def regroup_param_groups(self, *_modules: Any) -> None:
        """Nothing to do: tiles are found among the parameters of any group, and keep its rate. Scripts of the field call it."""

    def _tiles(self) -> list[list[Tile]]:
        """The tiles of each group."""
        sizes = tuple(len(group["params"]) for group in self.param_groups)
        if self._found is None or self._found[0] != sizes:
            found = [[tile_of(parameter) for parameter in group["params"]] for group in self.param_groups]
            self._found = sizes, [[tile for tile in tiles if tile is not None] for tiles in found]
        return self._found[1]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: value for name, value in state.items() if name != "_found"}


class _Rates(Tensor):
    """Learning rates of replicas in double precision, as one alone has; schedulers of torch set them all at once."""

    def fill_(self, value: Any) -> Tensor:
        """Torch fills with one number; here also with one for each replica."""
        return self.copy_(torch.as_tensor(value, dtype=self.dtype).expand_as(self))


def _watched(optimizer: Any) -> bool:
    """Whether hooks or a profiler wait for the steps of an optimizer."""
    return bool(
        optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks or hooks._global_optimizer_pre_hooks
        or hooks._global_optimizer_post_hooks or torch.autograd._profiler_enabled()
    )  # fmt: skip


_hooked_step = Optimizer.profile_hook_step(AnalogOptimizerMixin._step)


# Torch wraps it to keep its compiler out, which imports the compiler: a second of every process that trains.
_add_param_group = getattr(Optimizer.add_param_group, "__wrapped__", Optimizer.add_param_group)


class ReplicaOptimizer(Optimizer):
    """Digital steps by separate multiplications and additions, whose bits do not depend on how many replicas stand beside.

    A fused kernel's do. The learning rate of a group may be one for each replica; parameters then have the replica axis.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; a list of rates is one for each replica."""
        _add_param_group(self, param_group)
        self._settle_rates()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's."""
        super().load_state_dict(state_dict)
        self._settle_rates()

    def state_dict(self) -> dict[str, Any]:
        """As torch's: numbers and plain tensors only."""
        state = super().state_dict()
        for group in state["param_groups"]:
            for name in ("lr", "initial_lr"):
                if isinstance(group.get(name), _Rates):
                    group[name] = group[name].as_subclass(Tensor).clone()
        return state

    def _settle_rates(self) -> None:
        for group in self.param_groups:
            for name in ("lr", "initial_lr"):
                if isinstance(group.get(name), Tensor | list | tuple):
                    group[name] = _kept(group[name])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            rate: float | Tensor | None = None
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rate = _rate(group["lr"]) if rate is None else rate
                    parameter.sub_(self._change(parameter, parameter.grad, group, _for(rate, parameter)))
        return loss

    def _change(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], rate: float | Tensor) -> Tensor:
        """What is subtracted from a parameter."""
        raise NotImplementedError


class _SGD(ReplicaOptimizer):
    def __init__(
        self, params: Iterable[Any], lr: Rate = 0.1, momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:  # fmt: skip
        _at_least_0(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ConfigError("nesterov needs a momentum above 0 and a dampening of 0", field="nesterov", value=nesterov)
        digital = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {"lr": _kept(lr), **digital})

    def _change(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], rate: float | Tensor) -> Tensor:
        if group["weight_decay"]:
            gradient = gradient + parameter * group["weight_decay"]
        if group["momentum"]:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = gradient.clone()
            else:
                kept = state["momentum_buffer"] * group["momentum"]
                state["momentum_buffer"].copy_(kept + gradient * (1.0 - group["dampening"]))  # in its place: see sim.cuda.graph
            buffer = state["momentum_buffer"]
            gradient = gradient + buffer * group["momentum"] if group["nesterov"] else buffer
        return gradient * rate


class _Adam(ReplicaOptimizer):
    def __init__(
        self, params: Iterable[Any], lr: Rate = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False,
    ) -> None:  # fmt: skip
        _at_least_0(eps=eps, weight_decay=weight_decay)
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ConfigError(f"betas = {betas} is not allowed: give two numbers from 0 to below 1", field="betas", value=betas)
        digital = {"betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {"lr": _kept(lr), **digital})

    def _change(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], rate: float | Tensor) -> Tensor:
        if group["weight_decay"]:
            gradient = gradient + parameter * group["weight_decay"]
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = torch.zeros_like(parameter)
        may_look(parameter, "AnalogAdam counts its steps for the bias of its moments: use AnalogSGD in a graph")
        state["step"] += 1
        count = float(state["step"])
        state["exp_avg"] = state["exp_avg"] * first + gradient * (1.0 - first)
        state["exp_avg_sq"] = state["exp_avg_sq"] * second + gradient * gradient * (1.0 - second)
        square = state["exp_avg_sq"]
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], square)
        size = (square / (1.0 - second**count)).sqrt() + group["eps"]
        return state["exp_avg"] / (1.0 - first**count) / size * rate


class AnalogSGD(AnalogOptimizerMixin, _SGD):  # type: ignore[misc]
    """Stochastic gradient descent: pulses on tiles, the usual step on digital parameters; see `AnalogOptimizerMixin`.

    Parameters
    ----------
    params : parameters of the model, or groups of them
    lr : learning rate; a list or tensor of R values gives each replica its own
    momentum, dampening, weight_decay, nesterov : as torch's SGD, for digital parameters only

    Raises
    ------
    ConfigError
        for a value out of range
    """


class AnalogAdam(AnalogOptimizerMixin, _Adam):  # type: ignore[misc]
    """Adam for digital parameters (torch's equations), pulses on tiles with the plain gradient; see `AnalogOptimizerMixin`.

    Parameters
    ----------
    params : parameters of the model, or groups of them
    lr : learning rate of both; a list or tensor of R values gives each replica its own
    betas, eps, weight_decay, amsgrad : as torch's Adam, for digital parameters only

    Raises
    ------
    ConfigError
        for a value out of range
    """


class AnalogOptimizer:
    """``AnalogOptimizer(torch.optim.RMSprop, params, lr=0.01)``: any optimizer of torch, for models with tiles.

    The object is of a class derived from `AnalogOptimizerMixin` and the given one. The learning rate is one for all replicas.
    """

    def __new__(cls, optimizer_cls: type[Optimizer], *args: Any, **kwargs: Any) -> Any:
        """An optimizer of the class, made with the other arguments."""
        if isinstance(kwargs.get("lr"), list | tuple) or (isinstance(kwargs.get("lr"), Tensor) and kwargs["lr"].numel() > 1):
            raise ConfigError(
                "lr: optimizers of torch have one learning rate; AnalogSGD and AnalogAdam take one for each replica", field="lr"
            )
        kind = type(f"Analog{optimizer_cls.__name__}", (AnalogOptimizerMixin, optimizer_cls), {})
        return kind(*args, **kwargs)


def _at_least_0(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ConfigError(f"{name} = {value} is not allowed: give a number of at least 0", field=name, value=value)


def _kept(lr: Rate) -> float | Tensor:
    """A learning rate as a group holds it, once it is checked."""
    if isinstance(_rate(lr), float):
        return float(lr)  # type: ignore[arg-type]
    return torch.as_tensor(lr, dtype=torch.float64).clone().as_subclass(_Rates)


def _rate(lr: Rate) -> float | Tensor:
    if type(lr) is float and 0.0 <= lr < float("inf"):
        return lr
    values = torch.as_tensor(lr, dtype=torch.float32).as_subclass(Tensor)
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        raise ConfigError(f"lr = {lr} is not allowed: give finite numbers of at least 0", field="lr", value=lr)
    return values if values.dim() else float(lr)  # type: ignore[arg-type]  # not of the float32 copy


def _for(rate: float | Tensor, parameter: Tensor) -> float | Tensor:
    """Learning rates (R,) as they multiply a parameter (R, ...)."""
    if not isinstance(rate, Tensor):
        return rate
    if parameter.shape[:1] != rate.shape:
        shape = tuple(parameter.shape)
        raise ConfigError(f"learning rates for {rate.numel()} replicas do not go with a parameter of shape {shape}")
    return numbers(parameter, rate.tolist(), rate.dtype).reshape(-1, *[1] * (parameter.dim() - 1))
