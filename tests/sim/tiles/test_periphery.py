"""Digital periphery: scales, input range, precision of activations (mapping_and_hwa.md, sections 4 to 6, 17, 18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sim.configs import (
    ConstantStepDevice,
    IdealDevice,
    InputRangeParameter,
    IOParameters,
    MappingParameter,
    OneSidedUnitCell,
    PrePostProcessingParameter,
    RPUConfig,
    SingleRPUConfig,
    SoftBoundsDevice,
    UnitCellRPUConfig,
    build_config,
)
from sim.errors import ConfigError
from sim.ops import ShapeError
from sim.optim import AnalogSGD
from sim.tiles import AnalogTile, make_tile

PERFECT = IOParameters(is_perfect=True)
W = torch.tensor([[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65]])
X = torch.tensor([[0.2, -0.7, 1.0, 0.45], [-3.0, 0.5, 1.5, -0.2]])
G = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 0.3, 0.7]])
CLEAR = {"inp_res": -1, "out_res": -1, "out_noise": 0.0, "noise_management": "NONE", "bound_management": "NONE"}


def config(mapping: dict[str, Any] | None = None, forward: IOParameters = PERFECT, **input_range: Any) -> SingleRPUConfig:
    pre_post = PrePostProcessingParameter(
        input_range=InputRangeParameter(**({"enable": True} if input_range else {}), **input_range)
    )
    return SingleRPUConfig(
        device=IdealDevice(), forward=forward, backward=PERFECT, mapping=MappingParameter(**(mapping or {})), pre_post=pre_post
    )


def tile_of(cfg: SingleRPUConfig, bias: bool = False, weight: Tensor = W, **given: Any) -> AnalogTile:
    tile = AnalogTile(weight.shape[0], weight.shape[1], cfg, bias=bias, **given)
    tile.set_weights(weight, torch.tensor([0.3, -0.2, 0.1]) if bias else None)
    return tile


FIXED = {"init_value": 1.2, "init_from_data": 0, "decay": 0.01, "input_min_percentage": 0.5}


def test_the_input_range_of_the_specification() -> None:
    tile = tile_of(config(**FIXED))
    x = X.clone().requires_grad_()
    y = tile(x)
    torch.testing.assert_close(y, torch.tensor([[0.575, -1.075, 0.0525], [0.375, -0.45, 1.27]]))
    y.backward(G)
    torch.testing.assert_close(x.grad, torch.tensor([[-0.1, -1.85, 2.05, -1.275], [-1.03, 0.8, -0.79, 1.545]]))
    assert float(tile.input_range.grad) == pytest.approx(-0.936, abs=1e-6)
    reference = torch.tensor(
        [
            [1.166667, -1, -0.166667, 0.541667],
            [-0.633333, 1.291667, -1.366667, -0.8],
            [-0.616667, 0, 1.116667, 0.070833],
        ]
    )
    tile.set_learning_rate(1.0)
    tile.apply_uses()
    torch.testing.assert_close(W - tile.get_weights()[0], 1.2 * reference, atol=2e-6, rtol=0)  # M10: the true derivative


GRADIENTS = [
    ({"gradient_relative": False}, -0.79 + 0.01 * 1.2),
    ({"gradient_scale": 2.0}, -0.79 * 1.2 * 2 + 0.01 * 1.2),
    ({"gradient_scale": 2.0, "gradient_relative": False}, -0.79 + 0.01 * 1.2),
    ({"decay": 0.0}, -0.79 * 1.2),
    ({"input_min_percentage": 0.95}, -0.79 * 1.2),
]


@pytest.mark.parametrize(("fields", "expected"), GRADIENTS)
def test_every_field_of_the_range_gradient(fields: dict[str, Any], expected: float) -> None:
    tile = tile_of(config(**(FIXED | fields)))
    tile(X).backward(G)
    assert float(tile.input_range.grad) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 10), (10, 2)])
def test_output_clipping_counts_outputs(shape: tuple[int, int]) -> None:
    # M13: with all outputs clipped the share of good ones is 0, whatever the sizes
    io = IOParameters(**CLEAR, out_bound=0.5)
    fields = {"init_value": 2.0, "init_from_data": 0, "decay": 0.0, "manage_output_clipping": True}
    tile = tile_of(config(forward=io, **fields), weight=torch.ones(shape))
    tile(torch.ones(3, shape[1])).sum().backward()
    assert float(tile.input_range.grad) == pytest.approx(-2.0)
    tile = tile_of(config(forward=io, **fields, output_min_percentage=0.0), weight=torch.ones(shape))
    tile(torch.ones(3, shape[1])).sum().backward()
    assert float(tile.input_range.grad) == 0.0


@pytest.mark.parametrize(
    "forward", [PERFECT, IOParameters(), IOParameters(noise_management="NONE"), IOParameters(bound_management="NONE")]
)
def test_output_clipping_needs_a_converter_that_clips(forward: IOParameters) -> None:
    with pytest.raises(ConfigError, match="manage_output_clipping"):
        AnalogTile(2, 2, config(forward=forward, manage_output_clipping=True))


def test_the_range_is_estimated_from_the_first_batches_of_training() -> None:
    tile = tile_of(config(init_from_data=2, init_std_alpha=2.0, init_value=50.0))
    batches = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    stds = [float(b.std()) for b in batches]
    tile.eval()
    tile(batches[0])
    assert tile.input_range.item() == 50.0
    tile.train()
    tile(torch.zeros(3, 4))  # says nothing
    assert int(tile.input_range_update_idx) == 0
    tile(batches[0])
    assert tile.input_range.item() == pytest.approx(2.0 * stds[0])  # the first batch discards init_value
    tile(batches[1])
    assert tile.input_range.item() == pytest.approx(stds[0] + stds[1])
    tile(batches[2])
    assert tile.input_range.item() == pytest.approx(stds[0] + stds[1])
    assert int(tile.input_range_update_idx) == 2


def test_a_range_that_is_not_learned_is_no_parameter() -> None:
    tile = tile_of(config(learn_input_range=False, init_from_data=0))
    assert "input_range" not in dict(tile.named_parameters())
    assert "input_range" in tile.state_dict()
    tile(X).backward(G)
    tile.set_input_range(-0.7)
    assert tile.input_range.item() == pytest.approx(0.7)
    with pytest.raises(ConfigError, match=r"pre_post\.input_range\.enable"):
        tile_of(config()).set_input_range(1.0)


def test_a_negative_range_acts_by_its_magnitude() -> None:
    tile, other = tile_of(config(**FIXED)), tile_of(config(**FIXED))
    with torch.no_grad():
        other.input_range.neg_()
    for each in (tile, other):
        each(X).backward(G)
    assert torch.equal(tile(X), other(X))
    assert float(other.input_range.grad) == -float(tile.input_range.grad)


@pytest.mark.parametrize("rho", [1.0, 2.5])
def test_an_analog_bias_is_not_scaled_by_the_input_range(rho: float) -> None:
    # M7
    tile = tile_of(config({"digital_bias": False}, init_value=rho, init_from_data=0), bias=True)
    x = X.clamp(-1, 1)
    torch.testing.assert_close(tile(x), x @ W.T + torch.tensor([0.3, -0.2, 0.1]))
    tile.set_learning_rate(0.5)
    tile(x).backward(G)
    tile.apply_uses()
    torch.testing.assert_close(tile.get_weights()[1], torch.tensor([0.3, -0.2, 0.1]) - 0.5 * G.sum(0))


@pytest.mark.parametrize("columnwise", [True, False])
def test_a_learned_output_scale(columnwise: bool) -> None:
    mapping = {"learn_out_scaling": True, "out_scaling_columnwise": columnwise, "weight_scaling_omega": 0.5}
    tile = tile_of(config(mapping, init_value=2.0, init_from_data=0, decay=0.0), bias=True)
    alpha = tile.out_scaling_alpha
    assert alpha is not None
    assert alpha.shape == ((3,) if columnwise else (1,))
    with torch.no_grad():
        alpha.copy_(torch.tensor([0.5, 2.0, 1.5]) if columnwise else torch.tensor([0.5]))
    before = tile.get_weights()[0]
    torch.testing.assert_close(before, W * alpha.detach().reshape(-1, 1))
    x = X.clone().requires_grad_()
    y = tile(x)
    seen = X.clamp(-2, 2)
    torch.testing.assert_close(y, (seen @ W.T) * alpha + torch.tensor([0.3, -0.2, 0.1]))
    y.backward(G)
    expected = G * (seen @ W.T)
    torch.testing.assert_close(alpha.grad, expected.sum(0) if columnwise else expected.sum().reshape(1))
    torch.testing.assert_close(x.grad, (G * alpha.detach()) @ W)
    torch.testing.assert_close(tile.bias.grad, G.sum(0))
    tile.set_learning_rate(0.1)
    tile.apply_uses()  # the matrix behind the learned scale moves down its gradient
    change = (tile.get_weights()[0] - before) / alpha.detach().reshape(-1, 1)
    torch.testing.assert_close(change, -0.1 * (G * alpha.detach()).T @ seen, atol=2e-6, rtol=1e-4)


def test_learned_scales_are_one_after_scaled_weights_are_set_and_kept_otherwise() -> None:
    mapping = {"learn_out_scaling": True, "out_scaling_columnwise": True}
    tile = tile_of(config(mapping))
    with torch.no_grad():
        tile.out_scaling_alpha.copy_(torch.tensor([0.5, 2.0, 1.5]))
    tile.set_weights(W)  # without omega: the scale stays, and what is read is what was set
    torch.testing.assert_close(tile.get_weights()[0], W)
    assert tile.out_scaling_alpha.tolist() == [0.5, 2.0, 1.5]
    tile.set_weights(W, weight_scaling_omega=0.6)
    assert tile.out_scaling_alpha.tolist() == [1.0, 1.0, 1.0]
    torch.testing.assert_close(tile.get_weights()[0], W)
    tile.set_weights(W, apply_weight_scaling=False)
    torch.testing.assert_close(tile.get_weights(apply_weight_scaling=False)[0], W)


def test_mapping_scales_are_there_before_weights_are_set_and_can_be_filled() -> None:
    columnwise = AnalogTile(3, 4, config({"weight_scaling_omega": 0.6, "weight_scaling_columnwise": True}))
    assert columnwise.get_mapping_scales().tolist() == [1.0, 1.0, 1.0]  # M3
    columnwise.set_mapping_scales(2.0)
    assert columnwise.get_mapping_scales().tolist() == [2.0, 2.0, 2.0]  # M4
    columnwise.set_mapping_scales(torch.tensor([1.0, 2.0, 3.0]))
    assert columnwise.get_scales().tolist() == [1.0, 2.0, 3.0]
    columnwise.set_mapping_scales(None)
    assert columnwise.get_scales() is None
    plain = AnalogTile(3, 4, config())
    assert plain.get_scales() is None
    plain.set_scales(0.5)
    assert plain.get_scales().tolist() == [0.5]
    with pytest.raises(ShapeError, match="scales"):
        plain.set_scales(torch.ones(4))


def test_learning_rate_compensation_moves_the_scale_into_the_rate() -> None:
    mapping = {"weight_scaling_omega": 0.25, "weight_scaling_lr_compensation": True}
    with_it, without = tile_of(config(mapping)), tile_of(config({"weight_scaling_omega": 0.25}))
    seen: list[tuple[Tensor, Tensor]] = []
    for tile in (with_it, without):
        inner = tile.array.update
        tile.array.update = lambda x, d, rate, inner=inner: (seen.append((d, rate)), inner(x, d, rate))[1]  # type: ignore[method-assign]
        tile.set_learning_rate(0.1)
        tile.update(X, G)
    torch.testing.assert_close(with_it.get_weights()[0], without.get_weights()[0])  # exact updates end where they did
    torch.testing.assert_close(seen[0][0][0], G)  # a scalar scale moves entirely into the rate: pulses see the plain error
    assert float(seen[0][1]) == pytest.approx(0.1 / 4.0)
    torch.testing.assert_close(seen[1][0][0], G / 4.0)
    assert float(seen[1][1]) == pytest.approx(0.1)


def test_remapped_weights() -> None:
    tile = tile_of(config())
    tile.remap_weights(0.5)
    assert tile.get_scales().tolist() == [2.0]
    torch.testing.assert_close(tile.get_weights()[0], W)


@pytest.mark.parametrize("digital", [True, False])
def test_weights_read_through_products(digital: bool) -> None:
    io = IOParameters(inp_res=-1, out_res=-1, out_noise=0.05)
    mapping = {"digital_bias": digital, "weight_scaling_omega": 0.5}
    tile = tile_of(config(mapping, forward=io), bias=True)
    weight, bias = tile.read_weights(apply_weight_scaling=True, over_sampling=400)
    torch.testing.assert_close(weight, W, atol=0.03, rtol=0)
    assert not torch.equal(weight, W)
    torch.testing.assert_close(bias, torch.tensor([0.3, -0.2, 0.1]), atol=0.03, rtol=0)
    raw = tile.get_weights(apply_weight_scaling=False, realistic=True)[0]
    torch.testing.assert_close(raw, W / 2.0, atol=0.2, rtol=0)
    with pytest.raises(ShapeError, match="rows"):
        tile.read_weights(x_values=torch.ones(2, 4))


def test_programming_in_a_closed_loop_works_again_and_again() -> None:
    # M5: a second call and own inputs
    device = ConstantStepDevice(w_max=1.5, w_min=-1.5, w_max_dtod=0.0, w_min_dtod=0.0)
    torch.manual_seed(0)
    tile = AnalogTile(3, 4, SingleRPUConfig(device=device, forward=PERFECT, backward=PERFECT))
    tile.set_weights(W, realistic=True)
    reached = tile.get_weights()[0]
    assert 0 < float((reached - W).abs().max()) < 0.05
    tile.program_weights(tolerance=0.005)
    tile.program_weights(x_values=torch.eye(4)[:, [1, 0, 2, 3]], w_init=torch.zeros(3, 4))
    torch.testing.assert_close(tile.get_weights()[0], reached, atol=0.06, rtol=0)
    with pytest.raises(ConfigError, match="tolerance"):
        tile.program_weights(tolerance=0.0)


CELLS: dict[str, Callable[[], RPUConfig]] = {
    "single": lambda: SingleRPUConfig(device=SoftBoundsDevice(write_noise_std=0.3)),
    "vector": lambda: build_config("sgd", ConstantStepDevice(), n_devices=2),
    "one-sided": lambda: UnitCellRPUConfig(
        device=OneSidedUnitCell(unit_cell_devices=[ConstantStepDevice()], refresh_every=3, units_in_mbatch=True)
    ),
    "agad": lambda: build_config("agad", ConstantStepDevice()),
    "mixed": lambda: build_config("mp", ConstantStepDevice()),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_replica_goes_on_after_a_closed_loop_as_it_would_alone(kind: str) -> None:
    # Replicas take different numbers of updates; those of one must not move the random numbers of another.
    def run(rows: list[int]) -> list[Tensor]:
        tile = AnalogTile(3, 4, CELLS[kind](), replicas=len(rows), seeds=rows, stream="tile")
        tile.set_weights(torch.stack([W * (0.2 + 0.2 * r) for r in rows]))
        seen = []
        for _ in range(2):
            tile.program_weights(max_iter=200, learning_rate=0.3, tolerance=0.25)
            seen.append(tile.get_weights()[0])
            tile.update(X.repeat(len(rows), 1), torch.ones(2 * len(rows), 3))
            seen += [tile.get_weights()[0], tile(X.repeat(len(rows), 1)).reshape(len(rows), 2, 3).detach()]
        return seen

    rows = [0, 1, 2]
    together = run(rows)
    for k, r in enumerate(rows):
        for ours, alone in zip(together, run([r]), strict=True):
            assert torch.equal(ours[k], alone[0])
    assert not torch.equal(together[0], together[3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_goes_in_and_out(dtype: torch.dtype) -> None:
    tile = tile_of(config(), bias=True)
    half = tile.to(dtype)
    assert half.get_weights()[0].dtype == torch.float32  # the array stays what it is
    x = X.to(dtype).requires_grad_()
    y = half(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), X.to(dtype).float() @ W.T + torch.tensor([0.3, -0.2, 0.1]), atol=0.02, rtol=0.02)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_replicas_with_ranges_and_scales_are_themselves_alone() -> None:
    def of(r: int) -> SingleRPUConfig:
        fields = {"init_from_data": 2 + r, "init_std_alpha": 1.0 + 0.2 * r, "decay": 0.01 * r, "input_min_percentage": 0.3}
        mapping = {
            "weight_scaling_omega": 0.5 * (r % 2), "weight_scaling_lr_compensation": True, "learn_out_scaling": True,
        }  # fmt: skip
        made = config(mapping, forward=IOParameters(out_noise=0.01 * r), **fields)
        made.device = ConstantStepDevice()
        return made

    data = torch.randn(4, 6, 5, 7, generator=torch.Generator().manual_seed(0))

    def run(rows: list[int]) -> dict[str, Tensor]:
        tile = AnalogTile(3, 7, [of(r) for r in rows], bias=True, seeds=rows, stream="tile")
        optimizer = AnalogSGD(tile.parameters(), lr=[0.1 + 0.1 * r for r in rows])
        for batch in data[rows].transpose(0, 1):
            optimizer.zero_grad()
            tile(batch.reshape(-1, 7)).square().sum().backward()
            optimizer.step()
        weight, bias = tile.get_weights()
        return {
            "weight": weight, "bias": bias, "alpha": tile.out_scaling_alpha, "range": tile.input_range,
            "index": tile.input_range_update_idx,
        }  # fmt: skip

    group = run([0, 1, 2, 3])
    for r in range(4):
        for name, value in run([r]).items():
            assert torch.equal(group[name][r : r + 1], value), f"{name} of replica {r}"
    assert group["index"].tolist() == [2, 3, 4, 5]


def test_scales_differ_between_outputs() -> None:
    tile = tile_of(config({"weight_scaling_omega": 0.6, "weight_scaling_columnwise": True}))
    np.testing.assert_allclose(tile.get_scales(), [1.666667, 1.5, 1.333333], atol=1e-6)
    raw = tile.get_weights(apply_weight_scaling=False)[0]
    np.testing.assert_allclose(raw.abs().amax(1), [0.6] * 3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_bias_of_a_grid_keeps_the_precision_of_the_inputs(dtype: torch.dtype) -> None:
    # M1
    grid = make_tile(3, 4, config({"max_input_size": 2}), bias=True)
    bias = torch.tensor([0.3, -0.2, 0.1])
    grid.set_weights(W, bias)
    for one in (grid, grid.to(dtype)):
        y = one(X.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), X @ W.T + bias, atol=0.03, rtol=0.02)


def test_errors_are_masked_where_the_converter_clipped() -> None:
    # M8: not by the rescaled output, and not in perfect mode
    def gradient(x: Tensor, **io: Any) -> Tensor:
        tile = tile_of(config(forward=IOParameters(**CLEAR | io)))
        inputs = x.clone().requires_grad_()
        tile(inputs).backward(torch.ones(len(x), 3))
        assert inputs.grad is not None
        return inputs.grad

    whole = W.sum(0)
    large, small = 20.0 * X[:1], 0.5 * X[:1]
    managed = {"noise_management": "ABS_MAX", "out_bound": 1.2}
    torch.testing.assert_close(gradient(large, **managed)[0], whole)  # outputs beyond 1.2, but none clipped: X / 1 gives 1.075
    clipped = (X[0] @ W.T).abs() > 0.5  # 0.25 at the output, scaled by 0.5
    assert clipped.any()
    assert not clipped.all()
    found = gradient(small, noise_management="ABS_MAX", out_bound=0.5)[0]
    torch.testing.assert_close(found, (~clipped).float() @ W)
    torch.testing.assert_close(gradient(large, is_perfect=True)[0], whole)
