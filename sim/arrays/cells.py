"""Arrays whose crosspoints hold several devices: unit cells (devices.md, section 10)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sim.arrays.array import Array, Event
from sim.arrays.pulsed import PulsedArray
from sim.arrays.trains import Trains
from sim.configs.enums import VectorUnitCellUpdatePolicy
from sim.configs.unit_cells import UnitCell
from sim.configs.update import UpdateParameters
from sim.devices.base import PulsedDevice
from sim.devices.spread import Value
from sim.ops import key_tensor_of, uniform_field
from sim.random import Draws, derive_key

__all__ = ["CellArray", "VectorArray"]

INDEX_STREAM = 40  # beside the streams of the events


class CellArray(Array):
    """Several devices a crosspoint, read as ``W = sum_k gamma_k W_k``; `weight` holds that sum.

    The devices share the pulse trains of an update (each has its own steps and noise), whose number of pulses comes from the
    average of their granularities.

    Parameters
    ----------
    cells : sequence of R cells of one structure
    updates : sequence of R update parameters of one structure
    shape : (out, in)
    keys : R keys
    gammas : (R, n) weight of each device in the sum
    drawn : for each of the n devices the hidden parameters of the R replicas, where they are not to be drawn here
    """

    gammas: Tensor
    granularity: Tensor

    def __init__(
        self, cells: Sequence[UnitCell], updates: Sequence[UpdateParameters], shape: tuple[int, int], keys: Sequence[int],
        gammas: Tensor, drawn: Sequence[list[dict[str, Value]]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(shape, key_tensor_of([derive_key(key, "cell") for key in keys]))
        self.cells = list(cells)
        n = gammas.shape[1]
        hidden = drawn or [drawn_device(cells, k, shape, keys) for k in range(n)]
        self.arrays = nn.ModuleList(
            PulsedArray(devices_of(cells, k), updates, shape, [derive_key(key, "device", k) for key in keys], hidden[k])
            for k in range(n)
        )
        self.ageing = any(array.ageing for array in self.devices())
        self.register_buffer("gammas", gammas)
        self.register_buffer("granularity", torch.tensor([cell.granularity() for cell in cells]))
        self.trains = Trains(updates, [derive_key(key, "trains") for key in keys])

    def devices(self) -> list[PulsedArray]:
        """The array of each device, in order."""
        arrays: Any = self._modules["arrays"]  # a module's attributes cost a microsecond each
        return list(arrays._modules.values())

    def end_step(self) -> None:
        if self.ageing:
            for array in self.devices():
                array.end_step()
            self.combine()

    def drift(self, elapsed: float) -> None:
        for array in self.devices():
            array.drift(elapsed)
        self.combine()

    def clip(self, bound: float) -> None:
        for array in self.devices():
            array.clip(bound)
        self.combine()

    def reset(self, start: int = 0, n: int = -1, probability: float = 1.0) -> None:
        for array in self.devices():
            array.reset(start, n, probability)
        self.combine()

    def hidden(self) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for k, array in enumerate(self.devices()):
            out |= {f"{name}_{k}": value for name, value in array.hidden().items()}
            out[f"hidden_weights_{k}"] = array.read()
        return out

    def memory(self) -> int:
        """Bytes of a crosspoint of one replica."""
        return 4 + sum(array.memory() for array in self.devices())

    def pulse_counts(self) -> Tensor | None:
        counts = [array.pulse_counts() for array in self.devices()]
        return None if any(c is None for c in counts) else torch.stack([c for c in counts if c is not None], dim=1)

    def combine(self) -> None:
        """Bring the effective weight up to date."""
        total = torch.zeros_like(self.weight)
        for k, array in enumerate(self.devices()):
            total += self.gammas[:, k].reshape(-1, 1, 1) * array.read()
        self.weight.copy_(total)

    def pulse(self, k: int, x: Tensor, d: Tensor, rate: Tensor, side: int = 0) -> None:
        """Give device k the pulses of the update that is going on."""
        self.devices()[k].pulse(x, d, rate, self.trains, self.granularity, self.steps[Event.UPDATE], side)


class VectorArray(CellArray):
    """Devices that are updated together or by turns, as `update_policy` says; one choice a mini-batch.

    `index` is the device that gets the next update, for each replica.
    """

    index: Tensor
    first: Tensor

    def __init__(
        self, cells: Sequence[UnitCell], updates: Sequence[UpdateParameters], shape: tuple[int, int], keys: Sequence[int]
    ) -> None:
        super().__init__(cells, updates, shape, keys, torch.tensor([cell.gammas() for cell in cells]))
        self.policy = cells[0].update_policy  # type: ignore[attr-defined]
        first = [cell.first_update_idx for cell in cells]  # type: ignore[attr-defined]
        self.register_buffer("first", torch.tensor(first))
        self.register_buffer("index", torch.tensor(first))

    def set_index(self, index: int) -> None:
        """Choose the device that the next update (and set) goes to."""
        self.index.fill_(index)

    def set(self, weight: Tensor) -> None:
        fixed = self.policy is VectorUnitCellUpdatePolicy.SINGLE_FIXED
        if not fixed:
            self.index.copy_(self.first)
        for k, array in enumerate(self.devices()):
            array.set(torch.where((self.index == k).reshape(-1, 1, 1), weight, array.weight) if fixed else weight)
        self.combine()

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        policy, n = self.policy, len(self.arrays)
        if policy is VectorUnitCellUpdatePolicy.SINGLE_RANDOM:
            u = uniform_field(self.keys, (1,), self.steps[Event.UPDATE], INDEX_STREAM)[:, 0]
            self.index.copy_((u * n).long().clamp(max=n - 1))
        for k in range(n):
            chosen = rate if policy is VectorUnitCellUpdatePolicy.ALL else torch.where(self.index == k, rate, 0.0)
            if not chosen.is_cpu or bool(chosen.any()):  # a rate of 0 moves nothing: a GPU does not wait to know
                self.pulse(k, x, d, chosen)
        if policy is VectorUnitCellUpdatePolicy.SINGLE_SEQUENTIAL:
            self.index.copy_((self.index + 1) % n)
        self.steps[Event.UPDATE] += 1
        self.combine()


def devices_of(cells: Sequence[UnitCell], k: int) -> list[PulsedDevice]:
    """Device k of each replica's cell; inside a cell its own construction seed has no effect."""
    devices = [copy.deepcopy(cell.device_list()[k]) for cell in cells]
    for device in devices:
        device.assign("construction_seed", 0)
    return devices


def drawn_device(cells: Sequence[UnitCell], k: int, shape: tuple[int, int], keys: Sequence[int]) -> list[dict[str, Value]]:
    """Hidden parameters of device k of each replica: of the cell's construction seed, or of the tile's key."""
    drawn = []
    for cell, device, key in zip(cells, devices_of(cells, k), keys, strict=True):
        seed = derive_key(cell.construction_seed, "construction") if cell.construction_seed else derive_key(key, "construction")
        drawn.append(device.draw(shape, Draws(derive_key(seed, k), shape)))
    return drawn
