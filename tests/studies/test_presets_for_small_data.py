"""Presets for small data train where the settings of `build_config` do not."""

from __future__ import annotations

import numpy as np
import pytest

from sim import presets
from sim.configs import RPUConfig, SoftBoundsReferenceDevice, build_config
from studies.data import load
from studies.models import network
from studies.task import Control
from studies.train import train_replicas

SEEDS = [7, 8]


def accuracy(config: RPUConfig) -> float:
    """On the digits after 6 epochs, mean of the seeds."""
    images = load("digits", None)
    model = network("mlp", images, [config] * len(SEEDS), SEEDS, {"hidden": 48})
    results = train_replicas(model, images, [0.1] * len(SEEDS), SEEDS, epochs=6, batch=10, control=Control())
    return float(np.mean([r["accuracy"] for r in results]))


@pytest.mark.parametrize(("preset", "algorithm"), [("ChoppedTTv2SmallDataPreset", "c-ttv2"), ("AGADSmallDataPreset", "agad")])
def test_they_train_where_the_defaults_do_not(preset: str, algorithm: str) -> None:
    # 397 test images: the standard error of an accuracy is 2.5 points at most; chance is 10 %.
    assert accuracy(build_config(algorithm, SoftBoundsReferenceDevice)) < 0.3
    assert accuracy(presets.get(preset)()) > 0.8
