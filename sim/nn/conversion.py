"""From a digital model to an analog one."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

from sim.configs.rpu import RPUConfig
from sim.nn.container import AnalogContainer, AnalogSequential, analog_wrapper
from sim.nn.linear import AnalogLinear

__all__ = ["convert_to_analog"]


def convert_to_analog(
    module: nn.Module, rpu_config: RPUConfig | Sequence[RPUConfig], replicas: int | None = None,
    seeds: Sequence[int] | None = None, exclude_modules: Collection[str] = (), ensure_analog_root: bool = True,
    inplace: bool = False,
) -> Any:  # fmt: skip
    """Replace the linear layers of a model by analog ones with the same weights.

    Parameters
    ----------
    module : a torch model
    rpu_config, replicas, seeds : as of `AnalogLinear`; the stream of a layer is its dotted name
    exclude_modules : dotted names that stay digital, with all below them
    ensure_analog_root : give the root the methods of `AnalogContainer`
    inplace : change the model given instead of a copy

    Returns
    -------
    the model; a layer that stands in several places is converted once and stays shared, and the training flags and
    ``requires_grad`` of everything else stay as they were

    Raises
    ------
    ConfigError
        for what a tile refuses
    """
    model = module if inplace else copy.deepcopy(module)
    made: dict[int, nn.Module] = {}
    model = _converted(model, "", (rpu_config, replicas, seeds), frozenset(exclude_modules), made)
    if ensure_analog_root and not isinstance(model, AnalogContainer | AnalogLinear):
        model.__class__ = analog_wrapper(type(model))
    return model


def _converted(
    module: nn.Module, name: str, how: tuple[Any, ...], excluded: frozenset[str], made: dict[int, nn.Module]
) -> nn.Module:  # fmt: skip
    if name in excluded and name:
        return module
    if id(module) in made:
        return made[id(module)]
    result = module
    if type(module) is nn.Linear:
        config, replicas, seeds = how
        result = AnalogLinear.from_digital(module, config, replicas, seeds, name or "linear")
    else:
        for child_name, child in list(module._modules.items()):
            if child is not None:
                path = f"{name}.{child_name}" if name else child_name
                module._modules[child_name] = _converted(child, path, how, excluded, made)
        if type(module) is nn.Sequential:
            module.__class__ = AnalogSequential
    made[id(module)] = result
    return result
