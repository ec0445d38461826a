"""The analog matrix product on a GPU: fused stages around a library's product, batched over the replicas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim.cuda.launch import quads, start
from sim.cuda.modules import mvm as module
from sim.gpu import in_graph
from sim.ops import IO_SETTINGS, MVM_FLAGS, Pass

__all__ = ["mvm"]

COLUMN = {name: k for k, name in enumerate(IO_SETTINGS)}
ASSUMED_MEAN_WEIGHT = 0.6
NONE, ABS_MAX, MAX, CONSTANT, NP_SUM, AVERAGE = range(6)
ITERATIVE, WORST_CASE, SHIFT = 1, 2, 3
PCM_READ = 2
FLOAT_MAX = 3.4028235e38


@dataclass(frozen=True)
class _Call:
    """One product: what all of its rounds and passes share."""

    weight: Tensor
    x: Tensor
    settings: Tensor
    keys: Tensor
    step: Tensor
    outputs: Tensor
    matrices: Tensor
    offsets: Tensor
    values: Tensor
    transposed: bool
    management: int
    bounds: int
    rounding: tuple[bool, bool]
    negative: bool
    weight_noise: int
    ir_drop: bool
    rounds: int
    passes: list[Pass]

    def setting(self, name: str) -> Tensor:
        """(R, 1)"""
        return self.settings[:, COLUMN[name], None]


def mvm(
    weight: Tensor, x: Tensor, settings: Tensor, keys: Tensor, step: Tensor, outputs: Tensor, matrices: Tensor, offsets: Tensor,
    pass_values: Tensor, flags: list[int], want_clipped: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See `sim.ops.mvm`."""
    transposed, perfect, management, bounds, inp_sto, out_sto, negative, weight_noise, ir_drop, rounds = flags[:MVM_FLAGS]
    x = x.detach()
    weight = weight.detach()
    if perfect:
        y = _product(x, weight, bool(transposed)) * settings[:, COLUMN["out_scale"], None, None]
        return y, _clipped(y, want_clipped)
    numbers = iter(flags[MVM_FLAGS:])
    rows = zip(*[numbers] * len(Pass._fields), strict=True)
    passes = [Pass(sign, shift, bits, matrix, bool(hold)) for sign, shift, bits, matrix, hold in rows]
    call = _Call(
        weight, x, settings, keys, step, outputs, matrices.detach(), offsets, pass_values, bool(transposed), management, bounds,
        (bool(inp_sto), bool(out_sto)), bool(negative), weight_noise, bool(ir_drop), rounds, passes,
    )  # fmt: skip
    return _measured(call, want_clipped)


def _measured(call: _Call, want_clipped: bool) -> tuple[Tensor, Tensor]:
    replicas, batch = call.x.shape[:2]
    m = call.weight.shape[2 if call.transposed else 1]
    y = call.x.new_zeros((replicas, batch, m))
    clipped = _clipped(y, want_clipped)
    alpha = _input_scale(call)
    live = torch.ones_like(alpha, dtype=torch.bool)
    if call.management != NONE:
        live = (alpha > 0) | (call.setting("inp_noise") > 0) | call.x.isnan().any(dim=2)
    alpha = torch.where(alpha > 0, alpha, 1.0).contiguous()
    active = live.int().contiguous()
    exceeded = torch.zeros_like(active)
    if call.bounds not in (ITERATIVE, WORST_CASE):
        _round(call, y, clipped, alpha, active, exceeded, 1.0, 0)
        return y, clipped
    worst = peak = None
    if call.bounds == WORST_CASE and call.management != NONE:
        peak = _peak(call).contiguous()
        worst = None if call.management == NP_SUM else _np_sum_scale(call).contiguous()
    reduction, sizes = 1.0, (np.int32(replicas), np.int32(batch))
    for number in range(call.rounds):
        _round(call, y, clipped, alpha, active, exceeded, reduction, number)
        estimate = worst is not None and number == 0
        start(
            module(), "next_round", replicas * batch, active, active, exceeded, alpha, call.settings, worst if estimate else None,
            None if estimate else peak, *sizes, np.float32(reduction),
        )  # fmt: skip
        # A graph goes through all rounds; in most of them there is nothing to do.
        if not in_graph(call.x) and not bool(active.any()):
            break
        if not (call.bounds == WORST_CASE and call.management != NP_SUM and number == 0):
            reduction *= 2.0
    return y, clipped


def _round(
    call: _Call, y: Tensor, clipped: Tensor, alpha: Tensor, active: Tensor, exceeded: Tensor, reduction: float, number: int
) -> None:
    replicas, batch, n = call.x.shape
    m = y.shape[2]
    sizes = np.int32(replicas), np.int32(batch)
    count, matrices = np.int32(len(call.passes)), call.matrices.shape[1] if call.matrices.numel() else 1
    u, held, first = torch.empty_like(call.x), None, True

    def product(x: Tensor, w: Tensor) -> Tensor:
        """Of all samples, or after the first round of those that are still active."""
        if number == 0:
            return _product(x, w, call.transposed).contiguous()
        z = torch.empty_like(y)
        start(
            module(), "few_products", z.numel(), z, x.contiguous(), w, np.int64(w.stride(0)), active, z, *sizes, np.int32(n),
            np.int32(m), np.int32(call.transposed),
        )  # fmt: skip
        return z

    for p, one in enumerate(call.passes):
        draw = number * len(call.passes) + p
        values = call.values[:, p]
        start(
            module(), "prepare_inputs", replicas * batch * quads(n), call.x, call.x, alpha, active, call.settings, values,
            call.keys, call.step, u, *sizes, np.int32(n), count, np.float32(reduction), np.uint32(number),
            np.uint32(draw if one.bits else draw - p), np.int32(call.rounding[0]), np.int32(one.sign), np.int32(one.shift),
            np.int32(one.bits),
        )  # fmt: skip
        w = call.matrices[:, one.matrix] if call.matrices.numel() else call.weight
        z = product(u, w)
        current = drop = square = None
        total = u.sum(dim=2) if call.outputs.numel() else None  # of voltage offsets, which are drawn for each output
        if call.ir_drop:
            profile = 1.0 - (1.0 - torch.arange(n, device=u.device) / n) ** 2
            current = product(u.abs(), w.abs())
            drop = product(u * profile, w)
        if call.weight_noise:
            square = u * u
            square = product(square, w.abs()) if call.weight_noise == PCM_READ else square.sum(dim=2)
        start(
            module(), "analog_outputs", replicas * batch * quads(m), z, z, current, drop, held, square, total, active,
            call.outputs if call.outputs.numel() else None, call.offsets[:, one.matrix] if call.offsets.numel() else None,
            call.settings, values, call.keys, call.step, *sizes, np.int32(n), np.int32(m), count, np.int32(matrices),
            np.uint32(draw), np.int32(call.weight_noise), np.int32(not one.hold),
        )  # fmt: skip
        held = z if one.hold else None
        if one.hold:
            continue
        lift = None
        if call.bounds == SHIFT:
            top, bound = z.amax(dim=2), call.setting("out_bound")
            lift = torch.where(top > bound, bound - top, 0.0).contiguous()
        start(
            module(), "convert_outputs", replicas * batch * quads(m), z, z, lift, alpha, active, call.settings, values, call.keys,
            call.step, y, clipped if clipped.numel() else None, exceeded, *sizes, np.int32(m), count, np.float32(reduction),
            np.uint32(draw), np.int32(call.rounding[1]), np.int32(call.negative), np.int32(first),
        )  # fmt: skip
        first = False


def _product(x: Tensor, weight: Tensor, transposed: bool) -> Tensor:
    return torch.bmm(x, weight if transposed else weight.transpose(1, 2))


def _clipped(y: Tensor, wanted: bool) -> Tensor:
    return torch.zeros(y.shape if wanted else (0,), dtype=torch.uint8, device=y.device)


def _finite(x: Tensor) -> Tensor:
    return torch.where(x.abs() <= FLOAT_MAX, x, 0.0)


def _limited(peak: Tensor, call: _Call) -> Tensor:
    limit = call.setting("nm_thres")
    return torch.where((limit > 0) & (peak > limit), limit, peak)


def _peak(call: _Call) -> Tensor:
    return _limited(_finite(call.x).abs().amax(dim=2), call)


def _np_sum_scale(call: _Call) -> Tensor:
    finite = _finite(call.x)
    positive, negative = finite.clamp(min=0).sum(dim=2), -finite.clamp(max=0).sum(dim=2)
    bound = call.setting("out_bound")
    bound = torch.where(bound <= FLOAT_MAX, bound, 1.0)
    peak = _peak(call)
    worst = torch.maximum(positive, negative) * ASSUMED_MEAN_WEIGHT / bound
    return torch.maximum(torch.minimum(worst, peak * call.setting("max_levels")), peak)


def _input_scale(call: _Call) -> Tensor:
    """Scale of every sample, (R, B)."""
    limit = call.setting("nm_thres").expand(call.x.shape[:2])
    if call.management == NONE:
        return torch.ones_like(limit)
    if call.management == CONSTANT:
        return torch.where(limit > 0, limit, 1.0)
    if call.management == AVERAGE:
        return limit
    if call.management == NP_SUM:
        return _np_sum_scale(call)
    if call.management == MAX:
        return _limited(call.x.amax(dim=2), call)
    return _peak(call)
