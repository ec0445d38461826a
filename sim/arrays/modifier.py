"""Weights that products see in hardware-aware training (mapping_and_hwa.md, section 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sim.configs.enums import WeightModifierType
from sim.configs.inference import WeightModifierParameter
from sim.inference.noise.pcm import PUBLISHED
from sim.ops import normal_field, uniform_field

__all__ = ["Modifier"]

NUMBERS = (
    "std_dev", "res", "dorefa_clip", "pdrop", "assumed_wmax", "g_max", "pcm_zero_thres", "pcm_t_inference", "pcm_prob_at_reset",
    "pcm_prob_at_gmax", "pcm_prob_at_random", "pcm_t0",
)  # fmt: skip
T_READ = 250e-9

# Streams of the draws of one modification.
VALUE, ROUND, DROP, DRIFT, READ, AT_RESET, AT_GMAX, AT_RANDOM, STUCK_SIGN, STUCK_VALUE = range(10)


class Modifier(nn.Module):
    """The modification of a set of weights as a function of the weights, a key and the number of the draw.

    Parameters
    ----------
    parameters : R modifier parameters of one structure
    """

    std_dev: Tensor
    res: Tensor
    dorefa_clip: Tensor
    pdrop: Tensor
    assumed_wmax: Tensor
    g_max: Tensor
    pcm_zero_thres: Tensor
    pcm_t_inference: Tensor
    pcm_prob_at_reset: Tensor
    pcm_prob_at_gmax: Tensor
    pcm_prob_at_random: Tensor
    pcm_t0: Tensor
    coeffs: Tensor

    def __init__(self, parameters: Sequence[WeightModifierParameter]) -> None:
        super().__init__()
        first = parameters[0]
        self.kind = first.type
        self.active = any(p.active for p in parameters)
        self.sto_round, self.measured, self.spare_last = first.sto_round, first.rel_to_actual_wmax, first.copy_last_column
        for name in NUMBERS:
            values = torch.tensor([float(getattr(p, name)) for p in parameters])
            self.register_buffer(name, values.reshape(-1, 1, 1), persistent=False)
        self.register_buffer("coeffs", torch.tensor([p.coeffs for p in parameters]).T.reshape(len(first.coeffs), -1, 1, 1), False)
        self.dropping = any(p.pdrop > 0 for p in parameters)

    def forward(self, weight: Tensor, keys: Tensor, step: Tensor) -> Tensor:
        """Modified weights (R, out, in) of weights (R, out, in), for R keys and the number of the draw."""
        draw = _Draw(keys, tuple(weight.shape[1:]), step)
        modified = self._law(weight, self._largest(weight), draw)
        if self.dropping:
            modified = modified.masked_fill(draw.uniform(DROP) < self.pdrop, 0.0)
        if self.spare_last:
            modified = torch.cat([modified[:, :, :-1], weight[:, :, -1:]], dim=2)
        return modified

    def _largest(self, weight: Tensor) -> Tensor:
        if not self.measured:
            return self.assumed_wmax
        seen = weight[:, :, :-1] if self.spare_last else weight
        if seen.numel() == 0:
            return torch.ones_like(self.std_dev)
        largest = torch.maximum(seen.amax(dim=(1, 2), keepdim=True), -seen.amin(dim=(1, 2), keepdim=True))
        return torch.where(largest > 0, largest, 1.0)

    def _law(self, w: Tensor, m: Tensor, draw: _Draw) -> Tensor:
        kinds, std = WeightModifierType, self.std_dev
        match self.kind:
            case kinds.DISCRETIZE:
                return self._rounded(w / m, self.res, draw) * m
            case kinds.MULT_NORMAL:
                return draw.normal(VALUE).mul_(std * m).mul_(w).add_(w)
            case kinds.ADD_NORMAL:
                return draw.normal(VALUE).mul_(std * m).add_(w)
            case kinds.DISCRETIZE_ADD_NORMAL:
                return draw.normal(VALUE).mul_(std * m).add_(self._rounded(w / m, self.res, draw) * m)
            case kinds.DOREFA:
                squashed = w.tanh() * (self.dorefa_clip / m.tanh()).abs()
                return torch.where(self.res > 0, self._rounded(squashed, self.res, draw), w)
            case kinds.POLY | kinds.PROG_NOISE:
                a = w.abs() / m
                spread = torch.zeros_like(a)
                for c in self.coeffs.flip(0):
                    spread.mul_(a).add_(c)
                noisy = draw.normal(VALUE).mul_(spread).mul_(std * m).add_(w)
                if self.kind is kinds.POLY:
                    return noisy
                return torch.where(w < 0, -noisy.abs(), noisy.abs())
            case kinds.PCM_NOISE:
                return self._pcm(w, m, draw)
            case _:
                return w

    def _rounded(self, v: Tensor, res: Tensor, draw: _Draw) -> Tensor:
        """To multiples of res, halves away from 0."""
        steps = v / torch.where(res > 0, res, 1.0)
        if self.sto_round:
            steps = steps + (draw.uniform(ROUND) - 0.5)
        whole = steps.trunc()
        whole = whole + steps.sign() * ((steps - whole).abs() >= 0.5)
        return torch.where(res > 0, whole * res, v)

    def _pcm(self, w: Tensor, m: Tensor, draw: _Draw) -> Tensor:
        """Conductances programmed, stuck, drifted by the variable part of the exponent only, and read."""
        c, k = self.g_max, self.std_dev
        g = torch.maximum(torch.minimum(w, m), -m) * (c / m)
        g = torch.where(g.abs() <= self.pcm_zero_thres * k * PUBLISHED[0], 0.0, g)
        negative = g < 0
        if any(bool((p > 0).any()) for p in (self.pcm_prob_at_reset, self.pcm_prob_at_gmax, self.pcm_prob_at_random)):
            u = draw.uniform(STUCK_SIGN)
            g = torch.where(draw.uniform(AT_RESET) < self.pcm_prob_at_reset, 0.0, g)
            g = torch.where(draw.uniform(AT_GMAX) < self.pcm_prob_at_gmax, torch.where(u < 0.5, g + c, g - c), g)
            anywhere = draw.uniform(STUCK_VALUE) * c
            g = torch.where(draw.uniform(AT_RANDOM) < self.pcm_prob_at_random, torch.where(g > 0, anywhere, -anywhere), g)
        g = torch.maximum(torch.minimum(g, c), -c)
        a = g.abs() / c
        noisy = g + k * (PUBLISHED[0] + a * (PUBLISHED[1] + a * PUBLISHED[2])) * draw.normal(VALUE)
        relative = noisy.abs() / c
        t, t_0 = self.pcm_t_inference + self.pcm_t0, self.pcm_t0
        spread = (-0.0125 * relative.clamp(min=1e-6).log() - 0.0059).clamp(0.008, 0.045)
        nu = (draw.normal(DRIFT) * spread).abs()
        drifted = torch.where(t > t_0, noisy * (-nu * (t / t_0).log()).exp(), noisy)
        strength = ((t + T_READ) * (1.0 / (2.0 * T_READ))).clamp(min=1.0).log().sqrt()
        q = (0.0088 / (relative.clamp(min=math.exp(-20.0)).log() * 0.65).exp().clamp(min=1e-3)).clamp(max=0.2) * strength
        read = (drifted + k * drifted.abs() * q * draw.normal(READ)).abs() * (m / c)
        return torch.where(g == 0, 0.0, torch.where(negative, -read, read))


class _Draw:
    """Random fields of one modification."""

    def __init__(self, keys: Tensor, shape: tuple[int, ...], step: Tensor) -> None:
        self.keys, self.shape, self.step = keys, shape, step

    def normal(self, stream: int) -> Tensor:
        return normal_field(self.keys, self.shape, self.step, stream)

    def uniform(self, stream: int) -> Tensor:
        return uniform_field(self.keys, self.shape, self.step, stream)
