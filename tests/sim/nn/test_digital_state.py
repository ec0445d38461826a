"""A digital model's state dict loads into its analog twin."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from sim.configs import InferenceRPUConfig, IOParameters, MappingParameter
from sim.nn import convert_to_analog
from tests.sim.nn.common import assert_twins, ideal


def mixed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5, bias=False), nn.Linear(5, 3)
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "mixed": (mixed, torch.randn(3, 2, 4, 4)),
    "linear": (lambda: nn.Linear(7, 3), torch.randn(5, 7)),
    "lstm": (lambda: nn.LSTM(4, 6, num_layers=2, bidirectional=True), torch.randn(5, 2, 4)),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), torch.randn(5, 2, 8)),
}
CONFIGS = {
    "plain": ideal(),
    "grid": ideal(max_input_size=5, max_output_size=2),
    "scaled": ideal(weight_scaling_omega=0.6, digital_bias=False),
    "inference": InferenceRPUConfig(forward=IOParameters(is_perfect=True), mapping=MappingParameter(weight_scaling_omega=1.0)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("how", CONFIGS)
def test_weights_of_a_digital_model(name: str, how: str) -> None:
    make, x = MODELS[name]
    digital = make().eval()
    analog = convert_to_analog(make(), CONFIGS[how]).eval()
    state = digital.state_dict()
    kept = copy.deepcopy(state)
    found = analog.load_state_dict(state)
    assert not found.missing_keys
    assert not found.unexpected_keys
    assert list(state) == list(kept)
    assert_twins(analog, digital, x)


def test_frozen_layers_and_modes_stay() -> None:
    analog = convert_to_analog(mixed(), CONFIGS["inference"])
    tile = next(analog[4].analog_tiles())
    tile._anchor().requires_grad_(False)
    analog[4].eval()
    analog.load_state_dict(mixed().state_dict())
    assert not tile._anchor().requires_grad
    assert next(analog[5].analog_tiles())._anchor().requires_grad
    assert analog.training
    assert not analog[4].training


def test_what_is_missing_or_of_another_size_is_told() -> None:
    analog = convert_to_analog(mixed(), ideal())
    before = analog[5].get_weights()[0]
    state = mixed().state_dict()
    short = {name: value for name, value in state.items() if name != "5.bias"}
    with pytest.raises(RuntimeError, match=r"Missing key.*5\.bias"):
        analog.load_state_dict(short)
    assert analog.load_state_dict(short, strict=False).missing_keys == ["5.bias"]
    assert torch.equal(analog[5].get_weights()[0], before)
    with pytest.raises(RuntimeError, match=r"size mismatch for 5\.weight: \(3, 6\)"):
        analog.load_state_dict(state | {"5.weight": torch.zeros(3, 6)})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*5\.gain"):
        analog.load_state_dict(state | {"5.gain": torch.zeros(3)})


def test_every_replica_has_the_weights() -> None:
    digital = nn.Linear(4, 3)
    analog = convert_to_analog(nn.Linear(4, 3), ideal(), replicas=2)
    analog.load_state_dict(digital.state_dict())
    x = torch.randn(5, 4)
    torch.testing.assert_close(analog(x.repeat(2, 1)), digital(x).repeat(2, 1))
