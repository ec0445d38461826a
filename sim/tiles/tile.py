"""A tile: a forward product, a backward product, an array and the digital periphery around them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.utils.weak import WeakIdKeyDictionary

from sim.arrays.array import Array
from sim.arrays.cells import VectorArray
from sim.arrays.product import Product
from sim.configs.mapping import MappingParameter
from sim.configs.rpu import RPUConfig
from sim.configs.runtime import RPUDataType
from sim.errors import ConfigError
from sim.ops import ShapeError
from sim.periphery import affine
from sim.tiles.checkpoint import Checkpointed
from sim.tiles.common import Given, Replicas, check_size, keeping_numbers, replica_keys
from sim.tiles.input_range import InputRange
from sim.tiles.product import TileProduct
from sim.tiles.scales import Scaled
from sim.tiles.weights import program_weights, read_weights

__all__ = ["Tile", "tile_of"]

MANY_USES = 2000
CONVERTED = frozenset({torch.float16, torch.bfloat16, torch.float32})
"""Types of inputs that a tile of another precision converts on the way in and out: nothing of them is lost."""

_tiles: Any = WeakIdKeyDictionary()


def tile_of(parameter: Tensor) -> Tile | None:
    """The tile that a parameter stands for in an optimizer, if it is a tile's ``analog_ctx``."""
    return _tiles.get(parameter)


class Tile(Checkpointed, Scaled, nn.Module):
    """R replicas of one crossbar array with converters, scales and bias.

    An ordinary tile has R = 1 and no replica axis in its interface; a replicated one takes activations (R B, n), replica
    after replica, and shows its weights as (R, out, in). A kind of tile says in `_parts` what it is made of.

    Parameters
    ----------
    out_size, in_size : size of the weight matrix, without an analog bias
    rpu_config : configuration, or a list of R for as many replicas, which may differ in numbers, not in structure
    bias : whether the tile adds a bias: digital, or the array's last column, as ``mapping.digital_bias`` says
    replicas : number of replicas of one configuration
    seeds : seed of each replica; torch's generator if not given
    stream : name of this tile within a replica, needed with seeds
    keys : key of each replica, instead of what follows from seeds and stream

    Attributes
    ----------
    bias : digital bias, (out,) or (R, out)
    mapping_scales, out_scaling_alpha : factors of the outputs, see `Scaled`
    input_range : range of the inputs, (1,) or (R,); `input_range_update_idx` counts the batches it was estimated from

    Raises
    ------
    ConfigError
        for a configuration that is not simulated, or replicas that differ in more than numbers
    """

    default_config: ClassVar[type[RPUConfig]]
    _graph: Any = None
    """What a kind of tile keeps of a forward pass for the way back, while either runs."""

    bias: nn.Parameter | None
    input_range: Tensor | None
    input_range_update_idx: Tensor | None
    learning_rate: Tensor
    array: Array
    forward_product: Product
    backward_product: Product

    def __init__(
        self, out_size: int, in_size: int, rpu_config: Given[Any] | None = None, bias: bool = False,
        replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "", keys: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_size(out_size=out_size, in_size=in_size)
        checked = Replicas.of(self.default_config() if rpu_config is None else rpu_config, replicas)
        self.out_size, self.in_size = out_size, in_size
        self.configs, self.replicated = checked.copies(), checked.axis
        self.keys = replica_keys(checked.count, seeds, stream) if keys is None else list(keys)
        self.analog_bias = bias and not self.mapping.digital_bias
        shape = (out_size, in_size + self.analog_bias)
        self.array, self.forward_product, self.backward_product = self._parts(self.configs, shape, self.keys)
        rows = (checked.count,) if self.replicated else ()
        self.bias = nn.Parameter(torch.zeros(*rows, out_size)) if bias and not self.analog_bias else None
        width = out_size if self.mapping.weight_scaling_columnwise else 1
        scaled = any(config.mapping.weight_scaling_omega > 0 for config in self.configs)
        self.register_buffer("mapping_scales", torch.ones(checked.count, width) if scaled else None)
        width = out_size if self.mapping.out_scaling_columnwise else 1
        self.out_scaling_alpha = nn.Parameter(torch.ones(*rows, width)) if self.mapping.learn_out_scaling else None
        self._make_range()
        self.register_buffer("learning_rate", torch.full((checked.count,), 0.01))
        self.analog_ctx = nn.Parameter(torch.zeros(()))
        self._uses: list[tuple[Tensor, Tensor]] = []
        self._rate: float | Tensor | None = None
        _tiles[self.analog_ctx] = self
        if self.configs[0].runtime.data_type is RPUDataType.DOUBLE:
            self.double()

    def _parts(self, configs: list[Any], shape: tuple[int, int], keys: Sequence[int]) -> tuple[Array, Product, Product]:
        """Array of a shape with the bias column, and the two directions, for R configurations and keys."""
        raise NotImplementedError

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

    @property
    def dtype(self) -> torch.dtype:
        """Precision that the tile computes in, float32 or float64; `double` and `float` change it."""
        rate = self._buffers["learning_rate"]  # a module's attributes cost a microsecond each
        assert rate is not None
        return rate.dtype

    # Products

    def forward(self, x: Tensor) -> Tensor:
        """``y = W x + bias`` for x (..., in); replicated: the first axis is R B, replica after replica.

        A tile computes in float32, or after ``double()`` in float64; inputs of lower precision are converted on the way in
        and out.
        """
        if self._converts(x):
            return self.forward(x.to(self.dtype)).to(x.dtype)
        if torch.compiler.is_compiling():
            return self._outside_graph(x)
        return self._run(x)

    def backward(self, d: Tensor) -> Tensor:
        """``W^T d`` of errors d (..., out) through the backward periphery."""
        with torch.no_grad():
            errors = self._batch(d, self.out_size, "d")
            if self.mapping_scales is not None:
                errors = affine(errors, self.mapping_scales, None)
            return self._backward(errors).reshape(*d.shape[:-1], self.in_size)

    def update(self, x: Tensor, d: Tensor) -> None:
        """Move the weights by about ``-learning_rate sum_b d_b x_b^T``; x (..., in), d (..., out)."""
        with torch.no_grad():
            inputs, errors = self._batch(x, self.in_size, "x"), self._batch(d, self.out_size, "d")
            if inputs.shape[1] != errors.shape[1]:
                raise ShapeError(f"x has {inputs.shape[1]} samples and d has {errors.shape[1]}; both need the same")
            if self.input_range is not None:
                limits = self.input_range.abs().reshape(-1, 1, 1)
                inputs = inputs.clamp(-limits, limits)
            self._update(inputs, errors)

    # Training, as an optimizer does it

    def _anchor(self) -> Tensor:
        """The parameter that a forward product hangs on in the graph of torch: it stands for the weights."""
        return self._parameters["analog_ctx"]  # type: ignore[return-value]

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
        uses = self._uses
        if not uses:
            return
        if len(uses) == 1:
            x, d = uses[0]
        else:
            x, d = torch.cat([use[0] for use in uses], dim=1), torch.cat([use[1] for use in uses], dim=1)
        self.forget()
        self._update(x, d)

    def end_step(self) -> None:
        """What the array does once after each step of the optimizer."""
        array: Any = self._modules["array"]
        if array.ageing:
            with torch.no_grad():
                array.end_step()

    def set_learning_rate(self, rate: float | Sequence[float] | Tensor) -> None:
        """Set the learning rate, for all replicas or one each.

        Raises
        ------
        ConfigError
            If a rate is negative or not finite, or their number is not that of the replicas.
        """
        if (rate == self._rate) if isinstance(rate, float) else _same(rate, self._rate):
            return
        rates = torch.as_tensor(rate, dtype=self.dtype, device=self.learning_rate.device).reshape(-1)
        if rates.numel() not in (1, self.replicas):
            raise ConfigError(f"learning rate: {rates.numel()} values for {self.replicas} replicas; give one, or one each")
        if not bool((torch.isfinite(rates) & (rates >= 0)).all()):
            raise ConfigError(f"learning rate = {rate} is not allowed: give finite values of at least 0")
        self.learning_rate.copy_(rates.expand(self.replicas))
        self._rate = rate if isinstance(rate, float) else rate.clone() if isinstance(rate, Tensor) and rate.is_cpu else None

    def get_learning_rate(self) -> float | Tensor:
        """The learning rate; (R,) for a replicated tile."""
        return self.learning_rate.clone() if self.replicated else float(self.learning_rate[0])

    # Weights

    def set_weights(
        self, weight: Tensor, bias: Tensor | None = None, apply_weight_scaling: bool = True, realistic: bool = False,
        weight_scaling_omega: float | None = None,
    ) -> None:  # fmt: skip
        """Set weights (out, in) and bias (out,), or (R, out, in) and (R, out); devices clip them to their bounds.

        Parameters
        ----------
        weight, bias : what `get_weights` shall show; a bias is needed where the tile has one
        apply_weight_scaling : with ``mapping.weight_scaling_omega`` > 0 the matrix is scaled so that its largest magnitude
            (of each output, if column-wise) is omega, and the scales become those of the outputs; without, existing scales
            are kept and divided out. False: the values are those of the array itself
        realistic : program the devices in a closed loop (see `program_weights`) instead of setting them
        weight_scaling_omega : instead of that of the configuration

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
            if apply_weight_scaling:
                self._rescale(target, weight_scaling_omega)
                scales = self._all_scales()
                target = target if scales is None else target / torch.where(scales == 0, 1.0, scales).unsqueeze(2)
            self.array.set(target.contiguous())
            if realistic:
                self.program_weights()

    def get_weights(self, apply_weight_scaling: bool = True, realistic: bool = False) -> tuple[Tensor, Tensor | None]:
        """Weights and bias as copies: (out, in) and (out,), or (R, out, in) and (R, out); None without a bias.

        ``apply_weight_scaling`` multiplies by all scales of the outputs; ``realistic`` reads through products, see
        `read_weights`.
        """
        if realistic:
            return self.read_weights(apply_weight_scaling)
        with torch.no_grad():
            matrix = self.array.stored().clone()
            scales = self._all_scales() if apply_weight_scaling else None
            return self._shown(matrix if scales is None else matrix * scales.unsqueeze(2))

    def remap_weights(self, weight_scaling_omega: float | None = 1.0) -> None:
        """Scale the weights anew so that their largest magnitude is omega; None: that of the configuration."""
        self.set_weights(*self.get_weights(), weight_scaling_omega=weight_scaling_omega)

    def read_weights(
        self, apply_weight_scaling: bool = False, x_values: Tensor | None = None, over_sampling: int = 10
    ) -> tuple[Tensor, Tensor | None]:
        """Weights and bias as the forward product shows them; see `sim.tiles.weights.read_weights`."""
        return read_weights(self, apply_weight_scaling, x_values, over_sampling)

    def program_weights(self, *args: Any, **kwargs: Any) -> None:
        """Write the present weights anew in a closed loop; see `sim.tiles.weights.program_weights`."""
        program_weights(self, *args, **kwargs)

    def set_input_range(self, value: float | Tensor) -> None:
        """Set the input range, for all replicas or one each; its magnitude counts.

        Raises
        ------
        ConfigError
            If there is none: ``pre_post.input_range.enable`` is off.
        """
        if self.input_range is None:
            field = "pre_post.input_range.enable"
            raise ConfigError(f"there is no input range here: set {field} before the tile is made", field=field)
        with torch.no_grad():
            values = torch.as_tensor(value, dtype=self.dtype, device=self.input_range.device)
            self.input_range.copy_(values.detach().reshape(-1).abs())

    def hidden_parameters(self) -> dict[str, Tensor]:
        """Hidden parameters of the devices by their standard names, each (out, in), or (R, out, in)."""
        return {name: (v if self.replicated else v[0]).clone() for name, v in self.array.hidden().items()}

    def get_forward_parameters(self) -> dict[str, Tensor]:
        """What was drawn for the periphery of the forward product, by its standard names (mvm.md, 3.4), as copies.

        ``v_offset``, ``out_nonlinearity``, ``out_noise_values`` (m,), ``out_nonlinearity_factor`` () and ``w_asymmetry``
        (out, in), as far as the configuration has them; with the axis of the replicas first where the tile shows it.
        """
        return self._product_parameters(self.forward_product)

    def set_forward_parameters(self, values: Mapping[str, Tensor] | None = None, **named: Tensor) -> None:
        """Replace what `get_forward_parameters` gives; a ConfigError where there is no such quantity or not of that shape."""
        self.forward_product.set_parameters({**(values or {}), **named})

    def get_backward_parameters(self) -> dict[str, Tensor]:
        """The same for the backward product."""
        return self._product_parameters(self.backward_product)

    def set_backward_parameters(self, values: Mapping[str, Tensor] | None = None, **named: Tensor) -> None:
        """The same for the backward product."""
        self.backward_product.set_parameters({**(values or {}), **named})

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
        device: Any = getattr(self.configs[0], "device", None)
        states = f", {device.num_states():.0f} states" if hasattr(device, "num_states") else ""
        replicas = f", {self.replicas} replicas" if self.replicated else ""
        kind = "" if device is None else f", {type(device).__name__}{states}"
        memory = self.array.memory() * self.array.weight[0].numel() * self.replicas / 1024
        return f"{self.out_size} x {self.in_size}{replicas}{kind}, {memory:.0f} KiB of state"

    # Inside: everything is (R, B, n)

    def _product_parameters(self, product: Product) -> dict[str, Tensor]:
        return {name: value if self.replicated else value[0] for name, value in product.parameters_by_name().items()}

    def _run(self, x: Tensor) -> Tensor:
        self._before(x)
        anchor, alpha, rho = self._in_graph()
        return TileProduct.apply(x, anchor, self._parameters.get("bias"), alpha, rho, self)

    def _converts(self, x: Tensor) -> bool:
        """Whether inputs are of a lower precision than the tile."""
        rate = self._buffers["learning_rate"]
        return x.dtype is not rate.dtype and x.dtype in CONVERTED  # type: ignore[union-attr]

    def _before(self, x: Tensor) -> None:
        """What a kind of tile notes of inputs (..., in), of it or of its grid, before a forward product."""

    def _in_graph(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What a forward product hangs on in the graph of torch beside inputs and bias: anchor, trained scales, input range."""
        own = self._parameters  # a module's attributes cost a microsecond each
        rho = own["input_range"] if "input_range" in own else self._buffers["input_range"]
        return self._anchor(), own.get("out_scaling_alpha"), rho

    _outside_graph = _disable_dynamo(_run)  # torch.compiler.disable imports the compiler: a second of every process

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moves the tile as asked; a model in half precision keeps float32 arrays.

        Raises
        ------
        ConfigError
            for double precision on a GPU
        """
        fn = keeping_numbers(fn)
        found = fn(self.learning_rate)
        if found.dtype is torch.float64 and not (found.is_cpu or found.is_meta):
            raise ConfigError(
                "a tile in double precision is computed on the CPU: call .float() before it goes to a GPU",
                field="runtime.data_type",
            )
        super()._apply(fn, recurse)
        double = self.dtype is torch.float64
        for config in self.configs:
            if double != (config.runtime.data_type is RPUDataType.DOUBLE):
                config.runtime.data_type = RPUDataType.DOUBLE if double else RPUDataType.FLOAT
        return self

    def _forward(self, x: Tensor, want_clipped: bool) -> tuple[Tensor, Tensor]:
        """Analog product of inputs within their range, without scales, and where the ADC clipped."""
        if self.analog_bias:
            x = self._with_bias(x, self.input_range)
        return self._multiply(self._modules["forward_product"], x, want_clipped)  # type: ignore[arg-type]

    def _backward(self, d: Tensor) -> Tensor:
        """Analog product of errors, scales included, in the other direction."""
        x = self._multiply(self._modules["backward_product"], d)[0]  # type: ignore[arg-type]
        return x[:, :, :-1].contiguous() if self.analog_bias else x

    def _multiply(self, product: Product, v: Tensor, want_clipped: bool = False) -> tuple[Tensor, Tensor]:
        """Product of v (R, B, n) with the weights that are read, and where the ADC clipped."""
        array: Any = self._modules["array"]
        return product.forward(array.read(), v, want_clipped)

    def _limits(self, x: Tensor, rho: Tensor) -> Tensor:
        """Input ranges (R,) for inputs x (R, B, in), which may still be taken into their estimate."""
        values = rho.detach()
        if self.training and self.range is not None and self.input_range_update_idx is not None:
            self.range.estimate(x, values, self.input_range_update_idx)
        return values.abs().clamp(min=1e-12)

    def _update(self, x: Tensor, d: Tensor) -> None:
        x, d = self._operands(x, d)
        rate, scales, array = self._buffers["learning_rate"], self._buffers["mapping_scales"], self._modules["array"]
        assert rate is not None
        assert isinstance(array, Array)
        if scales is not None and self.mapping.weight_scaling_lr_compensation:
            mean = scales.double().mean(1).to(rate.dtype)  # the product of rate and error is what it was
            rate, d = rate / mean, d * mean.view(-1, 1, 1)
        array.update(x, d, rate)

    def _operands(self, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and errors as the array sees them in an update: the logical weight s_m W moves by -rate d x^T."""
        if self.analog_bias:
            x = self._with_bias(x, None)
        scales = self._buffers["mapping_scales"]
        return x, d if scales is None else d / scales.unsqueeze(1)

    def _with_bias(self, x: Tensor, rho: Tensor | None) -> Tensor:
        """Inputs with that of the bias column: 1, or what becomes 1 when the output is multiplied by the range."""
        one = x.new_ones(x.shape[0], x.shape[1], 1)
        return torch.cat([x, one if rho is None else one / rho.detach().abs().clamp(min=1e-12).view(-1, 1, 1)], dim=2)

    def _make_range(self) -> None:
        """Input range and what moves it, as the configurations say."""
        settings = [config.pre_post.input_range for config in self.configs]
        self.range = InputRange(settings) if settings[0].enable else None
        self._parameters.pop("input_range", None)
        self._buffers.pop("input_range", None)
        if self.range is None:
            self.register_buffer("input_range", None)
            self.register_buffer("input_range_update_idx", None)
            return
        values = self.range.init_value.clone()
        if self.range.learned:
            self.register_parameter("input_range", nn.Parameter(values))
        else:
            self.register_buffer("input_range", values)
        self.register_buffer("input_range_update_idx", torch.zeros(self.replicas, dtype=torch.int64))

    def _shown(self, matrix: Tensor) -> tuple[Tensor, Tensor | None]:
        """A matrix (R, out, in and bias) as weight and bias of the interface."""
        bias = None if self.bias is None else self.bias.detach().clone()
        if self.analog_bias:
            bias = (matrix[:, :, -1] if self.replicated else matrix[0, :, -1]).contiguous()
            matrix = matrix[:, :, :-1]
        return (matrix if self.replicated else matrix[0]).contiguous(), bias

    def _batch(self, v: Tensor, n: int, name: str) -> Tensor:
        """(..., n) to (R, B, n)."""
        if v.dim() == 0 or v.shape[-1] != n:
            raise ShapeError(f"{name} has shape {tuple(v.shape)}; its last axis needs {n} entries")
        if v.dtype is not self.dtype:
            how = ".double()" if self.dtype is torch.float64 else ".float()"
            instead = ", or the tile with .double()" if v.dtype is torch.float64 else ""
            raise ShapeError(f"{name} is {v.dtype}; this tile computes in {self.dtype}: convert it with {how}{instead}")
        replicas = len(self.configs)
        if self.replicated and (v.dim() < 2 or v.shape[0] % replicas):
            raise ShapeError(
                f"{name} has shape {tuple(v.shape)}; its first axis needs a multiple of {replicas} rows, replica after replica"
            )
        return v.contiguous().view(replicas, v.numel() // (n * replicas), n)

    def _per_replica(self, v: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
        v = torch.as_tensor(v, dtype=self.dtype, device=self.learning_rate.device).detach()
        if not bool(torch.isfinite(v).all()):
            raise ShapeError(f"{name} holds values that are not finite; a weight needs a finite number")
        if tuple(v.shape) == shape:
            return v.expand(self.replicas, *shape)
        if self.replicated and tuple(v.shape) == (self.replicas, *shape):
            return v
        allowed = f"{shape}" + (f" or {(self.replicas, *shape)}" if self.replicated else "")
        raise ShapeError(f"{name} has shape {tuple(v.shape)}; this tile needs {allowed}")


def _same(rate: float | Sequence[float] | Tensor, known: float | Tensor | None) -> bool:
    """Whether learning rates of replicas, as an optimizer holds them, are those that were set last."""
    return isinstance(known, Tensor) and isinstance(rate, Tensor) and rate.is_cpu and torch.equal(rate, known)
