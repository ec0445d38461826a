"""Array of ideal devices: exact update, no bounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sim.arrays.array import Array, Event
from sim.arrays.drift import Drift
from sim.devices.base import SimpleDriftParameter
from sim.ops import exact_update_
from sim.settings import Config

__all__ = ["IdealArray"]


class IdealArray(Array):
    """``W <- W - rate sum_b d_b x_b^T``; of the device only lifetime, diffusion, drift and reset_std are kept.

    Parameters
    ----------
    devices : sequence of R devices
    shape : (out, in)
    keys : (R,) int64, random stream of each replica
    """

    lifetime: Tensor
    diffusion: Tensor
    reset_std: Tensor
    drift_nu: Tensor

    def __init__(self, devices: Sequence[Config], shape: tuple[int, int], keys: Tensor) -> None:
        super().__init__(shape, keys)
        for name in ("lifetime", "diffusion", "reset_std"):
            values = torch.tensor([float(getattr(device, name, 0.0)) for device in devices])
            self.register_buffer(name, values.reshape(-1, 1, 1))
        self.diffusing = bool((self.diffusion > 0).any())
        self.decaying = bool((self.lifetime > 1).any())
        drifts = [getattr(device, "drift", SimpleDriftParameter()) for device in devices]
        self.register_buffer("drift_nu", torch.tensor([d.nu for d in drifts]).reshape(-1, 1, 1))
        self.drifting = Drift(drifts, shape) if any(d.nu > 0 for d in drifts) else None

    def set(self, weight: Tensor) -> None:
        self._store(weight, Event.SET)

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        exact_update_(self.weight, x, d, rate)

    def end_step(self) -> None:
        if self.diffusing:
            self._store(self.weight + self.diffusion * self._normal(Event.DIFFUSION), Event.DIFFUSION)
        if self.decaying:
            kept = torch.where(self.lifetime > 1, 1.0 - 1.0 / self.lifetime.clamp(min=1.0), 1.0)
            self._store(self.weight * kept, Event.DECAY)

    def drift(self, elapsed: float) -> None:
        if self.drifting is not None:
            self._store(self.drifting(self.weight, self.drift_nu, elapsed, lambda w: w, self._drift_noise), Event.DRIFT)

    def _store(self, weight: Tensor, event: Event, having: Sequence[bool] | None = None) -> None:
        self.weight.copy_(weight)
        self.steps[event] += 1

    def _reset_value(self) -> Tensor:
        return self.reset_std * self._normal(Event.RESET)
