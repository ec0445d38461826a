"""Configurations and keys of the replicas of a tile."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from sim.configs.rpu import RPUConfig
from sim.configs.supported import check_supported
from sim.errors import ConfigError
from sim.random import derive_key, fresh_seeds
from sim.settings import structure

__all__ = ["Given", "Replicas", "check_size", "keeping_numbers", "replica_configs", "replica_keys"]

C = TypeVar("C", bound=RPUConfig)


@dataclass(frozen=True)
class Replicas(Generic[C]):
    """Configurations of replicas that were found fit to run together: one for all, or one each."""

    given: tuple[C, ...]
    count: int
    axis: bool
    """Whether the interface has a replica axis."""

    @classmethod
    def of(cls, config: Given[C], replicas: int | None = None) -> Replicas[C]:
        """Check what a user gives; what was checked before is taken as it is.

        Raises
        ------
        ConfigError
            If the number of configurations and of replicas differ, their structure differs, or one is not simulated.
        """
        if isinstance(config, Replicas):
            return config
        given: Sequence[Any] = config if isinstance(config, list | tuple) else [config]
        for one in given:
            if not isinstance(one, RPUConfig):
                shown = one.__name__ if isinstance(one, type) else type(one).__name__
                raise ConfigError(
                    f"rpu_config is a {shown}: give a configuration such as SingleRPUConfig(device=...), or a list of them",
                    field="rpu_config",
                    value=one,
                )
        count = len(given) if replicas is None else replicas
        if not given or count < 1 or (len(given) not in (1, count)):
            raise ConfigError(f"replicas = {replicas} does not go with {len(given)} configurations: give one, or one each")
        for k, other in enumerate(given):
            check_supported(other)
            if structure(other) != structure(given[0]):
                raise ConfigError(
                    f"configuration {k} differs from configuration 0 in structure: replicas may differ in numbers only"
                )
        return cls(tuple(given), count, replicas is not None or not isinstance(config, RPUConfig))

    @property
    def first(self) -> C:
        """The configuration of the first replica, which shows the structure of all."""
        return self.given[0]

    def copies(self) -> list[C]:
        """A configuration for each replica, copied from those given."""
        copies = [copy.deepcopy(c) for c in self.given]
        return copies * self.count if len(copies) == 1 else copies


Given: TypeAlias = C | Sequence[C] | Replicas[C]
"""What a tile or layer takes as its configuration: one, one for each replica, or what was checked before."""


def replica_configs(config: Given[C], replicas: int | None = None) -> tuple[list[C], bool]:
    """One configuration for each replica (own copies), and whether there is a replica axis; see `Replicas.of`."""
    checked = Replicas.of(config, replicas)
    return checked.copies(), checked.axis


PRECISIONS = (torch.float32, torch.float64)


def keeping_numbers(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A move of tensors that leaves their type as it is, or changes it between single and double precision."""

    def moved(t: Tensor) -> Tensor:
        made = fn(t)
        return made if made.dtype == t.dtype or made.dtype in PRECISIONS else t.to(made.device)

    return moved


def check_size(**sizes: int) -> None:
    """Refuse sizes that are not whole numbers of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"{name} = {size!r} is not allowed: give a whole number of at least 1", field=name, value=size)


def replica_keys(replicas: int, seeds: Sequence[int] | None, stream: str) -> list[int]:
    """Key of the tile in each replica: a function of the replica's seed and the tile's stream.

    Without seeds, torch's generator gives fresh ones, so that ``torch.manual_seed`` governs.

    Raises
    ------
    ConfigError
        If the number of seeds is not that of the replicas, or seeds come without a stream.
    """
    if seeds is None:
        seeds = fresh_seeds(replicas)
    elif not stream:
        raise ConfigError("seeds need a stream: name this tile, so that no two tiles of a model draw the same numbers")
    if len(seeds) != replicas:
        raise ConfigError(f"{len(seeds)} seeds for {replicas} replicas: give one each")
    return [derive_key(int(seed), stream) for seed in seeds]
