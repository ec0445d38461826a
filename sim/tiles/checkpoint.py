"""What a tile writes into a state dict, and how it takes one over (mapping_and_hwa.md, section 14).

A state dict holds every state verbatim, and the configurations as JSON text in a tensor of bytes, so that it has tensors
only and loads with ``weights_only``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sim.configs.rpu import RPUConfig
from sim.errors import ConfigError
from sim.settings import from_json, to_json
from sim.tiles.common import Replicas

if TYPE_CHECKING:
    from sim.tiles.tile import Tile

__all__ = ["Checkpointed", "loading"]

CONFIGURED = frozenset(
    {
        "settings", "noise", "granularity", "shared", "reset_std", "lifetime", "diffusion", "first", "stages", "every", "unit",
        "written_unit",
    }
)  # fmt: skip
"""Buffers that follow from the configuration: a tile that keeps its own configuration keeps them."""


@contextmanager
def loading(module: nn.Module, load_rpu_config: bool | None, strict_rpu_config_check: bool | None) -> Iterator[None]:
    """While it lasts, tiles in a module take state dicts in this way; see `Checkpointed.load_state_dict`."""
    own, strict = load_rpu_config is None or load_rpu_config, strict_rpu_config_check is None or strict_rpu_config_check
    tiles = [child for child in module.modules() if isinstance(child, Checkpointed)]
    for tile in tiles:
        tile._loading = (own, strict)
    try:
        yield
    finally:
        for tile in tiles:
            tile._loading = (True, True)


class Checkpointed(nn.Module):
    """The part of a tile that has to do with state dicts."""

    _loading: tuple[bool, bool] = (True, True)
    _rate: float | Tensor | None
    mapping_scales: Tensor | None

    def get_extra_state(self: Any) -> Tensor:
        """Kind of tile and configurations, as bytes of JSON."""
        same = all(config is self.configs[0] for config in self.configs)
        configs = self.configs[:1] if same else self.configs
        document = {
            "tile": type(self).__name__,
            "replicas": self.replicas,
            "hidden": list(self.array.hidden()),
            "configs": [json.loads(to_json(config)) for config in configs],
        }
        return torch.frombuffer(bytearray(json.dumps(document).encode()), dtype=torch.uint8).clone()

    def set_extra_state(self, state: Any) -> None:
        """Was taken before everything else, see `_load_from_state_dict`."""

    def load_state_dict(
        self, state_dict: Any, strict: bool = True, assign: bool = False, load_rpu_config: bool | None = None,
        strict_rpu_config_check: bool | None = None,
    ) -> Any:  # fmt: skip
        """Take over a state.

        Parameters
        ----------
        state_dict : what ``state_dict`` gave
        strict : refuse missing and unknown entries
        assign : as of torch
        load_rpu_config : take the saved configuration too (the default); False: keep the own one, and of the state what does
            not follow from a configuration
        strict_rpu_config_check : with the own configuration, refuse a state that was saved with an unrelated class or
            another mapping (the default)

        Raises
        ------
        ConfigError
            for the state of another kind of tile, or a configuration that does not go with it
        """
        with loading(self, load_rpu_config, strict_rpu_config_check):
            return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def replace_rpu_config(self: Any, rpu_config: RPUConfig | Sequence[RPUConfig], strict_rpu_config_check: bool = True) -> None:
        """Go on with another configuration, and the weights and devices of this tile.

        Raises
        ------
        ConfigError
            for an unrelated class, another mapping (but for the scaling of weights), or devices with other parameters
        """
        state = copy.deepcopy(self.state_dict())  # not views of what is rebuilt
        given: list[RPUConfig] = [rpu_config] * self.replicas if isinstance(rpu_config, RPUConfig) else list(rpu_config)
        if strict_rpu_config_check:
            _check_related(self.configs[0], given[0])
        before = list(self.configs)
        self._rebuild(given)
        try:
            self.load_state_dict(state, strict=False, load_rpu_config=False, strict_rpu_config_check=False)
        except (RuntimeError, ConfigError) as error:
            self._rebuild(before)
            self.load_state_dict(state)
            raise ConfigError(f"the configuration does not go with this tile: {error}", field="rpu_config") from None

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As of torch; of a configuration: see `replace_rpu_config`."""
        if args and isinstance(args[0], RPUConfig):
            self.replace_rpu_config(args[0])
            return self
        return super().to(*args, **kwargs)

    def _load_from_state_dict(
        self: Any, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing: Any, unexpected: Any, errors: Any
    ) -> None:
        saved = state_dict.get(prefix + "_extra_state")
        load, check = self._loading
        if saved is not None:
            document = json.loads(bytes(saved.tolist()).decode())
            place = prefix[:-1] or "the tile"
            if (load or check) and document["tile"] != type(self).__name__:
                raise ConfigError(f"{place}: a {type(self).__name__} cannot take the state of a {document['tile']}")
            if document["replicas"] != self.replicas:
                raise ConfigError(f"{place}: the state is one of {document['replicas']} replicas, not of {self.replicas}")
            configs = [from_json(json.dumps(config), RPUConfig) for config in document["configs"]]
            configs = configs * self.replicas if len(configs) == 1 else configs
            if load and configs != self.configs:
                self._rebuild(configs)
            elif not load and check:
                _check_related(configs[0], self.configs[0])
            hidden = list(self.array.hidden())
            if document["hidden"] != hidden:
                raise ConfigError(f"{place}: the state has devices with {document['hidden']}; here they have {hidden}")
        if not load:
            for name, value in self.named_buffers():
                if name.rpartition(".")[2] in CONFIGURED and prefix + name in state_dict:
                    state_dict[prefix + name] = value
        self._take_scales(state_dict, prefix)
        self._rate = None
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def _take_scales(self: Any, state_dict: Any, prefix: str) -> None:
        """Mapping scales may come, go and change their shape while a tile lives."""
        if not any(name.startswith(prefix) for name in state_dict):
            return
        saved = state_dict.get(prefix + "mapping_scales")
        if saved is not None:
            self.mapping_scales = torch.empty_like(saved, dtype=self.dtype)
        elif self.mapping_scales is not None:
            state_dict[prefix + "mapping_scales"] = torch.ones_like(self.mapping_scales)

    def _rebuild(self: Any, configs: Sequence[RPUConfig]) -> None:
        """Become a tile of these configurations, with the parameters (the objects that optimizers know) of this one."""
        tile: Tile = self
        has_bias = tile.bias is not None or tile.analog_bias
        given = list(configs) if tile.replicated else configs[0]
        fresh = type(tile)(tile.out_size, tile.in_size, Replicas.of(given), bias=has_bias, keys=tile.keys)
        fresh.to(tile.learning_rate.device)
        tile.to(fresh.dtype)  # with all that is kept, here and by a kind of tile
        kept = dict(tile._parameters)
        ordinary = set(nn.Module().__dict__) - {"_modules", "_buffers", "_parameters"}
        tile.__dict__.update({name: value for name, value in fresh.__dict__.items() if name not in ordinary})
        for name, parameter in tile._parameters.items():
            mine = kept.get(name)
            if parameter is not None and mine is not None and mine.shape == parameter.shape:
                tile._parameters[name] = mine
        for module in (tile.array, tile.forward_product, tile.backward_product):
            module.train(tile.training)
        tile.__setstate__({})


def _check_related(saved: RPUConfig, own: RPUConfig) -> None:
    if not (isinstance(saved, type(own)) or isinstance(own, type(saved))):
        raise ConfigError(
            f"a {type(saved).__name__} and a {type(own).__name__} are not related: the state of one cannot go on with the other",
            field="rpu_config",
        )
    if not saved.mapping.compatible(own.mapping):
        raise ConfigError(
            "the mappings differ in more than the scaling of weights: the weights of one cannot be laid out by the other",
            field="rpu_config.mapping",
        )
