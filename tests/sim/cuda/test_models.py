"""Models on a GPU do what they do on the CPU: their Python runs on a pretended GPU, the kernels through the emulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sim import presets
from sim.configs import SingleRPUConfig
from sim.nn import AnalogLinear, AnalogSequential, Sigmoid
from sim.optim import AnalogSGD
from tests.sim.cuda.pretended import GPU

pytestmark = pytest.mark.usefixtures("gpu")

STEPS, BATCH = 3, 8


def trained(make: Callable[[], Any], device: torch.device, replicas: int | None = None) -> AnalogSequential:
    """A small network after a few steps."""
    torch.manual_seed(0)
    layers = [AnalogLinear(*size, rpu_config=make(), replicas=replicas) for size in ((20, 12), (12, 3))]
    model = AnalogSequential(layers[0], Sigmoid(), layers[1])
    n = replicas or 1
    x, y = torch.randn(STEPS, n * BATCH, 20).to(device), torch.randint(3, (STEPS, n * BATCH)).to(device)
    model = model.to(device)
    optimizer = AnalogSGD(model.parameters(), lr=0.2)
    for k in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[k]), y[k]).backward()
        optimizer.step()
    return model


def weights(model: AnalogSequential) -> list[Tensor]:
    return [tile.get_weights()[0].cpu() for tile in model.analog_tiles()]


def assert_close(model: AnalogSequential, other: AnalogSequential) -> None:
    """Where a library multiplies, last bits differ, and now and then a converter or a pulse decides otherwise."""
    for here, there in zip(weights(model), weights(other), strict=True):
        differs = ((here - there).abs() > 1e-6).float().mean()
        assert differs < 0.02


CONFIGS = [
    "FloatingPointPreset", "IdealizedPreset", "GokmenVlasovPreset", "ReRamESPreset", "ReRamSB2Preset", "PCMPreset",
    "StandardHWATrainingPreset", "WebComposerInferenceRPUConfig",
]  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_training(name: str) -> None:
    assert_close(trained(presets.get(name), torch.device("cpu")), trained(presets.get(name), GPU))


def test_replicas() -> None:
    assert_close(trained(SingleRPUConfig, torch.device("cpu"), 3), trained(SingleRPUConfig, GPU, 3))


def test_a_tensor_on_the_cpu_is_refused() -> None:
    layer = AnalogLinear(4, 3, rpu_config=SingleRPUConfig()).to(GPU)
    with pytest.raises(Exception, match=r"cpu|cuda"):
        layer(torch.randn(2, 4))
