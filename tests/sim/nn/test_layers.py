"""Layers, conversion and the optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sim.configs import FloatingPointRPUConfig, IdealDevice, IOParameters, SingleRPUConfig
from sim.errors import ConfigError
from sim.nn import AnalogLinear, AnalogSequential, convert_to_analog
from sim.optim import AnalogSGD

PERFECT = IOParameters(is_perfect=True)
IDEAL = SingleRPUConfig(device=IdealDevice(), forward=PERFECT, backward=PERFECT)


def digital() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def test_an_ideal_analog_model_trains_as_its_digital_twin() -> None:
    plain = digital()
    analog = convert_to_analog(plain, IDEAL)
    optimizers = [torch.optim.SGD(plain.parameters(), lr=0.1), AnalogSGD(analog.parameters(), lr=0.1)]
    x, y = torch.randn(40, 6), torch.randn(40, 3)
    for k in range(4):
        for model, optimizer in zip((plain, analog), optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x[k * 10 : k * 10 + 10]), y[k * 10 : k * 10 + 10]).backward()
            optimizer.step()
    for layer, twin in zip(analog.analog_layers(), (plain[0], plain[2]), strict=True):
        weight, bias = layer.get_weights()
        torch.testing.assert_close(weight, twin.weight.detach())
        torch.testing.assert_close(bias, twin.bias.detach())


def test_the_gradient_of_the_input_stops_where_the_adc_clips() -> None:
    io = IOParameters(
        noise_management="NONE", bound_management="NONE", inp_res=-1, out_res=-1, out_noise=0.0, inp_bound=10.0, out_bound=1.0
    )
    layer = AnalogLinear(2, 2, bias=False, rpu_config=SingleRPUConfig(device=IdealDevice(), forward=io, backward=PERFECT))
    layer.set_weights(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    x = torch.tensor([[0.5, 3.0]], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 0.0]]


def test_uses_add_up_like_gradients_and_zero_grad_drops_them() -> None:
    once, twice, dropped = (AnalogLinear(3, 2, bias=False, rpu_config=IDEAL) for _ in range(3))
    for layer in (twice, dropped):
        layer.set_weights(once.get_weights()[0])
    x = torch.randn(4, 3)

    def step(layer: AnalogLinear, backwards: int, drop: bool) -> torch.Tensor:
        before = layer.get_weights()[0]
        optimizer = AnalogSGD(layer.parameters(), lr=0.1)
        for _ in range(backwards):
            layer(x).sum().backward()
        if drop:
            optimizer.zero_grad()
        optimizer.step()
        return layer.get_weights()[0] - before

    change = step(once, 1, False)
    torch.testing.assert_close(step(twice, 2, False), 2 * change)
    assert bool((step(dropped, 1, True) == 0).all())


def test_convert_keeps_sharing_flags_and_names() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shared = nn.Linear(4, 4)
            self.a, self.b, self.head = shared, shared, nn.Linear(4, 2)
            self.norm = nn.LayerNorm(4).eval()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.b(self.a(x))))

    net = Net()
    net.norm.weight.requires_grad_(False)
    model = convert_to_analog(net, SingleRPUConfig(), exclude_modules=["head"])
    assert model.a is model.b
    assert isinstance(model.a, AnalogLinear)
    assert type(model.head) is nn.Linear
    assert not model.norm.training
    assert not model.norm.weight.requires_grad
    assert [name for name, _ in model.named_analog_tiles()] == ["a.analog_module"]
    assert model.analog_tile_count() == 1
    assert type(net.a) is nn.Linear, "the original stays as it was"
    assert isinstance(copy.deepcopy(model).a, AnalogLinear)
    assert model(torch.zeros(2, 4)).shape == (2, 2)


def test_convert_a_single_layer_and_a_sequential() -> None:
    assert isinstance(convert_to_analog(nn.Linear(3, 2), SingleRPUConfig()), AnalogLinear)
    model = convert_to_analog(digital(), FloatingPointRPUConfig())
    assert isinstance(model, AnalogSequential)
    torch.testing.assert_close(model(torch.ones(1, 6)), digital()(torch.ones(1, 6)))


def test_a_copied_or_loaded_model_has_its_own_tiles() -> None:
    model = convert_to_analog(digital(), IDEAL)
    twin = copy.deepcopy(model)
    optimizer = AnalogSGD(twin.parameters(), lr=0.1)
    twin(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    assert all(
        torch.equal(a.get_weights()[0], b.get_weights()[0])
        for a, b in zip(model.analog_layers(), convert_to_analog(digital(), IDEAL).analog_layers(), strict=True)
    )
    assert not torch.equal(model[0].get_weights()[0], twin[0].get_weights()[0])


def test_a_learning_rate_schedule_reaches_the_tiles() -> None:
    layer = AnalogLinear(3, 2, rpu_config=IDEAL)
    optimizer = AnalogSGD(layer.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(2):
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        schedule.step()
    assert layer.analog_module.get_learning_rate() == pytest.approx(0.2)


@pytest.mark.parametrize(
    "fields", [{"lr": -1.0}, {"lr": float("nan")}, {"momentum": -0.1}, {"weight_decay": -1.0}, {"nesterov": True}]
)
def test_bad_optimizer_settings(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        AnalogSGD(AnalogLinear(2, 2).parameters(), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1])
def test_bad_layer_sizes(size: int) -> None:
    with pytest.raises(ConfigError, match="in_features"):
        AnalogLinear(size, 3)
