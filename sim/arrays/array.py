"""What a tile asks of its array."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor, nn

from sim.ops import normal_field, uniform_field

__all__ = ["Array", "Event"]


class Event(IntEnum):
    """What draws random numbers: each kind has a stream and a counter of its own.

    So a replica draws the same whether or not another one in its group has a kind of noise that it has not.
    """

    UPDATE = 0
    WRITE = 1
    DIFFUSION = 2
    RESET = 3
    RESET_CHOICE = 4


class Array(nn.Module):
    """Weights of R replicas of a crossbar, and a rule that changes them.

    All state is in buffers of shape (R, ...), so that a state dict holds it verbatim; ``steps`` counts the events, and with
    the keys it is the whole state of the random streams.
    """

    weight: Tensor
    steps: Tensor
    keys: Tensor

    def __init__(self, shape: tuple[int, int], keys: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("weight", torch.zeros(keys.shape[0], *shape))
        self.register_buffer("keys", keys)
        self.register_buffer("steps", torch.zeros(len(Event), dtype=torch.int64))

    @property
    def replicas(self) -> int:
        """Number of replicas R."""
        return self.weight.shape[0]

    def read(self) -> Tensor:
        """Weights that a product sees, (R, out, in)."""
        return self.weight

    def set(self, weight: Tensor) -> None:
        """Set the weights to (R, out, in) values, as far as the devices allow."""
        raise NotImplementedError

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        """Move the weights by about ``-rate sum_b d_b x_b^T``; x (R, B, in), d (R, B, out), rate (R,)."""
        raise NotImplementedError

    def end_step(self) -> None:
        """What happens once after each step of the optimizer: diffusion, then decay (update.md, section 9)."""
        raise NotImplementedError

    def reset(self, start: int = 0, n: int = -1, probability: float = 1.0) -> None:
        """Reset columns ``start .. start + n - 1`` (wrapping; all for n < 0), each crosspoint with a probability."""
        if probability > 0:
            self._store(torch.where(self._chosen(start, n, probability), self._reset_value(), self.weight))

    def hidden(self) -> dict[str, Tensor]:
        """Hidden parameters by their standard names, each (R, out, in)."""
        return {}

    def memory(self) -> int:
        """Bytes of a crosspoint of one replica."""
        return 4

    def _store(self, weight: Tensor) -> None:
        """Take new weights (R, out, in), as far as the devices allow."""
        raise NotImplementedError

    def _reset_value(self) -> Tensor:
        """What a reset leaves, (R, out, in)."""
        raise NotImplementedError

    def _normal(self, event: Event) -> Tensor:
        """The next field of normals of an event, (R, out, in)."""
        z = normal_field(self.keys, self.shape, self.steps[event], event)
        self.steps[event] += 1
        return z

    def _chosen(self, start: int, n: int, probability: float) -> Tensor:
        n_in = self.shape[1]
        columns = torch.zeros(n_in, dtype=torch.bool)
        columns[(start + torch.arange(n_in if n < 0 else n)) % n_in] = True
        chosen = columns.expand(self.weight.shape)
        if probability < 1:
            u = uniform_field(self.keys, self.shape, self.steps[Event.RESET_CHOICE], Event.RESET_CHOICE)
            chosen = chosen & (u < probability)
            self.steps[Event.RESET_CHOICE] += 1
        return chosen
