"""A training step as one CUDA graph: everything that a step does on a GPU, replayed with a single call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim import Optimizer

from sim.cuda.compile import CudaError
from sim.gpu import preparing_graph
from sim.tiles.tile import Tile

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
    optimizer : that of the step, where it has a momentum: its state stays as it is, too

    Raises
    ------
    CudaError
        Where the inputs are not on one GPU, or the step does what a graph cannot.
    CaptureError
        Where the step looks at a number of the GPU to go on.
    """

    def __init__(
        self, step: Callable[..., Tensor | None], modules: nn.Module | Iterable[nn.Module], *inputs: Tensor,
        optimizer: Optimizer | None = None,
    ) -> None:  # fmt: skip
        if not inputs or not all(t.is_cuda for t in inputs) or len({t.device for t in inputs}) > 1:
            raise CudaError("a step is captured with inputs that are on one GPU: move them with .cuda()")
        self.inputs = [t.detach().clone() for t in inputs]
        watched = [modules] if isinstance(modules, nn.Module) else list(modules)
        self.parameters = [p for module in watched for p in module.parameters()]
        state = [*self.parameters, *(b for module in watched for b in module.buffers())]
        self.graph: Any = torch.cuda.CUDAGraph()
        device = inputs[0].device
        with torch.cuda.device(device), _kept(state, watched, optimizer), preparing_graph():
            # One stream for both, so that nothing that the way back remembers of the first steps is of another one.
            aside = torch.cuda.Stream(device)
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    step(*self.inputs)
            torch.cuda.current_stream(device).wait_stream(aside)
            try:
                with torch.cuda.graph(self.graph, stream=aside):
                    output = step(*self.inputs)
            except RuntimeError as error:
                raise CudaError(f"the step cannot be captured as a graph: {error}") from error
            self.output = None if output is None else output.detach()

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        """One step; the output is overwritten by the next.

        Raises
        ------
        CudaError
            For inputs of another number, shape or type than was captured.
        """
        given, captured = ([(tuple(t.shape), t.dtype) for t in tensors] for tensors in (inputs, self.inputs))
        if given != captured:
            shown = [", ".join(f"{shape} {kind}" for shape, kind in tensors) for tensors in (captured, given)]
            raise CudaError(f"the captured step takes inputs {shown[0]}, not {shown[1]}: capture another for these")
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new)
        self.graph.replay()
        for parameter in self.parameters:
            increment_version(parameter)  # what is kept of a weight is known by its version
        return self.output


@contextmanager
def _kept(state: list[Tensor], modules: list[nn.Module], optimizer: Optimizer | None) -> Iterator[None]:
    """Puts the state of modules and optimizer back afterwards, whatever happened; moments that were not there become zero."""
    own = [] if optimizer is None else _tensors(optimizer)
    tiles = [part for module in modules for part in module.modules() if isinstance(part, Tile)]
    rates = {id(tile.learning_rate) for tile in tiles}  # the first step sets them, and no later one does
    before = [(t, t.detach().clone()) for t in (*state, *own) if id(t) not in rates]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
            for made in [] if optimizer is None else _tensors(optimizer):
                if not any(made is t for t in own):
                    made.zero_()
        for tile in tiles:
            tile.forget()  # what it recorded in a step that failed


def _tensors(optimizer: Optimizer) -> list[Tensor]:
    """Tensors of an optimizer's state."""
    return [t for values in optimizer.state.values() for t in values.values() if isinstance(t, Tensor)]
