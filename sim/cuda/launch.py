"""Kernels of a module on a GPU, started on torch's current stream."""

from __future__ import annotations

import threading
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim.cuda.compile import CudaError, cached, cuda_core
from sim.cuda.modules import Module

__all__ = ["launch", "quad_grid", "quads", "reason_why_not", "start"]


def launch(module: Module, kernel: str, grid: tuple[int, int, int], device: torch.device, *args: Any) -> None:
    """Start a kernel; nothing waits for it.

    Parameters
    ----------
    module, kernel : which
    grid : blocks in three directions; the threads of a block are the module's
    device : the GPU that the tensors are on
    args : addresses as int, numbers as NumPy scalars of the kernel's types
    """
    index = device.index or 0
    with torch.cuda.device(index):
        made, config = _kernel(module, kernel, index), _config(grid, module.threads[kernel])
        _enter(index)
        cuda_core().launch(_Stream(torch.cuda.current_stream(index).cuda_stream), config, made, *args)


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


def quads(n: int) -> int:
    """Threads that take four of n elements each, in blocks of 64 (sim/core/quad.h)."""
    return -(-n // 64) * 16


def quad_grid(module: Module, kernel: str, n: int, replicas: int) -> tuple[int, int, int]:
    """Grid of `quads` of each replica."""
    return -(-quads(n) // module.threads[kernel]), replicas, 1


def reason_why_not() -> str:
    """Why kernels cannot run here; empty where one did."""
    if not torch.version.cuda:
        return "torch was built without CUDA: install one with it"
    with warnings.catch_warnings(record=True) as said:  # torch says by a warning that a driver is too old
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        return "; ".join(["torch sees no GPU", *(str(w.message).splitlines()[0] for w in said[:1])])
    from sim.cuda.backend import sigmoid

    try:
        right = float(sigmoid(torch.zeros(1, device="cuda"))[0]) == 0.5
    except CudaError as error:
        return str(error)
    except Exception as error:  # whatever a driver says
        return f"a kernel could not be started: {type(error).__name__}: {error}"
    return "" if right else "a kernel gave a wrong number"


class _Stream:
    """A stream of torch, for any version of it."""

    __slots__ = ("handle",)

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        """Version of the protocol, and the stream."""
        return 0, self.handle


_entered = threading.local()


def _enter(index: int) -> None:
    """Let this thread use torch's context of a GPU: that of the backward pass has none before its first call of the runtime."""
    known: set[int] = _entered.__dict__.setdefault("devices", set())
    if index not in known:
        cuda_core().Device(index).set_current()
        known.add(index)


@lru_cache(maxsize=4096)
def _config(grid: tuple[int, int, int], threads: int) -> Any:
    return cuda_core().LaunchConfig(grid=grid, block=threads)


@lru_cache(maxsize=None)
def _kernel(module: Module, kernel: str, index: int) -> Any:
    return _module(module, index).get_kernel(kernel)


@lru_cache(maxsize=None)
def _module(module: Module, index: int) -> Any:
    major, minor = torch.cuda.get_device_capability(index)
    code = cached(module, f"sm_{major}{minor}")
    with torch.cuda.device(index):
        torch.cuda.current_stream(index)  # torch makes its context
        _enter(index)
        return cuda_core().ObjectCode.from_cubin(code)
