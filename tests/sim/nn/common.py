"""What the tests of layers share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sim.configs import IdealDevice, IOParameters, MappingParameter, SingleRPUConfig


def ideal(**mapping: Any) -> SingleRPUConfig:
    """A tile without any non-ideality."""
    forward, backward = IOParameters(is_perfect=True), IOParameters(is_perfect=True)
    return SingleRPUConfig(device=IdealDevice(), forward=forward, backward=backward, mapping=MappingParameter(**mapping))


def assert_twins(analog: nn.Module, digital: nn.Module, x: torch.Tensor, exact: bool = False) -> None:
    """Outputs and gradients of the input agree."""
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [model(one) for model, one in zip((analog, digital), inputs, strict=True)]
    outputs = [y[0] if isinstance(y, tuple) else y for y in outputs]
    torch.testing.assert_close(outputs[0], outputs[1], atol=2e-5, rtol=1e-4)
    weights = torch.linspace(-1.0, 1.0, outputs[0].numel()).reshape(outputs[0].shape)
    for y in outputs:
        (y * weights).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=5e-5, rtol=1e-4)
