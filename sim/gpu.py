"""What code minds on a GPU: no number is carried over twice, and none is looked at while a graph is captured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from sim.errors import FitlabError

__all__ = ["CaptureError", "in_graph", "may_look", "numbers", "preparing_graph"]


class CaptureError(FitlabError):
    """A step looks at a number of the GPU to go on, so that it cannot be captured as a graph."""


def numbers(like: Tensor, values: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of values beside another one, of its type if none is given; nobody changes it.

    On a GPU it is made once: a copy from the CPU waits, which a captured graph cannot.
    """
    kind = like.dtype if dtype is None else dtype
    if like.is_cpu:
        return torch.tensor(values, dtype=kind)
    return _held(tuple(values), kind, like.device)


@lru_cache(maxsize=4096)
def _held(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


_preparing = 0  # the backward pass runs in a thread of its own


@contextmanager
def preparing_graph() -> Iterator[None]:
    """Inside, steps do what they do in a graph: those that warm up, and the one that is captured."""
    global _preparing
    _preparing += 1
    try:
        yield
    finally:
        _preparing -= 1


def in_graph(at: Tensor) -> bool:
    """Whether what happens to a tensor becomes part of a graph, so that nothing may wait for its numbers."""
    return not at.is_cpu and (_preparing > 0 or torch.cuda.is_current_stream_capturing())


def may_look(at: Tensor, why: str) -> None:
    """Say why a step cannot be captured, before it looks at a number of the GPU.

    Raises
    ------
    CaptureError
        Where `in_graph`.
    """
    if in_graph(at):
        raise CaptureError(f"the step cannot be captured as a graph: {why}")
