"""Updates have the same bits on every instruction set of the processor, however their pulses fill its vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sim import _core
from sim.configs import RPUConfig, SingleRPUConfig, build_config
from sim.devices import ConstantStepDevice, ExpStepDevice, PowStepDevice, SoftBoundsReferenceDevice
from sim.tiles import AnalogTile
from tests.sim.isas import on_every_isa

SHAPE = (37, 150)
SPARSE, SOME, DENSE, MORE_THAN_WAIT = 3e-3, 0.03, 0.5, 20.0
"""Learning rates: few columns of a row have a pulse, some, all, all more than 63."""
NOISY_STEPS = ExpStepDevice(dw_min=0.01, write_noise_std=0.5)
GROUPS = ConstantStepDevice(dw_min=0.01, w_max=1.5, w_min=-1.5)
"""Away from the bounds several pulses are one step, near them each is one."""


def stepped(config: RPUConfig, rate: float, batch: int) -> dict[str, Tensor]:
    """State of two replicas after a few updates."""
    tile = AnalogTile(*SHAPE, rpu_config=config, replicas=2, seeds=[1, 2], stream="tile")
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(3, 2 * batch, SHAPE[1], generator=generator) * 2 - 1
    x[x.abs() < 0.3] = 0.0
    d = torch.rand(3, 2 * batch, SHAPE[0], generator=generator) * 2 - 1
    tile.set_learning_rate(rate)
    for inputs, errors in zip(x, d, strict=True):
        tile.update(inputs, errors)
        tile.end_step()
    return {name: value.clone() for name, value in tile.array.state_dict().items() if isinstance(value, Tensor)}


def on_every_set(config: Any, rate: float, batch: int) -> list[dict[str, Tensor]]:
    if len(_core.supported_isas()) == 1:
        pytest.skip(f"this processor has the {_core.isa()} instructions only: nothing to compare")
    return list(on_every_isa(lambda: stepped(config, rate, batch)).values())


def assert_alike(states: list[dict[str, Tensor]]) -> None:
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        for name, value in states[0].items():
            assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("rate", [SPARSE, SOME, DENSE, MORE_THAN_WAIT])
@pytest.mark.parametrize("batch", [1, 12])
@pytest.mark.parametrize(
    "device",
    [
        SoftBoundsReferenceDevice(reference_std=0.05, dw_min=0.01),
        PowStepDevice(dw_min=0.01, count_pulses=True),
        ExpStepDevice(dw_min=0.01, write_noise_std=1.0),
        replace(GROUPS, count_pulses=True),
    ],
    ids=["references", "six parameters that vary, counted", "write noise", "groups"],
)
def test_pulses(device: Any, batch: int, rate: float) -> None:
    states = on_every_set(SingleRPUConfig(device=device), rate, batch)
    assert_alike(states)
    assert not torch.equal(states[0]["weight"], stepped(SingleRPUConfig(device=device), 0.0, batch)["weight"])


@pytest.mark.parametrize("rate", [SOME, DENSE])
@pytest.mark.parametrize("algorithm", ["tiki-taka", "ttv2", "c-ttv2", "agad", "mp"])
@pytest.mark.parametrize("device", [NOISY_STEPS, GROUPS], ids=["steps", "groups"])
def test_algorithms_that_read_between_samples(device: Any, algorithm: str, rate: float) -> None:
    assert_alike(on_every_set(build_config(algorithm, device=device), rate, 12))
