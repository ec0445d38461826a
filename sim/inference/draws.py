"""Standard normals of a noise model: of the tile inside a tile, of torch's generator by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["drawing", "normal_like"]


class _Source:
    """Fields of one programming or drift call of one replica, in the order in which a model asks for them."""

    def __init__(self, key: Tensor, step: int) -> None:
        self.key, self.step, self.asked = key, step, 0

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        from sim.ops import normal_field

        self.asked += 1
        return normal_field(self.key, shape, self.step, self.asked)[0]


_source: ContextVar[_Source | None] = ContextVar("source", default=None)


@contextmanager
def drawing(key: Tensor, step: int) -> Iterator[None]:
    """Let `normal_like` draw from a key (1,) at a step; torch's generator is seeded by them too, and put back afterwards.

    So a model of a user's own that calls ``torch.randn_like`` is repeatable as well.
    """
    import torch

    from sim.random import derive_key

    outside = torch.default_generator.get_state()
    torch.default_generator.manual_seed(derive_key(int(key), step) >> 1)
    token = _source.set(_Source(key, step))
    try:
        yield
    finally:
        _source.reset(token)
        torch.default_generator.set_state(outside)


def normal_like(tensor: Tensor) -> Tensor:
    """Independent standard normals of the shape of a tensor."""
    import torch

    source = _source.get()
    return torch.randn_like(tensor) if source is None else source.normal(tuple(tensor.shape))
