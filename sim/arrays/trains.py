"""How an update becomes pulse trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from sim.configs.enums import PulseType
from sim.configs.update import UpdateParameters
from sim.ops import TrainFlags, key_tensor_of

__all__ = ["Trains"]

PULSES = {
    PulseType.STOCHASTIC_COMPRESSED: 0,
    PulseType.STOCHASTIC: 0,
    PulseType.MEAN_COUNT: 1,
    PulseType.DETERMINISTIC_IMPLICIT: 2,
    PulseType.NONE_WITH_DEVICE: 3,
}


class Trains(nn.Module):
    """Update parameters of R replicas, and the random stream of their trains.

    Parameters
    ----------
    updates : sequence of R update parameters of one structure
    keys : R keys
    """

    settings: Tensor
    keys: Tensor

    def __init__(self, updates: Sequence[UpdateParameters], keys: Sequence[int]) -> None:
        super().__init__()
        update = updates[0]
        flags = TrainFlags(
            update.fixed_bl,
            update.update_management or update.update_bl_management,
            update.update_bl_management,
            update.sto_round,
            PULSES.get(update.pulse_type, 0),
            longest=max(u.desired_bl for u in updates),
        )
        self.flags = {side: replace(flags, side=side) for side in (0, 1, -1)}
        rows = [
            [u.desired_bl, u.um_grad_scale, _bin_width(u.res), _bin_width(u.x_res_implicit), _bin_width(u.d_res_implicit)]
            for u in updates
        ]
        self.register_buffer("settings", torch.tensor(rows, dtype=torch.float32))
        self.register_buffer("keys", key_tensor_of(list(keys)))


def _bin_width(resolution: float) -> float:
    """Width of a bin from a width (up to 1) or a number of bins (above 1); 0 = continuous."""
    return 0.0 if resolution <= 0 else 1.0 / resolution if resolution > 1 else resolution
