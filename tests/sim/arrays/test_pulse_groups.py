"""Groups of pulses that are worked in one step: the law of single steps, also for what looks in the middle see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sim.arrays import PulsedArray
from sim.configs import (
    ConstantStepDevice,
    IOParameters,
    LinearStepDevice,
    TransferCompound,
    UnitCellRPUConfig,
    UpdateParameters,
)
from sim.devices.base import PulsedDevice
from sim.tiles import AnalogTile

N = 40_000
STEP, NOISE, UP_DOWN = 0.01, 0.4, 0.3
UP, DOWN = STEP, STEP * (1 - UP_DOWN)
ALIKE = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
KINDS: dict[str, Any] = {
    "merged": ConstantStepDevice,
    "one by one": lambda **fields: LinearStepDevice(gamma_up_dtod=0.0, gamma_down_dtod=0.0, **fields),
}
"""The same devices, with steps that depend on the state by a slope of 0, so that they are worked one by one."""
SIGNS = torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0])


def made(kind: str, **fields: Any) -> PulsedDevice:
    device: PulsedDevice = KINDS[kind](**{"dw_min": STEP, "dw_min_std": NOISE, "up_down": UP_DOWN} | fields)
    return device


def certain(slots: int) -> UpdateParameters:
    """Full trains, at a learning rate of slots * STEP."""
    return UpdateParameters(desired_bl=slots, update_management=False, update_bl_management=False)


def pulsed(kind: str, slots: int, start: Tensor, bound: float) -> Tensor:
    """Weights (N,) after `slots` pulses for each of SIGNS, up where it is 1."""
    array = PulsedArray([made(kind, **ALIKE, w_max=bound, w_min=-bound)], [certain(slots)], (4, N // 4), [5])
    array.set(start.reshape(1, 4, N // 4))
    x = -SIGNS[None, :, None].expand(1, -1, N // 4).contiguous()
    array.update(x, torch.ones(1, len(SIGNS), 4), torch.tensor([STEP * slots]))
    return array.weight.flatten().double()


def counted(samples: int, slots: int) -> tuple[int, int]:
    ups = int((SIGNS[:samples] > 0).sum()) * slots
    return ups, samples * slots - ups


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", [1, 3, 9])
def test_normal_sums(kind: str, slots: int) -> None:
    """12, 36 and 108 pulses: a part of a group, one and a part, and several."""
    w = pulsed(kind, slots, torch.zeros(N), 30.0)
    ups, downs = counted(len(SIGNS), slots)
    std = NOISE * np.sqrt(ups * UP**2 + downs * DOWN**2)
    z = (w.numpy() - (ups * UP - downs * DOWN)) / std
    assert abs(z.mean()) < 4.5 / N**0.5
    assert abs(z.std() - 1) < 4.5 / (2 * N) ** 0.5
    assert stats.kstest(z, "norm").pvalue > 1e-3
    neighbours = np.corrcoef(z[1:], z[:-1])[0, 1]
    assert abs(neighbours) < 4.5 / N**0.5


def test_near_a_bound_each_pulse_is_a_step() -> None:
    """Where pulses could reach a bound, and only there, weights are those of the other model; elsewhere their law is the same."""
    bound = 0.6
    start = torch.linspace(-bound, bound, N)[torch.randperm(N, generator=torch.Generator().manual_seed(2))]
    merged, single = (pulsed(kind, 1, start, bound) for kind in KINDS)
    ups, downs = counted(len(SIGNS), 1)
    room = bound - start.double().abs() - (ups * UP + downs * DOWN) * (1 + 6.7 * NOISE)
    near, far = room < -1e-6, room > 1e-6
    assert min(int(near.sum()), int(far.sum())) > N / 10
    assert torch.equal(merged[near], single[near])
    assert float((merged[far] == single[far]).double().mean()) < 1e-3
    assert float(merged.max()) == float(single.max()) == pytest.approx(bound, abs=1e-7)
    assert stats.ks_2samp((merged - start)[far], (single - start)[far]).pvalue > 1e-3


def test_one_pulse_is_a_step() -> None:
    def one(kind: str) -> Tensor:
        array = PulsedArray([made(kind)], [UpdateParameters()], (50, 60), [5])
        generator = torch.Generator().manual_seed(1)
        x, d = torch.rand(1, 1, 60, generator=generator) - 0.5, torch.rand(1, 1, 50, generator=generator) - 0.5
        array.update(x, d, torch.tensor([STEP]))
        return array.weight

    assert torch.equal(one("merged"), one("one by one"))
    assert bool((one("merged") != 0).any())


PERFECT = IOParameters(is_perfect=True)


def looked(kind: str, slots: int, every: float, rows: int = N) -> tuple[np.ndarray, np.ndarray]:
    """What transfers read of a column in the middle of a mini-batch, summed, and where its crosspoints end."""
    cell = TransferCompound(
        unit_cell_devices=[made(kind, **ALIKE, w_max=30.0, w_min=-30.0), ConstantStepDevice(**ALIKE, w_max=1e3, w_min=-1e3)],
        transfer_forward=PERFECT,
        transfer_update=UpdateParameters(pulse_type="NONE"),
        transfer_every=every,
        units_in_mbatch=False,
        scale_transfer_lr=False,
        transfer_lr=1.0,
    )
    tile = AnalogTile(rows, 1, UnitCellRPUConfig(device=cell, update=certain(slots)), seeds=[3], stream="t")
    tile.set_weights(torch.zeros(rows, 1))
    tile.set_learning_rate(STEP * slots)
    tile.update(-SIGNS[:, None], torch.ones(len(SIGNS), rows))
    hidden = tile.hidden_parameters()
    return hidden["hidden_weights_1"].double().numpy()[:, 0], hidden["hidden_weights_0"].double().numpy()[:, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("slots", "every"), [(1, 7), (1, 5), (2, 4), (3, 7), (3, 2), (5, 1), (9, 4)])
def test_what_looks_see(kind: str, slots: int, every: int) -> None:
    """Sums of normals over the pulses before each look: their means, variances, and covariance with the end."""
    seen, end = looked(kind, slots, float(every))
    looks = [counted(k, slots) for k in range(every, len(SIGNS) + 1, every)]
    total = counted(len(SIGNS), slots)

    def moments(u: int, d: int) -> tuple[float, float]:
        return u * UP - d * DOWN, NOISE**2 * (u * UP**2 + d * DOWN**2)

    mean = sum(moments(*look)[0] for look in looks)
    shared = sum(moments(*min(a, b, key=sum))[1] for a in looks for b in looks)  # an earlier sum is a part of a later one
    with_end = sum(moments(*look)[1] for look in looks)
    n, var_end = len(seen), moments(*total)[1]
    assert abs(seen.mean() - mean) < 4.5 * np.sqrt(shared / n)
    assert abs(seen.var() / shared - 1) < 4.5 * np.sqrt(2 / n)
    assert abs(end.var() / var_end - 1) < 4.5 * np.sqrt(2 / n)
    covariance = np.cov(seen, end)[0, 1]
    assert abs(covariance - with_end) < 4.5 * np.sqrt((shared * var_end + with_end**2) / n)
    assert stats.kstest((seen - mean) / np.sqrt(shared), "norm").pvalue > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_at_the_end_is_the_end(kind: str) -> None:
    for slots in (1, 3, 9):
        seen, end = looked(kind, slots, float(len(SIGNS)), rows=100)
        np.testing.assert_array_equal(seen, end)


def test_looks_change_nothing() -> None:
    _, plain = looked("merged", 3, 0.0, rows=500)
    for every in (1.0, 5.0, 12.0):
        _, end = looked("merged", 3, every, rows=500)
        np.testing.assert_array_equal(end, plain)
