"""Weights that products see in hardware-aware training (mapping_and_hwa.md, section 8, and ``sim/core/modifier.h``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor, nn

from sim.configs.enums import WeightModifierType
from sim.configs.inference import WeightModifierParameter
from sim.ops.checks import check, core_of, place, precision, threads

__all__ = ["KINDS", "Modifier"]

NUMBERS = (
    "std_dev", "res", "dorefa_clip", "pdrop", "assumed_wmax", "g_max", "pcm_zero_thres", "pcm_t_inference", "pcm_prob_at_reset",
    "pcm_prob_at_gmax", "pcm_prob_at_random", "pcm_t0",
)  # fmt: skip
ASSUMED_WMAX = NUMBERS.index("assumed_wmax")
KINDS = {
    WeightModifierType.DISCRETIZE: 1,
    WeightModifierType.MULT_NORMAL: 2,
    WeightModifierType.ADD_NORMAL: 3,
    WeightModifierType.DISCRETIZE_ADD_NORMAL: 4,
    WeightModifierType.DOREFA: 5,
    WeightModifierType.POLY: 6,
    WeightModifierType.PROG_NOISE: 7,
    WeightModifierType.PCM_NOISE: 8,
}
"""Numbers of the kernels; what is not here leaves weights as they are, but for those that are dropped."""


class Modifier(nn.Module):
    """The modification of a set of weights as a function of the weights, a key and the number of the draw.

    Parameters
    ----------
    parameters : R modifier parameters of one structure
    """

    numbers: Tensor
    coeffs: Tensor

    def __init__(self, parameters: Sequence[WeightModifierParameter]) -> None:
        super().__init__()
        first = parameters[0]
        self.kind = KINDS.get(first.type, 0)
        self.active = any(p.active for p in parameters)
        self.sto_round, self.measured, self.spare_last = first.sto_round, first.rel_to_actual_wmax, first.copy_last_column
        rows = [[float(getattr(p, name)) for name in NUMBERS] for p in parameters]
        self.register_buffer("numbers", torch.tensor(rows), persistent=False)
        self.register_buffer("coeffs", torch.tensor([p.coeffs for p in parameters], dtype=torch.float32), persistent=False)

    def forward(self, weight: Tensor, keys: Tensor, step: Tensor) -> Tensor:
        """Modified weights (R, out, in) of weights (R, out, in), for R keys and the number of the draw."""
        device, (replicas, out, n_in) = place(weight), weight.shape
        check("weight", weight, (self.numbers.shape[0], out, n_in), precision("weight", weight), device)
        check("keys", keys, (replicas,), torch.int64, device)
        modified = torch.empty_like(weight)
        if not weight.numel():
            return modified
        largest = self._largest(weight)
        numbers = self.numbers, largest, self.coeffs
        shape = out * n_in, replicas, n_in, self.coeffs.shape[1]
        if device is not None:
            import_module("sim.cuda.backend").modify(
                weight, modified, *numbers, keys, step, *shape, self.kind, self.sto_round, self.spare_last
            )
            return modified
        core_of(weight.dtype).modify(
            weight.data_ptr(), modified.data_ptr(), *(t.data_ptr() for t in numbers), keys.data_ptr(), step.data_ptr(), *shape,
            self.kind, self.sto_round, self.spare_last, threads(4.0 * weight.numel()),
        )  # fmt: skip
        return modified

    def _largest(self, weight: Tensor) -> Tensor:
        """Largest weight of each replica, or the assumed one, (R,)."""
        if not self.measured:
            return self.numbers[:, ASSUMED_WMAX].contiguous()
        seen = weight[:, :, :-1] if self.spare_last else weight
        if seen.numel() == 0:
            return torch.ones_like(self.numbers[:, 0])
        largest = torch.maximum(seen.amax(dim=(1, 2)), -seen.amin(dim=(1, 2)))
        return torch.where(largest > 0, largest, 1.0)
