"""The door to the compiled events beside pulses: crosspoints are set, reset, clipped, and with time diffuse, decay and drift.

The laws are those of ``sim/core/events.h``, on a CPU and on a GPU with the same bits, in one pass over the crosspoints of all
replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from importlib import import_module
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sim.ops.checks import ShapeError, check, core_of, place, precision, threads
from sim.ops.fields import FIELD_PURPOSE

__all__ = ["DRIFT_NUMBERS", "PARAMETERS", "Change", "Crosspoints", "DriftNow", "Values"]

PARAMETERS = ("min_bound", "max_bound", "reference", "decay_scales", "diffusion_rates", "reset_bias", "drift_nu")
"""Hidden parameters that events need."""
DRIFT_NUMBERS = ("reset_tol", "nu_std", "wg_ratio", "g_offset", "w_offset", "nu_k", "log_g0", "w_noise_std")


class Change(IntEnum):
    """How weights move at once."""

    SET = 0
    RESET = 1
    CLIP = 2


class Values(NamedTuple):
    """A parameter of all crosspoints: a view (R, out, in) of a tensor, or (R, 1, 1) where it is the same at all of a replica."""

    tensor: Tensor
    view: Tensor

    def place(self) -> tuple[int, int, int]:
        """Address of the first number, and numbers from one replica, and from one crosspoint, to the next."""
        view = self.view
        # The stride of an axis of one entry means nothing.
        step = next((view.stride(axis) for axis in (2, 1) if view.shape[axis] > 1), 0)
        return view.data_ptr(), view.stride(0), step


class DriftNow(NamedTuple):
    """State and numbers of a drift call.

    numbers (R, len(DRIFT_NUMBERS)); clock (R, 1, 1) after this call, in units of t_0; first (R, 1, 1) bool: this is the first
    call; written, written_at, last (R, out, in) are moved.
    """

    numbers: Tensor
    clock: Tensor
    first: Tensor
    written: Tensor
    written_at: Tensor
    last: Tensor


class Crosspoints:
    """Devices of R arrays as events see them: checked and packed once.

    Parameters
    ----------
    weight : (R, out, in) float32, or on the CPU float64; so are the others
    apparent : (R, out, in) with write noise, or None
    parameters : each of PARAMETERS
    noise : (R, 2), the write noise in its second column; None without apparent weights
    keys : (R,) int64

    Raises
    ------
    ShapeError
        a tensor has another shape, type or device
    """

    __slots__ = ("_addresses", "_kept", "_tensors", "apparent", "core", "keys", "noise", "places", "shape", "steps", "weight")

    def __init__(
        self, weight: Tensor, apparent: Tensor | None, parameters: Sequence[Values], noise: Tensor | None, keys: Tensor
    ) -> None:
        device, replicas, real = place(weight), weight.shape[0], precision("weight", weight)
        check("weight", weight, None, real, device)
        check("keys", keys, (replicas,), torch.int64, device)
        for name, one in zip(PARAMETERS, parameters, strict=True):
            check(name, one.tensor, None, real, device)
            if one.view.shape not in (weight.shape, (replicas, 1, 1)):
                allowed = f"{tuple(weight.shape)} or {(replicas, 1, 1)}"
                raise ShapeError(f"{name} has shape {tuple(one.view.shape)}; this needs {allowed}")
        if apparent is not None:
            assert noise is not None
            check("apparent", apparent, tuple(weight.shape), real, device)
            check("noise", noise, (replicas, 2), real, device)
        self.weight, self.apparent, self.noise, self.keys, self.shape = weight, apparent, noise, keys, weight.shape
        self._tensors = weight, apparent, noise, keys, *(one.tensor for one in parameters)
        self._kept = [t for t in self._tensors if t is not None]
        self._addresses = [t.data_ptr() for t in self._kept]
        self.places = [one.place() for one in parameters]
        self.steps = sum(step << 8 * k for k, (_, _, step) in enumerate(self.places))
        self.core: Any = None
        if weight.is_cpu:
            addresses, strides, _ = zip(*self.places, strict=True)
            self.core = core_of(real).Crosspoints(
                weight.data_ptr(), _address(apparent), list(addresses), list(strides), self.steps, self.write_noise(), 2,
                keys.data_ptr(), self.cells, replicas,
            )  # fmt: skip

    @property
    def cells(self) -> int:
        """Crosspoints of a replica."""
        return self.shape[1] * self.shape[2]

    def write_noise(self) -> int:
        """Address of the first replica's write noise."""
        return 0 if self.noise is None else self.noise.data_ptr() + self.noise.element_size()

    def still(self, *tensors: Tensor | None) -> bool:
        """Whether it is of these very tensors (weight, apparent, noise, keys and those of the parameters), and none has moved."""
        return all(map(is_, tensors, self._tensors)) and [t.data_ptr() for t in self._kept] == self._addresses

    def age(self, steps: Tensor, diffusing: Tensor, decaying: Tensor) -> None:
        """Diffusion, then decay, of replicas (R,) uint8; ``steps`` holds the numbers of all events."""
        if self.core is None:
            _gpu().age(self, steps, diffusing, decaying)
            return
        self.core.age(steps.data_ptr(), diffusing.data_ptr(), decaying.data_ptr(), self._threads())

    def change(
        self, kind: Change, step: Tensor, streams: tuple[int, int, int], given: Tensor | None = None,
        chosen: Tensor | None = None, having: Tensor | None = None, noisy: Tensor | None = None,
        reset_std: Tensor | None = None, only_chosen: bool = False,
        columns: tuple[int, int] = (0, -1), probability: float = 1.0, bound: float = 0.0,
    ) -> None:  # fmt: skip
        """Set to ``given``, reset where ``chosen``, or clip to +-``bound``; then the bounds of the devices, and write noise.

        Parameters
        ----------
        step : () int64, number of the event
        streams : of the value, of the write noise and of the choice
        given : (R, out, in)
        chosen : (R, out, in) bool; without it a reset is of ``columns`` (first, number; below 0: all), each crosspoint with a
            ``probability``
        having, noisy : (R,) uint8, replicas that have the event, and those whose write noise is drawn; None: all
        reset_std : (R,)
        only_chosen : what is not chosen keeps its write noise, too
        """
        n_in = self.shape[2]
        first, count = columns
        args = (
            kind, given, None if chosen is None else chosen.contiguous(), having, noisy, reset_std, step,
            *(FIELD_PURPOSE + stream for stream in streams), only_chosen, n_in, first % n_in, n_in if count < 0 else count,
            probability, bound,
        )  # fmt: skip
        if self.core is None:
            _gpu().change(self, *args)
            return
        self.core.change(*(_address(a) if a is None or isinstance(a, Tensor) else a for a in args), self._threads())

    def drift(self, now: DriftNow, step: Tensor, having: Tensor | None = None) -> None:
        """Drift of the weights since their last write (devices.md, 7.3)."""
        numbers, clock, first, *state = now
        args = numbers, clock, first, having, *state, step
        if self.core is None:
            _gpu().drift(self, *args)
            return
        self.core.drift(*map(_address, args), self._threads())

    def _threads(self) -> int:
        return threads(2.0 * self.weight.numel())


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _gpu() -> Any:
    return import_module("sim.cuda.events")
