"""Digital layers of few bits (mapping_and_hwa.md, 16.3)."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from sim.configs.quantization import ActivationQuantParameter, RangeEstimator
from sim.errors import ConfigError
from sim.nn.conversion import convert_to_digital
from sim.quantization import Quantizer

__all__ = ["LayerQuantization", "QuantizationMap", "convert_to_quantized"]

LAYERS: dict[type[nn.Module], tuple[bool, bool]] = {
    nn.Linear: (True, True),
    nn.Conv2d: (True, True),
    nn.LayerNorm: (True, True),
    nn.Embedding: (True, False),
    nn.BatchNorm2d: (False, True),
}
"""What is quantised of each kind of layer: weights, outputs. Biases stay as they are."""


def _weights() -> ActivationQuantParameter:
    return ActivationQuantParameter(range_estimator=RangeEstimator.CURRENT_MINMAX)


@dataclass(frozen=True)
class LayerQuantization:
    """Precision of the weights and of the outputs of a layer; 0 bits, the default, are no quantisation."""

    weights: ActivationQuantParameter = field(default_factory=_weights)
    outputs: ActivationQuantParameter = field(default_factory=ActivationQuantParameter)


@dataclass(frozen=True)
class QuantizationMap:
    """Which layers of a model get which precision.

    Attributes
    ----------
    classes : by the exact class of a layer
    instances : by its dotted name, before the class
    excluded : names of layers that stay as they are, before everything else
    inputs : precision of the inputs of layers, by name
    """

    classes: Mapping[type[nn.Module], LayerQuantization] = field(default_factory=dict)
    instances: Mapping[str, LayerQuantization] = field(default_factory=dict)
    excluded: Collection[str] = ()
    inputs: Mapping[str, ActivationQuantParameter] = field(default_factory=dict)


def convert_to_quantized(model: nn.Module, quantization_map: QuantizationMap) -> Any:
    """A copy of a model whose digital layers have few bits; analog layers become digital first.

    Ranges of weights are those of the present ones, ranges of outputs and inputs are estimated in training, or by
    `sim.quantization.calibrate_quantization_ranges`; the gradient passes straight through the rounding.

    Raises
    ------
    ConfigError
        for a name that no module has, or a layer of a kind that is not quantised
    """
    made = convert_to_digital(copy.deepcopy(model))
    modules = dict(made.named_modules())
    for name in (*quantization_map.instances, *quantization_map.excluded, *quantization_map.inputs):
        if name not in modules:
            raise ConfigError(
                f"there is no module {name!r} in this model: there are {', '.join(n for n in modules if n)}", field=name
            )
    for name, module in modules.items():
        how = quantization_map.instances.get(name, quantization_map.classes.get(type(module)))
        if how is not None and name not in quantization_map.excluded:
            _quantise(name, module, how)
    for name, settings in quantization_map.inputs.items():
        if settings.n_bits > 0:
            modules[name].input_quantizer = Quantizer(1, settings)
            modules[name].register_forward_pre_hook(_of_input)
    return made


def _quantise(name: str, module: nn.Module, how: LayerQuantization) -> None:
    if type(module) not in LAYERS:
        kinds = ", ".join(kind.__name__ for kind in LAYERS)
        raise ConfigError(f"{name or 'the model'} is a {type(module).__name__}, which is not quantised: {kinds} are", field=name)
    weights, outputs = LAYERS[type(module)]
    if weights and how.weights.n_bits > 0:
        parametrize.register_parametrization(module, "weight", Quantizer(1, how.weights))
    if outputs and how.outputs.n_bits > 0:
        module.output_quantizer = Quantizer(1, how.outputs)
        module.register_forward_hook(_of_output)


def _of_input(module: Any, args: tuple[Tensor, ...]) -> tuple[Any, ...]:
    return module.input_quantizer(args[0]), *args[1:]


def _of_output(module: Any, _args: tuple[Any, ...], output: Tensor) -> Tensor:
    return module.output_quantizer(output)  # type: ignore[no-any-return]
