"""A tile: a forward product, a backward product, an array and the digital periphery around them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from sim.arrays.array import Array
from sim.arrays.cells import VectorArray
from sim.arrays.product import Product
from sim.configs.mapping import MappingParameter
from sim.configs.rpu import RPUConfig
from sim.errors import ConfigError
from sim.ops import ShapeError

__all__ = ["Tile", "tile_of"]

MANY_USES = 200

_tiles: Any = WeakIdKeyDictionary()


def tile_of(parameter: Tensor) -> Tile | None:
    """The tile that a parameter stands for in an optimizer, if it is a tile's ``analog_ctx``."""
    return _tiles.get(parameter)


class Tile(nn.Module):
    """R replicas of one crossbar array with converters, scales and bias.

    An ordinary tile has R = 1 and no replica axis in its interface; a replicated one takes activations (R B, n), replica
    after replica, and shows its weights as (R, out, in).

    Parameters
    ----------
    out_size, in_size : size of the weight matrix, without an analog bias
    configs : R configurations; they may differ in numbers, not in structure
    array : the array, of shape (out, in) or (out, in + 1) with an analog bias
    forward_product, backward_product : the two directions
    bias : whether the tile adds a bias: digital, or the array's last column, as ``mapping.digital_bias`` says
    replicated : whether the interface has the replica axis
    """

    bias: nn.Parameter | None
    scales: Tensor | None
    learning_rate: Tensor

    def __init__(
        self, out_size: int, in_size: int, configs: Sequence[RPUConfig], array: Array, forward_product: Product,
        backward_product: Product, bias: bool = False, replicated: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.out_size, self.in_size = out_size, in_size
        self.configs = list(configs)
        self.replicated = replicated
        self.array = array
        self.forward_product, self.backward_product = forward_product, backward_product
        replicas = len(configs)
        self.analog_bias = bias and not self.mapping.digital_bias
        digital = torch.zeros(replicas, out_size) if replicated else torch.zeros(out_size)
        self.bias = nn.Parameter(digital) if bias and not self.analog_bias else None
        scaled = any(config.mapping.weight_scaling_omega > 0 for config in configs)
        self.register_buffer("scales", torch.ones(replicas, out_size) if scaled else None)
        self.register_buffer("learning_rate", torch.full((replicas,), 0.01))
        self.analog_ctx = nn.Parameter(torch.zeros(()))
        self._uses: list[tuple[Tensor, Tensor]] = []
        _tiles[self.analog_ctx] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        _tiles[self.analog_ctx] = self

    @property
    def mapping(self) -> MappingParameter:
        """How weights are laid onto the tile."""
        return self.configs[0].mapping

    @property
    def rpu_config(self) -> RPUConfig:
        """The configuration; of the first replica, where there are several (``configs`` has all)."""
        return self.configs[0]

    @property
    def replicas(self) -> int:
        """Number of replicas R."""
        return len(self.configs)

    # Products

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        """``y = W x + bias`` for x (..., in), float32; replicated: the first axis is R B, replica after replica."""
        shape = x.shape
        y = _TileProduct.apply(self._batch(x, self.in_size, "x"), self._anchor(), self)
        if self.bias is not None:
            y = y + (self.bias.unsqueeze(1) if self.replicated else self.bias)
        return y.reshape(*shape[:-1], self.out_size)

    def backward(self, d: Tensor) -> Tensor:
        """``W^T d`` of errors d (..., out) through the backward periphery."""
        with torch.no_grad():
            return self._backward(self._batch(d, self.out_size, "d")).reshape(*d.shape[:-1], self.in_size)

    def update(self, x: Tensor, d: Tensor) -> None:
        """Move the weights by about ``-learning_rate sum_b d_b x_b^T``; x (..., in), d (..., out)."""
        with torch.no_grad():
            inputs, errors = self._batch(x, self.in_size, "x"), self._batch(d, self.out_size, "d")
            if inputs.shape[1] != errors.shape[1]:
                raise ShapeError(f"x has {inputs.shape[1]} samples and d has {errors.shape[1]}; both need the same")
            self._update(inputs, errors)

    # Training, as an optimizer does it

    def _anchor(self) -> Tensor:
        """The parameter that a forward product hangs on in the graph of torch: it stands for the weights."""
        return self.analog_ctx

    def record(self, x: Tensor, d: Tensor) -> Tensor | None:
        """Remember inputs (R, B, in) and errors (R, B, out) of a use until the optimizer steps; gradient of the anchor."""
        self._uses.append((x, d))
        if len(self._uses) == MANY_USES:
            warnings.warn(
                f"a tile was used {MANY_USES} times without an update: does the training use sim.optim.AnalogSGD? Other "
                "optimizers do not reach the weights of a tile",
                stacklevel=2,
            )
        return None

    def forget(self) -> None:
        """Drop what was recorded, as ``zero_grad`` does."""
        self._uses.clear()

    def apply_uses(self) -> None:
        """One update with all recorded uses, in the order of the backward calls."""
        if self._uses:
            x = torch.cat([use[0] for use in self._uses], dim=1)
            d = torch.cat([use[1] for use in self._uses], dim=1)
            self.forget()
            self._update(x.contiguous(), d.contiguous())

    def end_step(self) -> None:
        """What the array does once after each step of the optimizer."""
        with torch.no_grad():
            self.array.end_step()

    def set_learning_rate(self, rate: float | Sequence[float] | Tensor) -> None:
        """Set the learning rate, for all replicas or one each.

        Raises
        ------
        ConfigError
            If a rate is negative or not finite, or their number is not that of the replicas.
        """
        rates = torch.as_tensor(rate, dtype=torch.float32).reshape(-1)
        if rates.numel() not in (1, self.replicas):
            raise ConfigError(f"learning rate: {rates.numel()} values for {self.replicas} replicas; give one, or one each")
        if not bool((torch.isfinite(rates) & (rates >= 0)).all()):
            raise ConfigError(f"learning rate = {rate} is not allowed: give finite values of at least 0")
        self.learning_rate.copy_(rates.expand(self.replicas))

    def get_learning_rate(self) -> float | Tensor:
        """The learning rate; (R,) for a replicated tile."""
        return self.learning_rate.clone() if self.replicated else float(self.learning_rate[0])

    # Weights

    def set_weights(self, weight: Tensor, bias: Tensor | None = None, apply_weight_scaling: bool = True) -> None:
        """Set weights (out, in) and bias (out,), or (R, out, in) and (R, out); devices clip them to their bounds.

        With ``mapping.weight_scaling_omega`` > 0 the matrix is scaled so that its largest magnitude (of each output, if
        column-wise) is omega; the scales are digital factors of the output.

        Raises
        ------
        ShapeError
            for another shape, or a bias missing or given where there is none
        """
        with torch.no_grad():
            target = self._per_replica(weight, (self.out_size, self.in_size), "weight")
            if (bias is not None) != (self.bias is not None or self.analog_bias):
                raise ShapeError("this tile has a bias: give one" if bias is None else "this tile has no bias: give none")
            if bias is not None:
                values = self._per_replica(bias, (self.out_size,), "bias")
                if self.analog_bias:
                    target = torch.cat([target, values.unsqueeze(2)], dim=2)
                elif self.bias is not None:
                    self.bias.copy_(values if self.replicated else values[0])
            if self.scales is not None and apply_weight_scaling:
                self.scales.copy_(self._scales_for(target))
                target = target / self.scales.unsqueeze(2)
            self.array.set(target.contiguous())

    def get_weights(self, apply_weight_scaling: bool = True) -> tuple[Tensor, Tensor | None]:
        """Weights and bias as copies: (out, in) and (out,), or (R, out, in) and (R, out); None without a bias."""
        with torch.no_grad():
            matrix = self.array.read().clone()
            if apply_weight_scaling and self.scales is not None:
                matrix = matrix * self.scales.unsqueeze(2)
            bias = None if self.bias is None else self.bias.detach().clone()
            if self.analog_bias:
                bias = matrix[:, :, -1] if self.replicated else matrix[0, :, -1]
                matrix = matrix[:, :, :-1]
            return (matrix if self.replicated else matrix[0]).contiguous(), bias

    def hidden_parameters(self) -> dict[str, Tensor]:
        """Hidden parameters of the devices by their standard names, each (out, in), or (R, out, in)."""
        return {name: (v if self.replicated else v[0]).clone() for name, v in self.array.hidden().items()}

    def set_hidden_update_index(self, index: int) -> None:
        """Choose the device of a unit cell that the next update (and, where one is fixed, the next set) goes to.

        Raises
        ------
        ConfigError
            If there is no device to choose, or not that one.
        """
        array = self.array
        if not isinstance(array, VectorArray):
            raise ConfigError("there is no device to choose here: only vector and reference unit cells have an update index")
        n = len(array.arrays)
        if not 0 <= index < n:
            raise ConfigError(f"update index = {index} is not allowed: give a number from 0 to {n - 1}", value=index)
        array.set_index(index)

    def pulse_counts(self) -> dict[str, Tensor]:
        """Pulses that each device got, ``down`` and ``up``: (out, in), or (devices, out, in) in a cell, after R if replicated.

        Pulses that a bound absorbed count too (endurance).

        Raises
        ------
        ConfigError
            If the devices do not count: ``count_pulses`` is off.
        """
        counts = self.array.pulse_counts()
        if counts is None:
            field = "device.count_pulses"
            raise ConfigError(f"pulses are not counted here: set {field} before the tile is made", field=field)
        shown = counts if self.replicated else counts[0]
        return {name: shown.select(-3, k).clone() for k, name in enumerate(("down", "up"))}

    def reset_columns(self, start: int = 0, n: int = -1, probability: float = 1.0) -> None:
        """Reset columns ``start .. start + n - 1`` (wrapping; all for n < 0), each crosspoint with a probability."""
        with torch.no_grad():
            self.array.reset(start, n, probability)

    def drift_weights(self, elapsed: float) -> None:
        """Let the weights drift for ``elapsed`` seconds more, by the ``drift`` of the device; never done by itself."""
        if not elapsed >= 0:
            raise ConfigError(f"elapsed = {elapsed} is not allowed: give a time of at least 0 s", field="elapsed", value=elapsed)
        with torch.no_grad():
            self.array.drift(elapsed)

    def clip_weights(self, bound: float) -> None:
        """Clip the weights to +-bound and the bounds of the devices; a stuck device stays."""
        if not bound >= 0:
            raise ConfigError(f"bound = {bound} is not allowed: give a number of at least 0", field="bound", value=bound)
        with torch.no_grad():
            self.array.clip(bound)

    def extra_repr(self) -> str:
        device = self.configs[0].device  # type: ignore[attr-defined]
        states = f", {device.num_states():.0f} states" if hasattr(device, "num_states") else ""
        replicas = f", {self.replicas} replicas" if self.replicated else ""
        memory = self.array.memory() * self.array.weight[0].numel() * self.replicas / 1024
        return f"{self.out_size} x {self.in_size}{replicas}, {type(device).__name__}{states}, {memory:.0f} KiB of state"

    # Inside: everything is (R, B, n)

    def _forward(self, x: Tensor, want_clipped: bool) -> tuple[Tensor, Tensor]:
        if self.analog_bias:
            x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=2)
        y, clipped = self.forward_product(self.array.read(), x, want_clipped)
        return (y if self.scales is None else y * self.scales.unsqueeze(1)), clipped

    def _backward(self, d: Tensor) -> Tensor:
        if self.scales is not None:
            d = d * self.scales.unsqueeze(1)
        x = self.backward_product(self.array.read(), d.contiguous())[0]
        return x[:, :, :-1].contiguous() if self.analog_bias else x

    def _update(self, x: Tensor, d: Tensor) -> None:
        self.array.update(*self._operands(x, d), self.learning_rate)

    def _operands(self, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and errors as the array sees them in an update."""
        if self.analog_bias:
            x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=2)
        if self.scales is not None:  # the logical weight scales * W moves by -rate d x^T
            d = d / self.scales.unsqueeze(1)
        return x, d

    def _scales_for(self, target: Tensor) -> Tensor:
        """Digital factors (R, out) that bring the largest weight of a matrix, or of each output, to omega."""
        omega = torch.tensor([config.mapping.weight_scaling_omega for config in self.configs]).reshape(-1, 1, 1)
        axes = (2,) if self.mapping.weight_scaling_columnwise else (1, 2)
        largest = target.abs().amax(dim=axes, keepdim=True).expand(-1, self.out_size, 1)
        return torch.where((largest > 0) & (omega > 0), largest / omega.clamp(min=1e-30), 1.0).squeeze(2)

    def _batch(self, v: Tensor, n: int, name: str) -> Tensor:
        """(..., n) to (R, B, n)."""
        if v.dim() == 0 or v.shape[-1] != n:
            raise ShapeError(f"{name} has shape {tuple(v.shape)}; its last axis needs {n} entries")
        if v.dtype != torch.float32:
            raise ShapeError(f"{name} is {v.dtype}; a tile computes in float32: convert it with .float()")
        rows = v.numel() // n
        if self.replicated and (v.dim() < 2 or v.shape[0] % self.replicas):
            raise ShapeError(
                f"{name} has shape {tuple(v.shape)}; its first axis needs a multiple of {self.replicas} rows, "
                "replica after replica"
            )
        return v.reshape(self.replicas, rows // self.replicas, n).contiguous()

    def _per_replica(self, v: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
        v = torch.as_tensor(v, dtype=torch.float32)
        if not bool(torch.isfinite(v).all()):
            raise ShapeError(f"{name} holds values that are not finite; a weight needs a finite number")
        if tuple(v.shape) == shape:
            return v.expand(self.replicas, *shape)
        if self.replicated and tuple(v.shape) == (self.replicas, *shape):
            return v
        allowed = f"{shape}" + (f" or {(self.replicas, *shape)}" if self.replicated else "")
        raise ShapeError(f"{name} has shape {tuple(v.shape)}; this tile needs {allowed}")


class _TileProduct(torch.autograd.Function):
    """Product of a tile that records what its update needs.

    The gradient passes straight through the converters of the input, and not at all where the ADC clipped.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, tile: Tile) -> Tensor:
        y, clipped = tile._forward(x.detach(), want_clipped=ctx.needs_input_grad[0])
        ctx.tile = tile
        ctx.save_for_backward(x, clipped)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, clipped = ctx.saved_tensors
        tile: Tile = ctx.tile
        d = grads[0].contiguous()
        anchor = tile.record(x.detach(), d.detach())
        if not ctx.needs_input_grad[0]:
            return None, anchor, None
        return tile._backward(d.masked_fill(clipped.bool(), 0.0) if clipped.numel() else d), anchor, None
