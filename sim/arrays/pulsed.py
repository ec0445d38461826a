"""Array of pulsed devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sim.arrays.array import Array, Event, event_streams
from sim.arrays.drift import Drift
from sim.arrays.packed import Packed
from sim.arrays.trains import Trains
from sim.configs.update import UpdateParameters
from sim.devices.base import PulsedDevice
from sim.devices.spread import Value
from sim.ops import (
    DeviceArray,
    device_array,
    device_index,
    device_parameters,
    is_direct,
    key_tensor_of,
    pulsed_update_,
)
from sim.ops.events import PARAMETERS, Change, Crosspoints, Values
from sim.random import Draws, derive_key

__all__ = ["PulsedArray"]

SLOW = ("decay_scales", "diffusion_rates", "reset_bias", "drift_nu", "reference")
"""Hidden parameters of the operators beside the pulse; `reference` relates the weight to the device's bounds."""


MOST_PACKED = 8
"""Trains, and sides of a cell, that an array keeps itself packed for."""

READ_RESET = 42
"""Streams of resets that a transfer makes, beside those of the events."""


class PulsedArray(Array):
    """Weights that change by pulses on devices (devices.md, update.md).

    A parameter that varies over the crosspoints is a number of each record of ``fields`` (R, out, in, n), next to the others
    of its crosspoint, for pulses are few; one that only the operators beside pulses need is a plane of ``slow_fields``
    (R, n, out, in). One without spread is a number in ``values`` and costs no memory. With write noise ``weight`` is the
    persistent weight, on which everything acts, and ``apparent`` what a product sees.

    Parameters
    ----------
    devices : sequence of R devices of one class
    updates : sequence of R update parameters of one structure
    shape : (out, in)
    keys : R keys, from which everything random of a replica follows
    drawn : hidden parameters of each replica, where they are not to be drawn here
    """

    fields: Tensor
    values: Tensor
    slow_fields: Tensor
    slow_values: Tensor
    settings: Tensor
    reset_std: Tensor
    noise: Tensor
    granularity: Tensor
    shared: Tensor
    train_keys: Tensor
    apparent: Tensor | None
    counts: Tensor | None
    diffusing: Tensor
    decaying: Tensor
    aged: Tensor
    set_noisily: Tensor

    def __init__(
        self, devices: Sequence[PulsedDevice], updates: Sequence[UpdateParameters], shape: tuple[int, int],
        keys: Sequence[int], drawn: list[dict[str, Value]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(shape, key_tensor_of([derive_key(key, "pulses") for key in keys]))
        self.devices = list(devices)
        diffusing, decaying = ([getattr(device, name) > 0 for device in devices] for name in ("diffusion", "lifetime"))
        self.ageing = any(diffusing + decaying)
        self.register_buffer("diffusing", torch.tensor(diffusing, dtype=torch.uint8), persistent=False)
        self.register_buffer("decaying", torch.tensor(decaying, dtype=torch.uint8), persistent=False)
        self.register_buffer("aged", self.counted(DIFFUSION=any(diffusing), DECAY=any(decaying)), persistent=False)
        set_noisily = [getattr(device, "apply_write_noise_on_set", True) for device in devices]
        self.register_buffer("set_noisily", torch.tensor(set_noisily, dtype=torch.uint8), persistent=False)
        self.kernel = devices[0].kernel
        self._packed: Packed[DeviceArray] = Packed()
        self._points: Packed[Crosspoints] = Packed()
        self.trains = Trains(updates, [derive_key(key, "trains") for key in keys])
        drawn = drawn or [
            device.draw(shape, Draws(device.construction_key(derive_key(key, "construction")), shape))
            for device, key in zip(devices, keys, strict=True)
        ]
        self.field_of, fields, values = _packed([_kernel_values(self.kernel, d) for d in drawn], shape)
        self.register_buffer("fields", fields.permute(0, 2, 3, 1).contiguous())
        self.register_buffer("values", values)
        self.slow_of, slow, slow_values = _packed([_slow_values(d) for d in drawn], shape)
        self.register_buffer("slow_fields", slow)
        self.register_buffer("slow_values", slow_values)
        noises = [[device.dw_min_std, device.write_noise] for device in devices]
        self.register_buffer("noise", torch.tensor(noises, dtype=torch.float32))
        self.register_buffer("granularity", torch.tensor([device.granularity() for device in devices]))
        self.register_buffer("shared", torch.tensor([device.shared() for device in devices], dtype=torch.float32))
        counting = any(device.count_pulses for device in devices)
        self.register_buffer("counts", torch.zeros(len(devices), 2, *shape, dtype=torch.int64) if counting else None)
        self.register_buffer("apparent", torch.zeros_like(self.weight) if any(write > 0 for _, write in noises) else None)
        drifts = [device.drift for device in devices]
        self.drifting = Drift(drifts, shape) if any(d.nu > 0 for d in drifts) else None
        self.register_buffer("reset_std", torch.tensor([device.reset_std for device in devices]).reshape(-1, 1, 1))
        self._event_values = [(self._place_of(name)[0], name) for name in PARAMETERS]

    def read(self) -> Tensor:
        state: Any = self._buffers  # a module's attributes cost a microsecond each
        apparent = state["apparent"]
        return state["weight"] if apparent is None else apparent

    def set(self, weight: Tensor) -> None:
        self._change(Change.SET, Event.SET, given=weight.contiguous(), noisy=self.set_noisily)

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        state: Any = self._buffers
        steps = state["steps"]
        if _at_once(state["weight"]):
            # The first of the steps is Event.UPDATE.
            self.packed(self._modules["trains"], state["granularity"]).pulse(x, d, rate, steps, count=True)
            return
        self.pulse(x, d, rate, self.trains, state["granularity"], steps[Event.UPDATE])
        steps[Event.UPDATE].add_(1)

    def pulse(
        self, x: Tensor, d: Tensor, rate: Tensor, trains: Trains, granularity: Tensor, step: Tensor, side: int = 0,
        rates: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Pulses of given trains: x (R, B, in), d (R, B, out), rate and granularity (R,).

        ``side`` 1 takes the up pulses only, -1 the down pulses only and as up pulses (a side of a one-sided cell). ``rates``
        (R, B) are learning rates of the samples, ``rate`` then the largest of them.
        """
        state: Any = self._buffers
        train: Any = trains._buffers
        if rates is not None or _at_once(state["weight"]):
            self.packed(trains, granularity, side).pulse(x, d, rate, step, rates)
            return
        pulsed_update_(
            state["weight"], state["apparent"], state["counts"], state["fields"], self.field_of, state["values"], state["shared"],
            x, d, rate, granularity, train["settings"], state["noise"], state["keys"], train["keys"], step, self.kernel,
            trains.flags[side],
        )  # fmt: skip

    def packed(self, trains: Any, granularity: Tensor, side: int = 0) -> DeviceArray:
        """The devices as the kernels take them, for pulses of some trains; made anew where a tensor was replaced or moved."""
        state: Any = self._buffers
        train: Any = trains._buffers
        tensors = (
            state["weight"], state["apparent"], state["counts"], state["fields"], state["values"], state["shared"], granularity,
            train["settings"], state["noise"], state["keys"], train["keys"],
        )  # fmt: skip
        flags, key = trains.flags[side].ints, (id(trains), side)
        known = self._packed.get(key)
        if known is None or not known.still(tensors, flags):
            if len(self._packed) >= MOST_PACKED:
                self._packed.clear()
            known = self._packed[key] = device_array(tensors, self.field_of, device_index(self.kernel), flags)
        return known

    def end_step(self) -> None:
        own: Any = self._buffers
        self.points().age(own["steps"], own["diffusing"], own["decaying"])
        own["steps"].add_(own["aged"])

    def drift(self, elapsed: float) -> None:
        if self.drifting is not None:
            self.points().drift(self.drifting.at(elapsed), self.steps[Event.DRIFT], self.drifting.having)
            self.steps[Event.DRIFT] += 1

    def clip(self, bound: float) -> None:
        self._change(Change.CLIP, Event.CLIP, bound=bound)

    def reset(self, start: int = 0, n: int = -1, probability: float = 1.0) -> None:
        if probability > 0:
            self._change(Change.RESET, Event.RESET, reset_std=self.reset_std, columns=(start, n), probability=probability)

    def reset_where(self, chosen: Tensor, having: Tensor | None = None) -> None:
        """Reset the crosspoints of a mask (R, out, in); ``having`` (R,) uint8 tells which replicas have any."""
        self._change(Change.RESET, Event.RESET, reset_std=self.reset_std, chosen=chosen, having=having)

    def reset_at(self, chosen: Tensor, step: Tensor) -> None:
        """Reset the crosspoints of a mask (R, out, in), with the numbers of a step that the caller counts."""
        streams = READ_RESET, READ_RESET + 1, 0
        self.points().change(Change.RESET, step, streams, chosen=chosen, reset_std=self.reset_std, only_chosen=True)

    def points(self) -> Crosspoints:
        """The devices as events see them; made anew where a tensor was replaced or moved."""
        own: Any = self._buffers
        tensors = own["weight"], own["apparent"], own["noise"], own["keys"], *(own[name] for name, _ in self._event_values)
        known = self._points.get("points")
        if known is None or not known.still(*tensors):
            values = [Values(own[where], self.parameter(name)) for where, name in self._event_values]
            weight, apparent, noise, keys = tensors[:4]
            known = self._points["points"] = Crosspoints(weight, apparent, values, noise, keys)
        return known

    def pulse_counts(self) -> Tensor | None:
        return self.counts

    def hidden(self) -> dict[str, Tensor]:
        names = dict.fromkeys((*device_parameters(self.kernel), *SLOW))
        per_replica = []
        for r, device in enumerate(self.devices):
            values: dict[str, Value] = {name: self.parameter(name)[r].expand(self.shape) for name in names}
            persistent = None if self.apparent is None else self.weight[r]
            per_replica.append(
                {
                    k: torch.as_tensor(v, device=self.weight.device).expand(self.shape)
                    for k, v in device.hidden(values, persistent).items()
                }
            )
        return {name: torch.stack([h[name] for h in per_replica]) for name in per_replica[0]}

    def memory(self) -> int:
        """Bytes of a crosspoint of one replica."""
        planes = 1 + self.fields.shape[-1] + self.slow_fields.shape[1] + (self.apparent is not None)
        return self.weight.element_size() * planes + (16 if self.counts is not None else 0)

    def _change(self, kind: Change, event: Event, **what: Any) -> None:
        self.points().change(kind, self.steps[event], event_streams(event), **what)
        self.steps[event] += 1

    def parameter(self, name: str) -> Tensor:
        """A hidden parameter of all replicas as the kernels have it: a view (R, out, in), or (R, 1, 1) without spread."""
        where, k = self._place_of(name)
        values: Any = self._buffers[where]
        if values.dim() == 2:
            return values[:, k].reshape(-1, 1, 1)
        return values[..., k] if where == "fields" else values[:, k]

    def _place_of(self, name: str) -> tuple[str, int]:
        """Buffer that holds a hidden parameter, and its index there."""
        names = device_parameters(self.kernel)
        if name in names:
            k = names.index(name)
            return ("fields", self.field_of[k]) if self.field_of[k] >= 0 else ("values", k)
        k = SLOW.index(name)
        return ("slow_fields", self.slow_of[k]) if self.slow_of[k] >= 0 else ("slow_values", k)


def _at_once(weight: Tensor) -> bool:
    """Whether the kernels are called without torch's dispatcher."""
    return weight.is_cuda or is_direct(weight)


def _kernel_values(kernel: str, drawn: dict[str, Value]) -> list[Value]:
    return [drawn[name] for name in device_parameters(kernel)]


def _slow_values(drawn: dict[str, Value]) -> list[Value]:
    """Zero for what the kernel holds already, or the model does not have."""
    return [drawn.get(name, 0.0) if name != "reference" else 0.0 for name in SLOW]


def _packed(replicas: list[list[Value]], shape: tuple[int, int]) -> tuple[list[int], Tensor, Tensor]:
    """Planes of what varies in any replica, numbers of the rest: indices, (R, n, out, in), (R, n_parameters)."""
    n = len(replicas[0])
    varies = [any(isinstance(values[k], Tensor) for values in replicas) for k in range(n)]
    planes = [k for k in range(n) if varies[k]]
    fields = torch.empty(len(replicas), len(planes), *shape)
    values = torch.zeros(len(replicas), n)
    for r, replica in enumerate(replicas):
        for at, k in enumerate(planes):
            fields[r, at] = torch.as_tensor(replica[k], dtype=torch.float32)
        for k in range(n):
            if not varies[k]:
                values[r, k] = float(replica[k])
    return [planes.index(k) if varies[k] else -1 for k in range(n)], fields, values
