"""Optimizers: what they do with digital parameters, and with tiles."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from sim.configs import InferenceRPUConfig, IOParameters
from sim.errors import ConfigError
from sim.nn import AnalogLinear, AnalogSequential, convert_to_analog
from sim.optim import AnalogAdam, AnalogOptimizer, AnalogOptimizerMixin, AnalogSGD
from tests.sim.nn.common import ideal

DIGITAL: list[tuple[Any, Any, dict[str, Any]]] = [
    (AnalogSGD, torch.optim.SGD, {"lr": 0.1}),
    (AnalogSGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (AnalogSGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    (AnalogAdam, torch.optim.Adam, {"lr": 0.01}),
    (AnalogAdam, torch.optim.Adam, {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True}),
]


@pytest.mark.parametrize(("ours", "theirs", "fields"), DIGITAL)
def test_digital_parameters_step_as_torchs(ours: Any, theirs: Any, fields: dict[str, Any]) -> None:
    start = torch.linspace(-1, 1, 12).reshape(3, 4)
    parameters = [nn.Parameter(start.clone()) for _ in range(2)]
    for parameter, optimizer in zip(parameters, (ours(parameters[:1], **fields), theirs(parameters[1:], **fields)), strict=True):
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            optimizer.zero_grad()
            (parameter * torch.randn(3, 4, generator=generator)).sum().square().backward()
            optimizer.step()
    torch.testing.assert_close(parameters[0], parameters[1])


@pytest.mark.parametrize("make", [AnalogAdam, lambda p, lr: AnalogOptimizer(torch.optim.AdamW, p, lr=lr)])
def test_tiles_take_the_plain_step_whatever_the_optimizer(make: Any) -> None:
    layer = AnalogLinear(3, 2, bias=False, rpu_config=ideal())
    before = layer.get_weights()[0]
    optimizer = make(layer.parameters(), lr=0.25)
    assert isinstance(optimizer, AnalogOptimizerMixin)
    x = torch.randn(5, 3)
    layer(x).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.get_weights()[0], before - 0.25 * torch.ones(5, 2).T @ x)
    optimizer.zero_grad()
    layer(x).sum().backward()
    after = layer.get_weights()[0]
    optimizer.zero_grad()
    optimizer.step()
    assert torch.equal(layer.get_weights()[0], after)


def test_groups_keep_their_rates() -> None:
    # M22
    model = AnalogSequential(AnalogLinear(3, 3, rpu_config=ideal()), AnalogLinear(3, 2, rpu_config=ideal()))
    optimizer = AnalogSGD([{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters()}], lr=0.1)
    optimizer.regroup_param_groups(model)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert [tile.get_learning_rate() for tile in model.analog_tiles()] == [pytest.approx(0.5), pytest.approx(0.1)]
    optimizer.set_learning_rate(0.3)
    assert [tile.get_learning_rate() for tile in model.analog_tiles()] == [pytest.approx(0.3)] * 2
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]


def test_a_group_that_comes_later_is_found() -> None:
    model = AnalogSequential(AnalogLinear(3, 3, rpu_config=ideal()), AnalogLinear(3, 2, rpu_config=ideal()))
    optimizer = AnalogSGD(model[0].parameters(), lr=0.1)
    optimizer.zero_grad()
    optimizer.add_param_group({"params": model[1].parameters()})
    before = model[1].get_weights()[0]
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model[1].get_weights()[0], before)


def test_rates_of_replicas() -> None:
    model = convert_to_analog(nn.Sequential(nn.Linear(3, 2)), ideal(), replicas=2)
    optimizer = AnalogAdam(model.parameters(), lr=[0.1, 0.0])
    before, bias = (v.clone() for v in model[0].get_weights())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    weight, after = model[0].get_weights()
    torch.testing.assert_close(before - weight, torch.tensor([0.1, 0.0]).reshape(2, 1, 1).expand(2, 2, 3))
    torch.testing.assert_close(bias - after, torch.tensor([0.1, 0.0]).reshape(2, 1).expand(2, 2))
    with pytest.raises(ConfigError, match="one learning rate"):
        AnalogOptimizer(torch.optim.SGD, model.parameters(), lr=[0.1, 0.2])


def test_a_closure_and_a_copy() -> None:
    layer = AnalogLinear(3, 1, rpu_config=ideal())
    optimizer = AnalogSGD(layer.parameters(), lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = layer(torch.ones(2, 3)).square().mean()
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure).detach()) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    both = copy.deepcopy({"layer": layer, "optimizer": optimizer})
    both["layer"](torch.ones(1, 3)).sum().backward()
    kept, moved = layer.get_weights()[0], both["layer"].get_weights()[0]
    both["optimizer"].step()
    assert torch.equal(layer.get_weights()[0], kept)
    assert not torch.equal(both["layer"].get_weights()[0], moved)


@pytest.mark.parametrize(
    "fields", [{"betas": (1.0, 0.9)}, {"betas": (0.9,)}, {"eps": -1.0}, {"weight_decay": -1.0}, {"lr": -0.1}]
)
def test_bad_settings(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        AnalogAdam(AnalogLinear(2, 2).parameters(), **fields)


def small_model(rates: list[float], momentum: float = 0.9) -> tuple[Any, Any]:
    """A model of as many equal replicas as rates, and its optimizer."""
    torch.manual_seed(0)
    digital = nn.Sequential(nn.Linear(3, 2))
    model = convert_to_analog(digital, ideal(), replicas=len(rates))
    return model, AnalogSGD(model.parameters(), lr=rates if len(rates) > 1 else rates[0], momentum=momentum)


SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 2, 0.3),
    "multistep": lambda o: lr_scheduler.MultiStepLR(o, [1, 3], 0.3),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.7),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 5, eta_min=0.01),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 5, 2.0),
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=9),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.5, 2),
    "warm-up": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 2), lr_scheduler.ExponentialLR(o, 0.7)], [2]
    ),
}


def scheduled(rates: list[float], name: str) -> tuple[list[Any], list[torch.Tensor]]:
    model, optimizer = small_model(rates)
    schedule, seen = SCHEDULES[name](optimizer), []
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(len(rates), 3)).square().sum().backward()
        optimizer.step()
        seen.append(next(iter(model.analog_tiles())).get_learning_rate())
        schedule.step()
    return seen, [v.detach() for v in model[0].get_weights()]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_of_torch_act_on_every_replica_as_on_one_alone(name: str) -> None:
    rates = [0.1, 0.037]
    seen, both = scheduled(rates, name)
    assert len({float(torch.as_tensor(rate).reshape(-1)[0]) for rate in seen}) > 1
    for r, rate in enumerate(rates):
        alone, weights = scheduled([rate], name)
        assert [float(step[r]) for step in seen] == [float(step) for step in alone]
        for group, one in zip(both, weights, strict=True):
            assert torch.equal(group[r : r + 1], one.reshape(1, *group.shape[1:]))


def test_a_schedule_that_looks_at_the_loss_has_one_rate() -> None:
    _, optimizer = small_model([0.4])
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for loss in (1.0, 2.0):
        schedule.step(loss)
    assert optimizer.param_groups[0]["lr"] == 0.2


def test_rates_of_replicas_are_saved_as_plain_tensors(tmp_path: Path) -> None:
    model, optimizer = small_model([0.4, 0.2])
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    schedule.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    _, again = small_model([1.0, 1.0])
    again.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    assert again.param_groups[0]["lr"].tolist() == [0.2, 0.1]
    schedule = lr_scheduler.ExponentialLR(again, 0.5)
    again.step()
    schedule.step()
    assert again.param_groups[0]["lr"].tolist() == [0.1, 0.05]
    again.add_param_group({"params": [nn.Parameter(torch.zeros(2, 1))], "lr": [0.3, 0.4]})
    assert again.param_groups[1]["lr"].tolist() == [0.3, 0.4]
    optimizer.set_learning_rate([0.5, 0.6])
    assert optimizer.param_groups[0]["lr"].tolist() == [0.5, 0.6]
    assert [tile.get_learning_rate().tolist() for tile in model.analog_tiles()] == [pytest.approx([0.5, 0.6])]


@pytest.mark.parametrize("fields", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1}])
def test_momentum_and_weight_decay_are_digital(fields: dict[str, Any]) -> None:
    """Arrays take the plain pulses; digital biases, and weights that torch trains, the whole step."""
    digital = nn.Linear(3, 2)
    configs = (ideal(), InferenceRPUConfig(forward=IOParameters(is_perfect=True)))
    layers = [convert_to_analog(nn.Sequential(digital), config)[0] for config in configs]
    optimizers = [AnalogSGD(layer.parameters(), lr=0.1, **fields) for layer in layers]
    optimizers.append(torch.optim.SGD(digital.parameters(), lr=0.1, **fields))
    plain = digital.weight.detach().clone()
    x = torch.linspace(-1.0, 1.0, 12).reshape(4, 3)
    for _ in range(3):
        for layer, optimizer in zip([*layers, digital], optimizers, strict=True):
            optimizer.zero_grad()
            layer(x).sum().backward()
            optimizer.step()
        plain -= 0.1 * torch.ones(4, 2).T @ x
    (array, bias), (trained, other) = (layer.get_weights() for layer in layers)
    torch.testing.assert_close(array, plain)
    assert not torch.allclose(array, digital.weight)
    torch.testing.assert_close(trained, digital.weight.detach())
    for found in (bias, other):
        torch.testing.assert_close(found, digital.bias.detach())


def test_hooks_and_a_profiler_see_each_step_once() -> None:
    model = AnalogLinear(4, 3, rpu_config=ideal(), seeds=[1], stream="a")
    optimizer = AnalogSGD(model.parameters(), lr=0.1)
    seen: list[str] = []

    def step() -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()

    step()
    handles = [
        optimizer.register_step_pre_hook(lambda *_: seen.append("before")),
        optimizer.register_step_post_hook(lambda *_: seen.append("after")),
    ]
    step()
    assert seen == ["before", "after"]
    for handle in handles:
        handle.remove()
    step()
    assert seen == ["before", "after"]
    with torch.autograd.profiler.profile() as profile:
        step()
    assert [event.name for event in profile.function_events].count("Optimizer.step#AnalogSGD.step") == 1
