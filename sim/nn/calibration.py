"""Input ranges after training, from data (mapping_and_hwa.md, section 7)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sim.arrays.product import Product
from sim.configs.enums import NoiseManagementType
from sim.errors import ConfigError
from sim.periphery import deviations
from sim.random import derive_key
from sim.tiles.tile import Tile

__all__ = ["InputRangeCalibrationType", "calibrate_input_ranges"]


class InputRangeCalibrationType(Enum):
    """How an input range comes from data; rows of zeros do not count."""

    NONE = "None"
    """Ranges stay."""
    MOVING_STD = "MovingStd"
    """Mean over batches of init_std_alpha times the standard deviation of the inputs."""
    MOVING_QUANTILE = "MovingQuantile"
    """Mean over batches of the quantile of the magnitudes."""
    CACHE_QUANTILE = "CacheQuantile"
    """Quantile of the magnitudes of a sample of inputs from all batches."""
    MAX = "Max"
    """Largest magnitude."""


EXACT = (InputRangeCalibrationType.MAX, InputRangeCalibrationType.CACHE_QUANTILE)
"""Types that look at inputs which no other tile has clipped or made noisy."""


@torch.no_grad()
def calibrate_input_ranges(
    model: nn.Module, calibration_type: InputRangeCalibrationType | str, dataloader: Iterable[Any], quantile: float = 0.99995,
    max_samples: int = 1000, std_alpha: float | None = None, force_all_layers: bool = True, verbose: bool = False,
) -> None:  # fmt: skip
    """Set the input range of every tile from the inputs that it sees.

    Parameters
    ----------
    model : a model with tiles; it is in evaluation mode meanwhile
    calibration_type : see `InputRangeCalibrationType`
    dataloader : batches: inputs, or pairs (args, kwargs) of the call, or pairs with targets, which are ignored
    quantile : of the quantile types
    max_samples : inputs that CACHE_QUANTILE keeps of a tile; batches that MOVING_STD looks at
    std_alpha : instead of ``init_std_alpha``
    force_all_layers : give every tile an input range (one that is not learned); False: only those that have one take part
    verbose : print the ranges

    Raises
    ------
    ConfigError
        for a quantile or number of samples out of range, or, without ``force_all_layers``, noise management beside a range

    Notes
    -----
    Noise management of the forward products is switched off for good: the range takes its place.
    """
    kind = InputRangeCalibrationType[calibration_type] if isinstance(calibration_type, str) else calibration_type
    if kind is InputRangeCalibrationType.NONE:
        return
    if not 0.0 < quantile <= 1.0:
        raise ConfigError(f"quantile = {quantile} is not allowed: give a number above 0 and at most 1", field="quantile")
    if max_samples < 1:
        raise ConfigError(f"max_samples = {max_samples} is not allowed: give a whole number of at least 1", field="max_samples")
    tiles = {name: tile for name, tile in model.named_modules() if isinstance(tile, Tile)}
    if not force_all_layers:
        tiles = {name: tile for name, tile in tiles.items() if tile.range is not None}
    for name, tile in tiles.items():
        _prepare(tile, name, std_alpha, force_all_layers)
    watchers = {name: _Watcher(tile, kind, quantile, max_samples) for name, tile in tiles.items()}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with _exact(tiles.values(), kind in EXACT):
            hooks = [watchers[name].tile.register_forward_pre_hook(watchers[name].see) for name in tiles]
            try:
                for batch in dataloader:
                    args, kwargs = _call(batch)
                    model(*args, **kwargs)
            finally:
                for hook in hooks:
                    hook.remove()
    finally:
        for module, mode in modes.items():
            module.training = mode
    for name, watcher in watchers.items():
        found = watcher.finish()
        if verbose:
            print(f"{name or 'tile'}: input range {', '.join(f'{v:.4g}' for v in found.tolist())}")


class _Watcher:
    """What one tile has seen."""

    def __init__(self, tile: Tile, kind: InputRangeCalibrationType, quantile: float, max_samples: int) -> None:
        self.tile, self.kind, self.quantile, self.max_samples = tile, kind, quantile, max_samples
        assert tile.input_range is not None
        self.rho = tile.input_range.detach().abs().clone()
        self.count = [0] * tile.replicas
        self.rows: list[Tensor] = [self.rho.new_empty(0, tile.in_size)] * tile.replicas
        self.draws = [np.random.default_rng(derive_key(key, "calibration")) for key in tile.keys]

    def see(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Take in a batch; the range is such that it clips nothing meanwhile, or the running mean."""
        x = self.tile._batch(args[0].to(self.tile.dtype), self.tile.in_size, "x")
        for r, rows in enumerate(x):
            self._take(r, rows[(rows != 0).any(dim=1)])
        limits = x.abs().amax(dim=(1, 2)) if self.kind in EXACT else self.rho
        self.tile.set_input_range(torch.where(limits > 0, limits, self.rho))

    def _take(self, r: int, rows: Tensor) -> None:
        if not len(rows):
            return
        if self.kind is InputRangeCalibrationType.CACHE_QUANTILE:
            kept = torch.cat([self.rows[r], rows])
            order = torch.from_numpy(self.draws[r].permutation(len(kept))[: self.max_samples])
            self.rows[r] = kept[order]
            return
        if self.kind is InputRangeCalibrationType.MAX:
            value = float(rows.abs().max())
            self.rho[r] = value if self.count[r] == 0 else max(float(self.rho[r]), value)
        elif self.kind is InputRangeCalibrationType.MOVING_STD:
            alpha = self.tile.configs[r].pre_post.input_range.init_std_alpha
            value = alpha * float(deviations(rows.unsqueeze(0).contiguous()))
            if self.count[r] >= self.max_samples or not value > 0:
                return
            self.rho[r] = (self.count[r] * self.rho[r] + value) / (self.count[r] + 1)
        else:
            self.rho[r] = (self.count[r] * self.rho[r] + _quantile(rows, self.quantile)) / (self.count[r] + 1)
        self.count[r] += 1

    def finish(self) -> Tensor:
        """Set the range of the tile, and note in its configurations where it comes from."""
        tile = self.tile
        for r, rows in enumerate(self.rows):
            if len(rows):
                self.rho[r] = _quantile(rows, self.quantile)
        tile.set_input_range(self.rho)
        tile.configs = [copy.deepcopy(config) for config in tile.configs]
        for r, config in enumerate(tile.configs):
            config.pre_post.input_range.calibration_info = self.kind.name
            config.pre_post.input_range.init_value = float(self.rho[r])
        return self.rho


def _prepare(tile: Tile, name: str, std_alpha: float | None, force: bool) -> None:
    """Give the tile an input range, and take noise management from it."""
    configs = [copy.deepcopy(config) for config in tile.configs]
    for config in configs:
        settings = config.pre_post.input_range
        if not settings.enable:
            settings.enable, settings.learn_input_range = True, False
        settings.init_from_data = 0
        if std_alpha is not None:
            settings.init_std_alpha = std_alpha
        forward: Any = getattr(config, "forward", None)
        if forward is not None and forward.noise_management is not NoiseManagementType.NONE:
            if not force and not forward.is_perfect:
                place = f"{name}: forward.noise_management" if name else "forward.noise_management"
                raise ConfigError(f"{place} = {forward.noise_management.name} does not go with an input range: set it to NONE")
            forward.noise_management = NoiseManagementType.NONE
    if configs != tile.configs:
        tile.replace_rpu_config(configs)


@contextmanager
def _exact(tiles: Iterable[Tile], wanted: bool) -> Iterator[None]:
    """While it lasts, forward products are exact if that is wanted."""
    kept = [(tile, tile.forward_product) for tile in tiles] if wanted else []
    for tile, _ in kept:
        exact = Product(None, tile.keys, transposed=False, shape=tile.array.shape)
        tile.forward_product = exact.to(tile.array.weight.device)
    try:
        yield
    finally:
        for tile, product in kept:
            tile.forward_product = product


def _quantile(rows: Tensor, quantile: float) -> float:
    """Quantile of the magnitudes, of any number of them."""
    return float(np.quantile(rows.abs().cpu().numpy(), quantile))


def _call(batch: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Arguments of the model's call for a batch."""
    if isinstance(batch, tuple | list):
        if len(batch) == 2 and isinstance(batch[1], Mapping):
            first = batch[0]
            return (tuple(first) if isinstance(first, tuple | list) else (first,)), batch[1]
        return (batch[0],), {}
    return (batch,), {}
