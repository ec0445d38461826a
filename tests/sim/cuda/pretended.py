"""Two GPUs where there is none: tensors that say they are on ``cuda:0`` or ``cuda:1``, hold their numbers in the memory of the
CPU, and refuse to meet tensors of other places, as those of a GPU do. Kernels run through the emulation header.

For torch the tensors are on the CPU, so that autograd runs; what Python asks them (``device``, ``is_cuda`` ...) is answered here.

While a graph is captured, nothing may wait for the GPU or copy between it and the CPU; what is done is noted down, and a replay
does it again with the same tensors, without the Python around it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.utils
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import sim.cuda.backend
import sim.cuda.product

__all__ = ["CPU", "GPU", "SECOND", "OnGpu", "Recorder", "noted", "pretended_gpu"]

GPU = torch.device("cuda", 0)
SECOND = torch.device("cuda", 1)
CPU = torch.device("cpu")
MIXING = ("copy_", "index", "_index_put_impl_", "index_put_", "_to_copy")
"""What of torch takes tensors of both."""


WAITING = (
    "_local_scalar_dense",
    "is_nonzero",
    "nonzero",
    "equal",
    "masked_select",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
)
"""What of torch waits for the GPU."""

_current = [GPU]
_recorders: list[Recorder] = []


class Recorder:
    """What is done while a graph is captured."""

    def __init__(self) -> None:
        self.done: list[Callable[[], None]] = []

    def launch(self, run: Callable[[], None]) -> None:
        self.done.append(run)

    def op(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        def again() -> None:
            for old, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

        self.done.append(again)


def _forbid(what: str) -> None:
    if _recorders:
        raise RuntimeError(f"{what}: operation not permitted when stream is capturing")


def noted(run: Callable[[], None]) -> None:
    """Start a kernel, and note it down while a graph is captured."""
    run()
    if _recorders:
        _recorders[-1].launch(run)


class OnGpu(Tensor):
    """A tensor of the pretended GPU."""

    held: Tensor
    place: torch.device

    @staticmethod
    def __new__(cls, held: Tensor, place: torch.device) -> OnGpu:
        made: OnGpu = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=CPU
        )
        made.held, made.place = held, place
        return made

    device = property(lambda self: self.place)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def __repr__(self, **kwargs: Any) -> str:
        return f"OnGpu({self.held}, {self.place})"

    def __deepcopy__(self, memo: dict[int, Any]) -> OnGpu:
        if id(self) not in memo:
            made = OnGpu(self.held.clone(), self.place)
            memo[id(self)] = torch.nn.Parameter(made, self.requires_grad) if getattr(self, "_is_param", False) else made
        made = memo[id(self)]
        return made

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def tolist(self) -> Any:
        _forbid("tolist")
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
        if not isinstance(value, Tensor) or place is None:
            return value
        same = [f for f in found if f.held is value]
        return same[0] if same else OnGpu(value, place)

    args, given = tree_map(unwrapped, (args, kwargs))
    places = {f.place for f in found}
    if len(places) > 1 or (found and elsewhere and name not in MIXING):
        others = ", ".join(str(p) for p in (*sorted(places, key=str), *([CPU] if elsewhere else [])))
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found {others}")
    masks = name == "index" and any(t.dtype is torch.bool for t in tree_leaves(args[1]) if isinstance(t, Tensor))
    if name in WAITING or masks or (found and elsewhere):
        _forbid(name)
    place = _gpu(kwargs.get("device")) or (found[0].place if found else None)
    if kwargs.get("device") is not None:
        given["device"] = CPU
    result = func(*args, **given)
    if _recorders and place is not None:
        _recorders[-1].op(func, args, given, result)
    return tree_map(wrapped, result)


def _gpu(device: Any) -> torch.device | None:
    """A pretended GPU by what names it; None for what is none."""
    if device is None:
        return None
    if isinstance(device, int):
        return torch.device("cuda", device)
    named = torch.device(device)
    return None if named.type != "cuda" else _current[-1] if named.index is None else named


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, target: torch.device) -> Tensor:
        _forbid("copy")
        ctx.source = t.device
        return _carried(t.detach(), target)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _carried(grads[0], ctx.source), None


def _carried(t: Any, target: torch.device) -> Tensor:
    held = (t.held if isinstance(t, OnGpu) else t).clone()
    return held if target == CPU else OnGpu(held, target)


class _Ops(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _gpu(kwargs.get("device")) or any(issubclass(t, OnGpu) for t in types):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


class _Moves(TorchFunctionMode):
    """Moves between the two: for torch all of it is on the CPU, so that it would not move anything."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and (place := _gpu(kwargs.get("device"))):
            del kwargs["device"]
            made = func(*args, **kwargs)
            if isinstance(made, OnGpu):
                return made
            _forbid("tensor")
            return OnGpu(made, place)
        if func is Tensor.new_tensor and isinstance(args[0], OnGpu):
            _forbid("new_tensor")
            return OnGpu(torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}), args[0].place)
        if func is torch.nn.functional.one_hot and isinstance(args[0], OnGpu):  # asks its input where it is, without Python
            lines = torch.arange(args[1], device=args[0].place)
            return (args[0].unsqueeze(-1) == lines).long()
        if func is Tensor.cuda:
            return self._moved(args[0], _gpu(args[1] if len(args) > 1 else kwargs.get("device")) or _current[-1])
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
            elif isinstance(arg, str | int | torch.device) and not isinstance(arg, bool):
                target = arg
            elif isinstance(arg, torch.dtype):
                rest.append(arg)
        moved = t if target is None else self._moved(t, _gpu(target) or CPU)
        return moved.to(*rest, **kwargs) if rest or kwargs else moved

    @staticmethod
    def _moved(t: Tensor, target: torch.device) -> Tensor:
        if t.device == target:
            return t
        made: Tensor = _Move.apply(t, target)  # type: ignore[no-untyped-call]
        return made


class _Stream:
    """One after the other is an order that streams may have, too."""

    cuda_stream = 7

    def __init__(self, *_: Any) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        pass

    def synchronize(self) -> None:
        _forbid("synchronize")


class _Event(_Stream):
    def __init__(self, **_: Any) -> None:
        pass

    def record(self) -> None:
        pass

    def elapsed_time(self, other: Any) -> float:
        return 1.0


class _Graph:
    recorder: Recorder | None = None

    def replay(self) -> None:
        assert self.recorder is not None
        with torch.no_grad():
            for again in self.recorder.done:
                again()


@contextmanager
def _captured(graph: _Graph, **_: Any) -> Iterator[None]:
    graph.recorder = Recorder()
    _recorders.append(graph.recorder)
    before = [(t.held, t.held.clone()) for t in gc.get_objects() if type(t) is OnGpu]
    try:
        yield
    finally:
        _recorders.pop()
        for held, value in before:  # what is captured is not done
            held.copy_(value)


class _Device:
    def __init__(self, device: Any) -> None:
        self.place = _gpu(device) or GPU

    def __enter__(self) -> None:
        _current.append(self.place)

    def __exit__(self, *_: object) -> None:
        _current.pop()


def _swap(a: Tensor, b: Tensor) -> None:
    """As torch's, which refuses tensors with weak references to them."""
    a.__class__, b.__class__ = b.__class__, a.__class__
    a.__dict__, b.__dict__ = b.__dict__, a.__dict__
    torch._C._swap_tensor_impl(a, b)  # type: ignore[attr-defined]


@contextmanager
def pretended_gpu(patch: Callable[[object, str, object], None]) -> Iterator[None]:
    """Inside, ``cuda`` is a device that tensors and modules can be moved to. ``patch`` sets an attribute for a while."""
    fakes: dict[str, object] = {
        "_lazy_init": lambda: None,
        "is_current_stream_capturing": lambda: bool(_recorders),
        "Stream": _Stream,
        "Event": _Event,
        "CUDAGraph": _Graph,
        "graph": _captured,
        "device": _Device,
        "stream": lambda _: nullcontext(),
        "current_stream": lambda *_: _Stream(),
        "current_device": lambda: _current[-1].index,
        "device_count": lambda: 2,
        "synchronize": lambda *_: _forbid("synchronize"),
        "memory_allocated": lambda *_: 0,
        "get_device_name": lambda *_: "pretended",
        "get_device_capability": lambda *_: (9, 0),
    }
    for name, fake in fakes.items():
        patch(torch.cuda, name, fake)
    patch(torch.utils, "swap_tensors", _swap)
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the objects they are, as on a GPU
    try:
        with _Moves(), _Ops():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
