"""Inference, hardware-aware training and every kind of layer do on a GPU (a pretended one) what they do on the CPU."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sim.configs
import sim.inference
from sim.configs import (
    BitSlicedIOParameters,
    InferenceRPUConfig,
    IOParametersIRDropT,
    SingleRPUConfig,
    SoftBoundsDevice,
    WeightClipType,
    WeightModifierType,
    WeightRemapType,
)
from sim.inference import drift_analog_weights, program_analog_weights
from sim.inference.programming import laws_of
from sim.nn import (
    AnalogConv1d,
    AnalogConv2d,
    AnalogConv3d,
    AnalogGRU,
    AnalogLinear,
    AnalogLSTM,
    AnalogMultiheadAttention,
    AnalogSequential,
    InputRangeCalibrationType,
    calibrate_input_ranges,
)
from sim.optim import AnalogAdam, AnalogSGD
from tests.sim.cuda.pretended import CPU, GPU
from tests.sim.inference.test_programming import MODELS, array_of
from tests.sim.inference.test_programming import life as life_of_array

pytestmark = pytest.mark.usefixtures("gpu")

Work = Callable[[torch.device], list[Tensor]]


def assert_agrees(work: Work) -> None:
    """A library multiplies in another order: last bits differ."""
    torch.manual_seed(0)
    here = work(CPU)
    torch.manual_seed(0)
    there = work(GPU)
    for a, b in zip(here, there, strict=True):
        assert a.is_cpu
        assert b.is_cuda
        torch.testing.assert_close(a, b.cpu(), rtol=1e-4, atol=1e-4)


def life(make: Callable[[], InferenceRPUConfig]) -> Work:
    """Hardware-aware training, programming, drift and use."""

    def work(device: torch.device) -> list[Tensor]:
        model = AnalogSequential(AnalogLinear(20, 12, rpu_config=make()), nn.ReLU(), AnalogLinear(12, 3, rpu_config=make()))
        x, y = torch.randn(16, 20).to(device), torch.randint(3, (16,)).to(device)
        model = model.to(device)
        optimizer = AnalogSGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        program_analog_weights(model)
        drift_analog_weights(model, 3600.0)
        return [model(x).detach(), *(tile.get_weights()[0] for tile in model.analog_tiles())]

    return work


def configured(path: str, kind: Any, **fields: Any) -> Callable[[], InferenceRPUConfig]:
    """A configuration with a part of another type."""

    def make() -> InferenceRPUConfig:
        config = InferenceRPUConfig()
        part = getattr(config, path)
        part.type = kind
        for name, value in fields.items():
            setattr(part, name, value)
        if path == "remap":
            config.mapping.weight_scaling_omega, config.mapping.weight_scaling_columnwise = 1.0, True
        return config

    return make


@pytest.mark.parametrize("kind", WeightModifierType)
def test_modifiers(kind: WeightModifierType) -> None:
    assert_agrees(life(configured("modifier", kind, std_dev=0.1)))


@pytest.mark.parametrize("kind", WeightClipType)
def test_clipping(kind: WeightClipType) -> None:
    assert_agrees(life(configured("clip", kind, fixed_value=0.3, sigma=2.0)))


@pytest.mark.parametrize("kind", WeightRemapType)
def test_remapping(kind: WeightRemapType) -> None:
    assert_agrees(life(configured("remap", kind)))


NOISE_MODELS = [
    "PCMLikeNoiseModel", "CustomDriftPCMLikeNoiseModel", "HermesNoiseModel", "MeasuredNoiseModel", "ReRamCMONoiseModel",
    "ReRamWan2022NoiseModel", "StateIndependentNoiseModel",
]  # fmt: skip


@pytest.mark.parametrize("name", NOISE_MODELS)
def test_noise_models(name: str) -> None:
    assert_agrees(life(lambda: InferenceRPUConfig(noise_model=getattr(sim.inference, name)())))


@pytest.mark.parametrize("name", MODELS)
def test_programming_and_drift_have_the_bits_of_the_cpu(name: str) -> None:
    kind, fields = MODELS[name]
    arrays = [array_of(kind(**fields), kind(**fields)) for _ in range(2)]
    assert laws_of(arrays[0].models) is not None
    for here, there in zip(life_of_array(arrays[0]), life_of_array(arrays[1].to(GPU)), strict=True):
        assert there.is_cuda
        assert torch.equal(here, there.cpu())


@pytest.mark.parametrize(
    "io",
    [
        BitSlicedIOParameters(weight_significance=[4.0, 1.0], weight_bits=2, input_slice_bits=2),
        IOParametersIRDropT(ir_drop=1.0, ir_drop_segments=1),
    ],
)
def test_products_of_other_kinds(io: Any) -> None:
    assert_agrees(life(lambda: InferenceRPUConfig(forward=copy.deepcopy(io))))


def test_input_ranges_are_learned_and_calibrated() -> None:
    def make() -> InferenceRPUConfig:
        config = InferenceRPUConfig()
        config.pre_post.input_range.enable = True
        config.mapping.learn_out_scaling = True
        return config

    assert_agrees(life(make))
    for kind in InputRangeCalibrationType:
        if kind is not InputRangeCalibrationType.NONE:
            assert_agrees(functools.partial(calibrated, make, kind))


def calibrated(make: Callable[[], InferenceRPUConfig], kind: InputRangeCalibrationType, device: torch.device) -> list[Tensor]:
    model = AnalogSequential(AnalogLinear(20, 12, rpu_config=make())).to(device)
    x = torch.randn(30, 20).to(device)
    calibrate_input_ranges(model, kind, [x[:10], x[10:20]])
    return [model(x).detach()]


LAYERS: dict[str, tuple[Callable[[Any], nn.Module], tuple[int, ...]]] = {
    "LSTM": (lambda config: AnalogLSTM(6, 5, rpu_config=config), (4, 3, 6)),
    "GRU": (lambda config: AnalogGRU(6, 5, rpu_config=config), (4, 3, 6)),
    "attention": (lambda config: AnalogMultiheadAttention(8, 2, rpu_config=config), (4, 3, 8)),
    "Conv1d": (lambda config: AnalogConv1d(3, 4, 3, rpu_config=config), (2, 3, 9)),
    "Conv2d in groups": (lambda config: AnalogConv2d(4, 4, 3, groups=2, padding=1, rpu_config=config), (2, 4, 5, 5)),
    "Conv3d": (lambda config: AnalogConv3d(2, 3, 2, rpu_config=config), (2, 2, 4, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("optimizer", [AnalogSGD, AnalogAdam])
def test_layers(name: str, optimizer: Any) -> None:
    make, shape = LAYERS[name]

    def work(device: torch.device) -> list[Tensor]:
        layer: Any = make(SingleRPUConfig(device=SoftBoundsDevice()))
        x = torch.randn(shape).to(device)
        layer = layer.to(device)
        steps = optimizer(layer.parameters(), lr=0.05)
        y = x
        for _ in range(2):
            steps.zero_grad()
            y = layer(x, x, x) if name == "attention" else layer(x)
            y = y[0] if isinstance(y, tuple) else y
            y.square().sum().backward()
            steps.step()
        return [y.detach(), *(tile.get_weights()[0] for tile in layer.analog_tiles())]

    assert_agrees(work)


def test_what_else_a_tile_does() -> None:
    def work(device: torch.device) -> list[Tensor]:
        device_model = SoftBoundsDevice(lifetime=100.0, diffusion=0.01, reset_std=0.01)
        layer = AnalogLinear(9, 7, rpu_config=SingleRPUConfig(device=device_model)).to(device)
        tile = next(iter(layer.analog_tiles()))
        x = torch.randn(5, 9).to(device)
        optimizer = AnalogSGD(layer.parameters(), lr=0.05)
        for _ in range(2):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
        tile.reset_columns(1, 3, 0.5)
        tile.clip_weights(0.4)
        tile.drift_weights(10.0)
        read = tile.read_weights()[0]
        tile.program_weights(max_iter=20)
        tile.remap_weights()
        tile.set_weights(*tile.get_weights())
        hidden = tile.hidden_parameters()["max_bound"]
        again = AnalogLinear(9, 7, rpu_config=SingleRPUConfig(device=device_model)).to(device)
        again.load_state_dict(layer.state_dict())
        copied = copy.deepcopy(layer)
        return [read, hidden, *(next(iter(m.analog_tiles())).get_weights()[0] for m in (layer, again, copied))]

    assert_agrees(work)


def test_a_module_goes_there_and_back() -> None:
    layer = AnalogLinear(9, 7, rpu_config=SingleRPUConfig())
    before = {name: value.detach().clone() for name, value in (*layer.named_buffers(), *layer.named_parameters())}
    layer.to(GPU)
    assert all(value.is_cuda for value in (*layer.buffers(), *layer.parameters()))
    layer.to(CPU)
    after = dict((*layer.named_buffers(), *layer.named_parameters()))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["PCMLikeNoiseModel", "ReRamWan2022NoiseModel"])
def test_what_is_programmed_goes_along(name: str) -> None:
    torch.manual_seed(0)
    layer = AnalogLinear(9, 7, rpu_config=InferenceRPUConfig(noise_model=getattr(sim.inference, name)())).eval()
    tile: Any = next(iter(layer.analog_tiles()))
    tile.program_weights()
    tile.drift_weights(60.0)
    before = tile.get_weights()[0].clone()
    layer.to(GPU)
    assert tile.array.is_programmed()
    assert torch.equal(tile.get_weights()[0].cpu(), before)
    layer(torch.randn(3, 9).to(GPU))
    tile.drift_weights(3600.0)
    layer.to(CPU)
    layer(torch.randn(3, 9))
    assert tile.array.is_programmed()
    there = AnalogLinear(9, 7, rpu_config=InferenceRPUConfig(noise_model=getattr(sim.inference, name)())).eval().to(GPU)
    there.load_state_dict(layer.state_dict())
    there(torch.randn(3, 9).to(GPU))
    assert torch.equal(next(iter(there.analog_tiles())).get_weights()[0].cpu(), tile.get_weights()[0])
