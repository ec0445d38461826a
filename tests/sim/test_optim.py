"""Optimizers: what they do with digital parameters, and with tiles."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

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
