"""Digital layers of few bits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sim.configs import ActivationQuantParameter, InferenceRPUConfig
from sim.errors import ConfigError
from sim.nn import convert_to_analog
from sim.nn.quantized import LayerQuantization, QuantizationMap, convert_to_quantized
from sim.quantization import calibrate_quantization_ranges, quantised_now


def bits(n: int) -> ActivationQuantParameter:
    return ActivationQuantParameter(n_bits=n, range_estimator="CURRENT_MINMAX")  # type: ignore[arg-type]


def rounded(x: torch.Tensor, n: int) -> torch.Tensor:
    return quantised_now(x.detach().reshape(1, -1), bits(n)).view(x.shape)


@pytest.mark.parametrize("analog", [False, True])
def test_weights_and_outputs(analog: bool) -> None:
    digital = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    given = convert_to_analog(digital, InferenceRPUConfig()) if analog else digital
    how = LayerQuantization(bits(3), bits(4))
    model = convert_to_quantized(given, QuantizationMap({nn.Linear: how}, instances={"2": LayerQuantization(bits(2))}))
    x = torch.randn(7, 6)
    hidden = rounded(nn.functional.linear(x, rounded(digital[0].weight, 3), digital[0].bias), 4).relu()
    expected = nn.functional.linear(hidden, rounded(digital[2].weight, 2), digital[2].bias)
    torch.testing.assert_close(model(x).detach(), expected.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(digital(x), nn.Sequential(*digital)(x))  # the model given stays
    model(x).sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in model.parameters())
    other = convert_to_quantized(given, QuantizationMap({nn.Linear: how}, instances={"2": LayerQuantization(bits(2))})).eval()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    model.eval()
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize(
    ("layer", "x", "weights", "outputs"),
    [
        (nn.Conv2d(2, 3, 2), torch.randn(2, 2, 4, 4), True, True),
        (nn.LayerNorm(4), torch.randn(3, 4), True, True),
        (nn.Embedding(9, 4), torch.arange(6), True, False),
        (nn.BatchNorm2d(2), torch.randn(5, 2, 3, 3), False, True),
    ],
)
def test_kinds_of_layers(layer: Any, x: torch.Tensor, weights: bool, outputs: bool) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
    model = convert_to_quantized(layer, QuantizationMap({type(layer): LayerQuantization(bits(2), bits(2))}))
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.copy_(rounded(layer.weight, 2) if weights else layer.weight)
    y = twin(x)
    torch.testing.assert_close(model(x).detach(), rounded(y, 2) if outputs else y.detach(), atol=1e-5, rtol=1e-4)


def test_names_inputs_and_exclusions() -> None:
    digital = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    how = QuantizationMap({nn.Linear: LayerQuantization(bits(2))}, excluded=["1"], inputs={"0": bits(2)})
    model = convert_to_quantized(digital, how)
    assert torch.equal(model[1].weight, digital[1].weight)
    assert len(model[0].weight.unique()) <= 4
    x = torch.randn(4, 6)
    calibrate_quantization_ranges(model, [x])
    expected = nn.functional.linear(rounded(x, 2), rounded(digital[0].weight, 2), digital[0].bias)
    torch.testing.assert_close(model(x), digital[1](expected), atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="no module '7'"):
        convert_to_quantized(digital, QuantizationMap(excluded=["7"]))
    with pytest.raises(ConfigError, match="Dropout"):
        convert_to_quantized(nn.Dropout(), QuantizationMap({nn.Dropout: how.classes[nn.Linear]}))
