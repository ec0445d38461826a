"""One direction of a tile's products: converters and noise around the array."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sim.configs.enums import AnalogMVType, BoundManagementType, NoiseManagementType, WeightNoiseType
from sim.configs.io import IOParameters
from sim.ops import MvmFlags, key_tensor_of, mvm
from sim.random import derive_key

__all__ = ["Product", "quantiser_step"]

NOISE_MANAGEMENT = {
    NoiseManagementType.NONE: 0,
    NoiseManagementType.ABS_MAX: 1,
    NoiseManagementType.MAX: 2,
    NoiseManagementType.CONSTANT: 3,
}
BOUND_MANAGEMENT = {BoundManagementType.NONE: 0, BoundManagementType.ITERATIVE: 1}


class Product(nn.Module):
    """``y = W x`` (or ``W^T d``) as the periphery sees it.

    Parameters
    ----------
    io : sequence of R IO parameters of one structure; None: an exact product
    keys : R keys
    transposed : whether this is the backward direction, which has no bound management
    """

    settings: Tensor
    keys: Tensor
    step: Tensor

    def __init__(self, io: Sequence[IOParameters] | None, keys: Sequence[int], transposed: bool) -> None:
        super().__init__()
        io = [IOParameters(is_perfect=True)] * len(keys) if io is None else io
        first = io[0]
        self.flags = MvmFlags(
            transposed=transposed,
            perfect=first.is_perfect or first.mv_type is AnalogMVType.IDEAL,
            noise_management=NOISE_MANAGEMENT.get(first.noise_management, 0),
            bound_management=0 if transposed else BOUND_MANAGEMENT.get(first.bound_management, 0),
            inp_sto_round=first.inp_sto_round,
            out_sto_round=first.out_sto_round,
            test_negative_bound=first.bm_test_negative_bound,
            weight_noise=first.w_noise_type is WeightNoiseType.ADDITIVE_CONSTANT,
        )
        direction = "backward" if transposed else "forward"
        self.register_buffer("settings", torch.tensor([_settings(p) for p in io], dtype=torch.float32))
        self.register_buffer("keys", key_tensor_of([derive_key(key, direction) for key in keys]))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, weight: Tensor, x: Tensor, want_clipped: bool = False) -> tuple[Tensor, Tensor]:
        """Products of x (R, B, n) with the weights (R, out, in), and where the ADC clipped."""
        y = mvm(weight, x, self.settings, self.keys, self.step, self.flags, want_clipped)
        self.step += 1
        return y


def quantiser_step(resolution: float, bound: float) -> float:
    """Step of a converter with range +-bound (mvm.md, 3.1); 0, no quantiser, where the range has no bound."""
    if resolution <= 0 or bound <= 0 or math.isinf(bound):
        return 0.0
    return 2.0 * bound * (1.0 / resolution if resolution > 1 else resolution)


def _settings(io: IOParameters) -> list[float]:
    """In the order of `sim.ops.IO_SETTINGS`."""
    inp_step, out_step = quantiser_step(io.inp_res, io.inp_bound), quantiser_step(io.out_res, io.out_bound)
    reduction = float(io.max_bm_factor)
    if inp_step > 0:
        reduction = min(reduction, io.max_bm_res / inp_step)
    return [
        io.inp_bound if io.inp_bound > 0 else math.inf, inp_step, io.inp_noise, io.inp_asymmetry,
        io.out_bound if io.out_bound > 0 else math.inf, out_step, io.out_noise, io.out_asymmetry,
        io.out_scale, io.w_noise, io.nm_thres, reduction,
    ]  # fmt: skip
