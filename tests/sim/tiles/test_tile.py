"""Tiles: weights, periphery, learning rate, what they refuse and what they show."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch

from sim.configs import (
    ConstantStepDevice,
    FloatingPointRPUConfig,
    IdealDevice,
    IOParameters,
    MappingParameter,
    SingleRPUConfig,
    SoftBoundsDevice,
    SoftBoundsReferenceDevice,
    UpdateParameters,
    build_config,
)
from sim.errors import ConfigError
from sim.ops import ShapeError
from sim.tiles import AnalogTile, FloatingPointTile
from sim.tiles.grid import TileGrid, make_tile, split

PERFECT = IOParameters(is_perfect=True)
IDEAL = SingleRPUConfig(device=IdealDevice(), forward=PERFECT, backward=PERFECT)


def weights(out: int, n_in: int, scale: float = 0.1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-scale, scale, (out, n_in)).astype(np.float32))


def test_set_and_get_are_inverse_within_the_bounds() -> None:
    tile = AnalogTile(5, 7)
    tile.set_weights(weights(5, 7))
    got, bias = tile.get_weights()
    assert bias is None
    assert torch.equal(got, weights(5, 7))
    tile.set_weights(torch.full((5, 7), 9.0))
    assert torch.equal(tile.get_weights()[0], tile.hidden_parameters()["max_bound"])


def test_weights_start_small() -> None:
    start = AnalogTile(40, 50, SingleRPUConfig(device=ConstantStepDevice(w_max_dtod=0.0, w_min_dtod=0.0))).get_weights()[0]
    assert float(start.abs().max()) <= 0.1
    assert abs(float(start.std()) - 0.2 / np.sqrt(12)) < 0.003


def test_manual_seed_governs_everything() -> None:
    def run() -> list[torch.Tensor]:
        torch.manual_seed(5)
        tile = AnalogTile(5, 7)
        x, d = torch.randn(3, 7), torch.randn(3, 5)
        tile.update(x, d)
        return [tile.forward(x).detach(), tile.backward(d), tile.get_weights()[0], *tile.hidden_parameters().values()]

    first, second = run(), run()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.manual_seed(6)
    assert not torch.equal(AnalogTile(5, 7).hidden_parameters()["max_bound"], first[3])


def test_construction_seed_fixes_the_devices_only() -> None:
    config = SingleRPUConfig(device=ConstantStepDevice(construction_seed=3))
    a, b = AnalogTile(5, 7, config), AnalogTile(5, 7, config)
    for name, value in a.hidden_parameters().items():
        assert torch.equal(value, b.hidden_parameters()[name])
    assert not torch.equal(a.get_weights()[0], b.get_weights()[0])


@pytest.mark.parametrize("digital", [True, False])
def test_bias(digital: bool) -> None:
    config = SingleRPUConfig(
        device=IdealDevice(), forward=PERFECT, backward=PERFECT, mapping=MappingParameter(digital_bias=digital)
    )
    tile = AnalogTile(3, 4, config, bias=True)
    w, b = weights(3, 4), torch.tensor([0.1, -0.2, 0.3])
    tile.set_weights(w, b)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tile.forward(x), x @ w.T + b)
    torch.testing.assert_close(tile.backward(x[:, :3]), x[:, :3] @ w)
    got = tile.get_weights()
    assert torch.equal(got[0], w)
    assert got[1] is not None
    assert torch.equal(got[1], b)
    with pytest.raises(ShapeError, match="has a bias"):
        tile.set_weights(w)
    with pytest.raises(ShapeError, match="has no bias"):
        AnalogTile(3, 4).set_weights(w, b)


def test_update_moves_weights_down_the_gradient() -> None:
    tile = AnalogTile(3, 4, IDEAL)
    w = weights(3, 4)
    tile.set_weights(w)
    tile.set_learning_rate(0.5)
    x, d = torch.ones(2, 4), torch.tensor([[1.0, 0, -1.0], [1.0, 0, 0]])
    tile.update(x, d)
    torch.testing.assert_close(tile.get_weights()[0], w - 0.5 * d.T @ x)


@pytest.mark.parametrize("columnwise", [True, False])
def test_weight_scaling(columnwise: bool) -> None:
    # mapping_and_hwa.md, section 17, rows 9 and 10
    mapping = MappingParameter(weight_scaling_omega=0.6, weight_scaling_columnwise=columnwise)
    w = torch.tensor([[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65]])
    tile = AnalogTile(3, 4, SingleRPUConfig(device=IdealDevice(), forward=PERFECT, backward=PERFECT, mapping=mapping))
    tile.set_weights(w)
    expected = [1.666667, 1.5, 1.333333] if columnwise else [1.666667]
    np.testing.assert_allclose(tile.get_scales(), expected, atol=1e-6)
    torch.testing.assert_close(tile.get_weights()[0], w)
    assert float(tile.get_weights(apply_weight_scaling=False)[0].abs().max()) == pytest.approx(0.6)
    x, d = torch.randn(5, 4), torch.randn(5, 3)
    torch.testing.assert_close(tile.forward(x), x @ w.T)
    torch.testing.assert_close(tile.backward(d), d @ w)
    tile.set_learning_rate(0.1)
    tile.update(x, d)  # the logical weight makes the step
    torch.testing.assert_close(tile.get_weights()[0], w - 0.1 * d.T @ x)


def test_pulse_type_none_drops_the_devices() -> None:
    tile = AnalogTile(3, 4, SingleRPUConfig(device=ConstantStepDevice(), update=UpdateParameters(pulse_type="NONE")))
    assert tile.hidden_parameters() == {}
    tile.set_weights(torch.full((3, 4), 7.0))
    assert float(tile.get_weights()[0].max()) == 7.0


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), [0.1, 0.2]])
def test_bad_learning_rates(rate: object) -> None:
    with pytest.raises(ConfigError, match="learning rate"):
        AnalogTile(3, 4).set_learning_rate(rate)  # type: ignore[arg-type]


def test_learning_rate_zero_changes_nothing() -> None:
    tile = AnalogTile(3, 4)
    before = {k: v.clone() for k, v in tile.state_dict().items()}
    tile.set_learning_rate(0.0)
    tile.update(torch.ones(2, 4), torch.ones(2, 3))
    after = tile.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items() if k not in ("learning_rate", "array.steps"))


def test_a_floating_point_tile_is_exact() -> None:
    tile = FloatingPointTile(3, 4, FloatingPointRPUConfig(), bias=True)
    w, b = weights(3, 4), torch.tensor([0.1, -0.2, 0.3])
    tile.set_weights(w, b)
    x = torch.randn(5, 4)
    torch.testing.assert_close(tile.forward(x), x @ w.T + b)


BAD_INPUT = [
    (lambda t: t.forward(torch.zeros(2, 5)), "last axis needs 4"),
    (lambda t: t.forward(torch.zeros(2, 4, dtype=torch.float64)), "float32"),
    (lambda t: t.backward(torch.zeros(2, 4)), "last axis needs 3"),
    (lambda t: t.update(torch.zeros(2, 4), torch.zeros(3, 3)), "samples"),
    (lambda t: t.set_weights(torch.zeros(4, 3)), "this tile needs"),
]


@pytest.mark.parametrize(("call", "message"), BAD_INPUT)
def test_bad_shapes_are_told_in_plain_words(call: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(AnalogTile(3, 4))  # type: ignore[operator]


def test_replicas_may_differ_in_numbers_only() -> None:
    with pytest.raises(ConfigError, match="structure"):
        AnalogTile(3, 4, [SingleRPUConfig(device=ConstantStepDevice()), SingleRPUConfig(device=SoftBoundsDevice())])
    with pytest.raises(ConfigError, match="replicas"):
        AnalogTile(3, 4, [SingleRPUConfig()] * 2, replicas=3)
    with pytest.raises(ConfigError, match="seeds"):
        AnalogTile(3, 4, [SingleRPUConfig()] * 2, seeds=[1], stream="a")
    with pytest.raises(ConfigError, match="stream"):
        AnalogTile(3, 4, seeds=[1])


def test_a_configuration_is_copied() -> None:
    config = build_config("sgd")
    tile = AnalogTile(3, 4, config)
    config.device.dw_min = 0.5
    assert tile.rpu_config.device.dw_min != 0.5  # type: ignore[attr-defined]


def test_printed_tile() -> None:
    text = str(AnalogTile(3, 4, [SingleRPUConfig(device=SoftBoundsReferenceDevice())] * 2))
    for word in ("3 x 4", "2 replicas", "SoftBoundsReferenceDevice", "1200 states", "KiB"):
        assert word in text


@pytest.mark.parametrize("how", ["copy", "pickle", "state dict"])
def test_a_continued_run_is_the_uninterrupted_one(how: str) -> None:
    torch.manual_seed(0)
    device = SoftBoundsReferenceDevice(write_noise_std=1.0, diffusion=1e-3, lifetime=100.0, reference_std=0.1)
    config = SingleRPUConfig(device=device)

    def step(tile: AnalogTile, k: int) -> None:
        generator = torch.Generator().manual_seed(k)
        x, d = torch.randn(3, 4, generator=generator), torch.randn(3, 5, generator=generator)
        tile.forward(x)
        tile.backward(d)
        tile.update(x, d)
        tile.end_step()

    tile = AnalogTile(5, 4, config)
    for k in range(5):
        step(tile, k)
    if how == "copy":
        other = copy.deepcopy(tile)
    elif how == "pickle":
        buffer = io.BytesIO()
        torch.save(tile, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    else:
        other = AnalogTile(5, 4, config)
        other.load_state_dict(tile.state_dict())
    for k in range(5, 10):
        step(tile, k)
        step(other, k)
    ours, theirs = tile.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(
    ("size", "limit", "parts"),
    [(600, 512, [300, 300]), (513, 512, [257, 256]), (1025, 512, [342, 342, 341]), (7, 3, [3, 2, 2]), (7, 0, [7])],
)
def test_split(size: int, limit: int, parts: list[int]) -> None:
    assert split(size, limit) == parts


def test_a_large_layer_is_a_grid_of_tiles() -> None:
    mapping = MappingParameter(max_input_size=4, max_output_size=3)
    config = SingleRPUConfig(device=IdealDevice(), forward=PERFECT, backward=PERFECT, mapping=mapping)
    grid = make_tile(7, 10, config, bias=True)
    assert isinstance(grid, TileGrid)
    assert len(grid.tiles) == 9
    w, b = weights(7, 10), torch.linspace(-1, 1, 7)
    grid.set_weights(w, b)
    got = grid.get_weights()
    assert torch.equal(got[0], w)
    assert got[1] is not None
    assert torch.equal(got[1], b)
    x = torch.randn(5, 10)
    torch.testing.assert_close(grid(x), x @ w.T + b)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AnalogTile(2, 2, rpu_config=ConstantStepDevice()), "rpu_config is a ConstantStepDevice"),
        (lambda: AnalogTile(2, 2, rpu_config=SingleRPUConfig), "rpu_config is a SingleRPUConfig"),
        (lambda: AnalogTile(2, 2, rpu_config=[]), "0 configurations"),
        (lambda: AnalogTile(2.5, 3), "out_size = 2.5"),
        (lambda: AnalogTile(2, "a"), "in_size = 'a'"),
        (lambda: AnalogTile(0, 3), "out_size = 0"),
        (lambda: FloatingPointTile(3, -1), "in_size = -1"),
        (lambda: FloatingPointTile(3, 3, rpu_config=3), "rpu_config is a int"),
    ],
)
def test_bad_arguments(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_weights_must_be_finite() -> None:
    with pytest.raises(ShapeError, match="not finite"):
        AnalogTile(1, 2).set_weights(torch.tensor([[0.1, float("nan")]]))


def test_uses_that_no_optimizer_takes_up_are_told() -> None:
    tile = AnalogTile(1, 2)
    for _ in range(1999):
        tile(torch.ones(1, 2)).sum().backward()
    with pytest.warns(UserWarning, match="AnalogSGD"):
        tile(torch.ones(1, 2)).sum().backward()
