"""Noise of the pulses: no correlation across neighbours, samples, slots of a train, updates and purposes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sim.arrays import PulsedArray
from sim.configs import LinearStepDevice, SoftBoundsDevice, UpdateParameters
from sim.devices.base import PulsedDevice

N = 60_000
PLAIN = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "w_max": 1e4, "w_min": -1e4}
STEP, NOISE = 0.01, 0.5


def pulses(samples: int, slots: int, updates: int = 1, write: float = 0.0) -> tuple[Tensor, Tensor]:
    """Persistent and apparent weights (N,) after so many updates of so many samples, each a full train of so many slots."""
    kind: type[PulsedDevice] = SoftBoundsDevice if write else LinearStepDevice
    fields = {"write_noise_std": write} if write else {"gamma_up": 0.0, "gamma_down": 0.0}
    device = kind(**PLAIN, dw_min=STEP, dw_min_std=NOISE, **fields)  # type: ignore[arg-type]
    update = UpdateParameters(desired_bl=slots, update_management=False, update_bl_management=False)
    array = PulsedArray([device], [update], (3, N // 3), [11])
    for _ in range(updates):
        array.update(-torch.ones(1, samples, N // 3), torch.ones(1, samples, 3), torch.tensor([STEP * slots]))
    return array.weight.flatten().double(), array.read().flatten().double()


def standard(changes: list[Tensor]) -> list[Tensor]:
    """Noise of each pulse in units of its standard deviation, from the weights after 0, 1, 2, ... pulses."""
    return [(after - before - STEP) / (STEP * NOISE) for before, after in itertools.pairwise([torch.zeros(N).double(), *changes])]


@pytest.mark.parametrize(
    "noises",
    [
        pytest.param(lambda: standard([pulses(b, 1)[0] for b in range(1, 6)]), id="samples"),
        pytest.param(lambda: standard([pulses(1, slots)[0] for slots in range(1, 6)]), id="slots"),
        pytest.param(lambda: standard([pulses(1, 1, k)[0] for k in range(1, 6)]), id="updates"),
    ],
)
def test_pulses_draw_independently(noises) -> None:
    z = torch.stack(noises())
    for row in z:
        assert abs(float(row.mean())) < 4.5 / N**0.5
        assert abs(float(row.std()) - 1) < 4.5 / (2 * N) ** 0.5 + 1e-4  # float32 sums
    for power in (1, 2):
        r = torch.corrcoef(z**power)
        assert float((r - torch.eye(len(z))).abs().max()) < 4.5 / N**0.5
        for lag in (1, 2, 16, N // 3):  # neighbours of a row, and of the row above
            for a, b in itertools.product(range(2), repeat=2):
                pair = torch.stack([z[a, lag:], z[b, :-lag]]) ** power
                assert abs(float(torch.corrcoef(pair)[0, 1])) < 4.5 / (N - lag) ** 0.5


def test_write_noise_is_not_the_noise_of_the_pulse() -> None:
    persistent, apparent = pulses(1, 1, write=2.0)
    pair = torch.stack([persistent, apparent - persistent])
    for power in (1, 2):
        assert abs(float(torch.corrcoef((pair - pair.mean(1, keepdim=True)) ** power)[0, 1])) < 4.5 / N**0.5
