"""Factors of the outputs of a tile: mapping scales, which come from scaling the weights, and trained ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sim.ops import ShapeError

__all__ = ["Scaled"]


class Scaled(nn.Module):
    """The part of a tile that has to do with the factors of its outputs.

    Attributes
    ----------
    mapping_scales : factors that come from scaling the weights, (R, 1) or (R, out); never trained
    out_scaling_alpha : trained factors, (1,) or (out,), after R if replicated
    """

    mapping_scales: Tensor | None
    out_scaling_alpha: nn.Parameter | None
    learning_rate: Tensor
    configs: list[Any]
    out_size: int
    replicated: bool

    def get_scales(self) -> Tensor | None:
        """All factors of the outputs, (1,) or (out,), after R if replicated; None where there are none."""
        return self._one_or_all(self._all_scales())

    def set_scales(self, scales: float | Tensor | None) -> None:
        """Make these the mapping scales, and the trained ones 1."""
        self.set_mapping_scales(scales)
        if self.out_scaling_alpha is not None:
            with torch.no_grad():
                self.out_scaling_alpha.fill_(1.0)

    def get_mapping_scales(self) -> Tensor | None:
        """The mapping scales, as of `get_scales`."""
        return self._one_or_all(self.mapping_scales)

    def set_mapping_scales(self, scales: float | Tensor | None) -> None:
        """Set the mapping scales: None for none, a number for all, (out,), or (R, 1) or (R, out) if replicated.

        Raises
        ------
        ShapeError
            for another number of values
        """
        if scales is None:
            self.mapping_scales = None
            return
        values = torch.as_tensor(scales, dtype=self.learning_rate.dtype, device=self.learning_rate.device).detach()
        if values.numel() == 1:
            values = values.reshape(1, 1)
            width = 1 if self.mapping_scales is None else self.mapping_scales.shape[1]
        else:
            width = values.shape[-1] if values.dim() else 1
        rows = values.reshape(-1, values.shape[-1])
        if width not in (1, self.out_size) or rows.shape[0] not in (1, len(self.configs)):
            raise ShapeError(f"scales have shape {tuple(values.shape)}; give one, or one of each of {self.out_size} outputs")
        self.mapping_scales = rows.expand(len(self.configs), width).contiguous().clone()

    def _output_scale(self, limits: Tensor | None) -> Tensor | None:
        """Factors (R, 1) or (R, out) of the outputs beside the trained ones, for input ranges (R,)."""
        scale = self._buffers["mapping_scales"]
        if limits is None:
            return scale
        return limits.view(-1, 1) if scale is None else limits.view(-1, 1) * scale

    def _rescale(self, target: Tensor, omega: float | None) -> None:
        """Mapping scales that bring the largest weight of a matrix, or of each output, to omega; trained ones become 1."""
        omegas = target.new_tensor([config.mapping.weight_scaling_omega if omega is None else omega for config in self.configs])
        if not bool((omegas > 0).any()):
            return
        axes = (2,) if self.configs[0].mapping.weight_scaling_columnwise else (1, 2)
        largest = target.abs().amax(dim=axes)
        largest = largest if largest.dim() == 2 else largest.unsqueeze(1)
        omegas = omegas.unsqueeze(1)
        self.set_scales(torch.where((largest > 0) & (omegas > 0), largest / omegas.clamp(min=1e-30), 1.0))

    def _all_scales(self) -> Tensor | None:
        """All factors of the outputs, (R, 1) or (R, out)."""
        trained = None if self.out_scaling_alpha is None else self.out_scaling_alpha.detach().reshape(len(self.configs), -1)
        if trained is None or self.mapping_scales is None:
            return self.mapping_scales if trained is None else trained
        return self.mapping_scales * trained

    def _one_or_all(self, scales: Tensor | None) -> Tensor | None:
        return None if scales is None else (scales if self.replicated else scales[0]).clone()
