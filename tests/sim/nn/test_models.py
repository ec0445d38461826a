"""Whole models are converted, trained, saved, loaded and trained on: the same bits as without the interruption."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sim.configs import (
    InputRangeParameter,
    MappingParameter,
    PrePostProcessingParameter,
    SingleRPUConfig,
    SoftBoundsDevice,
    WeightModifierType,
)
from sim.inference import Accuracy, evaluate
from sim.nn import convert_to_analog, convert_to_digital
from sim.optim import AnalogAdam, AnalogOptimizer, AnalogSGD
from sim.presets import StandardHWATrainingPreset


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


def residual() -> nn.Module:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Block(4), nn.MaxPool2d(2), Block(4), head)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (residual, (1, 6, 6)),
    "lstm": (Recurrent, (4, 5)),
    "transformer": (Attentive, (4, 5)),
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: AnalogSGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: AnalogAdam(p, lr=0.01),
    "any": lambda p: AnalogOptimizer(torch.optim.RMSprop, p, lr=0.01),
}


def config() -> SingleRPUConfig:
    device = SoftBoundsDevice(diffusion=1e-4, lifetime=1e4)
    mapping = MappingParameter(weight_scaling_omega=0.4, learn_out_scaling=True, max_input_size=20)
    ranges = PrePostProcessingParameter(input_range=InputRangeParameter(enable=True, init_from_data=3))
    return SingleRPUConfig(device=device, mapping=mapping, pre_post=ranges)


def step(model: nn.Module, optimizer: Any, size: tuple[int, ...], k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    x, y = torch.randn(6, *size, generator=generator), torch.randint(0, 3, (6,), generator=generator)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_model_goes_on_from_what_was_saved(name: str, kind: str) -> None:
    make, size = MODELS[name]
    torch.manual_seed(0)
    model = convert_to_analog(make(), config())
    optimizer = OPTIMIZERS[kind](model.parameters())
    before = copy.deepcopy(model.state_dict())
    for k in range(4):
        step(model, optimizer, size, k)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    moved = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    for part in ("array.weight", "bias", "input_range", "out_scaling_alpha"):
        assert any(key.endswith(part) for key in moved), part
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    torch.manual_seed(99)
    other = convert_to_analog(
        make(), SingleRPUConfig(device=SoftBoundsDevice(), mapping=config().mapping, pre_post=config().pre_post)
    )
    second = OPTIMIZERS[kind](other.parameters())
    assert not other.load_state_dict(saved["model"]).missing_keys
    second.load_state_dict(copy.deepcopy(saved["optimizer"]))
    pickled = copy.deepcopy(model)
    third = OPTIMIZERS[kind](pickled.parameters())
    third.load_state_dict(saved["optimizer"])
    for k in range(4, 7):
        for each, its in ((model, optimizer), (other, second), (pickled, third)):
            step(each, its, size, k)
    for each in (other, pickled):
        state = each.state_dict()
        assert [key for key, value in model.state_dict().items() if not torch.equal(value, state[key])] == []


@pytest.mark.parametrize("name", MODELS)
def test_a_model_on_a_chip(name: str) -> None:
    """Converted, trained hardware-aware, saved, loaded, programmed, drifted, evaluated: the copy as the original."""
    make, size = MODELS[name]
    torch.manual_seed(0)
    config = StandardHWATrainingPreset()
    config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, 0.05
    digital = make()
    model = convert_to_analog(digital, config)
    before = model.get_weights()
    optimizer = AnalogAdam(model.parameters(), lr=0.02)
    y = torch.arange(24) % 3
    x = torch.randn(24, *size) + (y - 1.0).view(-1, *[1] * len(size))
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert all(not torch.equal(weight, before[tile][0]) for tile, (weight, _) in model.get_weights().items())
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(99)
    other = convert_to_analog(make(), config)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    found = []
    for each in (model, other):
        each.eval()
        each.program_analog_weights()
        each.drift_analog_weights(3600.0)
        with torch.no_grad():
            drifted = each(x)
        found.append((drifted, evaluate(each, Accuracy(x, y), [1.0, 86400.0], 2).values))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert float(found[0][1][0].mean()) > 0.5  # of three classes
    shown = model.train().get_weights()
    model.eval()
    assert any(not torch.equal(weight, shown[tile][0]) for tile, (weight, _) in model.get_weights().items())
    back = convert_to_digital(model.train())
    assert type(back) is type(digital)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_and_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    digital = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))
    model = convert_to_analog(digital, config())
    x = torch.randn(4, 5)
    exact = model(x)
    with torch.autocast("cpu", dtype):
        y = model(x)
        y.float().sum().backward()
    torch.testing.assert_close(y.float(), exact, atol=0.5, rtol=0.1)
    half = copy.deepcopy(model).to(dtype)
    assert half[1].weight.dtype == dtype
    y = half(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), exact, atol=0.5, rtol=0.1)
    assert all(
        torch.equal(a.get_weights()[0], b.get_weights()[0])
        for a, b in zip(model.analog_tiles(), half.analog_tiles(), strict=True)
    )
