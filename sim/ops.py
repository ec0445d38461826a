"""The one door to the compiled kernels: torch ops, one function a kernel.

Every state has a leading replica axis R, activations are (R, B, n). What changes from step to step (the step counter, seeds,
learning rates, device parameters) enters as a tensor, so that ``torch.compile`` sees one graph. The functions here check
what they are given in the user's terms; the ops below them (``torch.ops.sim.*``) are what autograd and the compiler see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import lru_cache
from importlib import import_module
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from sim import _core
from sim.errors import FitlabError

TRAIN_SETTINGS = ("desired_bl", "um_grad_scale", "res", "x_res", "d_res")
NOISE_SETTINGS = ("dw_min_std", "write_noise")
IO_SETTINGS = (
    "inp_bound", "inp_step", "inp_noise", "inp_asymmetry", "out_bound", "out_step", "out_noise", "out_asymmetry",
    "out_scale", "w_noise", "nm_thres", "max_reduction", "max_levels", "ir_drop", "ir_drop_g_ratio", "v_offset",
    "v_offset_w_min", "r_series", "nonlinear", "slope",
)  # fmt: skip
OUTPUT_FIELDS = ("v_offset", "out_nonlinearity", "out_noise_values")
PASS_VALUES = ("amplitude", "coefficient", "window", "quantum", "time_scale")
TRANSFER_SETTINGS = (
    "fast_lr", "auto_momentum", "fast_granularity", "fast_bl", "in_chop_prob", "out_chop_prob", "auto_granularity", "buffer_unit",
    "step", "momentum", "buffer_cap", "tail", "phase", "write_limit",
)  # fmt: skip
STAGE_SETTINGS = ("rate", "threshold")
TRANSFER_STATE = (
    "settings", "stages", "every", "counters", "sweeps", "in_choppers", "out_choppers", "switched", "maxima", "plan_keys",
    "buffer", "mean", "past", "read_keys", "train_keys", "io", "x", "d", "rate",
)  # fmt: skip
EVENT_BYTES: int = _core.event_bytes
EVENT_FIELDS = ("sample", "stage", "slice", "read", "switched", "active")
FIELD_PURPOSE = 64
MVM_FLAGS = 10


class ShapeError(FitlabError):
    """A tensor does not have the shape, type or place that an operation needs."""


class Pass(NamedTuple):
    """One of the passes that a product is measured in: a part of the input on one matrix.

    sign : -1 or 1: only inputs of that sign; 0: all
    shift, bits : binary digits ``shift .. shift + bits - 1`` of the input's level; bits 0: the whole value
    matrix : index of the matrix
    hold : whether the outputs are added to the next pass before the ADC instead of being digitised
    """

    sign: int = 0
    shift: int = 0
    bits: int = 0
    matrix: int = 0
    hold: bool = False


@dataclass(frozen=True)
class MvmFlags:
    """What of an analog matrix product is structure: the same for all replicas."""

    transposed: bool = False
    perfect: bool = False
    noise_management: int = 0
    bound_management: int = 0
    inp_sto_round: bool = False
    out_sto_round: bool = False
    test_negative_bound: bool = True
    weight_noise: int = 0
    ir_drop: bool = False
    """Whether any replica has a static IR drop."""
    rounds: int = 1
    """Most rounds of iterative bound management of any replica."""
    passes: tuple[Pass, ...] = (Pass(),)

    ints: list[int] = field(init=False, repr=False, compare=False)
    """As the op takes them, the passes behind the flags."""

    def __post_init__(self) -> None:
        values = (
            self.transposed, self.perfect, self.noise_management, self.bound_management, self.inp_sto_round,
            self.out_sto_round, self.test_negative_bound, self.weight_noise, self.ir_drop, self.rounds,
            *(v for one in self.passes for v in one),
        )  # fmt: skip
        object.__setattr__(self, "ints", [int(value) for value in values])


@dataclass(frozen=True)
class MvmExtra:
    """What only some products need.

    outputs : (R, len(OUTPUT_FIELDS), m) float32, what differs between the m outputs, or None
    matrices : (R, K, out, in) float32 that the passes choose from, or None: the weight alone
    offsets : (R, K, m) float32, outputs of each matrix without an input, for a unit of the pass's window, or None
    pass_values : (R, passes, len(PASS_VALUES)) float32, or None: neutral
    """

    outputs: Tensor | None = None
    matrices: Tensor | None = None
    offsets: Tensor | None = None
    pass_values: Tensor | None = None


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


class TransferMode(IntEnum):
    """What becomes of what a transfer has read."""

    DIRECT = 0
    BUFFERED = 1
    CHOPPED = 2
    DYNAMIC = 3


@dataclass(frozen=True)
class TransferFlags:
    """What of the transfers between arrays is structure: the same for all replicas."""

    mode: TransferMode = TransferMode.DIRECT
    reads: int = 1
    columns: bool = True
    in_batches: bool = True
    random_start: bool = False
    scale_fast: bool = True
    scale_transfer: bool = True
    auto_scale: bool = False
    correct_magnitudes: bool = False
    chop_random: bool = False
    no_buffer: bool = False
    forget: bool = True
    correct_accumulation: bool = False

    ints: list[int] = field(init=False, repr=False, compare=False)
    """As the kernels take them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ints", [int(getattr(self, f.name)) for f in fields(self) if f.init])


@lru_cache(maxsize=None)
def device_index(kernel: str) -> int:
    """Index of a compiled device model by the stem of its header in ``sim/core/devices``."""
    return _core.devices().index(kernel)


@lru_cache(maxsize=None)
def device_parameters(kernel: str) -> tuple[str, ...]:
    """Names of the per-crosspoint parameters that a compiled device model takes, in its order."""
    return tuple(_core.device_parameters(device_index(kernel)))


_EMPTY = torch.empty(0)
_WHOLE = torch.tensor([[[1.0, 1.0, 0.0, 0.0, 1.0]]])  # values of a pass that feeds the whole input
_EMPTY_COUNTS = torch.empty(0, dtype=torch.int64)
_library = torch.library.Library("sim", "DEF")
_library.define(
    "mvm(Tensor weight, Tensor x, Tensor settings, Tensor keys, Tensor step, Tensor outputs, Tensor matrices, Tensor offsets,"
    " Tensor pass_values, int[] flags, bool want_clipped) -> (Tensor, Tensor)"
)
_library.define(
    "pulsed_update_(Tensor(a!) weight, Tensor(b!) apparent, Tensor(c!) counts, Tensor fields, int[] field_of,"
    " Tensor values, Tensor shared, Tensor x, Tensor d, Tensor rate, Tensor granularity, Tensor settings, Tensor noise,"
    " Tensor keys, Tensor train_keys, Tensor step, int device, int[] flags) -> ()"
)
_library.define("exact_update_(Tensor(a!) weight, Tensor x, Tensor d, Tensor rate) -> ()")
_library.define("random_field(Tensor keys, int purpose, Tensor step, int n, bool normal) -> Tensor")
_library.define("sigmoid(Tensor x) -> Tensor")
_library.define("logarithm(Tensor x) -> Tensor")


def _threads(nanoseconds: float) -> int:
    """Threads for work of about this duration on one: starting them costs more than a short job."""
    return torch.get_num_threads() if nanoseconds > 30_000 else 1


def _mvm_cpu(
    weight: Tensor, x: Tensor, settings: Tensor, keys: Tensor, step: Tensor, outputs: Tensor, matrices: Tensor, offsets: Tensor,
    pass_values: Tensor, flags: list[int], want_clipped: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The kernel takes addresses, of what was checked before."""
    y, clipped = _mvm_shapes(weight, x, flags, want_clipped)
    replicas, out, n_in = weight.shape
    batch = x.shape[1]
    passes = (len(flags) - MVM_FLAGS) // len(Pass._fields)
    product = _core.Product(
        settings.data_ptr(), outputs.data_ptr(), matrices.data_ptr(), offsets.data_ptr(), pass_values.data_ptr(), keys.data_ptr(),
        step.data_ptr(), replicas, out, n_in, matrices.shape[1] if matrices.dim() == 4 else 1, flags,
    )  # fmt: skip
    product.multiply(
        weight.data_ptr(), x.data_ptr(), y.data_ptr(), clipped.data_ptr() if want_clipped else 0, batch, False,
        _threads(0.05 * replicas * out * n_in * batch * passes),
    )  # fmt: skip
    return y, clipped


def _mvm_shapes(weight: Tensor, x: Tensor, flags: list[int], want_clipped: bool) -> tuple[Tensor, Tensor]:
    replicas, out, n_in = weight.shape
    shape = (replicas, x.shape[1], n_in if flags[0] else out)
    return x.new_empty(shape), x.new_empty(shape if want_clipped else (0,), dtype=torch.uint8)


def _check_update(
    weight: Tensor, apparent: Tensor | None, counts: Tensor | None, fields: Tensor, values: Tensor, shared: Tensor,
    granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor, train_keys: Tensor, n_parameters: int,
    device: torch.device | None,
) -> None:  # fmt: skip
    """The kernel takes addresses: everything is checked here and in `_check_operands`, and nowhere after."""
    if weight.dim() != 3:
        raise ShapeError(f"weight has shape {tuple(weight.shape)}; this needs (R, out, in)")
    replicas, out, n_in = weight.shape
    integers = torch.int64
    _check("weight", weight, None, device=device)
    _check("fields", fields, (replicas, fields.shape[1], out, n_in), device=device)
    _check("values", values, (replicas, n_parameters), device=device)
    _check("shared", shared, (replicas, shared.shape[1]), device=device)
    _check("granularity", granularity, (replicas,), device=device)
    _check("settings", settings, (replicas, len(TRAIN_SETTINGS)), device=device)
    _check("noise", noise, (replicas, len(NOISE_SETTINGS)), device=device)
    _check("keys", keys, (replicas,), integers, device)
    _check("train_keys", train_keys, (replicas,), integers, device)
    if apparent is not None and apparent.numel():
        _check("apparent", apparent, (replicas, out, n_in), device=device)
    if counts is not None and counts.numel():
        _check("counts", counts, (replicas, 2, out, n_in), integers, device)


def _check_operands(shape: tuple[int, int, int], x: Tensor, d: Tensor, rate: Tensor, device: torch.device | None) -> None:
    """Inputs, errors and learning rates of an update of (R, out, in) weights."""
    replicas, out, n_in = shape
    batch = x.shape[1] if x.dim() == 3 else 0
    _check("x", x, (replicas, batch, n_in), device=device)
    _check("d", d, (replicas, batch, out), device=device)
    _check("rate", rate, (replicas,), device=device)


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
        _check_update(*tensors, len(field_of), None)  # type: ignore[arg-type, call-arg]
        self._keep(tensors, flags)
        fields, shared = tensors[3], tensors[5]
        assert fields is not None
        assert shared is not None
        self.core: Any = _core.Devices(
            device, *(0 if t is None else t.data_ptr() for t in tensors), field_of, *self.shape, fields.shape[1], shared.shape[1],
            flags,
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
            _writable("weight", weight)
        _check_operands(self.shape, x, d, rate, None)
        batch = x.shape[1]
        if rates is not None:
            _check("rates", rates, (self.shape[0], batch))
        self.core.pulse(
            x.data_ptr(), d.data_ptr(), rate.data_ptr(), 0 if rates is None else rates.data_ptr(), step.data_ptr(), count, batch,
            _threads(0.5 * batch * weight.numel()),
        )  # fmt: skip


def device_array(tensors: Sequence[Tensor | None], field_of: list[int], device: int, flags: list[int]) -> DeviceArray:
    """A `DeviceArray` on the CPU, or on the GPU that the tensors are on."""
    weight = tensors[0]
    assert weight is not None
    if weight.is_cpu:
        return DeviceArray(tensors, field_of, device, flags)
    made: DeviceArray = import_module("sim.cuda.devices").GpuDeviceArray(tensors, field_of, device, flags)
    return made


def _pulsed_update_cpu(
    weight: Tensor, apparent: Tensor, counts: Tensor, fields: Tensor, field_of: list[int], values: Tensor, shared: Tensor,
    x: Tensor, d: Tensor, rate: Tensor, granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor,
    train_keys: Tensor, step: Tensor, device: int, flags: list[int],
) -> None:  # fmt: skip
    some = [t if t.numel() else None for t in (apparent, counts)]
    tensors = weight, *some, fields, values, shared, granularity, settings, noise, keys, train_keys
    DeviceArray(tensors, field_of, device, flags).pulse(x, d, rate, step.to("cpu", torch.int64))


def _exact_update_cpu(weight: Tensor, x: Tensor, d: Tensor, rate: Tensor) -> None:
    _core.exact_update(weight.detach().numpy(), x.numpy(), d.numpy(), rate.numpy(), _threads(0.05 * weight.numel() * x.shape[1]))


def _random_field_cpu(keys: Tensor, purpose: int, step: Tensor, n: int, normal: bool) -> Tensor:
    field = keys.new_empty((keys.shape[0], n), dtype=torch.float32)
    _core.random_field(field.numpy(), keys.numpy(), purpose, int(step), normal, _threads(field.numel()))
    return field


def _logarithm_cpu(x: Tensor) -> Tensor:
    x = x.detach().contiguous()
    y = torch.empty_like(x)
    _core.logarithm(x.numpy(), y.numpy(), _threads(x.numel()))
    return y


def _sigmoid_cpu(x: Tensor) -> Tensor:
    x = x.detach().contiguous()
    y = torch.empty_like(x)
    _core.sigmoid(x.numpy(), y.numpy(), _threads(x.numel()))
    return y


def _on_gpu(module: str, name: str) -> Callable[..., Any]:
    """A function of ``sim.cuda``, which is imported when a tensor on a GPU comes."""

    def call(*args: Any) -> Any:
        return getattr(import_module(f"sim.cuda.{module}"), name)(*args)

    return call


for _name in ("pulsed_update_", "exact_update_", "random_field", "sigmoid", "logarithm"):
    _library.impl(_name, _on_gpu("backend", _name), "CUDA")
_library.impl("mvm", _on_gpu("product", "mvm"), "CUDA")


def _mvm_op(*args: Any) -> tuple[Tensor, Tensor]:
    """Compiled code comes here with tensors of any layout."""
    ready: tuple[Any, ...] = tuple(a.contiguous() if isinstance(a, Tensor) else a for a in args)
    return _mvm_cpu(*ready)


_library.impl("mvm", _mvm_op, "CPU")
_library.impl("pulsed_update_", _pulsed_update_cpu, "CPU")
_library.impl("exact_update_", _exact_update_cpu, "CPU")
_library.impl("random_field", _random_field_cpu, "CPU")
_library.impl("sigmoid", _sigmoid_cpu, "CPU")
_library.impl("logarithm", _logarithm_cpu, "CPU")
torch.library.register_fake("sim::mvm", lambda weight, x, *rest: _mvm_shapes(weight, x, *rest[-2:]), lib=_library)
torch.library.register_fake("sim::pulsed_update_", lambda *args: None, lib=_library)
torch.library.register_fake("sim::exact_update_", lambda *args: None, lib=_library)
torch.library.register_fake(
    "sim::random_field",
    lambda keys, purpose, step, n, normal: keys.new_empty((keys.shape[0], n), dtype=torch.float32),
    lib=_library,
)
torch.library.register_fake("sim::logarithm", lambda x: torch.empty_like(x, memory_format=torch.contiguous_format), lib=_library)
torch.library.register_fake("sim::sigmoid", lambda x: torch.empty_like(x, memory_format=torch.contiguous_format), lib=_library)


def _mvm_context(ctx, inputs, output) -> None:  # noqa: ANN001
    ctx.save_for_backward(*inputs[:2])
    ctx.transposed = bool(inputs[-2][0])
    ctx.mark_non_differentiable(output[1])


def _mvm_gradient(ctx, grad: Tensor, _grad_clipped: Tensor):  # noqa: ANN001, ANN202
    """Exact linear backward of the product, straight through the converters and the noise."""
    weight, x = ctx.saved_tensors
    matrix = weight.transpose(1, 2) if ctx.transposed else weight
    grad_x = grad @ matrix if ctx.needs_input_grad[1] else None
    grad_w = None
    if ctx.needs_input_grad[0]:
        grad_w = grad.transpose(1, 2) @ x
        grad_w = grad_w.transpose(1, 2) if ctx.transposed else grad_w
    return grad_w, grad_x, *(None,) * 9


def _sigmoid_context(ctx, inputs, output) -> None:  # noqa: ANN001
    ctx.save_for_backward(output)


def _sigmoid_gradient(ctx, grad: Tensor) -> Tensor:  # noqa: ANN001
    (y,) = ctx.saved_tensors
    return torch.ops.aten.sigmoid_backward.default(grad, y)


torch.library.register_autograd("sim::mvm", _mvm_gradient, setup_context=_mvm_context, lib=_library)
torch.library.register_autograd("sim::sigmoid", _sigmoid_gradient, setup_context=_sigmoid_context, lib=_library)


def _check(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...] | None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> None:
    """Refuse a tensor of another type, place (none: the CPU), shape or layout."""
    in_place = tensor.is_cpu if device is None else tensor.device == device
    if in_place and tensor.dtype is dtype and tensor.is_contiguous() and (shape is None or tensor.shape == shape):
        return
    if tensor.dtype != dtype:
        raise ShapeError(f"{name} is {tensor.dtype}; this needs {dtype}: convert it with .to({dtype})")
    if not in_place:
        place = device or "cpu"
        raise ShapeError(f"{name} is on {tensor.device}; the others are on {place}: move it with .to({str(place)!r})")
    if shape is not None and tuple(tensor.shape) != shape:
        raise ShapeError(f"{name} has shape {tuple(tensor.shape)}; this needs {shape}")
    if not tensor.is_contiguous():
        raise ShapeError(f"{name} is not contiguous in memory: call .contiguous()")


def _place(tensor: Tensor) -> torch.device | None:
    """Where the others have to be, as `_check` takes it: None for the CPU."""
    return None if tensor.is_cpu else tensor.device


def is_direct(*tensors: Tensor) -> bool:
    """Whether the kernel can be called without torch's dispatcher, which costs more than a small tile: nothing traces, wraps or
    differentiates the call."""
    if torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None:
        return False
    differentiated = torch.is_grad_enabled()
    for tensor in tensors:  # noqa: SIM110 - a generator costs a microsecond
        if not tensor.is_cpu or (differentiated and tensor.requires_grad):
            return False
    return True


def _writable(name: str, tensor: Tensor) -> None:
    if tensor.requires_grad and tensor.is_leaf and torch.is_grad_enabled():
        raise ShapeError(f"{name} requires a gradient and would be changed in place: detach it or use torch.no_grad()")


def mvm(
    weight: Tensor, x: Tensor, settings: Tensor, keys: Tensor, step: Tensor, flags: MvmFlags, want_clipped: bool = False,
    extra: MvmExtra | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Analog matrix-vector products of a batch (mvm.md, sections 4 to 11).

    Parameters
    ----------
    weight : (R, out, in) float32, normalised conductance
    x : (R, B, in) float32; (R, B, out) when transposed
    settings : (R, len(IO_SETTINGS)) float32
    keys : (R,) int64, the random stream of each replica
    step : () int64, number of this call
    flags : structure of the product
    want_clipped : also return which outputs left the range of the ADC
    extra : what only some products need

    Returns
    -------
    (R, B, out) float32 ((R, B, in) when transposed), and uint8 of that shape, or empty

    Raises
    ------
    ShapeError
        a tensor has another shape, type or device
    """
    outputs = matrices = offsets = _EMPTY
    if extra is None or extra.pass_values is None:
        pass_values = _WHOLE.to(weight.device).expand(weight.shape[0], len(flags.passes), -1).contiguous()
    else:
        pass_values = extra.pass_values
    if extra is not None:
        outputs, matrices, offsets = (_EMPTY if t is None else t for t in (extra.outputs, extra.matrices, extra.offsets))
    if not torch.compiler.is_compiling():
        if weight.dim() != 3 or x.dim() != 3:
            raise ShapeError(f"weight has shape {tuple(weight.shape)} and x {tuple(x.shape)}; both need (R, ., .)")
        replicas, out, n_in = weight.shape
        n, m = (out, n_in) if flags.transposed else (n_in, out)
        device = _place(weight)
        _check("weight", weight, None, device=device)
        _check("x", x, (replicas, x.shape[1], n), device=device)
        _check("settings", settings, (replicas, len(IO_SETTINGS)), device=device)
        _check("keys", keys, (replicas,), torch.int64, device)
        _check("pass_values", pass_values, (replicas, len(flags.passes), len(PASS_VALUES)), device=device)
        if extra is not None:
            count = matrices.shape[1] if matrices.dim() == 4 else 1
            for name, tensor, shape in (
                ("outputs", outputs, (replicas, len(OUTPUT_FIELDS), m)),
                ("matrices", matrices, (replicas, count, out, n_in)),
                ("offsets", offsets, (replicas, count, m)),
            ):
                if tensor is not _EMPTY:
                    _check(name, tensor, shape, device=device)
    args = weight, x, settings, keys, step, outputs, matrices, offsets, pass_values, flags.ints, want_clipped
    if is_direct(weight, x):
        return _mvm_cpu(*args)
    return torch.ops.sim.mvm(*args)


class MvmCall:
    """`mvm` with the buffers of a product, whose shapes were settled when it was made: packed once.

    Parameters
    ----------
    settings, keys, step, outputs, pass_values : as of `mvm`; a call moves the counter ``step`` by one
    flags : structure of the product
    shape : (R, out, in)
    """

    __slots__ = ("_addresses", "_core", "_given", "_kept", "_n", "_shape", "_work", "_y")

    def __init__(
        self, settings: Tensor, keys: Tensor, step: Tensor, outputs: Tensor | None, pass_values: Tensor, flags: MvmFlags,
        shape: tuple[int, int, int],
    ) -> None:  # fmt: skip
        _check("settings", settings, (shape[0], len(IO_SETTINGS)))
        _check("keys", keys, (shape[0],), torch.int64)
        self._given = settings, keys, step, outputs, pass_values, flags
        self._kept = [t for t in self._given[:5] if t is not None]
        self._addresses = [t.data_ptr() for t in self._kept]
        self._core: Any = _core.Product(
            settings.data_ptr(), 0 if outputs is None else outputs.data_ptr(), 0, 0, pass_values.data_ptr(), keys.data_ptr(),
            step.data_ptr(), *shape, 1, flags.ints,
        )  # fmt: skip
        self._shape = shape
        self._n, self._y = (shape[1], shape[2]) if flags.transposed else (shape[2], shape[1])
        self._work = 0.05 * shape[0] * shape[1] * shape[2] * max(1, len(flags.passes))

    def still(self, *given: Any) -> bool:
        """Whether it was made of these very objects (parameters but the last), and no tensor has moved."""
        return all(map(is_, given, self._given)) and [t.data_ptr() for t in self._kept] == self._addresses

    def __call__(self, weight: Tensor, x: Tensor, want_clipped: bool) -> tuple[Tensor, Tensor] | None:
        """The product of tensors that are `is_direct`; None, and nothing done, where one is not what the kernel takes."""
        kind = torch.float32
        if not (
            weight.dtype is kind and x.dtype is kind and weight.is_contiguous() and x.is_contiguous()
            and weight.shape == self._shape and x.dim() == 3
        ):  # fmt: skip
            return None
        replicas, batch, n = x.shape
        if n != self._n or replicas != self._shape[0]:
            return None
        y = torch.empty(replicas, batch, self._y)
        clipped = torch.empty(replicas, batch, self._y, dtype=torch.uint8) if want_clipped else _EMPTY
        self._core.multiply(
            weight.data_ptr(), x.data_ptr(), y.data_ptr(), clipped.data_ptr() if want_clipped else 0, batch, True,
            _threads(self._work * batch),
        )  # fmt: skip
        return y, clipped


def pulsed_update_(
    weight: Tensor, apparent: Tensor | None, counts: Tensor | None, fields: Tensor, field_of: list[int], values: Tensor,
    shared: Tensor, x: Tensor, d: Tensor, rate: Tensor, granularity: Tensor, settings: Tensor, noise: Tensor, keys: Tensor,
    train_keys: Tensor, step: Tensor, kernel: str, flags: TrainFlags,
) -> None:  # fmt: skip
    """Update ``weight`` in place by pulse trains of a mini-batch (update.md, sections 4 to 7).

    Parameters
    ----------
    weight : (R, out, in) float32; the persistent weight
    apparent : (R, out, in) float32 with write noise, else None
    counts : (R, 2, out, in) int64 that pulses down and up are added to, or None
    fields : (R, n, out, in) float32; device parameters that vary over the crosspoints
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
        device = _place(weight)
        _check("weight", weight, None, device=device)
        _writable("weight", weight)
        _check("x", x, (replicas, x.shape[1], n_in), device=device)
        _check("d", d, (replicas, x.shape[1], out), device=device)
        _check("rate", rate, (replicas,), device=device)
    update = _exact_update_cpu if is_direct(weight) else torch.ops.sim.exact_update_
    update(weight, x, d, rate)


@dataclass
class TransferPart:
    """What is known of some vectors of a mini-batch before their pulses: see `transfer_plan`."""

    signed_x: Tensor
    """(R, B, in): x times the choppers."""
    signed_d: Tensor
    """(R, B, out)."""
    rates: Tensor
    """(R, B): learning rates of the fast array."""
    events: Tensor
    """(R, E, EVENT_BYTES) uint8: the transfers, in order; the first six words of 32 bits are EVENT_FIELDS."""
    n_events: Tensor
    """(R,) int32."""
    signs: Tensor
    """(R, E, lines): output choppers at each transfer; empty where they never switch."""


def transfer_update_(
    arrays: Sequence[DeviceArray], state: Sequence[Tensor], flags: TransferFlags, io_perfect: bool, io_out_sto_round: bool,
    with_signs: bool, part: int, vectors: Tensor, step: Tensor,
) -> None:  # fmt: skip
    """An update of a mini-batch: gradients to the first array, transfers between arrays (compounds.md, sections 3 to 6).

    Parameters
    ----------
    arrays : all arrays: the first with the trains of the gradient, the others with those of
        transfers
    state : tensors in the order of TRANSFER_STATE; x (R, B, in), d (R, B, out) and rate (R,) are checked
    flags : structure of the transfers
    io_perfect, io_out_sto_round : structure of the reads
    with_signs : whether output choppers may switch
    part : vectors that are worked together
    vectors, step : () int64, numbers of the first vector, and of the first pulsed update

    Raises
    ------
    ShapeError
        a tensor has another shape, type or device
    """
    x, d = _checked_vectors(state)
    if not x.is_cpu:
        gpu = import_module("sim.cuda.transfer")
        gpu.transfer_update_(arrays, state, flags, io_perfect, io_out_sto_round, with_signs, part, vectors, step)
        return
    replicas, batch, n_in = x.shape
    cells = replicas * n_in * d.shape[2]
    _core.transfer_update(
        [a.core for a in arrays], [t.data_ptr() for t in state], flags.ints, io_perfect, io_out_sto_round, with_signs, batch,
        part, int(vectors), int(step), _threads(0.5 * cells * batch), _threads(2000.0 * replicas * batch) if replicas > 1 else 1,
    )  # fmt: skip


def _checked_vectors(state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Inputs (R, B, in) and errors (R, B, out) of a transfer's state, with the rates of the optimizer checked too."""
    x, d, rate = state[16:19]
    device = _place(x)
    _check("x", x, None, device=device)
    _check("d", d, (*x.shape[:2], d.shape[2]), device=device)
    _check("rate", rate, (x.shape[0],), device=device)
    return x, d


def transfer_plan(
    arrays: Sequence[DeviceArray], state: Sequence[Tensor], flags: TransferFlags, with_signs: bool, whole_batch: int,
    vectors: Tensor,
) -> TransferPart:  # fmt: skip
    """When, in the vectors of a part of a mini-batch, what is transferred; none of it depends on a weight.

    Parameters as of `transfer_update_`; ``whole_batch`` is the size of the mini-batch that the vectors are a part of.
    """
    x, d = _checked_vectors(state)
    if not x.is_cpu:
        planned: TransferPart = import_module("sim.cuda.transfer").plan(arrays, state, flags, with_signs, whole_batch, vectors)
        return planned
    replicas, batch, n_in = x.shape
    out = d.shape[2]
    slices, lines = (n_in, out) if flags.columns else (out, n_in)
    most = batch * (len(arrays) - 1) * min(flags.reads, slices)
    part = TransferPart(
        torch.empty_like(x), torch.empty_like(d), torch.empty(replicas, batch),
        torch.zeros(replicas, most, EVENT_BYTES, dtype=torch.uint8), torch.empty(replicas, dtype=torch.int32),
        torch.empty(replicas, most, lines) if with_signs else _EMPTY,
    )  # fmt: skip
    looks = torch.empty(2, replicas, most, dtype=torch.int32)
    filled = part.signed_x, part.signed_d, part.rates, part.events, part.n_events, looks[0], looks[1], part.signs
    _core.transfer_plan(
        [a.core for a in arrays],
        [t.data_ptr() for t in state],
        flags.ints,
        batch,
        whole_batch,
        int(vectors),
        *(t.data_ptr() for t in filled),
        most,
    )
    return part


def transfer_(
    arrays: Sequence[DeviceArray], state: Sequence[Tensor], flags: TransferFlags, io_perfect: bool, io_out_sto_round: bool,
    vectors: Tensor, events: Tensor, n_events: Tensor, signs: Tensor, values: Tensor, done: bool,
) -> None:  # fmt: skip
    """The transfers that were planned, in order; arrays and buffers change in place.

    ``values`` (R, E, lines) is what the array holds where each reads it, or, if ``done``, what was read.
    """
    device = _place(values)
    _check("values", values, (*events.shape[:2], values.shape[2]), device=device)
    _check("n_events", n_events, (events.shape[0],), torch.int32, device)
    if device is not None:
        gpu = import_module("sim.cuda.transfer")
        gpu.transfer_(arrays, state, flags, io_perfect, io_out_sto_round, vectors, events, n_events, signs, values, done)
        return
    _core.transfer(
        [a.core for a in arrays], [t.data_ptr() for t in state], flags.ints, io_perfect, io_out_sto_round, int(vectors),
        events.data_ptr(), n_events.data_ptr(), signs.data_ptr(), events.shape[1], values.data_ptr(), done,
    )  # fmt: skip


def digital_transfer_(written: DeviceArray, digital: Tensor, rows: Tensor, unit: Tensor, rate: Tensor, step: Tensor) -> None:
    """Whole steps of ``unit`` (R,) go from rows of a digital matrix (R, out, in) to an array, times rate / unit on average.

    rows (R, n) int32 (below 0: none); what a full pulse train cannot write stays in the matrix.
    """
    replicas, _, n_in = digital.shape
    device = _place(digital)
    _check("digital", digital, None, device=device)
    _check("rows", rows, (replicas, rows.shape[1]), torch.int32, device)
    _check("unit", unit, (replicas,), device=device)
    _check("rate", rate, (replicas,), device=device)
    if device is not None:
        import_module("sim.cuda.transfer").digital_transfer_(written, digital, rows, unit, rate, step)
        return
    _core.digital_transfer(
        written.core, digital.data_ptr(), rows.data_ptr(), rows.shape[1], unit.data_ptr(), rate.data_ptr(), int(step),
        _threads(0.3 * rows.numel() * n_in),
    )  # fmt: skip


def next_rows(
    rate: Tensor, batches: Tensor, every: Tensor, written: Tensor, row: Tensor, keys: Tensor, stream: int, call: Tensor,
    random: bool, out: int, n: int,
) -> tuple[Tensor, bool]:  # fmt: skip
    """Count a mini-batch, and tell which n rows of a digital matrix of ``out`` rows are written after it.

    Parameters
    ----------
    rate : (R,) float32; a mini-batch with a rate of 0 does not count
    batches, row : (R,) int64; mini-batches so far, and the next row: they move
    every : (R,) int64; period in mini-batches, 0: never
    written : (R,) float32; change of the weight by a step, 0: nothing is written
    keys, stream, call : random numbers of the first row, where it is ``random``

    Returns
    -------
    (R, n) int32, below 0 where a replica writes nothing; and whether any replica writes
    """
    replicas = rate.shape[0]
    if not rate.is_cpu:
        gpu = import_module("sim.cuda.transfer")
        found: tuple[Tensor, bool] = gpu.next_rows(rate, batches, every, written, row, keys, stream, call, random, out, n)
        return found
    _check("rate", rate, (replicas,))
    rows = torch.empty(replicas, n, dtype=torch.int32)
    some = _core.next_rows(
        rate.data_ptr(), batches.data_ptr(), every.data_ptr(), written.data_ptr(), row.data_ptr(), keys.data_ptr(),
        FIELD_PURPOSE + stream, int(call), random, replicas, out, n, rows.data_ptr(),
    )  # fmt: skip
    return rows, some


def normal_field(keys: int | Tensor, shape: tuple[int, ...], step: int | Tensor = 0, stream: int = 0) -> Tensor:
    """Standard normals of ``shape`` for a key, or of (R, *shape) for a tensor of R keys; ``stream`` tells uses apart."""
    return _field(keys, shape, step, stream, normal=True)


def uniform_field(keys: int | Tensor, shape: tuple[int, ...], step: int | Tensor = 0, stream: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) of ``shape`` for a key, or of (R, *shape) for a tensor of R keys."""
    return _field(keys, shape, step, stream, normal=False)


def _field(keys: int | Tensor, shape: tuple[int, ...], step: int | Tensor, stream: int, normal: bool) -> Tensor:
    n = 1
    for size in shape:
        n *= size
    single = not isinstance(keys, Tensor)
    key_tensor = keys if isinstance(keys, Tensor) else key_tensor_of([keys])
    step_tensor = step if isinstance(step, Tensor) else torch.tensor(step, dtype=torch.int64)
    field = torch.ops.sim.random_field(key_tensor, FIELD_PURPOSE + stream, step_tensor.to(key_tensor.device), n, normal)
    return field.reshape(shape if single else (key_tensor.shape[0], *shape))


def key_tensor_of(keys: list[int]) -> Tensor:
    """64-bit keys (as Python integers) in an int64 tensor, bit for bit."""
    return torch.tensor([k - (1 << 64) if k >= (1 << 63) else k for k in keys], dtype=torch.int64)


class _Sigmoid(torch.autograd.Function):
    """The op without torch's dispatcher."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # noqa: ANN001
        y = _sigmoid_cpu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:  # noqa: ANN001
        return _sigmoid_gradient(ctx, grads[0])


def sigmoid(x: Tensor) -> Tensor:
    """Logistic function, the same bits for an element wherever it stands in the tensor (torch's are not)."""
    if torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None or not x.is_cpu:
        return torch.ops.sim.sigmoid(x)
    return _Sigmoid.apply(x)


def logarithm(x: Tensor) -> Tensor:
    """Natural logarithm of numbers above 0, float32, the same bits for an element wherever it stands, and fast.

    Relative error below 2e-7; what is below the smallest normal number counts as that. It has no gradient.
    """
    return torch.ops.sim.logarithm(x)
