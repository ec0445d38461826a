"""What a tile asks of its array."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor, nn

__all__ = ["Array", "Draw", "Event", "event_streams"]


class Event(IntEnum):
    """What happens to an array, as in ``sim/core/events.h``; each kind is counted by itself.

    A replica draws the same whether or not another one in its group has a kind of event that it has not.
    """

    UPDATE = 0
    SET = 1
    DIFFUSION = 2
    DECAY = 3
    RESET = 4
    DRIFT = 5
    CLIP = 6


class Draw(IntEnum):
    """What an event draws random numbers for; each is a stream of its own."""

    VALUE = 0
    WRITE_NOISE = 1
    CHOICE = 2
    READ = 3


class Array(nn.Module):
    """Weights of R replicas of a crossbar, and a rule that changes them.

    All state is in buffers of shape (R, ...), so that a state dict holds it verbatim; ``steps`` counts the events, and with
    the keys it is the whole state of the random streams.
    """

    weight: Tensor
    steps: Tensor
    keys: Tensor

    ageing = True
    """Whether `end_step` can do anything."""

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

    def stored(self) -> Tensor:
        """Weights that the array holds, (R, out, in)."""
        return self.read()

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
        raise NotImplementedError

    def clip(self, bound: float) -> None:
        """Clip the weights to +-bound and to the bounds of the devices (devices.md, 7.5)."""
        raise NotImplementedError

    def drift(self, elapsed: float) -> None:
        """Let the weights drift for ``elapsed`` seconds more; nothing happens where no device drifts."""
        raise NotImplementedError

    def hidden(self) -> dict[str, Tensor]:
        """Hidden parameters by their standard names, each (R, out, in)."""
        return {}

    def pulse_counts(self) -> Tensor | None:
        """Pulses down and up of each crosspoint so far, (R, ..., 2, out, in); None where they are not counted."""
        return None

    def memory(self) -> int:
        """Bytes of a crosspoint of one replica."""
        return self.weight.element_size()

    @staticmethod
    def counted(**happens: bool) -> Tensor:
        """What is added to ``steps`` where events happen, (len(Event),)."""
        return torch.tensor([int(happens.get(event.name, False)) for event in Event])


def event_streams(event: Event) -> tuple[int, int, int]:
    """Streams of an event: of the value, of the write noise, of the choice of crosspoints."""
    return tuple(len(Event) * draw + event for draw in (Draw.VALUE, Draw.WRITE_NOISE, Draw.CHOICE))  # type: ignore[return-value]
