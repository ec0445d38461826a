"""The analog matrix-vector product (mvm.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sim.ops.checks import ShapeError, check, core_of, is_direct, place, precision, threads
from sim.ops.library import define, library

__all__ = ["IO_SETTINGS", "MVM_FLAGS", "OUTPUT_FIELDS", "PASS_VALUES", "MvmCall", "MvmExtra", "MvmFlags", "Pass", "mvm"]

IO_SETTINGS = (
    "inp_bound", "inp_step", "inp_noise", "inp_asymmetry", "out_bound", "out_step", "out_noise", "out_asymmetry",
    "out_scale", "w_noise", "nm_thres", "max_reduction", "max_levels", "ir_drop", "ir_drop_g_ratio", "v_offset",
    "v_offset_w_min", "r_series", "nonlinear", "slope",
)  # fmt: skip
OUTPUT_FIELDS = ("v_offset", "out_nonlinearity", "out_noise_values")
PASS_VALUES = ("amplitude", "coefficient", "window", "quantum", "time_scale")
MVM_FLAGS = 10
_EMPTY = torch.empty(0)
_WHOLE = torch.tensor([[[1.0, 1.0, 0.0, 0.0, 1.0]]])  # values of a pass that feeds the whole input


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


def mvm(
    weight: Tensor, x: Tensor, settings: Tensor, keys: Tensor, step: Tensor, flags: MvmFlags, want_clipped: bool = False,
    extra: MvmExtra | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Analog matrix-vector products of a batch (mvm.md, sections 4 to 11).

    Parameters
    ----------
    weight : (R, out, in) float32, or on the CPU float64: then all the others that are float32 here are float64, too;
        normalised conductance
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
        pass_values = _WHOLE.to(weight).expand(weight.shape[0], len(flags.passes), -1).contiguous()
    else:
        pass_values = extra.pass_values
    if extra is not None:
        outputs, matrices, offsets = (_EMPTY if t is None else t for t in (extra.outputs, extra.matrices, extra.offsets))
    if not torch.compiler.is_compiling():
        if weight.dim() != 3 or x.dim() != 3:
            raise ShapeError(f"weight has shape {tuple(weight.shape)} and x {tuple(x.shape)}; both need (R, ., .)")
        replicas, out, n_in = weight.shape
        n, m = (out, n_in) if flags.transposed else (n_in, out)
        device, real = place(weight), precision("weight", weight)
        check("weight", weight, None, real, device)
        check("x", x, (replicas, x.shape[1], n), real, device)
        check("settings", settings, (replicas, len(IO_SETTINGS)), real, device)
        check("keys", keys, (replicas,), torch.int64, device)
        check("pass_values", pass_values, (replicas, len(flags.passes), len(PASS_VALUES)), real, device)
        if extra is not None:
            count = matrices.shape[1] if matrices.dim() == 4 else 1
            for name, tensor, shape in (
                ("outputs", outputs, (replicas, len(OUTPUT_FIELDS), m)),
                ("matrices", matrices, (replicas, count, out, n_in)),
                ("offsets", offsets, (replicas, count, m)),
            ):
                if tensor is not _EMPTY:
                    check(name, tensor, shape, real, device)
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

    __slots__ = ("_addresses", "_core", "_dtype", "_given", "_kept", "_n", "_shape", "_work", "_y")

    def __init__(
        self, settings: Tensor, keys: Tensor, step: Tensor, outputs: Tensor | None, pass_values: Tensor, flags: MvmFlags,
        shape: tuple[int, int, int],
    ) -> None:  # fmt: skip
        self._dtype = precision("settings", settings)
        check("settings", settings, (shape[0], len(IO_SETTINGS)), self._dtype)
        check("keys", keys, (shape[0],), torch.int64)
        self._given = settings, keys, step, outputs, pass_values, flags
        self._kept = [t for t in self._given[:5] if t is not None]
        self._addresses = [t.data_ptr() for t in self._kept]
        self._core: Any = core_of(self._dtype).Product(
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
        kind = self._dtype
        if not (
            weight.dtype is kind and x.dtype is kind and weight.is_contiguous() and x.is_contiguous()
            and weight.shape == self._shape and x.dim() == 3
        ):  # fmt: skip
            return None
        replicas, batch, n = x.shape
        if n != self._n or replicas != self._shape[0]:
            return None
        y = torch.empty(replicas, batch, self._y, dtype=kind)
        clipped = torch.empty(replicas, batch, self._y, dtype=torch.uint8) if want_clipped else _EMPTY
        self._core.multiply(
            weight.data_ptr(), x.data_ptr(), y.data_ptr(), clipped.data_ptr() if want_clipped else 0, batch, True,
            threads(self._work * batch),
        )  # fmt: skip
        return y, clipped


def _mvm_cpu(
    weight: Tensor, x: Tensor, settings: Tensor, keys: Tensor, step: Tensor, outputs: Tensor, matrices: Tensor, offsets: Tensor,
    pass_values: Tensor, flags: list[int], want_clipped: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The kernel takes addresses, of what was checked before."""
    y, clipped = _mvm_shapes(weight, x, flags, want_clipped)
    replicas, out, n_in = weight.shape
    batch = x.shape[1]
    passes = (len(flags) - MVM_FLAGS) // len(Pass._fields)
    product = core_of(weight.dtype).Product(
        settings.data_ptr(), outputs.data_ptr(), matrices.data_ptr(), offsets.data_ptr(), pass_values.data_ptr(), keys.data_ptr(),
        step.data_ptr(), replicas, out, n_in, matrices.shape[1] if matrices.dim() == 4 else 1, flags,
    )  # fmt: skip
    product.multiply(
        weight.data_ptr(), x.data_ptr(), y.data_ptr(), clipped.data_ptr() if want_clipped else 0, batch, False,
        threads(0.05 * replicas * out * n_in * batch * passes),
    )  # fmt: skip
    return y, clipped


def _mvm_shapes(weight: Tensor, x: Tensor, flags: list[int], want_clipped: bool) -> tuple[Tensor, Tensor]:
    replicas, out, n_in = weight.shape
    shape = (replicas, x.shape[1], n_in if flags[0] else out)
    return x.new_empty(shape), x.new_empty(shape if want_clipped else (0,), dtype=torch.uint8)


def _mvm_op(*args: Any) -> tuple[Tensor, Tensor]:
    """Compiled code comes here with tensors of any layout."""
    ready: tuple[Any, ...] = tuple(a.contiguous() if isinstance(a, Tensor) else a for a in args)
    return _mvm_cpu(*ready)


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


define(
    "mvm(Tensor weight, Tensor x, Tensor settings, Tensor keys, Tensor step, Tensor outputs, Tensor matrices, Tensor offsets,"
    " Tensor pass_values, int[] flags, bool want_clipped) -> (Tensor, Tensor)",
    _mvm_op,
    lambda weight, x, *rest: _mvm_shapes(weight, x, *rest[-2:]),
    gpu="product",
)
torch.library.register_autograd("sim::mvm", _mvm_gradient, setup_context=_mvm_context, lib=library)
