"""One direction of a tile's products: converters and noise around the array."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sim.arrays.packed import Packed
from sim.arrays.views import View, view_of
from sim.circuit.column import Converter, single_pair
from sim.configs.enums import BoundManagementType, NoiseManagementType, WeightNoiseType
from sim.configs.io import IOParameters, quantiser_step
from sim.errors import ConfigError
from sim.ops import OUTPUT_FIELDS, MvmCall, MvmExtra, is_direct, key_tensor_of, mvm
from sim.random import Draws, derive_key

__all__ = ["Product"]

NOISE_MANAGEMENT = {
    NoiseManagementType.NONE: 0,
    NoiseManagementType.ABS_MAX: 1,
    NoiseManagementType.MAX: 2,
    NoiseManagementType.CONSTANT: 3,
    NoiseManagementType.ABS_MAX_NP_SUM: 4,
    NoiseManagementType.AVERAGE_ABS_MAX: 5,
}
BOUND_MANAGEMENT = {
    BoundManagementType.NONE: 0,
    BoundManagementType.ITERATIVE: 1,
    BoundManagementType.ITERATIVE_WORST_CASE: 2,
    BoundManagementType.SHIFT: 3,
}
WEIGHT_NOISE = {WeightNoiseType.NONE: 0, WeightNoiseType.ADDITIVE_CONSTANT: 1, WeightNoiseType.PCM_READ: 2}
AVERAGE_DECAY = 1e-3
"""Share of a batch in the running average of AVERAGE_ABS_MAX."""
NM_THRES, MAX_REDUCTION, SLOPE = 10, 11, 19
"""Columns of the settings: the first and the last change after construction."""


class Product(nn.Module):
    """``y = W x`` (or ``W^T d``) as the periphery sees it.

    Parameters
    ----------
    io : sequence of R IO parameters of one structure; None: an exact product
    keys : R keys
    transposed : whether this is the backward direction, which has no bound management
    shape : (out, in) of the array
    phys_input_size : inputs of the physical array that this one is part of, for the time-stepped IR drop; 0: its own
    converter : how weights become conductances there

    Notes
    -----
    What differs between outputs and devices is drawn here once, of the key and the direction, and is state: `parameters_by_name`
    and `set_parameters` read and replace it.
    """

    settings: Tensor
    keys: Tensor
    step: Tensor
    outputs: Tensor | None
    w_asymmetry: Tensor | None
    average: Tensor | None
    pass_values: Tensor

    def __init__(
        self, io: Sequence[IOParameters] | None, keys: Sequence[int], transposed: bool, shape: tuple[int, int],
        phys_input_size: int = 0, converter: Converter = single_pair,
    ) -> None:  # fmt: skip
        super().__init__()
        io = [IOParameters(is_perfect=True)] * len(keys) if io is None else io
        first = io[0]
        flags = {
            "transposed": transposed,
            "perfect": first.ideal,
            "noise_management": NOISE_MANAGEMENT[first.noise_management],
            "bound_management": 0 if transposed else BOUND_MANAGEMENT[first.bound_management],
            "inp_sto_round": first.inp_sto_round,
            "out_sto_round": first.out_sto_round,
            "test_negative_bound": first.bm_test_negative_bound,
            "weight_noise": WEIGHT_NOISE[first.w_noise_type],
            "ir_drop": not first.ideal and any(one.static_ir_drop > 0 for one in io),
        }
        direction = "backward" if transposed else "forward"
        own = [derive_key(key, direction) for key in keys]
        inputs, outputs = shape if transposed else shape[::-1]
        drawn = [_drawn(one, Draws(key, (outputs,))) for one, key in zip(io, own, strict=True)]
        self._drawn = [name for name in OUTPUT_FIELDS if any(name in d for d in drawn)]
        stacked = [_stacked(one, d, outputs) for one, d in zip(io, drawn, strict=True)]
        spread = any(one.w_read_asymmetry_dtod > 0 for one in io) and not first.ideal
        asymmetry = [
            1 + one.w_read_asymmetry_dtod * Draws(key, shape).normal("w_asymmetry")
            for one, key in zip(io, own, strict=True)
            if spread
        ]
        settings = [_settings(one, d) for one, d in zip(io, drawn, strict=True)]
        flags["rounds"] = max(_rounds(one, row) for one, row in zip(io, settings, strict=True))
        averaged = first.noise_management is NoiseManagementType.AVERAGE_ABS_MAX and not first.ideal
        self.register_buffer("settings", torch.tensor(settings, dtype=torch.float32))
        self.register_buffer("keys", key_tensor_of(own))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("outputs", torch.stack(stacked) if self._drawn else None)
        self.register_buffer("w_asymmetry", torch.stack(asymmetry) if spread else None)
        self.register_buffer("average", torch.full((len(io),), -1.0) if averaged else None)
        self.view = view_of(io, flags, inputs, phys_input_size, converter)
        self._packed: Packed[MvmCall] = Packed()
        self.register_buffer("pass_values", self.view.initial_values, persistent=False)
        self.simple = type(self.view) is View and not spread and not averaged
        """Whether products see the weights and the settings as they are."""

    def forward(self, weight: Tensor, x: Tensor, want_clipped: bool = False) -> tuple[Tensor, Tensor]:
        """Products of x (R, B, n) with the weights (R, out, in), and where the ADC clipped."""
        if self.simple and is_direct(weight, x):
            quick = self._call(weight)(weight, x, want_clipped)
            if quick is not None:
                return quick
        settings = self.settings if self.average is None else self._averaged(x)
        seen = self.view.see(weight, x, self)
        extra = MvmExtra(self.outputs, seen.matrices, seen.offsets, seen.values)
        y = mvm(weight, x, settings, self.keys, self.step, seen.flags, want_clipped, extra)
        self.step += 1
        return y

    def _call(self, weight: Tensor) -> MvmCall:
        """The product as the kernel takes it; made anew where a buffer was replaced or moved."""
        own: Any = self._buffers  # a module's attributes cost a microsecond each
        given = own["settings"], own["keys"], own["step"], own["outputs"], own["pass_values"], self.view.flags
        call = self._packed.get("call")
        if call is None or not call.still(*given):
            replicas, out, n_in = weight.shape
            call = self._packed["call"] = MvmCall(*given, (replicas, out, n_in))
        return call

    def parameters_by_name(self) -> dict[str, Tensor]:
        """What was drawn at construction, by its standard names, as copies: (R, m), (R,) or (R, out, in)."""
        found: dict[str, Tensor] = {}
        if self.outputs is not None:
            found = {name: self.outputs[:, OUTPUT_FIELDS.index(name)].clone() for name in self._drawn}
        if "out_nonlinearity" in found:
            found["out_nonlinearity_factor"] = self.settings[:, SLOPE].clone()
        if self.w_asymmetry is not None:
            found["w_asymmetry"] = self.w_asymmetry.clone()
        return found

    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Replace what was drawn; shapes as `parameters_by_name` gives them, or without the axis of the replicas.

        Raises
        ------
        ConfigError
            For a quantity that this product does not have, or another shape.
        """
        known = self.parameters_by_name()
        for name, value in values.items():
            if name not in known:
                has = ", ".join(known) or "none"
                raise ConfigError(f"{name} is not a parameter of this product: it has {has}", field=name, allowed=has)
            given = torch.as_tensor(value, dtype=self.settings.dtype, device=self.settings.device)
            shape = known[name].shape
            if given.shape not in (shape, shape[1:]):
                allowed = str(tuple(shape))
                raise ConfigError(f"{name} has shape {tuple(given.shape)}: give {allowed}", field=name, allowed=allowed)
            if name == "w_asymmetry":
                assert self.w_asymmetry is not None
                self.w_asymmetry.copy_(given)
            elif name == "out_nonlinearity_factor":
                self.settings[:, SLOPE] = given
            else:
                assert self.outputs is not None
                self.outputs[:, OUTPUT_FIELDS.index(name)] = given

    def _averaged(self, x: Tensor) -> Tensor:
        """Settings with the running average of the largest inputs, which a batch of training moves."""
        assert self.average is not None
        if self.training and x.shape[1] > 0:
            peaks = x.detach().abs().nan_to_num(nan=0.0, posinf=0.0).amax(dim=2).double()
            batch = (peaks.cumsum(1)[:, -1] / x.shape[1]).to(x.dtype)  # in order: what else is in x plays no part
            moved = (1 - AVERAGE_DECAY) * self.average + AVERAGE_DECAY * batch
            self.average.copy_(torch.where(self.average < 0, batch, moved))
        settings = self.settings.clone()
        settings[:, NM_THRES] = torch.where(self.average < 0, 1.0, self.average)
        return settings


def _drawn(io: IOParameters, draws: Draws) -> dict[str, Tensor]:
    """What differs between the outputs of one replica (mvm.md, 3.4)."""
    drawn: dict[str, Tensor] = {}
    if io.ideal:
        return drawn
    if io.v_offset_std > 0 or io.r_series > 0:
        offset = io.v_offset_std * draws.normal("v_offset")
        drawn["v_offset"] = offset if io.v_offset_signed else offset.clamp(min=0.0)
    if io.out_nonlinearity > 0 or io.r_series > 0:
        spread = 1 + io.out_nonlinearity_std * draws.normal("out_nonlinearity")
        drawn["out_nonlinearity"] = (io.out_nonlinearity / _finite_bound(io) * spread).abs()
    if io.out_noise_std > 0:
        drawn["out_noise_values"] = (io.out_noise * (1 + io.out_noise_std * draws.normal("out_noise_values"))).abs()
    return drawn


def _stacked(io: IOParameters, drawn: Mapping[str, Tensor], outputs: int) -> Tensor:
    """What differs between the outputs of one replica, (3, m), with what does not in its place."""
    neutral = {"v_offset": 0.0, "out_nonlinearity": 0.0, "out_noise_values": io.out_noise}
    return torch.stack([drawn.get(name, torch.full((outputs,), neutral[name])) for name in OUTPUT_FIELDS])


def _rounds(io: IOParameters, settings: Sequence[float]) -> int:
    """Rounds of bound management if every one exceeds the range: the reduction doubles up to its largest (mvm.md, section 11)."""
    if io.ideal or io.bound_management not in (BoundManagementType.ITERATIVE, BoundManagementType.ITERATIVE_WORST_CASE):
        return 1
    reduction, most, rounds = 1.0, settings[MAX_REDUCTION], 1
    while reduction <= most:
        reduction, rounds = 2 * reduction, rounds + 1
    # The worst case has a round with the scale that it estimates.
    return rounds + (io.bound_management is BoundManagementType.ITERATIVE_WORST_CASE)


def _finite_bound(io: IOParameters) -> float:
    return io.out_bound if 0 < io.out_bound < math.inf else 1.0


def _settings(io: IOParameters, drawn: Mapping[str, Tensor]) -> list[float]:
    """In the order of `sim.ops.IO_SETTINGS`."""
    inp_step, out_step = io.inp_step, quantiser_step(io.out_res, io.out_bound)
    levels = io.max_bm_res / inp_step if inp_step > 0 else math.inf
    slope = 1.0
    if io.slope_calibration > 0 and "out_nonlinearity" in drawn:
        mean = float(drawn["out_nonlinearity"].double().mean())
        slope = (1 + (mean + io.r_series) * io.slope_calibration * _finite_bound(io)) ** 2
    return [
        io.inp_bound if io.inp_bound > 0 else math.inf, inp_step, io.inp_noise, io.inp_asymmetry,
        io.out_bound if io.out_bound > 0 else math.inf, out_step, io.out_noise, io.out_asymmetry,
        io.out_scale, io.w_noise, io.nm_thres, min(float(io.max_bm_factor), levels), levels,
        io.static_ir_drop, io.ir_drop_g_ratio, float("v_offset" in drawn), io.v_offset_w_min, io.r_series,
        float("out_nonlinearity" in drawn), slope,
    ]  # fmt: skip
