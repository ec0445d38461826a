"""Kernels of a module on a GPU, started on torch's current stream."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim.cuda.compile import CudaError, cached
from sim.cuda.modules import Module

__all__ = ["launch", "reason_why_not", "start"]


def launch(module: Module, kernel: str, grid: tuple[int, int, int], device: torch.device, *args: Any) -> None:
    """Start a kernel; nothing waits for it.

    Parameters
    ----------
    module, kernel : which
    grid : blocks in three directions; the threads of a block are the module's
    device : the GPU that the tensors are on
    args : addresses as int, numbers as NumPy scalars of the kernel's types
    """
    from cuda.core import launch as start

    index = device.index or 0
    with torch.cuda.device(index):
        _enter(index)
        start(torch.cuda.current_stream(index), _config(grid, module.threads[kernel]), _kernel(module, kernel, index), *args)


def start(
    module: Module, kernel: str, work: int | tuple[int, int, int], on: Tensor, *args: Tensor | np.generic | int | None
) -> None:
    """Start a kernel on a grid, or for a number of elements; tensors are handed on by address (an int is one), None as 0."""
    if isinstance(work, int):
        if work == 0:
            return
        work = (-(-work // module.threads[kernel]), 1, 1)
    given = [arg.data_ptr() if isinstance(arg, Tensor) else 0 if arg is None else arg for arg in args]
    launch(module, kernel, work, on.device, *given)


def reason_why_not() -> str:
    """Why kernels cannot run here; empty where they can."""
    if not torch.cuda.is_available():
        return "torch sees no GPU" if torch.version.cuda else "torch was built without CUDA"
    try:
        from sim.cuda.modules import elementwise

        _kernel(elementwise(), "logistic", torch.cuda.current_device())
    except CudaError as error:
        return str(error)
    return ""


_entered = threading.local()


def _enter(index: int) -> None:
    """Let this thread use torch's context of a GPU: that of the backward pass has none before its first call of the runtime."""
    known: set[int] = _entered.__dict__.setdefault("devices", set())
    if index not in known:
        from cuda.core import Device

        Device(index).set_current()
        known.add(index)


@lru_cache(maxsize=4096)
def _config(grid: tuple[int, int, int], threads: int) -> Any:
    from cuda.core import LaunchConfig

    return LaunchConfig(grid=grid, block=threads)


@lru_cache(maxsize=None)
def _kernel(module: Module, kernel: str, index: int) -> Any:
    return _module(module, index).get_kernel(kernel)


@lru_cache(maxsize=None)
def _module(module: Module, index: int) -> Any:
    major, minor = torch.cuda.get_device_capability(index)
    code = cached(module, f"sm_{major}{minor}")
    from cuda.core import ObjectCode

    with torch.cuda.device(index):
        torch.cuda.current_stream(index)  # torch makes its context
        _enter(index)
        return ObjectCode.from_cubin(code)
