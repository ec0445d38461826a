"""The operators of weights without devices: diffusion, decay, reset (devices.md, 5.1 and 7)."""

from __future__ import annotations

import pytest
import torch

from sim.arrays import IdealArray
from sim.configs import FloatingPointDevice, IdealDevice
from sim.ops import key_tensor_of
from sim.settings import Config

N = 40_000


def array_of(*devices: Config) -> IdealArray:
    return IdealArray(devices, (1, N), key_tensor_of(list(range(7, 7 + len(devices)))))


@pytest.mark.parametrize("kind", [IdealDevice, FloatingPointDevice])
def test_diffusion_adds_up(kind: type[Config]) -> None:
    array = array_of(kind(diffusion=0.01), kind())  # type: ignore[call-arg]
    for _ in range(4):
        array.end_step()
    assert abs(float(array.read()[0].std()) - 0.02) < 4.5 * 0.02 / (2 * N) ** 0.5
    assert not array.read()[1].any()


@pytest.mark.parametrize("kind", [IdealDevice, FloatingPointDevice])
def test_decay_goes_to_zero(kind: type[Config]) -> None:
    array = array_of(kind(lifetime=10.0), kind(lifetime=2.0), kind())  # type: ignore[call-arg]
    array.set(torch.full((3, 1, N), 0.5))
    array.end_step()
    assert array.read()[:, 0, 0].tolist() == pytest.approx([0.45, 0.25, 0.5])


def test_a_reset_has_its_spread() -> None:
    array = array_of(IdealDevice(reset_std=0.05), IdealDevice(reset_std=0.0))
    array.set(torch.full((2, 1, N), 0.5))
    array.reset()
    assert abs(float(array.read()[0].std()) - 0.05) < 4.5 * 0.05 / (2 * N) ** 0.5
    assert abs(float(array.read()[0].mean())) < 4.5 * 0.05 / N**0.5
    assert not array.read()[1].any()
