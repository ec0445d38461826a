"""A training step as one CUDA graph: everything that a step does on a GPU, replayed with a single call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sim.cuda.compile import CudaError

__all__ = ["CapturedStep"]

WARM_UP = 3


class CapturedStep:
    """A step that was captured once, and is replayed on new inputs.

    What counts (numbers of updates and products) and what is random lies on the GPU, so a replay does what the next call would
    have done. What Python decides is decided once: shapes, learning rates of digital parameters, the mode of the modules.
    Capture anew when one of these changes.

    Parameters
    ----------
    step : from tensors on the GPU to a tensor, or None: ``zero_grad``, forward, ``backward`` and the step of an
        `sim.optim.AnalogSGD`
    modules : whose state the step changes: capturing leaves it as it is
    inputs : tensors of the shapes and types that come

    Raises
    ------
    CudaError
        Where the inputs are not on a GPU, or the step looks at a number of the GPU to go on.
    """

    def __init__(self, step: Callable[..., Tensor | None], modules: nn.Module | Iterable[nn.Module], *inputs: Tensor) -> None:
        if not inputs or not all(t.is_cuda for t in inputs):
            raise CudaError("a step is captured with inputs that are on a GPU: move them with .cuda()")
        self.inputs = [t.clone() for t in inputs]
        watched = [modules] if isinstance(modules, nn.Module) else list(modules)
        state = [t for module in watched for t in (*module.parameters(), *module.buffers())]
        before = [t.detach().clone() for t in state]
        device = inputs[0].device
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                step(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        self.graph: Any = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph):
                self.output = step(*self.inputs)
        except RuntimeError as error:
            raise CudaError(f"the step cannot be captured as a graph: {error}") from error
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        """One step; the output is overwritten by the next.

        Raises
        ------
        CudaError
            For inputs of another number or shape than was captured.
        """
        shapes, captured = [tuple(t.shape) for t in inputs], [tuple(t.shape) for t in self.inputs]
        if shapes != captured:
            raise CudaError(f"the captured step takes inputs of shapes {captured}, not {shapes}: capture another for these")
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.output
