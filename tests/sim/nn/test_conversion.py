"""From digital models to analog ones and back."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from sim.configs import FloatingPointRPUConfig, InferenceRPUConfig, SingleRPUConfig
from sim.errors import ConfigError, ModuleError
from sim.inference import PCMLikeNoiseModel
from sim.nn import (
    CONVERSION_MAP_MAPPED,
    AnalogContainer,
    AnalogConv2d,
    AnalogConv2dMapped,
    AnalogLinear,
    AnalogLinearMapped,
    AnalogSequential,
    convert_to_analog,
    convert_to_digital,
)
from sim.tiles import AnalogTile, FloatingPointTile, TileGrid
from tests.sim.nn.common import ideal


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(18, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def test_configurations_per_layer_by_function_and_by_name() -> None:
    asked: list[tuple[str, type]] = []

    def choose(name: str, module: nn.Module, config: SingleRPUConfig) -> Any:
        asked.append((name, type(module)))
        config.forward.out_noise = 0.5  # a copy: the next layer has the original
        return FloatingPointRPUConfig() if name == "head" else config

    given = SingleRPUConfig()
    model = convert_to_analog(Net(), given, specific_rpu_config_fun=choose)
    assert asked == [("body.0", nn.Conv2d), ("head", nn.Linear)]
    assert isinstance(model.head.analog_module, FloatingPointTile)
    assert isinstance(model.body[0].analog_module, AnalogTile)
    assert model.body[0].analog_module.rpu_config.forward.out_noise == 0.5
    assert given == SingleRPUConfig()
    model = convert_to_analog(Net(), given, specific_rpu_config_fun={"body.0": FloatingPointRPUConfig()})
    assert isinstance(model.body[0].analog_module, FloatingPointTile)
    assert isinstance(model.head.analog_module, AnalogTile)
    for fields in ({"specific_rpu_config_fun": {"haed": given}}, {"exclude_modules": ["body.7"]}):
        with pytest.raises(ConfigError, match="there is no module"):
            convert_to_analog(Net(), given, **fields)


def test_maps_classes_and_names() -> None:
    mapped = convert_to_analog(Net(), ideal(), conversion_map=CONVERSION_MAP_MAPPED)
    assert isinstance(mapped.body[0], AnalogConv2dMapped)
    assert isinstance(mapped.head, AnalogLinearMapped)
    assert isinstance(mapped.head.analog_module, TileGrid)
    only = convert_to_analog(Net(), ideal(), conversion_map={nn.Linear: AnalogLinear})
    assert type(only.body) is nn.Sequential
    assert type(only.body[0]) is nn.Conv2d
    assert isinstance(only.head, AnalogLinear)

    class MyTile(FloatingPointTile):
        pass

    own = convert_to_analog(Net(), FloatingPointRPUConfig(), MyTile)
    assert all(isinstance(tile, MyTile) for tile in own.analog_tiles())
    without = convert_to_analog(Net(), ideal(), exclude_modules=["body"], module_name="")
    assert type(without.body[0]) is nn.Conv2d
    named = convert_to_analog(Net(), ideal(), module_name="net", exclude_modules=["net.head"])
    assert type(named.head) is nn.Linear


class Special(nn.Linear):
    pass


def test_only_exact_classes_are_converted() -> None:
    assert type(convert_to_analog(nn.Sequential(Special(3, 2)), ideal())[0]) is Special


def test_flags_are_carried_over() -> None:
    # M23
    net = Net().eval()
    net.head.weight.requires_grad_(False)
    model = convert_to_analog(net, ideal())
    assert not any(module.training for module in model.modules())
    assert not model.head.analog_module.analog_ctx.requires_grad
    assert model.head.bias.requires_grad
    assert model.body[0].analog_module.analog_ctx.requires_grad
    model.train()
    x = torch.randn(2, 1, 5, 5)
    model(x).sum().backward()
    assert not model.head.analog_module._uses  # a frozen layer is not trained
    assert model.body[0].analog_module._uses
    back = convert_to_digital(model.eval())
    assert not back.head.weight.requires_grad
    assert back.head.bias.requires_grad
    assert not any(module.training for module in back.modules())


def test_sharing_survives_both_ways() -> None:
    # M23: one instance under two names, in one parent and in two
    shared = nn.Linear(4, 4)
    model = convert_to_analog(nn.Sequential(shared, nn.ReLU(), shared, nn.Sequential(shared)), ideal())
    assert model[0] is model[2] is model[3][0]
    assert model.analog_tile_count() == 1
    back = convert_to_digital(model)
    assert back[0] is back[2] is back[3][0]
    assert torch.equal(back[0].weight, shared.weight)


def test_back_to_digital() -> None:
    net = Net()
    model = convert_to_analog(net, ideal(weight_scaling_omega=0.3))
    back = convert_to_digital(model)
    assert type(back) is Net
    assert type(back.body) is nn.Sequential
    x = torch.randn(2, 1, 5, 5)
    torch.testing.assert_close(back(x), net(x))
    assert isinstance(model.head, AnalogLinear)  # a copy was converted
    some = convert_to_digital(model, conversion_set={AnalogLinear})
    assert type(some.head) is nn.Linear
    assert isinstance(some.body[0], AnalogConv2d)
    assert convert_to_digital(model, inplace=True) is model
    with pytest.raises(ConfigError, match="2 replicas"):
        convert_to_digital(convert_to_analog(nn.Sequential(nn.Linear(3, 2)), ideal(), replicas=2))


def test_a_wrapped_model_is_what_it_was_and_analog() -> None:
    model = convert_to_analog(Net(), ideal())
    assert type(model).__name__ == "AnalogWrapperNet"
    assert isinstance(model, Net)
    assert isinstance(model, AnalogContainer)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        x = torch.randn(2, 1, 5, 5)
        assert torch.equal(twin(x), model(x))
        assert isinstance(twin, Net)
        assert twin.analog_tile_count() == 2
    assert type(convert_to_analog(Net(), ideal(), ensure_analog_root=False)) is Net


def test_what_analog_modules_offer() -> None:
    model = convert_to_analog(Net(), ideal())
    assert [name for name, _ in model.named_analog_tiles()] == ["body.0.analog_module", "head.analog_module"]
    assert [name for name, _ in model.named_analog_layers()] == ["body.0", "head"]
    assert [name for name, _ in model.named_analog_modules()] == ["", "body", "body.0", "head"]
    assert len(list(model.analog_modules())) == 4
    assert next(model.analog_tiles()) is model.body[0].analog_module
    assert model.get_analog_tile_devices() == [torch.device("cpu")] * 2
    sizes: list[int] = []
    model.apply_to_analog_tiles(lambda tile: sizes.append(tile.out_size))
    model.apply_to_analog_layers(lambda layer: sizes.append(-1))
    assert sizes == [2, 4, -1, -1]
    weights = model.get_weights(apply_weight_scaling=False)
    assert list(weights) == ["body.0.analog_module", "head.analog_module"]
    other = convert_to_analog(Net(), ideal())
    other.set_weights(weights)
    x = torch.randn(2, 1, 5, 5)
    assert torch.equal(other(x), model(x))
    with pytest.raises(ConfigError, match="no tile"):
        other.set_weights({"neck": weights["head.analog_module"]})
    model.remap_analog_weights(0.5)
    assert float(model.head.get_weights(apply_weight_scaling=False)[0].abs().max()) == pytest.approx(0.5)
    torch.testing.assert_close(other(x), model(x))
    changed = ideal()
    changed.forward.is_perfect = False
    model.replace_rpu_config(changed)
    assert not torch.equal(other(x), model(x))


def test_drift_and_programming_belong_to_evaluation() -> None:
    model = convert_to_analog(Net(), InferenceRPUConfig())
    for call in (model.drift_analog_weights, model.program_analog_weights):
        with pytest.raises(ModuleError, match="eval"):
            call()
    model.eval()
    model.program_analog_weights(PCMLikeNoiseModel(prog_noise_scale=3.0))
    assert all(tile.rpu_config.noise_model.prog_noise_scale == 3.0 for tile in model.analog_tiles())
    programmed = model.get_weights()
    model.drift_analog_weights(3600.0)
    assert not any(torch.equal(programmed[name][0], weight) for name, (weight, _) in model.get_weights().items())


def test_verbose_and_lazy(capsys: pytest.CaptureFixture[str]) -> None:
    convert_to_analog(Net(), ideal(), verbose=True)
    assert capsys.readouterr().out == "body.0: Conv2d -> AnalogConv2d\nhead: Linear -> AnalogLinear\n"
    with pytest.raises(ConfigError, match="LazyLinear"):
        convert_to_analog(nn.Sequential(nn.LazyLinear(3)), ideal())


def test_an_error_names_the_layer() -> None:
    with pytest.raises(ConfigError, match=r"^0\.1: "):
        convert_to_analog(nn.Sequential(nn.Sequential(nn.ReLU(), nn.LSTM(3, 4, proj_size=2))), ideal())


def test_a_root_of_its_own_class() -> None:
    assert isinstance(convert_to_analog(nn.Sequential(nn.Linear(2, 2)), ideal()), AnalogSequential)
    assert isinstance(convert_to_analog(nn.Linear(2, 2), ideal()), AnalogLinear)
