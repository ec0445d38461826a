"""Array of ideal devices: exact update, no bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from sim.arrays.array import Array, Event, event_streams
from sim.arrays.drift import Drift
from sim.arrays.packed import Packed
from sim.devices.base import SimpleDriftParameter
from sim.ops import exact_update_
from sim.ops.events import PARAMETERS, Change, Crosspoints, Values
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

    reset_std: Tensor
    event_values: Tensor
    diffusing: Tensor
    decaying: Tensor
    aged: Tensor

    def __init__(self, devices: Sequence[Config], shape: tuple[int, int], keys: Tensor) -> None:
        super().__init__(shape, keys)
        self._points: Packed[Crosspoints] = Packed()
        own = [{name: float(getattr(d, name, 0.0)) for name in ("lifetime", "diffusion", "reset_std")} for d in devices]
        drifts = [getattr(device, "drift", SimpleDriftParameter()) for device in devices]
        self.register_buffer("reset_std", torch.tensor([d["reset_std"] for d in own]).reshape(-1, 1, 1))
        kept = [1.0 - 1.0 / d["lifetime"] if d["lifetime"] > 1 else 1.0 for d in own]
        values = [
            [-torch.inf, torch.inf, 0.0, scale, d["diffusion"], 0.0, drift.nu]
            for scale, d, drift in zip(kept, own, drifts, strict=True)
        ]
        self.register_buffer("event_values", torch.tensor(values, dtype=torch.float32))
        # One replica that ages lets all count the event, in which the others stay as they are.
        diffusing, decaying = any(d["diffusion"] > 0 for d in own), any(d["lifetime"] > 1 for d in own)
        for name, happens in (("diffusing", diffusing), ("decaying", decaying)):
            self.register_buffer(name, torch.full((len(own),), happens, dtype=torch.uint8), persistent=False)
        self.register_buffer("aged", self.counted(DIFFUSION=diffusing, DECAY=decaying), persistent=False)
        self.ageing = diffusing or decaying
        self.drifting = Drift(drifts, shape) if any(d.nu > 0 for d in drifts) else None

    def set(self, weight: Tensor) -> None:
        self.weight.copy_(weight)
        self.steps[Event.SET] += 1

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        exact_update_(self.weight, x, d, rate)

    def end_step(self) -> None:
        self.points().age(self.steps, self.diffusing, self.decaying)
        self.steps.add_(self.aged)

    def drift(self, elapsed: float) -> None:
        if self.drifting is not None:
            self.points().drift(self.drifting.at(elapsed), self.steps[Event.DRIFT])
            self._happened(Event.DRIFT)

    def clip(self, bound: float) -> None:
        self.points().change(Change.CLIP, self.steps[Event.CLIP], event_streams(Event.CLIP), bound=bound)
        self._happened(Event.CLIP)

    def reset(self, start: int = 0, n: int = -1, probability: float = 1.0) -> None:
        if probability > 0:
            self.points().change(
                Change.RESET, self.steps[Event.RESET], event_streams(Event.RESET), reset_std=self.reset_std, columns=(start, n),
                probability=probability,
            )  # fmt: skip
            self._happened(Event.RESET)

    def points(self) -> Crosspoints:
        """The weights as events see them; made anew where a tensor was replaced or moved."""
        weight: Any = self.weight.detach()
        tensors = weight, None, None, self.keys, *(self.event_values for _ in PARAMETERS)
        known = self._points.get("points")
        if known is None or not known.still(known.weight, *tensors[1:]) or known.weight.data_ptr() != weight.data_ptr():
            values = [Values(self.event_values, self.event_values[:, k].reshape(-1, 1, 1)) for k in range(len(PARAMETERS))]
            known = self._points["points"] = Crosspoints(weight, None, values, None, self.keys)
        return known

    def _happened(self, event: Event) -> None:
        increment_version(self.weight)  # what is kept of a weight is known by its version
        self.steps[event] += 1
