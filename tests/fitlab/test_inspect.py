"""The inside of a tile, labelled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fitlab.overview.inspect import inspect
from sim.configs import build_config
from sim.tiles import AnalogTile

COMMON = {"weight", "learning_rate", "dwmin_up_0"}
WANTED = {
    "tiki-taka": {"fast", "slow", "period", "next_slice"},
    "ttv2": {"fast", "slow", "buffer", "chopper_in", "fast_learning_rate"},
    "agad": {"buffer", "running_mean", "reference", "chopper_out", "sweeps"},
    "mp": {"digital", "unit", "batches", "row"},
    "sgd": set(),
}


@pytest.mark.parametrize("algorithm", WANTED)
def test_state_of_each_algorithm(algorithm: str) -> None:
    tile = AnalogTile(3, 4, build_config(algorithm), replicas=2, seeds=[1, 2], stream="t")
    tile.set_learning_rate([0.1, 0.2])
    tile.update(torch.rand(10, 4), torch.rand(10, 3))
    seen = inspect(tile)
    common = {name.removesuffix("_0") if algorithm in ("sgd", "mp") else name for name in COMMON}
    assert WANTED[algorithm] | common <= set(seen)
    assert seen.weight.dims == ("replica", "out", "in")
    np.testing.assert_array_equal(seen.weight, tile.get_weights()[0])
    np.testing.assert_allclose(seen.learning_rate, [0.1, 0.2])
    if "fast" in seen:
        np.testing.assert_array_equal(seen.slow, seen.weight)
        np.testing.assert_array_equal(seen.fast, tile.hidden_parameters()["hidden_weights_0"])
        assert set(np.unique(seen.chopper_in)) <= {-1.0, 1.0}
    seen["weight"][:] = 9.0
    assert float(tile.get_weights()[0].max()) < 9.0, "a copy"
