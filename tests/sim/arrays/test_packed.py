"""The kernels keep addresses of what was checked: a tensor that was replaced or moved, a copy and a pickle are noticed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch

from sim.configs import SingleRPUConfig, SoftBoundsReferenceDevice, build_config
from sim.ops import ShapeError
from sim.tiles import AnalogTile

X, D = torch.linspace(-1, 1, 12).reshape(2, 6), torch.linspace(1, -0.5, 10).reshape(2, 5)
CHANGES: dict[str, Callable[[AnalogTile], AnalogTile]] = {
    "copy": copy.deepcopy,
    "pickle": lambda tile: pickle.loads(pickle.dumps(tile)),
    "shared memory": lambda tile: tile.share_memory(),  # moves the storage of the same tensors
    "other tensors": lambda tile: tile._apply(torch.clone),
    "assigned state": lambda tile: (tile.load_state_dict(copy.deepcopy(tile.state_dict()), assign=True), tile)[1],
}


def made(algorithm: str) -> AnalogTile:
    config = (
        SingleRPUConfig(device=SoftBoundsReferenceDevice(write_noise_std=0.1)) if algorithm == "sgd" else build_config(algorithm)
    )
    return AnalogTile(5, 6, config, seeds=[3], stream="a")


@pytest.mark.parametrize("algorithm", ["sgd", "ttv2", "mp"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_moved_is_noticed(algorithm: str, change: Callable[[AnalogTile], AnalogTile]) -> None:
    plain, tile = made(algorithm), made(algorithm)
    for one in (plain, tile):
        one.update(X, D)
        one(X)
    before = {name: value.clone() for name, value in tile.state_dict().items() if isinstance(value, torch.Tensor)}
    moved = change(tile)
    for one in (plain, moved):
        one.update(X, D)
    assert torch.equal(plain(X), moved(X))
    expected, found = plain.state_dict(), moved.state_dict()
    for name, value in before.items():
        assert torch.equal(expected[name], found[name]), name
        assert moved is tile or torch.equal(value, tile.state_dict()[name]), name
    assert not torch.equal(before["array.steps"], found["array.steps"]) or algorithm == "mp"


def test_a_tensor_of_another_shape_is_refused_after_a_good_call() -> None:
    tile = made("sgd")
    tile.update(X, D)
    with pytest.raises(ShapeError, match=r"x has shape \(1, 2, 7\)"):
        tile.array.update(torch.zeros(1, 2, 7), D.unsqueeze(0), tile.learning_rate)
    with pytest.raises(ShapeError, match=r"d is torch\.float64"):
        tile.array.update(X.unsqueeze(0), D.unsqueeze(0).double(), tile.learning_rate)
    tile.array.weight.requires_grad_()
    with pytest.raises(ShapeError, match="weight requires a gradient"):
        tile.array.update(X.unsqueeze(0), D.unsqueeze(0), tile.learning_rate)
    tile.array.weight = tile.array.weight.detach()[:, :, :4].contiguous()
    with pytest.raises(ShapeError, match="fields has shape"):
        tile.array.update(X.unsqueeze(0), D.unsqueeze(0), tile.learning_rate)
