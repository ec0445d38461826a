"""From a digital model to an analog one, and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import nn

from sim.configs.rpu import RPUConfig
from sim.errors import ConfigError
from sim.nn import conv
from sim.nn.attention import AnalogMultiheadAttention
from sim.nn.container import AnalogSequential, AnalogWrapper, analog_wrapper
from sim.nn.linear import AnalogLinear, AnalogLinearMapped
from sim.nn.module import AnalogModule
from sim.nn.recurrent import AnalogGRU, AnalogLSTM, AnalogVanillaRNN

__all__ = ["CONVERSION_MAP", "CONVERSION_MAP_MAPPED", "convert_to_analog", "convert_to_digital"]

ConversionMap: TypeAlias = Mapping[type[nn.Module], Any]

CONVERSION_MAP: dict[type[nn.Module], Any] = {
    nn.Linear: AnalogLinear,
    nn.Conv1d: conv.AnalogConv1d,
    nn.Conv2d: conv.AnalogConv2d,
    nn.Conv3d: conv.AnalogConv3d,
    nn.LSTM: AnalogLSTM,
    nn.GRU: AnalogGRU,
    nn.RNN: AnalogVanillaRNN,
    nn.MultiheadAttention: AnalogMultiheadAttention,
    nn.Sequential: AnalogSequential,
}
"""What becomes what, by exact class. A value has ``from_digital(module, rpu_config, tile_module_class)``."""

CONVERSION_MAP_MAPPED: dict[type[nn.Module], Any] = CONVERSION_MAP | {
    nn.Linear: AnalogLinearMapped,
    nn.Conv1d: conv.AnalogConv1dMapped,
    nn.Conv2d: conv.AnalogConv2dMapped,
    nn.Conv3d: conv.AnalogConv3dMapped,
}
"""The same with layers that are split over grids of tiles along whole channels."""

LAZY = (nn.LazyLinear, nn.LazyConv1d, nn.LazyConv2d, nn.LazyConv3d)

PerLayer: TypeAlias = Callable[[str, nn.Module, Any], Any] | Mapping[str, Any]


def convert_to_analog(
    module: nn.Module, rpu_config: RPUConfig | Sequence[RPUConfig], tile_module_class: type[Any] | None = None,
    conversion_map: ConversionMap | None = None, specific_rpu_config_fun: PerLayer | None = None, module_name: str = "",
    ensure_analog_root: bool = True, exclude_modules: Collection[str] | None = None, inplace: bool = False,
    verbose: bool = False, *, replicas: int | None = None, seeds: Sequence[int] | None = None,
) -> Any:  # fmt: skip
    """Replace the layers of a model by analog ones with the same weights.

    Parameters
    ----------
    module : a torch model
    rpu_config, tile_module_class, replicas, seeds : as of `AnalogLayer`; the stream of a layer is its dotted name
    conversion_map : classes of layers and what they become; `CONVERSION_MAP` if not given
    specific_rpu_config_fun : configuration of each layer: a function of its dotted name, the layer and a copy of
        ``rpu_config``, or a mapping of names (those of others have ``rpu_config``)
    module_name : name of the model, in front of all dotted names
    ensure_analog_root : give the root the methods of `AnalogContainer`
    exclude_modules : dotted names that stay digital, with all below them
    inplace : change the model given instead of a copy
    verbose : print what is converted

    Returns
    -------
    the model; a layer that stands in several places is converted once and stays shared; flags for training and
    ``requires_grad`` stay as they were

    Raises
    ------
    ConfigError
        for what a tile refuses, a name that no module has, or a lazy layer
    """
    model = module if inplace else copy.deepcopy(module)
    how = _How(
        rpu_config, tile_module_class, CONVERSION_MAP if conversion_map is None else conversion_map,
        specific_rpu_config_fun, frozenset(exclude_modules or ()), verbose, replicas, seeds,
    )  # fmt: skip
    how.check(model, module_name)
    model = how.converted(model, module_name)
    for part in model.modules():
        _use_tiles(part)
    if ensure_analog_root and not isinstance(model, AnalogModule):
        model.__class__ = analog_wrapper(type(model))
    return model


def convert_to_digital(
    module: nn.Module, conversion_set: Collection[type[nn.Module]] | None = None, module_name: str = "", inplace: bool = False
) -> Any:  # fmt: skip
    """Replace the analog layers of a model by digital ones with the same weights (the logical ones, scales included).

    Parameters
    ----------
    module : an analog model
    conversion_set : classes that are converted, exactly; all that have a ``to_digital`` if not given
    module_name : name of the model, in front of all dotted names in errors
    inplace : change the model given instead of a copy

    Raises
    ------
    ConfigError
        for a layer of several replicas
    """
    return _digital(module if inplace else copy.deepcopy(module), conversion_set, module_name, {})


@dataclass
class _How:
    config: Any
    tile_module_class: type[Any] | None
    map: ConversionMap
    specific: PerLayer | None
    excluded: frozenset[str]
    verbose: bool
    replicas: int | None
    seeds: Sequence[int] | None
    made: dict[int, nn.Module] = field(default_factory=dict)

    def check(self, model: nn.Module, root: str) -> None:
        """Names that are meant to be modules are; nothing is lazy."""
        known = {_join(root, name): child for name, child in model.named_modules(remove_duplicate=False)}
        named = set(self.excluded) | (set(self.specific) if isinstance(self.specific, Mapping) else set())
        for name in sorted(named - set(known)):
            shown = ", ".join(n for n in known if n)
            raise ConfigError(f"there is no module {name!r} in this model: there are {shown}", field=name, allowed=shown)
        for name, child in known.items():
            if isinstance(child, LAZY):
                raise ConfigError(f"{name or 'the model'} is a {type(child).__name__}: run the model once before", field=name)

    def converted(self, module: nn.Module, name: str) -> nn.Module:
        """The module, converted once however often it is met."""
        if name in self.excluded:
            return module
        if id(module) in self.made:
            return self.made[id(module)]
        result = module
        kind = self.map.get(type(module))
        if kind is not None and hasattr(kind, "from_digital"):
            result = self._layer(kind, module, name)
        else:
            for child_name, child in list(module._modules.items()):
                if child is not None:
                    module._modules[child_name] = self.converted(child, _join(name, child_name))
            if kind is not None:
                module.__class__ = kind
        self.made[id(module)] = result
        return result

    def _layer(self, kind: Any, module: nn.Module, name: str) -> nn.Module:
        config = self.config
        if isinstance(self.specific, Mapping):
            config = self.specific.get(name, config)
        elif self.specific is not None:
            config = self.specific(name, module, copy.deepcopy(config))
        replicated = self.replicas is not None or self.seeds is not None
        given = {"replicas": self.replicas, "seeds": self.seeds, "stream": name or "layer"} if replicated else {}
        try:
            layer = kind.from_digital(module, config, self.tile_module_class, **given)
        except ConfigError as error:
            place = f"{name}: " if name else ""
            raise ConfigError(f"{place}{error}", field=error.field, value=error.value, allowed=error.allowed) from None
        if self.verbose:
            print(f"{name or 'model'}: {type(module).__name__} -> {type(layer).__name__}")
        return layer


def _use_tiles(module: nn.Module) -> None:
    """Keep torch's encoders from kernels that take the weights of their layers past the modules."""
    if isinstance(module, nn.TransformerEncoder):
        module.use_nested_tensor = False
    if isinstance(module, nn.TransformerEncoderLayer) and any(isinstance(part, AnalogModule) for part in module.modules()):
        module.activation_relu_or_gelu = 0


def _digital(
    module: nn.Module, kinds: Collection[type[nn.Module]] | None, name: str, made: dict[int, nn.Module]
) -> nn.Module:  # fmt: skip
    if id(module) in made:
        return made[id(module)]
    result = module
    if hasattr(module, "to_digital") and (kinds is None or type(module) in kinds):
        try:
            result = module.to_digital()  # type: ignore[operator]
        except ConfigError as error:
            raise ConfigError(f"{name or 'the model'}: {error}", field=error.field) from None
    else:
        for child_name, child in list(module._modules.items()):
            if child is not None:
                module._modules[child_name] = _digital(child, kinds, _join(name, child_name), made)
        if type(module) is AnalogSequential and (kinds is None or AnalogSequential in kinds):
            module.__class__ = nn.Sequential  # type: ignore[assignment]
        elif isinstance(module, AnalogWrapper):
            module.__class__ = module.wrapped  # type: ignore[assignment]
    made[id(module)] = result
    return result


def _join(name: str, child: str) -> str:
    return f"{name}.{child}" if name and child else name or child
