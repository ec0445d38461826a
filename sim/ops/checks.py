"""What every kernel asks of a tensor, and how many threads it takes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from sim import _core
from sim.errors import FitlabError

__all__ = ["ShapeError", "check", "core_of", "is_direct", "is_traced", "place", "precision", "threads", "writable"]


class ShapeError(FitlabError):
    """A tensor does not have the shape, type or place that an operation needs."""


def threads(nanoseconds: float) -> int:
    """Threads for work of about this duration on one: starting them costs more than a short job."""
    return torch.get_num_threads() if nanoseconds > 30_000 else 1


def core_of(dtype: torch.dtype) -> Any:
    """The compiled kernels of a precision."""
    return import_module("sim._core64") if dtype is torch.float64 else _core


def precision(name: str, tensor: Tensor) -> torch.dtype:
    """Type of a tensor's numbers, which all that goes with it has to share: float32, or on the CPU float64.

    Raises
    ------
    ShapeError
        for another type
    """
    if tensor.dtype is torch.float32 or (tensor.dtype is torch.float64 and tensor.is_cpu):
        return tensor.dtype
    allowed = "float32 or float64" if tensor.is_cpu else "float32 (float64 is computed on the CPU)"
    raise ShapeError(f"{name} is {tensor.dtype}; this needs torch.{allowed}: convert it with .float()")


def check(
    name: str, tensor: Tensor, shape: tuple[int, ...] | None, dtype: torch.dtype, device: torch.device | None = None
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


def place(tensor: Tensor) -> torch.device | None:
    """Where the others have to be, as `check` takes it: None for the CPU."""
    return None if tensor.is_cpu else tensor.device


def is_traced() -> bool:
    """Whether torch compiles, or another mode wraps the call."""
    return torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None


def is_direct(*tensors: Tensor) -> bool:
    """Whether the kernel can be called without torch's dispatcher, which costs more than a small tile: nothing traces, wraps or
    differentiates the call."""
    if is_traced():
        return False
    differentiated = torch.is_grad_enabled()
    for tensor in tensors:  # noqa: SIM110 - a generator costs a microsecond
        if not tensor.is_cpu or (differentiated and tensor.requires_grad):
            return False
    return True


def writable(name: str, tensor: Tensor) -> None:
    if tensor.requires_grad and tensor.is_leaf and torch.is_grad_enabled():
        raise ShapeError(f"{name} requires a gradient and would be changed in place: detach it or use torch.no_grad()")
