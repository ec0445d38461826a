"""Simulation-based calibration of every model: ranks of the truth uniform, 95 % intervals cover (tests/fitlab/calibration.py)."""

import numpy as np
import pytest

from tests.fitlab.calibration import NAMES, calibration

REPEATS = 40


@pytest.mark.parametrize("name", NAMES)
def test_ranks_are_uniform_and_intervals_cover(name):
    """40 truths a model. One of its (up to 14) parameters falls below p = 0.0005 by chance once in 140 runs; all intervals
    together cover 90 to 98 % (binomial error of 200 or more: 1.5 %)."""
    found = calibration(name, REPEATS, first=1000)
    p, cover, lost = (np.array(v) for v in zip(*found.values(), strict=True))
    assert p.min() > 5e-4, found
    assert 0.90 <= cover.mean() <= 0.98, found
    assert cover.min() >= 0.95 - 4 * 0.0345, found
    assert lost.max() <= 0.1, found
