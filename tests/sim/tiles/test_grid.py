"""A grid of tiles as one node in torch's graph gives what its tiles give one by one."""

from __future__ import annotations

import pytest
import torch

from sim.configs import FloatingPointRPUConfig, InferenceRPUConfig, RPUConfig, SingleRPUConfig
from sim.nn import AnalogLinear
from sim.ops import ShapeError
from sim.optim import AnalogSGD
from sim.tiles.grid import TileGrid


def trained(config: RPUConfig, replicas: int | None, by_tile: bool, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    config.mapping.max_input_size, config.mapping.max_output_size = 5, 3
    rows = replicas or 1
    layer = AnalogLinear(13, 8, rpu_config=config, replicas=replicas, seeds=list(range(rows)), stream="layer")
    assert isinstance(layer.analog_module, TileGrid)
    with monkeypatch.context() as patch:
        if by_tile:
            patch.setattr(TileGrid, "_in_one_node", lambda self: False)
        optimizer = AnalogSGD(layer.parameters(), lr=0.1)
        found: dict[str, torch.Tensor] = {}
        for k in range(3):
            x = torch.randn(4, 13, generator=torch.Generator().manual_seed(k)).repeat(rows, 1).requires_grad_()
            optimizer.zero_grad()
            y = layer(x)
            (y.square().sum() + layer(0.5 * x.detach()).sum()).backward()  # two uses, one of which needs no gradient of x
            optimizer.step()
            found |= {f"y {k}": y.detach(), f"gradient {k}": x.grad}
    return found | {name: value for name, value in layer.state_dict().items() if isinstance(value, torch.Tensor)}


def hardware_aware() -> InferenceRPUConfig:
    config = InferenceRPUConfig()
    config.pre_post.input_range.enable = True
    config.mapping.learn_out_scaling = config.mapping.out_scaling_columnwise = True
    config.mapping.weight_scaling_omega = 0.6
    return config


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("make", [SingleRPUConfig, FloatingPointRPUConfig, hardware_aware])
def test_one_node_is_tile_by_tile(make, replicas, monkeypatch):
    together = trained(make(), replicas, False, monkeypatch)
    alone = trained(make(), replicas, True, monkeypatch)
    assert together.keys() == alone.keys()
    assert len(together) > 12
    for name, value in together.items():
        assert torch.equal(value, alone[name]), name


def grid() -> TileGrid:
    config = FloatingPointRPUConfig()
    config.mapping.max_input_size = 2
    made = AnalogLinear(4, 3, rpu_config=config).analog_module
    assert isinstance(made, TileGrid)
    return made


def test_a_grid_is_one_node():
    y = grid()(torch.randn(2, 4))
    assert type(y.grad_fn).__name__ == "GridProductBackward"


def test_hooks_of_tiles_are_called():
    made, seen = grid(), []
    handle = made.tiles[1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    x = torch.randn(2, 4)
    hooked = made(x)
    assert seen == [(2, 3)]
    handle.remove()
    assert torch.equal(made(x), hooked)
    assert len(seen) == 1


def test_frozen_tiles_record_nothing():
    made = grid()
    made.tiles[0].analog_ctx.requires_grad_(False)
    made(torch.randn(2, 4)).sum().backward()
    assert [len(tile._uses) for tile in made.tiles] == [0, 1]


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match="its last axis needs 4 entries"):
        grid()(torch.randn(2, 5))
    with pytest.raises(ShapeError, match=r"convert it with \.float\(\)"):
        grid()(torch.randn(2, 4, dtype=torch.float64))
