"""Activations with the same bits for an element wherever it stands in a batch."""

from __future__ import annotations

from torch import Tensor, nn

from sim.ops import sigmoid

__all__ = ["Sigmoid"]


class Sigmoid(nn.Module):
    """Logistic function; see `sim.ops.sigmoid`."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return sigmoid(x)
