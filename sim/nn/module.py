"""What every analog module has: its tiles, its layers, and what is done to all of them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sim.configs.rpu import RPUConfig, SingleRPUConfig
from sim.errors import ConfigError, ModuleError
from sim.inference.model import drift_analog_weights, program_analog_weights
from sim.ops import key_tensor_of, uniform_field
from sim.random import derive_key, fresh_seeds
from sim.tiles.checkpoint import loading
from sim.tiles.common import Given, Replicas, check_size
from sim.tiles.grid import TileGrid, make_tile
from sim.tiles.tile import Tile

__all__ = ["AnalogContainer", "AnalogLayer", "AnalogModule", "FromDigital"]


class AnalogModule(nn.Module):
    """The tiles and layers of a module."""

    def analog_tiles(self) -> Iterator[Tile]:
        """Every tile, in order of registration, each once."""
        return (child for child in self.modules() if isinstance(child, Tile))

    def named_analog_tiles(self) -> Iterator[tuple[str, Tile]]:
        """Every tile with its dotted name."""
        return ((name, child) for name, child in self.named_modules() if isinstance(child, Tile))

    def analog_layers(self) -> Iterator[AnalogLayer]:
        """Every analog layer, in order of registration."""
        return (child for child in self.modules() if isinstance(child, AnalogLayer))

    def named_analog_layers(self) -> Iterator[tuple[str, AnalogLayer]]:
        """Every analog layer with its dotted name."""
        return ((name, child) for name, child in self.named_modules() if isinstance(child, AnalogLayer))

    def analog_modules(self) -> Iterator[AnalogModule]:
        """Every analog module, layers and what holds them, this one included."""
        return (child for child in self.modules() if isinstance(child, AnalogModule))

    def named_analog_modules(self) -> Iterator[tuple[str, AnalogModule]]:
        """Every analog module with its dotted name."""
        return ((name, child) for name, child in self.named_modules() if isinstance(child, AnalogModule))

    def apply_to_analog_tiles(self, fn: Callable[[Tile], Any]) -> None:
        """Call a function with every tile."""
        for tile in list(self.analog_tiles()):
            fn(tile)

    def apply_to_analog_layers(self, fn: Callable[[AnalogLayer], Any]) -> None:
        """Call a function with every analog layer."""
        for layer in list(self.analog_layers()):
            fn(layer)

    def analog_tile_count(self) -> int:
        """Number of tiles."""
        return sum(1 for _ in self.analog_tiles())

    def get_analog_tile_devices(self) -> list[torch.device]:
        """Where the tiles are, in their order."""
        return [tile.array.weight.device for tile in self.analog_tiles()]

    def drift_analog_weights(self, t_inference: float = 0.0) -> None:
        """Let every inference tile be as it is a time after programming; see `sim.inference.drift_analog_weights`."""
        drift_analog_weights(self, t_inference)

    def program_analog_weights(self, noise_model: Any = None) -> None:
        """Program every tile; see `sim.inference.program_analog_weights`."""
        program_analog_weights(self, noise_model)

    def remap_analog_weights(self, weight_scaling_omega: float | None = 1.0) -> None:
        """Scale the weights of every tile anew, see `Tile.remap_weights`."""
        self.apply_to_analog_tiles(lambda tile: tile.remap_weights(weight_scaling_omega))

    def replace_rpu_config(self, rpu_config: RPUConfig | Sequence[RPUConfig]) -> None:
        """Let every tile go on with another configuration, see `Tile.replace_rpu_config`."""
        self.apply_to_analog_tiles(lambda tile: tile.replace_rpu_config(rpu_config))
        for module in self.modules():
            if isinstance(module, TileGrid):
                module.follow()

    def prepare_for_ddp(self) -> None:
        """Make the module fit for torch's DistributedDataParallel, which averages gradients over processes.

        The parameter that stands for a tile in an optimizer has no gradient, and is marked so. All processes draw the same
        noise for the same place in a batch.

        Raises
        ------
        ModuleError
            for tiles that are trained in memory: their updates are pulses, which nothing averages
        """
        for name, tile in self.named_analog_tiles():
            if tile._anchor() is tile.analog_ctx:
                raise ModuleError(
                    f"{name or 'the tile'} is a {type(tile).__name__}, whose weights are trained in memory: train such tiles in "
                    "one process (replicas of a model need no other)"
                )
        self.apply_to_analog_tiles(lambda tile: tile.analog_ctx.requires_grad_(False))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False, load_rpu_config: bool | None = None,
        strict_rpu_config_check: bool | None = None,
    ) -> Any:  # fmt: skip
        """Take over a state; parameters and errors as of `Tile.load_state_dict`.

        The state of the digital model does too: its weights become those of the tiles, as in a conversion.
        """
        with loading(self, load_rpu_config, strict_rpu_config_check):
            return super().load_state_dict(state_dict, strict=strict, assign=assign)


class FromDigital(AnalogModule):
    """A module with a digital twin, whose state dict it takes over as its own.

    A kind of module says in `_twin` what torch module it stands for, and in `_take` how that one's weights come to its tiles.
    """

    def _twin(self) -> Any:
        """A torch module of the same shape; its values do not matter."""
        raise NotImplementedError

    def _precise_twin(self) -> Any:
        """The same in the precision of the tiles."""
        return self._twin().to(next(self.analog_tiles()).dtype)

    def _take(self, module: Any) -> None:
        """Weights, biases and flags of a torch module."""
        raise NotImplementedError

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing: Any, unexpected: Any, errors: Any
    ) -> None:
        self._take_digital(state_dict, prefix, missing, errors)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def _take_digital(self, state_dict: Any, prefix: str, missing: list[str], errors: list[str]) -> None:
        """Replace the entries of a torch module, if these are such, by those that the own tiles have with its weights."""
        heads = {name[len(prefix) :].partition(".")[0] for name in state_dict if name.startswith(prefix)}
        if heads <= set(self._modules):  # all that this module has is in its parts
            return
        twin = self._precise_twin()
        wanted = twin.state_dict()
        given = {name: state_dict.pop(prefix + name) for name in wanted if prefix + name in state_dict}
        if not given:
            return
        missing += [prefix + name for name in wanted if name not in given]
        sizes = {name: (tuple(value.shape), tuple(wanted[name].shape)) for name, value in given.items()}
        wrong = [name for name, (size, needed) in sizes.items() if size != needed]
        errors += [f"size mismatch for {prefix}{n}: {sizes[n][0]} was given; this layer needs {sizes[n][1]}" for n in wrong]
        if len(given) == len(wanted) and not wrong:
            twin.load_state_dict(given)
            flags = [(parameter, parameter.requires_grad) for parameter in self.parameters()]
            modes = [(module, module.training) for module in self.modules()]
            self._take(twin)
            for parameter, trained in flags:
                parameter.requires_grad_(trained)
            for module, mode in modes:
                module.training = mode
        state_dict.update(self.state_dict(prefix=prefix))


class AnalogContainer(AnalogModule):
    """A module that holds analog layers."""

    def get_weights(self, *args: Any, **kwargs: Any) -> OrderedDict[str, tuple[Tensor, Tensor | None]]:
        """Weights and bias of every tile by its name; arguments as of `Tile.get_weights`."""
        return OrderedDict((name, tile.get_weights(*args, **kwargs)) for name, tile in self.named_analog_tiles())

    def set_weights(self, weights: Mapping[str, tuple[Tensor, Tensor | None]], *args: Any, **kwargs: Any) -> None:
        """Set what `get_weights` gave; arguments as of `Tile.set_weights`.

        Raises
        ------
        ConfigError
            for a name that no tile has
        """
        tiles = dict(self.named_analog_tiles())
        for name, (weight, bias) in weights.items():
            if name not in tiles:
                raise ConfigError(f"there is no tile {name!r}: there are {', '.join(tiles)}", field=name)
            tiles[name].set_weights(weight, bias, *args, **kwargs)


class AnalogLayer(FromDigital):
    """A layer whose matrix is on tiles, its `analog_module`.

    What is common to all layers:

    rpu_config : configuration, or a list of R, which makes R replicas; a default SingleRPUConfig if not given
    tile_module_class : class of the tiles, or of the grid of tiles, instead of that of the configuration
    replicas : number of replicas of one configuration; activations are then (R B, ...), replica after replica
    seeds : seed of each replica; torch's generator if not given
    stream : name of the layer within a replica, needed with seeds

    All that is random in replica r is a function of its seed and the stream, so it trains as it would alone, bit for bit.
    """

    weight: ClassVar[None] = None
    """There is no such parameter: weights are on the tiles."""

    analog_module: nn.Module

    def _prepare(
        self, rpu_config: Given[Any] | None, replicas: int | None, seeds: Sequence[int] | None, stream: str, **sizes: int
    ) -> Replicas[RPUConfig]:
        """Check the configuration before anything is drawn, and note the seeds."""
        check_size(**sizes)
        checked = Replicas.of(SingleRPUConfig() if rpu_config is None else rpu_config, replicas)
        if seeds is None:
            seeds, stream = fresh_seeds(checked.count), stream or "layer"
        self.seeds, self.stream = list(seeds), stream
        return checked

    def _tiles(
        self, out_size: int, in_size: int, checked: Replicas[RPUConfig], bias: bool, tile_module_class: type[Any] | None,
        part: str = "",
    ) -> Tile | TileGrid:  # fmt: skip
        return make_tile(out_size, in_size, checked, bias, seeds=self.seeds, stream=self.stream + part, kind=tile_module_class)

    def reset_parameters(self) -> None:
        """Start values of weight and bias, uniform in +-1/sqrt(inputs of an output) as torch's layers have."""
        self.set_uniform(1.0 / math.sqrt(self.get_weights()[0].shape[-1]))

    def set_uniform(self, bound: float, bias_bound: float | None = None) -> None:
        """Weights and bias uniform within bounds, from the seed of each replica."""
        weight, bias = self.get_weights()
        start = self._start("weight", weight, bound)
        self.set_weights(start, None if bias is None else self._start("bias", bias, bound if bias_bound is None else bias_bound))

    def _start(self, name: str, like: Tensor, bound: float) -> Tensor:
        replicated = next(self.analog_tiles()).replicated
        keys = key_tensor_of([derive_key(seed, self.stream, name) for seed in self.seeds])
        values = (uniform_field(keys, tuple(like.shape[1:] if replicated else like.shape)) * 2.0 - 1.0) * bound
        return values if replicated else values[0]

    @property
    def bias(self) -> Tensor | None:
        """The digital bias, (out,) or (R, out); None where there is none or it is analog."""
        return self.analog_module.bias  # type: ignore[return-value]

    def set_weights(self, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> None:
        """Set weights (out, in) and bias; see `sim.tiles.Tile.set_weights`."""
        self.analog_module.set_weights(weight, bias, *args, **kwargs)  # type: ignore[operator]

    def get_weights(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Weights (out, in) and bias; see `sim.tiles.Tile.get_weights`."""
        return self.analog_module.get_weights(*args, **kwargs)  # type: ignore[operator]

    def _take(self, module: Any) -> None:
        """Weights, bias and flags of a torch layer, the same in all replicas."""
        weight, bias = module.weight, module.bias
        if weight.dtype is torch.float64:
            self.double()
        self.set_weights(weight.detach().flatten(1), None if bias is None else bias.detach())
        for tile in self.analog_tiles():
            tile._anchor().requires_grad_(weight.requires_grad)
        for own in self._biases():
            own.requires_grad_(bias.requires_grad)
        self.train(module.training)

    def _give(self, module: Any) -> Any:
        """Weights, bias and flags into a torch layer."""
        weight, bias = self.get_weights()
        tile = next(self.analog_tiles())
        if tile.replicated:
            if tile.replicas > 1:
                raise ConfigError(f"a layer of {tile.replicas} replicas has no digital twin: convert a model of one")
            weight, bias = weight[0], None if bias is None else bias[0]
        with torch.no_grad():
            module.weight.copy_(weight.reshape(module.weight.shape))
            module.weight.requires_grad_(tile._anchor().requires_grad)
            if bias is not None:
                module.bias.copy_(bias)
                module.bias.requires_grad_(all(own.requires_grad for own in self._biases()))
        return module.train(self.training)

    def _biases(self) -> list[nn.Parameter]:
        """Digital biases of the layer, one for each group."""
        return [parameter for name, parameter in self.named_parameters() if name.rpartition(".")[2] == "bias"]
