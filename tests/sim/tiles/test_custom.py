"""An analog product written in plain torch."""

from __future__ import annotations

import copy
from typing import Annotated, Any, ClassVar

import pytest
import torch
from torch import Tensor

from sim.configs import InputRangeParameter, IOParameters, MappingParameter, PrePostProcessingParameter, TorchInferenceRPUConfig
from sim.nn import AnalogLinear
from sim.optim import AnalogSGD
from sim.settings import NonNegative, config
from sim.tiles import CustomTile, TorchSimulatorTile

W = torch.tensor([[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65]])
X = torch.tensor([[0.2, -0.7, 1.0, 0.45], [-3.0, 0.5, 1.5, -0.2]])
CLEAR = {"inp_res": -1, "out_res": -1, "out_noise": 0.0, "noise_management": "NONE", "bound_management": "NONE"}


class TwoPasses(TorchSimulatorTile):
    """Positive and negative inputs in two passes; those of the second are weaker."""

    def forward(self, weight: Tensor, x: Tensor) -> Tensor:
        gain = torch.tensor([c.negative_gain for c in self.configs]).reshape(-1, 1, 1)
        return super().forward(weight, x.clamp(min=0.0)) + gain * super().forward(weight, x.clamp(max=0.0))


@config
class TwoPassConfig(TorchInferenceRPUConfig):
    """With a field of its own."""

    simulator_tile_class: ClassVar[type[TorchSimulatorTile]] = TwoPasses
    negative_gain: Annotated[NonNegative, "gain of the pass of the negative inputs"] = 0.5


def two_pass(mapping: dict[str, Any] | None = None, rho: float | None = None, **fields: Any) -> TwoPassConfig:
    io = IOParameters(**CLEAR, inp_bound=10.0, out_bound=100.0)
    ranges = InputRangeParameter(enable=rho is not None, init_value=rho or 1.0, init_from_data=0, decay=0.0)
    pre_post = PrePostProcessingParameter(input_range=ranges)
    return TwoPassConfig(forward=io, mapping=MappingParameter(**(mapping or {})), pre_post=pre_post, **fields)


def exact(x: Tensor, weight: Tensor, gain: float) -> Tensor:
    return x.clamp(min=0) @ weight.T + gain * x.clamp(max=0) @ weight.T


@pytest.mark.parametrize("gain", [0.5, 1.0])
@pytest.mark.parametrize("mapping", [{}, {"weight_scaling_omega": 0.5, "learn_out_scaling": True}, {"digital_bias": False}])
@pytest.mark.parametrize("rho", [None, 2.0])
def test_the_product_and_its_gradients(gain: float, mapping: dict[str, Any], rho: float | None) -> None:
    layer = AnalogLinear(4, 3, rpu_config=two_pass(mapping, rho, negative_gain=gain))
    tile = layer.analog_module
    assert isinstance(tile, CustomTile)
    bias = torch.tensor([0.3, -0.2, 0.1])
    layer.set_weights(W, bias)
    x = X.clone().requires_grad_()
    y = layer(x)
    seen = X if rho is None else X.clamp(-rho, rho)
    twin = W.clone().requires_grad_()
    inputs = seen.clone().requires_grad_()
    expected = exact(inputs, twin, gain) + bias
    torch.testing.assert_close(y, expected)
    g = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 0.3, 0.7]])
    y.backward(g)
    expected.backward(g)
    torch.testing.assert_close(x.grad, inputs.grad)
    before = layer.get_weights()[0]
    AnalogSGD(layer.parameters(), lr=0.1).step()
    if not mapping.get("learn_out_scaling"):
        torch.testing.assert_close(layer.get_weights()[0], before - 0.1 * twin.grad)
    else:  # the scale is trained too
        raw = layer.get_weights(apply_weight_scaling=False)[0]
        torch.testing.assert_close(raw * 2.0, before - 0.1 * twin.grad)


def test_programming_drift_copies_and_replicas() -> None:
    both = AnalogLinear(4, 3, rpu_config=[two_pass(negative_gain=0.5), two_pass(negative_gain=0.0)], seeds=[1, 2], stream="l")
    alone = AnalogLinear(4, 3, rpu_config=[two_pass(negative_gain=0.0)], seeds=[2], stream="l")
    y = both(torch.cat([X, X]))
    assert torch.equal(y[2:], alone(X))
    alone.eval()
    alone.program_analog_weights()
    programmed = alone(X)
    assert not torch.equal(programmed, y[2:])
    alone.drift_analog_weights(3600.0)
    assert not torch.equal(alone(X), programmed)
    again = copy.deepcopy(alone)
    other = AnalogLinear(4, 3, rpu_config=[two_pass(negative_gain=0.7)], seeds=[2], stream="l").eval()
    other.load_state_dict(alone.state_dict())
    with torch.no_grad():
        assert torch.equal(again(X), alone(X))
        assert torch.equal(other(X), alone(X))
