"""Array of an inference tile: weights that torch trains, and the devices that they are programmed onto."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from sim.arrays.array import Event
from sim.arrays.ideal import IdealArray
from sim.arrays.modifier import Modifier
from sim.arrays.product import Product
from sim.configs.inference import InferenceRPUConfig
from sim.inference.draws import drawing
from sim.inference.noise import BaseNoiseModel, Programmed
from sim.inference.programming import DeviceLaws, drift_devices, laws_of, numbers_of, program_devices, scalings
from sim.ops import exact_update_, key_tensor_of
from sim.random import derive_key

__all__ = ["InferenceArray"]

STATE = ("target", "noisy", "baseline", "alpha")


class InferenceArray(IdealArray):
    """R replicas of weights without noise, and of the devices that they were programmed onto.

    ``weight`` is a parameter (R, out, in) that any optimizer of torch may step, and is never made noisy. In training products
    see the modified weights, in evaluation the programmed ones, if any. What was programmed is dropped as soon as the
    weights are no longer those that were programmed.

    Parameters
    ----------
    configs : R inference configurations
    shape : (out, in)
    keys : R keys of the tile
    """

    counts: Tensor
    program_keys: Tensor
    drift_keys: Tensor
    modifier_keys: Tensor

    def __init__(self, configs: Sequence[InferenceRPUConfig], shape: tuple[int, int], keys: Sequence[int]) -> None:
        super().__init__([c.device for c in configs], shape, key_tensor_of([derive_key(key, "ideal") for key in keys]))
        start = self.weight
        del self._buffers["weight"]
        self.weight = nn.Parameter(start)
        for name in ("program", "drift", "modifier"):
            self.register_buffer(f"{name}_keys", key_tensor_of([derive_key(key, name) for key in keys]))
        self.register_buffer("counts", torch.zeros(3, dtype=torch.int64))  # programmings, drifts, modifications
        self.outer = Product(None, keys, True, shape)
        self.modifier = Modifier([c.modifier for c in configs])
        self.modifies_test = configs[0].modifier.enable_during_test
        self.per_sample = configs[0].modifier.per_batch_sample and self.modifier.active
        self.models: list[BaseNoiseModel] = [c.noise_model for c in configs]
        self.devices: list[Programmed] = []
        self.target: Tensor | None = None
        self.noisy: Tensor | None = None
        self.baseline: Tensor | None = None  # of the compensation of drift: read-out after programming, and factors
        self.alpha: Tensor | None = None
        self._seen = -1
        self._modified: Tensor | None = None
        self._modified_from = (0, -1)
        self._stacked: Any = None  # conductances and coefficients of all replicas, as drift takes them

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._seen = -1  # versions belong to the tensor that was copied
        self._modified = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What was programmed goes where the weights go."""
        super()._apply(fn, recurse)
        self._move_devices(fn)
        return self

    def _move_devices(self, fn: Callable[[Tensor], Tensor]) -> None:
        for name in STATE:
            held = getattr(self, name)
            setattr(self, name, None if held is None else fn(held))
        for d in self.devices:
            d.conductances = [fn(g) for g in d.conductances]
            d.coefficients = [None if nu is None else fn(nu) for nu in d.coefficients]
            d.params = {key: fn(v) if isinstance(v, Tensor) else v for key, v in d.params.items()}
        self._stacked = self._modified = None
        self._seen = -1

    # What products see

    def read(self) -> Tensor:
        plain = self.weight.detach()
        if not self.training:
            plain = self.programmed_weight()
            if not self.modifies_test:
                return plain
        return self._modified_weight(plain) if self.modifier.active and not self.per_sample else plain

    def stored(self) -> Tensor:
        return self.weight.detach() if self.training else self.programmed_weight()

    def programmed_weight(self) -> Tensor:
        """Programmed weights now, (R, out, in); those without noise where nothing is programmed."""
        return self.noisy if self.is_programmed() and self.noisy is not None else self.weight.detach()

    def is_programmed(self) -> bool:
        """Whether the weights are programmed and were not changed since."""
        if self.target is None:
            return False
        if self._seen != self.weight._version:
            if not torch.equal(self.weight.detach(), self.target):
                self.forget_devices()
                return False
            self._seen = self.weight._version
        return True

    def weight_of_sample(self, sample: int) -> Tensor:
        """Modified weights (R, out, in) that one sample of the mini-batch sees."""
        return self.modifier(self.weight.detach(), self.modifier_keys + (sample + 1), self.counts[2])

    def _modified_weight(self, plain: Tensor) -> Tensor:
        """One draw lasts until the weights change."""
        place = (plain.data_ptr(), plain._version)
        if self._modified is None or place != self._modified_from:
            if self._modified is not None:  # something else than `end_step` changed the weights
                self.counts[2] += 1
            self._modified = self.modifier(plain, self.modifier_keys, self.counts[2])
            self._modified_from = place
        return self._modified

    def redraw(self) -> None:
        """The weights changed: the next product draws modified weights anew."""
        self.counts[2] += 1
        self._seen = -1
        self._modified = None

    # Programming

    def program(self, models: Sequence[BaseNoiseModel]) -> None:
        """Program the weights onto new devices."""
        self.models = list(models)
        target = self.weight.detach().clone()
        laws = laws_of(models)
        if laws is not None:
            self._program_devices(target, laws)
        else:
            step = int(self.counts[0])
            self.devices, self._stacked = [], None
            for r, model in enumerate(models):
                with drawing(self.program_keys[r : r + 1], step):
                    self.devices.append(model.program(target[r]))
            self.noisy = torch.stack([model.weights_of(d) for model, d in zip(models, self.devices, strict=True)])
        self.target, self._seen = target, self.weight._version
        self.counts[0] += 1
        self._modified = self.baseline = self.alpha = None

    def drift_to(self, t_inference: float) -> None:
        """Let the programmed devices be as they are at a time after programming, read with fresh noise."""
        for model in self.models:
            model.check_time(t_inference)
        laws = laws_of(self.models)
        if laws is not None:
            if self._stacked is None:
                g = torch.stack([torch.stack(d.conductances) for d in self.devices])
                self._stacked = g, torch.stack([torch.stack(d.coefficients) for d in self.devices])  # type: ignore[arg-type]
            g, nu = self._stacked
            numbers = self._numbers(laws, [d.params for d in self.devices], float(t_inference))
            self.noisy = drift_devices(g, nu, numbers, self.drift_keys, self.counts[1])
        else:
            step = int(self.counts[1])
            drifted = []
            for r, (model, devices) in enumerate(zip(self.models, self.devices, strict=True)):
                with drawing(self.drift_keys[r : r + 1], step):
                    drifted.append(model.drift(devices, t_inference))
            self.noisy = torch.stack(drifted)
        self.counts[1] += 1
        self._modified = None

    def _program_devices(self, target: Tensor, laws: list[DeviceLaws]) -> None:
        """All replicas in one pass."""
        params = scalings(self.models, target)
        numbers, devices = self._numbers(laws, params), len(self.models[0].g_converter.lines(params[0]))  # type: ignore[attr-defined]
        self.noisy, *self._stacked = program_devices(target, devices, numbers, self.program_keys, self.counts[0])
        g, nu = self._stacked
        self.devices = [Programmed(list(g[r]), list(nu[r]), of_converter) for r, of_converter in enumerate(params)]

    def _numbers(self, laws: list[DeviceLaws], params: list[dict[str, Any]], t_inference: float = 0.0) -> Tensor:
        rows = numbers_of(self.models, laws, params, t_inference)
        return torch.tensor(rows, dtype=self.weight.dtype, device=self.weight.device)

    def forget_devices(self) -> None:
        """Drop what was programmed."""
        self.devices, self.target, self.noisy, self.baseline, self.alpha = [], None, None, None, None
        self._stacked = None

    # Training

    def set(self, weight: Tensor) -> None:
        super().set(weight)
        self.redraw()

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        exact_update_(self.weight.detach(), x, d, rate)
        self.redraw()

    def gradient(self, x: Tensor, d: Tensor) -> Tensor:
        """``sum_b d_b x_b^T`` of each replica, (R, out, in)."""
        return self.outer(x, d.transpose(1, 2).contiguous())[0]

    def clip_to(self, bound: Tensor) -> None:
        """Clip to +-bound, (R, 1, 1)."""
        self.weight.copy_(torch.maximum(torch.minimum(self.weight, bound), -bound))
        self.steps[Event.CLIP] += 1

    # State

    def get_extra_state(self) -> dict[str, Any]:
        if not self.is_programmed():
            return {}
        devices = [{"conductances": d.conductances, "coefficients": d.coefficients, "params": d.params} for d in self.devices]
        return {"devices": devices} | {name: getattr(self, name) for name in STATE}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.devices = [Programmed(**d) for d in state.get("devices", [])]
        for name in STATE:
            setattr(self, name, state.get(name))
        self._move_devices(lambda t: t.to(self.weight) if t.is_floating_point() else t.to(self.weight.device))
