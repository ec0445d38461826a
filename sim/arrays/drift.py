"""Power-law drift of weights since their last write (devices.md, 7.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sim.devices.base import DriftParameter, SimpleDriftParameter
from sim.ops.events import DRIFT_NUMBERS, DriftNow

__all__ = ["Drift"]


class Drift(nn.Module):
    """State of the drift of one array, whose law is in ``sim/core/events.h``.

    A weight that changed by more than `reset_tol` since the last call counts as rewritten, at this call. Otherwise

        w = w_0 s + A (s - 1),   s = max(t - t_w, 1)^(-nu),   A = g_offset wg_ratio - w_offset

    with t the time in units of t_0, w_0 and t_w weight and time of the last rewrite, nu the exponent of the crosspoint.

    Parameters
    ----------
    parameters : sequence of R drift parameters
    shape : (out, in)
    """

    t_0: Tensor
    numbers: Tensor
    having: Tensor
    clock: Tensor
    written: Tensor
    written_at: Tensor
    last: Tensor

    def __init__(self, parameters: Sequence[SimpleDriftParameter], shape: tuple[int, int]) -> None:
        super().__init__()
        full = [_complete(p) for p in parameters]
        self.register_buffer("t_0", torch.tensor([float(p.t_0) for p in full]).reshape(-1, 1, 1))
        self.register_buffer("numbers", torch.tensor([[float(getattr(p, name)) for name in DRIFT_NUMBERS] for p in full]))
        self.register_buffer("having", torch.tensor([p.nu > 0 for p in full], dtype=torch.uint8))
        replicas = len(full)
        self.register_buffer("clock", torch.full((replicas, 1, 1), -1.0))  # below 0: not called yet
        for name in ("written", "written_at", "last"):
            self.register_buffer(name, torch.zeros(replicas, *shape))

    def at(self, elapsed: float) -> DriftNow:
        """A call ``elapsed`` seconds after the last."""
        first = self.clock < 0
        self.clock.copy_(torch.where(first, 0.0, self.clock) + elapsed / self.t_0)
        return DriftNow(self.numbers, self.clock, first, self.written, self.written_at, self.last)


def _complete(p: SimpleDriftParameter) -> DriftParameter:
    return p if isinstance(p, DriftParameter) else DriftParameter(nu=p.nu, t_0=p.t_0, reset_tol=p.reset_tol)
