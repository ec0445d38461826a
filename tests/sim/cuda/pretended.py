"""A GPU where there is none: tensors that say they are on ``cuda:0``, hold their numbers in the memory of the CPU, and refuse to
meet tensors of the CPU, as those of a GPU do. Kernels run through the emulation header.

For torch the tensors are on the CPU, so that autograd runs; what Python asks them (``device``, ``is_cuda`` ...) is answered here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import sim.cuda.backend
import sim.cuda.product

__all__ = ["GPU", "OnGpu", "pretended_gpu"]

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
MIXING = ("copy_", "index", "_index_put_impl_", "index_put_", "_to_copy")
"""What of torch takes tensors of both."""


class OnGpu(Tensor):
    """A tensor of the pretended GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        made: OnGpu = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=CPU
        )
        made.held = held
        return made

    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def __repr__(self, **kwargs: Any) -> str:
        return f"OnGpu({self.held})"

    def __deepcopy__(self, memo: dict[int, Any]) -> OnGpu:
        if id(self) not in memo:
            made = OnGpu(self.held.clone())
            memo[id(self)] = torch.nn.Parameter(made, self.requires_grad) if getattr(self, "_is_param", False) else made
        made = memo[id(self)]
        return made

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def tolist(self) -> Any:
        return self.held.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An op with tensors on the GPU, or which makes some."""
    name = func._opname
    if func.namespace == "sim":
        with _Moves(), _Ops():  # torch has put them aside
            return getattr(sim.cuda.product if name == "mvm" else sim.cuda.backend, name)(*args, **kwargs)
    found: list[OnGpu] = []
    elsewhere = False

    def unwrapped(value: Any) -> Any:
        nonlocal elsewhere
        if isinstance(value, OnGpu):
            found.append(value)
            return value.held
        elsewhere |= isinstance(value, Tensor) and value.dim() > 0
        return value

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor) or not on_gpu:
            return value
        same = [f for f in found if f.held is value]
        return same[0] if same else OnGpu(value)

    args, given = tree_map(unwrapped, (args, kwargs))
    if found and elsewhere and name not in MIXING:
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found cuda:0 and cpu")
    on_gpu = bool(found) or _is_gpu(kwargs.get("device"))
    if kwargs.get("device") is not None:
        given["device"] = CPU
    return tree_map(wrapped, func(*args, **given))


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        return OnGpu(t.detach().clone())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].held


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Any) -> Tensor:
        return t.held.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return OnGpu(grads[0])


class _Ops(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_gpu(kwargs.get("device")) or any(issubclass(t, OnGpu) for t in types):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


class _Moves(TorchFunctionMode):
    """Moves between the two: for torch all of it is on the CPU, so that it would not move anything."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and _is_gpu(kwargs.get("device")):
            del kwargs["device"]
            made = func(*args, **kwargs)
            return made if isinstance(made, OnGpu) else OnGpu(made)
        if func is Tensor.new_tensor and isinstance(args[0], OnGpu):
            return OnGpu(torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}))
        if func is torch.nn.functional.one_hot and isinstance(args[0], OnGpu):  # asks its input where it is, without Python
            return OnGpu(func(args[0].held, *args[1:], **kwargs))
        if func is Tensor.cuda:
            return self._moved(args[0], GPU)
        if func is Tensor.cpu:
            return self._moved(args[0], CPU)
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        return func(*args, **kwargs)

    def _to(self, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        target, rest = kwargs.pop("device", None), []
        for arg in args:
            if isinstance(arg, Tensor):
                target = arg.device
                rest.append(arg.dtype)
            elif isinstance(arg, str | torch.device):
                target = arg
            elif isinstance(arg, torch.dtype):
                rest.append(arg)
        moved = t if target is None else self._moved(t, torch.device(target))
        return moved.to(*rest, **kwargs) if rest or kwargs else moved

    @staticmethod
    def _moved(t: Tensor, target: torch.device) -> Tensor:
        if (target.type == "cuda") == isinstance(t, OnGpu):
            return t
        made: Tensor = (_Up if target.type == "cuda" else _Down).apply(t)
        return made


def _swap(a: Tensor, b: Tensor) -> None:
    """As torch's, which refuses tensors with weak references to them."""
    a.__class__, b.__class__ = b.__class__, a.__class__
    a.__dict__, b.__dict__ = b.__dict__, a.__dict__
    torch._C._swap_tensor_impl(a, b)  # type: ignore[attr-defined]


@contextmanager
def pretended_gpu(patch: Callable[[object, str, object], None]) -> Iterator[None]:
    """Inside, ``cuda`` is a device that tensors and modules can be moved to. ``patch`` sets an attribute for a while."""
    patch(torch.cuda, "_lazy_init", lambda: None)
    patch(torch.cuda, "is_current_stream_capturing", lambda: False)
    patch(torch.utils, "swap_tensors", _swap)
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the objects they are, as on a GPU
    try:
        with _Moves(), _Ops():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
