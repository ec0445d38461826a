"""Weights over several devices of stated significance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["significances", "weight_slices"]


def significances(significance: Sequence[float]) -> list[float]:
    """Share of each device in a weight; they sum to 1."""
    total = sum(significance)
    return [f / total for f in significance]


def weight_slices(weight: Tensor, significance: Sequence[Sequence[float]], bits: int) -> Tensor:
    """What each device of a weight holds, in +-1.

    Parameters
    ----------
    weight : (R, out, in) in +-1; what is beyond is clipped
    significance : for each replica that of its K devices, of at least 1
    bits : bits of a device; 0: continuous, for a single device

    Returns
    -------
    (R, K, out, in); the sum with `significances` is the weight as far as the levels of the devices allow, exactly so for
    weights on the grid of a positional system (1, L, L^2, ...)
    """
    if bits == 0:
        return weight.unsqueeze(1)
    levels = 2**bits - 1
    factors = weight.new_tensor(significance, dtype=torch.float64)
    size = weight.double().abs().clamp(max=1.0)
    rest = torch.round(size * (factors.sum(1) * levels).reshape(-1, 1, 1))
    held = weight.new_zeros(weight.shape[0], factors.shape[1], *weight.shape[1:])
    order = factors.argsort(dim=1, descending=True)
    for k in range(factors.shape[1]):  # from the most significant device of each replica on
        chosen = order[:, k : k + 1]
        factor = factors.gather(1, chosen).reshape(-1, 1, 1)
        digit = torch.floor(rest / factor + 1e-9).clamp(max=levels)
        rest = rest - digit * factor
        sign = torch.sign(weight)
        held[torch.arange(len(factors), device=weight.device), chosen.squeeze(1)] = (digit / levels).to(weight.dtype) * sign
    return held
