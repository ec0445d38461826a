"""Input range of a tile: estimated from the first batches of training, then learned (mapping_and_hwa.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sim.configs.pre_post import InputRangeParameter
from sim.periphery import deviations, range_gradient

__all__ = ["InputRange"]

NUMBERS = (
    "init_value", "init_from_data", "init_std_alpha", "decay", "input_min_percentage", "output_min_percentage", "gradient_scale",
)  # fmt: skip


class InputRange(nn.Module):
    """How the input ranges of R replicas move; the ranges themselves and their counters belong to the tile.

    Parameters
    ----------
    settings : sequence of R parameters of one structure
    """

    init_value: Tensor
    init_from_data: Tensor
    init_std_alpha: Tensor
    decay: Tensor
    input_min_percentage: Tensor
    output_min_percentage: Tensor
    gradient_scale: Tensor

    def __init__(self, settings: Sequence[InputRangeParameter]) -> None:
        super().__init__()
        first = settings[0]
        self.learned = first.learn_input_range
        self.relative = first.gradient_relative
        self.manages_clipping = first.manage_output_clipping

        for name in NUMBERS:
            values = torch.tensor([float(getattr(s, name)) for s in settings])
            self.register_buffer(name, values, persistent=False)

    def estimate(self, x: Tensor, rho: Tensor, seen: Tensor) -> None:
        """Take a batch x (R, B, in) of training into the running mean rho (R,) of `seen` (R,) batches, in place."""
        wanted = seen < self.init_from_data
        if wanted.is_cpu and not bool(wanted.any()):  # a GPU does not wait to know
            return
        std = deviations(x)
        used = wanted & (std > 0)
        mean = (seen * rho + self.init_std_alpha * std) / (seen + 1)
        rho.copy_(torch.where(used, mean.abs(), rho))
        seen += used

    def gradient(self, x: Tensor, dx: Tensor, rho: Tensor, clipped: Tensor) -> Tensor:
        """Gradient (R,) of ranges rho > 0 (R,) from inputs x and their gradient dx (R, B, in); clipped as the outputs."""
        summed = range_gradient(x, dx, rho)
        gamma, inside = summed[:, 0], summed[:, 1]
        if self.relative:
            gamma = gamma * rho * self.gradient_scale
        if self.manages_clipping:
            count = clipped.reshape(len(rho), -1).sum(1, dtype=torch.int64)
            kept = 1.0 - count / (clipped.numel() // len(rho))
            gamma = gamma - torch.where(kept < self.output_min_percentage, (1.0 - kept) * rho, 0.0)
        return gamma + torch.where(inside > self.input_min_percentage, self.decay * rho, 0.0)
