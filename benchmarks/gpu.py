"""On a GPU: update and product in time, bytes and the share of what the card could do; then training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import gpu_training
from benchmarks.table import Table
from sim import ops
from sim.arrays.inference import InferenceArray
from sim.arrays.modifier import Modifier
from sim.arrays.product import Product
from sim.arrays.pulsed import PulsedArray
from sim.configs import (
    BoundManagementType,
    InferenceRPUConfig,
    IOParameters,
    SoftBoundsDevice,
    UpdateParameters,
    WeightModifierParameter,
    WeightModifierType,
    WeightNoiseType,
)
from sim.inference import PCMLikeNoiseModel
from sim.inference.programming import drift_devices, numbers_of, program_devices

__all__ = ["run"]

BAR_SHARE = 0.5
"""Of the nearer limit: bandwidth, or the rate of normals."""
COPIED = 2**28
NORMALS = 2**26
SIZE = 1024
UPDATES = ((1, 64, 0.02), (1, 64, 0.2), (1, 64, 2.0), (16, 64, 0.02), (16, 10, 0.02))
"""Replicas, batch, pulses a crosspoint and sample."""
PRODUCTS = ((1, 10), (1, 128), (1, 1024), (16, 10), (16, 128))
"""Replicas, batch."""
EVENTS = (1, 16, 64)
"""Replicas."""


def run(quick: bool = False) -> list[Table]:
    """The limits of the card; the update of 1024 x 1024 crosspoints and products against them; epochs and a study.

    Raises
    ------
    SystemExit
        Where no kernel can run, with the reason.
    """
    from sim.cuda.launch import reason_why_not

    if reason := reason_why_not():
        raise SystemExit(f"benchmark gpu: {reason}")
    repeats = 5 if quick else 30
    bandwidth, normals = _bandwidth(repeats), _normals(repeats)
    limits = Table(f"limits of {torch.cuda.get_device_name()}", ["what", "measured"])
    limits.add("copy [GB/s read and written]", bandwidth / 1e9)
    limits.add("standard normals [10^9 / s]", normals / 1e9)
    return [
        limits,
        _updates(bandwidth, normals, repeats),
        _products(bandwidth, repeats),
        _events(bandwidth, normals, repeats),
        gpu_training.epochs(quick),
        gpu_training.study(quick),
    ]


def _updates(bandwidth: float, normals: float, repeats: int) -> Table:
    table = Table(
        f"pulsed update {SIZE} x {SIZE}, SoftBoundsDevice",
        [
            "replicas",
            "batch",
            "pulses",
            "time [ms]",
            "ns a crosspoint and sample",
            "GB/s",
            "10^9 pulses / s",
            "share of the limit",
            "bar",
        ],
        notes=[
            "The limit is the longer of two times: reading parameters and weights and writing weights once, at the speed of a",
            "copy; and making one normal for each pulse, at the speed of a field of normals.",
        ],
    )
    size = SIZE
    for replicas, batch, pulses in UPDATES:
        update, array = _update(replicas, size, batch, pulses)
        seconds = _seconds(update, repeats)
        cells = replicas * size * size
        moved = cells * 4 * (2 + array.fields.shape[1])
        drawn = cells * batch * pulses
        share = max(moved / bandwidth, drawn / normals) / seconds
        reached = f"{'met' if share >= BAR_SHARE else 'not met'} (>= {BAR_SHARE})"
        table.add(
            replicas, batch, pulses, seconds * 1e3, seconds * 1e9 / (cells * batch), moved / seconds / 1e9, drawn / seconds / 1e9,
            share, reached,
        )  # fmt: skip
    return table


def _products(bandwidth: float, repeats: int) -> Table:
    table = Table(
        f"product {SIZE} x {SIZE}, 8-bit converters, out_noise 0.04, w_noise 0.01, AbsMax",
        ["replicas", "batch", "time [ms]", "plain product [ms]", "against plain", "GB/s", "share of the bandwidth"],
        notes=["GB/s counts weights, inputs and outputs once each; what the stages between move besides is their cost."],
    )
    size = SIZE
    io = IOParameters(
        inp_res=2**-8,
        out_res=2**-8,
        out_noise=0.04,
        w_noise=0.01,
        w_noise_type=WeightNoiseType.ADDITIVE_CONSTANT,
        bound_management=BoundManagementType.NONE,
    )
    for replicas, batch in PRODUCTS:
        product = Product([io] * replicas, list(range(replicas)), False, (size, size)).cuda()
        weight, x = (torch.rand(replicas, rows, size, device="cuda") * 2 - 1 for rows in (size, batch))
        transposed = weight.transpose(1, 2)
        seconds = _seconds(partial(product, weight, x), repeats)
        plain = _seconds(partial(torch.bmm, x, transposed), repeats)
        moved = 4 * replicas * (size * size + 2 * batch * size)
        table.add(
            replicas, batch, seconds * 1e3, plain * 1e3, f"{seconds / plain:.2f} x", moved / seconds / 1e9,
            moved / seconds / bandwidth,
        )  # fmt: skip
    return table


def _events(bandwidth: float, normals: float, repeats: int) -> Table:
    table = Table(
        f"what else happens to {SIZE} x {SIZE} devices: each a kernel",
        ["what", "replicas", "time [ms]", "GB/s", "10^9 normals / s", "share of the limit"],
        notes=["The limit is the longer of the time of the bytes, once each, and that of the normals."],
    )
    for replicas in EVENTS:
        device = SoftBoundsDevice(diffusion=0.001, lifetime=1000.0)
        shape, keys = (SIZE, SIZE), list(range(1, replicas + 1))
        array = PulsedArray([device] * replicas, [UpdateParameters()] * replicas, shape, keys).cuda()
        modifier = Modifier([WeightModifierParameter(type=WeightModifierType.PCM_NOISE)] * replicas).cuda()
        step = torch.zeros((), dtype=torch.int64, device="cuda")
        cells = replicas * SIZE * SIZE
        bounds = sum(step > 0 for *_, step in array.points().places)
        devices = InferenceArray([InferenceRPUConfig()] * replicas, shape, keys).cuda()
        made = partial(program_devices, devices.weight.detach(), 2, _pair_numbers(replicas), devices.keys, step)
        _, conductance, nu = made()
        later = partial(drift_devices, conductance, nu, _pair_numbers(replicas, 3600.0), devices.keys, step)
        for name, call, planes, drawn in (
            ("programming", made, 6, 4),
            ("drift and read", later, 5, 2),
            ("diffusion and decay", array.end_step, 2 + bounds, 1),
            ("modified weights", partial(modifier, array.weight, array.keys, step), 2, 3),
        ):
            seconds = _seconds(call, repeats)
            moved = 4.0 * cells * planes
            share = max(moved / bandwidth, drawn * cells / normals) / seconds
            table.add(name, replicas, seconds * 1e3, moved / seconds / 1e9, drawn * cells / seconds / 1e9, share)
    return table


def _pair_numbers(replicas: int, t_inference: float = 0.0) -> Tensor:
    model = PCMLikeNoiseModel()
    rows = numbers_of([model] * replicas, [model.device_laws()] * replicas, [{"scale": 25.0}] * replicas, t_inference)
    return torch.tensor(rows, dtype=torch.float32, device="cuda")


def _update(replicas: int, size: int, batch: int, pulses: float) -> tuple[Callable[[], object], PulsedArray]:
    torch.manual_seed(7)
    device = SoftBoundsDevice(dw_min=0.001)
    array = PulsedArray([device] * replicas, [UpdateParameters()] * replicas, (size, size), list(range(1, replicas + 1))).cuda()
    x, d = (torch.rand(replicas, batch, size, device="cuda") * 2 - 1 for _ in range(2))
    # A crosspoint gets rate |x| |d| / granularity pulses on average, and the mean of |x| |d| is 1/4 here.
    rate = torch.full((replicas,), 4.0 * pulses * device.granularity(), device="cuda")
    return (lambda: array.update(x, d, rate)), array


def _bandwidth(repeats: int) -> float:
    source = torch.empty(COPIED, device="cuda")
    target = torch.empty_like(source)
    return 8.0 * COPIED / _seconds(lambda: target.copy_(source), repeats)


def _normals(repeats: int) -> float:
    keys, step = ops.key_tensor_of([1]).cuda(), torch.zeros((), dtype=torch.int64, device="cuda")
    return NORMALS / _seconds(lambda: torch.ops.sim.random_field(keys, 64, step, NORMALS, True), repeats)


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """Least time of a call between two events."""
    call()
    torch.cuda.synchronize()
    least = float("inf")
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        least = min(least, start.elapsed_time(end) / 1e3)
    return least
