"""Updates of arrays of devices by pulses, and exact ones (update.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from operator import is_
from typing import Any

import torch
from torch import Tensor

from sim import _core
from sim.ops.checks import ShapeError, check, core_of, is_direct, place, precision, threads, writable
from sim.ops.library import define

__all__ = [
    "NOISE_SETTINGS", "TRAIN_SETTINGS", "DeviceArray", "TrainFlags", "check_operands", "check_update", "device_array",
    "device_index", "device_parameters", "exact_update_", "pulsed_update_",
]  # fmt: skip

TRAIN_SETTINGS = ("desired_bl", "um_grad_scale", "res", "x_res", "d_res")
NOISE_SETTINGS = ("dw_min_std", "write_noise")
_EMPTY = torch.empty(0)
_EMPTY_COUNTS = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class TrainFlags:
    """What of a pulsed update is structure: the same for all replicas."""

    fixed_bl: bool = True
    update_management: bool = True
    update_bl_management: bool = True
    stochastic_rounding: bool = False
    pulses: int = 0
    side: int = 0
    longest: int = 0
    """Longest train of any replica as far as it is known beforehand; 0: not known."""

    ints: list[int] = field(init=False, repr=False, compare=False)
    """As the op takes them."""

    def __post_init__(self) -> None:
        values = (
            self.side, self.fixed_bl, self.update_management, self.update_bl_management, self.stochastic_rounding, self.pulses,
            self.longest,
        )  # fmt: skip
        object.__setattr__(self, "ints", [int(value) for value in values])


@lru_cache(maxsize=None)
def device_index(kernel: str) -> int:
    """Index of a compiled device model by the stem of its header in ``sim/core/devices``."""
    return _core.devices().index(kernel)


@lru_cache(maxsize=None)
def device_parameters(kernel: str) -> tuple[str, ...]:
    """Names of the per-crosspoint parameters that a compiled device model takes, in its order."""
    return tuple(_core.device_parameters(device_index(kernel)))


def check_update(
    weight: Tensor, apparent: Tensor | None, counts: Tensor | None, fields: Tensor, values: Tensor, shared: Tensor,
    granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor, train_keys: Tensor, n_parameters: int,
    device: torch.device | None,
) -> None:  # fmt: skip
    """The kernel takes addresses: everything is checked here and in `check_operands`, and nowhere after."""
    if weight.dim() != 3:
        raise ShapeError(f"weight has shape {tuple(weight.shape)}; this needs (R, out, in)")
    replicas, out, n_in = weight.shape
    integers, real = torch.int64, precision("weight", weight)
    check("weight", weight, None, real, device)
    check("fields", fields, (replicas, out, n_in, fields.shape[-1]), real, device)
    check("values", values, (replicas, n_parameters), real, device)
    check("shared", shared, (replicas, shared.shape[1]), real, device)
    check("granularity", granularity, (replicas,), real, device)
    check("settings", settings, (replicas, len(TRAIN_SETTINGS)), real, device)
    check("noise", noise, (replicas, len(NOISE_SETTINGS)), real, device)
    check("keys", keys, (replicas,), integers, device)
    check("train_keys", train_keys, (replicas,), integers, device)
    if apparent is not None and apparent.numel():
        check("apparent", apparent, (replicas, out, n_in), real, device)
    if counts is not None and counts.numel():
        check("counts", counts, (replicas, 2, out, n_in), integers, device)


def check_operands(weight: Tensor, x: Tensor, d: Tensor, rate: Tensor, device: torch.device | None) -> None:
    """Inputs, errors and learning rates of an update of (R, out, in) weights."""
    replicas, out, n_in = weight.shape
    batch = x.shape[1] if x.dim() == 3 else 0
    check("x", x, (replicas, batch, n_in), weight.dtype, device)
    check("d", d, (replicas, batch, out), weight.dtype, device)
    check("rate", rate, (replicas,), weight.dtype, device)


class DeviceArray:
    """Devices of R arrays on a CPU as the kernels take them: checked and packed once, which costs more than a small update.

    Pulse kinds 3 and 4 are exact changes, within the bounds of the devices and without bounds.

    Parameters
    ----------
    tensors : weight, apparent, counts, fields, values, shared, granularity, settings, noise, keys and train_keys, as of
        `pulsed_update_`
    field_of : index into ``fields`` of each of the model's parameters, -1 for one without spread
    device : `device_index` of the model
    flags : as `TrainFlags.ints` gives them

    Raises
    ------
    ShapeError
        a tensor has another shape, type or device
    """

    __slots__ = ("_addresses", "_kept", "core", "flags", "shape", "tensors")

    def __init__(self, tensors: Sequence[Tensor | None], field_of: list[int], device: int, flags: list[int]) -> None:
        check_update(*tensors, len(field_of), None)  # type: ignore[arg-type, call-arg]
        self._keep(tensors, flags)
        fields, shared = tensors[3], tensors[5]
        assert fields is not None
        assert shared is not None
        self.core: Any = core_of(self._kept[0].dtype).Devices(
            device, *(0 if t is None else t.data_ptr() for t in tensors), field_of, *self.shape, fields.shape[-1],
            shared.shape[1], flags,
        )  # fmt: skip

    def _keep(self, tensors: Sequence[Tensor | None], flags: list[int]) -> None:
        self.tensors, self.flags = tuple(tensors), flags
        self._kept = [t for t in tensors if t is not None]
        self._addresses = [t.data_ptr() for t in self._kept]
        weight = self._kept[0]
        self.shape = (weight.shape[0], weight.shape[1], weight.shape[2])

    def still(self, tensors: Sequence[Tensor | None], flags: list[int]) -> bool:
        """Whether it is of these very tensors and flags, and none has moved: then what was checked still holds."""
        if flags is not self.flags or not all(map(is_, tensors, self.tensors)):
            return False
        return [t.data_ptr() for t in self._kept] == self._addresses

    def pulse(self, x: Tensor, d: Tensor, rate: Tensor, step: Tensor, rates: Tensor | None = None, count: bool = False) -> None:
        """The update of a mini-batch, see `pulsed_update_`; ``count`` moves its number, the first of ``step``, by one."""
        weight = self._kept[0]
        if weight.requires_grad:
            writable("weight", weight)
        check_operands(weight, x, d, rate, None)
        batch = x.shape[1]
        if rates is not None:
            check("rates", rates, (self.shape[0], batch), weight.dtype)
        self.core.pulse(
            x.data_ptr(), d.data_ptr(), rate.data_ptr(), 0 if rates is None else rates.data_ptr(), step.data_ptr(), count, batch,
            threads(0.5 * batch * weight.numel()),
        )  # fmt: skip


def device_array(tensors: Sequence[Tensor | None], field_of: list[int], device: int, flags: list[int]) -> DeviceArray:
    """A `DeviceArray` on the CPU, or on the GPU that the tensors are on."""
    weight = tensors[0]
    assert weight is not None
    if weight.is_cpu:
        return DeviceArray(tensors, field_of, device, flags)
    made: DeviceArray = import_module("sim.cuda.devices").GpuDeviceArray(tensors, field_of, device, flags)
    return made


def pulsed_update_(
    weight: Tensor, apparent: Tensor | None, counts: Tensor | None, fields: Tensor, field_of: list[int], values: Tensor,
    shared: Tensor, x: Tensor, d: Tensor, rate: Tensor, granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor,
    train_keys: Tensor, step: Tensor, kernel: str, flags: TrainFlags,
) -> None:  # fmt: skip
    """Update ``weight`` in place by pulse trains of a mini-batch (update.md, sections 4 to 7).

    Parameters
    ----------
    weight : (R, out, in) float32, or on the CPU float64: then all the others that are float32 here are float64, too; the
        persistent weight
    apparent : (R, out, in) float32 with write noise, else None
    counts : (R, 2, out, in) int64 that pulses down and up are added to, or None
    fields : (R, out, in, n) float32; device parameters that vary over the crosspoints
    field_of : index into ``fields`` of each of the model's parameters, -1 for one without spread
    values : (R, n_parameters) float32; parameters without spread
    shared : (R, n_shared) float32; what the model shares over the array
    x, d : (R, B, in) and (R, B, out) float32; inputs and errors, W moves by about -rate sum_b d_b x_b^T
    rate : (R,) float32; learning rate
    granularity : (R,) float32; assumed weight change of one pulse
    settings : (R, len(TRAIN_SETTINGS)) float32
    noise : (R, len(NOISE_SETTINGS)) float32
    keys, step : as in `mvm`
    train_keys : (R,) int64, random stream of the pulse trains, which the devices of a cell share
    kernel : name of the compiled device model

    Raises
    ------
    ShapeError
        a tensor has another shape, type or device, or requires a gradient
    """
    arguments = (
        weight, _EMPTY if apparent is None else apparent, _EMPTY_COUNTS if counts is None else counts, fields, field_of,
        values, shared, x, d, rate, granularity, settings, noise, keys, train_keys, step, device_index(kernel), flags.ints,
    )  # fmt: skip
    (_pulsed_update_cpu if is_direct(weight) else torch.ops.sim.pulsed_update_)(*arguments)


def exact_update_(weight: Tensor, x: Tensor, d: Tensor, rate: Tensor) -> None:
    """``weight -= rate sum_b d_b x_b^T`` in place, for each replica; rate (R,), other shapes as in `pulsed_update_`."""
    if not torch.compiler.is_compiling():
        replicas, out, n_in = weight.shape
        device, real = place(weight), precision("weight", weight)
        check("weight", weight, None, real, device)
        writable("weight", weight)
        check("x", x, (replicas, x.shape[1], n_in), real, device)
        check("d", d, (replicas, x.shape[1], out), real, device)
        check("rate", rate, (replicas,), real, device)
    update = _exact_update_cpu if is_direct(weight) else torch.ops.sim.exact_update_
    update(weight, x, d, rate)


def _pulsed_update_cpu(
    weight: Tensor, apparent: Tensor, counts: Tensor, fields: Tensor, field_of: list[int], values: Tensor, shared: Tensor,
    x: Tensor, d: Tensor, rate: Tensor, granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor,
    train_keys: Tensor, step: Tensor, device: int, flags: list[int],
) -> None:  # fmt: skip
    some = [t if t.numel() else None for t in (apparent, counts)]
    tensors = weight, *some, fields, values, shared, granularity, settings, noise, keys, train_keys
    DeviceArray(tensors, field_of, device, flags).pulse(x, d, rate, step.to("cpu", torch.int64))


def _exact_update_cpu(weight: Tensor, x: Tensor, d: Tensor, rate: Tensor) -> None:
    update = core_of(weight.dtype).exact_update
    update(weight.detach().numpy(), x.numpy(), d.numpy(), rate.numpy(), threads(0.05 * weight.numel() * x.shape[1]))


define(
    "pulsed_update_(Tensor(a!) weight, Tensor(b!) apparent, Tensor(c!) counts, Tensor fields, int[] field_of,"
    " Tensor values, Tensor shared, Tensor x, Tensor d, Tensor rate, Tensor granularity, Tensor settings, Tensor noise,"
    " Tensor keys, Tensor train_keys, Tensor step, int device, int[] flags) -> ()",
    _pulsed_update_cpu,
    lambda *args: None,
)
define("exact_update_(Tensor(a!) weight, Tensor x, Tensor d, Tensor rate) -> ()", _exact_update_cpu, lambda *args: None)
