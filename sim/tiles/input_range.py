"""Input range of a tile: estimated from the first batches of training, then learned (mapping_and_hwa.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sim.configs.pre_post import InputRangeParameter
from sim.periphery import deviations, range_gradient

__all__ = ["InputRange"]


class InputRange:
    """How the input ranges of R replicas move; the ranges themselves and their counters belong to the tile.

    Parameters
    ----------
    settings : sequence of R parameters of one structure
    """

    def __init__(self, settings: Sequence[InputRangeParameter]) -> None:
        first = settings[0]
        self.learned = first.learn_input_range
        self.relative = first.gradient_relative
        self.manages_clipping = first.manage_output_clipping

        def column(name: str) -> Tensor:
            return torch.tensor([float(getattr(s, name)) for s in settings])

        self.init_value = column("init_value")
        self.batches, self.std_alpha = column("init_from_data"), column("init_std_alpha")
        self.decay, self.input_share = column("decay"), column("input_min_percentage")
        self.output_share, self.gradient_scale = column("output_min_percentage"), column("gradient_scale")

    def estimate(self, x: Tensor, rho: Tensor, seen: Tensor) -> None:
        """Take a batch x (R, B, in) of training into the running mean rho (R,) of `seen` (R,) batches, in place."""
        wanted = seen < self.batches
        if not bool(wanted.any()):
            return
        std = deviations(x)
        used = wanted & (std > 0)
        mean = (seen * rho + self.std_alpha * std) / (seen + 1)
        rho.copy_(torch.where(used, mean, rho).abs())
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
            gamma = gamma - torch.where(kept < self.output_share, (1.0 - kept) * rho, 0.0)
        return gamma + torch.where(inside > self.input_share, self.decay * rho, 0.0)
