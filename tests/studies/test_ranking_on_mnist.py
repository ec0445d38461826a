"""Training on ReRAM arrays ranks the algorithms: SGD at chance, Tiki-Taka poor, the others well above."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from sim.configs import build_config
from sim.presets import ReRamArrayOMPresetDevice
from studies.data import Images, load
from studies.models import network
from studies.task import Control
from studies.train import part_of, train_replicas

MNIST = Path(os.environ.get("FITLAB_SHARED", Path(__file__).parents[2].parent / "shared")) / "data" / "mnist"
SEEDS = 3


def pooled(x: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: a quarter of the columns, so that transfers come round four times as often."""
    return np.ascontiguousarray(x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(x), -1))


@pytest.fixture(scope="module")
def images() -> Images:
    if not MNIST.is_dir():
        pytest.skip(f"MNIST is not here ({MNIST}); set FITLAB_SHARED to the folder that holds data/mnist")
    part = part_of(load("mnist", str(MNIST)), {"images": 3000})
    test = {"test_x": pooled(part.test_x[:1000]), "test_y": part.test_y[:1000]}
    return dataclasses.replace(part, train_x=pooled(part.train_x), shape=(1, 14, 14), **test)


def test_ranking(images: Images) -> None:
    accuracy, error = {}, {}
    for algorithm in ("sgd", "tiki-taka", "mp", "ttv2", "c-ttv2", "agad"):
        config = build_config(algorithm, ReRamArrayOMPresetDevice())
        model = network("mlp3", images, [config] * SEEDS, list(range(SEEDS)), {"hidden1": 64, "hidden2": 32})
        orders = list(range(SEEDS))
        results = train_replicas(model, images, [0.1] * SEEDS, orders, epochs=5, batch=10, control=Control())
        found = [r["accuracy"] for r in results]
        accuracy[algorithm], error[algorithm] = np.mean(found), np.std(found, ddof=1) / np.sqrt(SEEDS)
    poor, good = ("sgd", "tiki-taka"), ("mp", "ttv2", "c-ttv2", "agad")
    told = {name: f"{accuracy[name]:.3f} +- {error[name]:.3f}" for name in accuracy}
    assert all(accuracy[name] < 0.3 for name in poor), told
    assert all(accuracy[name] > 0.35 for name in good), told
    for better in good:
        for worse in poor:
            combined = np.hypot(error[better], error[worse])
            assert accuracy[better] - accuracy[worse] > 3 * combined, told
