"""Tiles with a periphery of few bits (mapping_and_hwa.md, 16.2)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sim.configs import (
    ActivationQuantParameter,
    InputRangeParameter,
    IOParameters,
    MappingParameter,
    PeripheryQuantParameter,
    QuantizedPrePostProcessingParameter,
    QuantizedTorchInferenceRPUConfig,
)
from sim.nn import AnalogConv1dMapped, AnalogLinear, AnalogLinearMapped, convert_to_analog
from sim.optim import AnalogSGD
from sim.quantization import Quantizer, calibrate_quantization_ranges, quantised_now
from sim.tiles import QuantizedInferenceTile, QuantizedTileGrid

PERFECT = IOParameters(is_perfect=True)
OUTPUT = ActivationQuantParameter(n_bits=4, range_estimator="CURRENT_MINMAX")  # type: ignore[arg-type]


def config(
    bits: int = 0, outputs: ActivationQuantParameter | None = None, mapping: dict[str, Any] | None = None, rho: float = 0.0,
    **periphery: Any,
) -> QuantizedTorchInferenceRPUConfig:  # fmt: skip
    pre_post = QuantizedPrePostProcessingParameter(
        periph_quant=PeripheryQuantParameter(n_bits=bits, **periphery),
        input_range=InputRangeParameter(enable=rho > 0, init_value=rho or 1.0, init_from_data=0),
    )
    return QuantizedTorchInferenceRPUConfig(
        forward=PERFECT, pre_post=pre_post, act_quant_config=outputs, mapping=MappingParameter(**(mapping or {}))
    )


def now(x: torch.Tensor, bits: int, symmetric: bool = True) -> torch.Tensor:
    return quantised_now(x.reshape(1, -1), ActivationQuantParameter(n_bits=bits, symmetric=symmetric)).view(x.shape)


@pytest.mark.parametrize("symmetric", [True, False])
def test_scales_bias_and_outputs(symmetric: bool) -> None:
    mapping = {"weight_scaling_omega": 1.0, "weight_scaling_columnwise": True, "learn_out_scaling": True}
    outputs = ActivationQuantParameter(n_bits=4, symmetric=symmetric, range_estimator="CURRENT_MINMAX")  # type: ignore[arg-type]
    layer = AnalogLinear(5, 4, rpu_config=config(3, outputs, mapping, rho=2.0, symmetric=symmetric))
    layer.set_weights(torch.tensor([[0.2], [0.5], [-0.8], [1.0]]) * torch.linspace(0.3, 1.0, 5), torch.linspace(-0.4, 0.7, 4))
    tile = layer.analog_module
    assert isinstance(tile, QuantizedInferenceTile)
    with torch.no_grad():
        tile.out_scaling_alpha.fill_(0.7)
    x = torch.rand(6, 5)
    raw = x / 2.0 @ layer.get_weights(apply_weight_scaling=False)[0].T
    scale = now(2.0 * tile.get_scales(), 3, symmetric)
    assert len(scale.unique()) > 1
    assert not torch.allclose(scale, 2.0 * tile.get_scales(), rtol=1e-3)
    expected = now(raw * scale + now(layer.bias.detach(), 3, symmetric), 4, symmetric)
    torch.testing.assert_close(layer(x).detach(), expected, atol=1e-5, rtol=1e-4)


def test_nothing_is_quantised_unless_asked() -> None:
    layer = AnalogLinear(5, 4, rpu_config=config())
    x = torch.rand(6, 5)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, *layer.get_weights()))
    assert list(layer.state_dict()) == [name for name in layer.state_dict() if "quantizers" not in name]


def test_gradients_pass_the_rounding() -> None:
    wide = ActivationQuantParameter(n_bits=16, range_estimator="CURRENT_MINMAX")  # type: ignore[arg-type]
    fine = AnalogLinear(5, 4, rpu_config=config(16, wide, {"weight_scaling_omega": 1.0, "learn_out_scaling": True}))
    plain = AnalogLinear(5, 4, rpu_config=config(0, None, {"weight_scaling_omega": 1.0, "learn_out_scaling": True}))
    plain.set_weights(*fine.get_weights())
    x = [torch.rand(6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    for layer, one in zip((fine, plain), x, strict=True):
        layer(one).pow(2).sum().backward()
    torch.testing.assert_close(x[0].grad, x[1].grad, atol=1e-3, rtol=1e-3)
    ours, theirs = (dict(layer.named_parameters()) for layer in (fine, plain))
    for name in ("array.weight", "bias", "out_scaling_alpha"):
        torch.testing.assert_close(ours[f"analog_module.{name}"].grad, theirs[f"analog_module.{name}"].grad, atol=2e-2, rtol=2e-3)


def test_a_grid_quantises_each_output_and_the_sum() -> None:
    layer = AnalogLinear(6, 4, rpu_config=config(0, OUTPUT, {"max_input_size": 3}))
    grid = layer.analog_module
    assert isinstance(grid, QuantizedTileGrid)
    x = torch.rand(7, 6)
    weight, bias = layer.get_weights()
    parts = sum(now(x[:, k : k + 3] @ weight[:, k : k + 3].T, 4) for k in (0, 3))
    torch.testing.assert_close(layer(x).detach(), now(parts + bias, 4), atol=1e-5, rtol=1e-4)


def test_a_grid_of_one_is_a_tile() -> None:
    # M25, also with learned quantisers of the bias; M2: mapped layers have the grid of the configuration
    cfg = config(4, OUTPUT, learn_quant_params=True, init_learning_after=1)
    tile, grid = AnalogLinear(5, 4, rpu_config=cfg), AnalogLinearMapped(5, 4, rpu_config=cfg)
    assert isinstance(grid.analog_module, QuantizedTileGrid)
    grid.set_weights(*tile.get_weights())
    x = torch.rand(7, 5)
    for _ in range(3):
        y, z = tile(x), grid(x)
        torch.testing.assert_close(y, z)
    y.sum().backward()
    z.sum().backward()
    steps = [{n: p.grad for n, p in layer.named_parameters() if n.endswith("step")} for layer in (tile, grid)]
    assert len(steps[0]) == 2
    assert any(float(g.abs()) > 0 for g in steps[0].values())
    assert isinstance(AnalogConv1dMapped(2, 3, 3, rpu_config=cfg).analog_module, QuantizedTileGrid)


def test_a_model_trains_saves_loads_programs_and_drifts() -> None:
    outputs = ActivationQuantParameter(n_bits=6)
    cfg = config(8, outputs, {"weight_scaling_omega": 1.0}, learn_quant_params=True, init_learning_after=2)
    digital = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    model = convert_to_analog(digital, cfg)

    def step(net: nn.Module, optimizer: Any, k: int) -> None:
        optimizer.zero_grad()
        net(torch.randn(6, 5, generator=torch.Generator().manual_seed(k))).pow(2).sum().backward()
        optimizer.step()

    optimizer = AnalogSGD(model.parameters(), lr=0.01)
    for k in range(4):
        step(model, optimizer, k)
    other = convert_to_analog(digital, cfg)
    other_optimizer = AnalogSGD(other.parameters(), lr=0.01)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    for net, its in ((model, optimizer), (other, other_optimizer)):
        step(net, its, 4)
        net.eval()
        net.program_analog_weights()
        net.drift_analog_weights(3600.0)
    x = torch.randn(4, 5)
    assert torch.equal(model(x), other(x))
    assert len(model[2](torch.randn(500, 8)).unique()) <= 64
    parameters = dict(other.named_parameters())
    model.replace_rpu_config(cfg)
    other.load_state_dict(model.state_dict())
    assert all(other.get_parameter(name) is parameter for name, parameter in parameters.items())


def test_ranges_after_training() -> None:
    cfg = config(0, ActivationQuantParameter(n_bits=8, range_estimator="ALL_MINMAX"))  # type: ignore[arg-type]
    model = convert_to_analog(nn.Sequential(nn.Linear(5, 3)), cfg)
    batches = [torch.randn(6, 5, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    calibrate_quantization_ranges(model, batches)
    quantizer = next(part for part in model.modules() if isinstance(part, Quantizer))
    largest = max(float(nn.functional.linear(x, *model[0].get_weights()).max()) for x in batches)
    assert float(quantizer.high) == pytest.approx(largest)


def test_a_replica_is_as_alone() -> None:
    cfg = config(3, OUTPUT, {"weight_scaling_omega": 1.0})

    def run(seeds: list[int]) -> torch.Tensor:
        layer = AnalogLinear(5, 4, rpu_config=cfg, replicas=len(seeds), seeds=seeds, stream="l")
        with torch.no_grad():
            layer.bias.copy_(torch.stack([torch.linspace(-s, 0.5, 4) for s in seeds]))  # type: ignore[union-attr]
        x = torch.cat([s * torch.linspace(-1.0, 1.0, 15).view(3, 5) for s in seeds])
        return layer(x).detach().view(len(seeds), 3, 4)

    together = run([1, 2, 3])
    for k, seed in enumerate((1, 2, 3)):
        assert torch.equal(together[k], run([seed])[0])
