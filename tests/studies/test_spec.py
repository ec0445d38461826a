"""Thresholds: exact cases, bounds, and the coverage of the interval by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from studies.spec import crossing, mean_interval, normalise, threshold

LEVELS = np.geomspace(0.01, 10, 7)


def rows(mean, replicates=3, noise=0.0, seed=0):
    scatter = np.random.default_rng(seed).normal(0, noise, (len(mean), replicates)) if noise else 0.0
    return np.repeat(np.asarray(mean, float)[:, None], replicates, axis=1) + scatter


def test_straight_line_is_crossed_where_it_is():
    found = threshold(np.array([0.0, 1.0, 2.0]), rows([1.0, 0.9, 0.8]), level=0.86, scale="linear")
    assert found.value == pytest.approx(1.4)
    assert found.low == pytest.approx(1.4)
    assert found.high == pytest.approx(1.4)
    assert found.disorder == 0
    assert found.first == pytest.approx(1.4)


def test_logarithmic_scale_interpolates_the_logarithm():
    found = threshold(np.array([1.0, 10.0, 100.0]), rows([1.0, 0.9, 0.8]), level=0.85, scale="log")
    assert found.value == pytest.approx(10**1.5)


def test_order_of_levels_does_not_matter():
    levels, ratios = np.array([2.0, 0.0, 1.0]), rows([0.8, 1.0, 0.9])
    assert threshold(levels, ratios, level=0.86, scale="linear").value == pytest.approx(1.4)


def test_higher_is_better_mirrors_lower_is_better():
    mean = 1 / (1 + np.exp(2 * np.log(LEVELS)))
    ratios = rows(mean, 4, 0.003, 1)
    low = threshold(LEVELS, ratios, level=0.8, better="lower")
    high = threshold(1 / LEVELS, ratios, level=0.8, better="higher")
    assert high.value == pytest.approx(1 / low.value)
    assert high.low == pytest.approx(1 / low.high)
    assert high.high == pytest.approx(1 / low.low)


@pytest.mark.parametrize(
    ("mean", "better", "bound", "passes"),
    [
        ([1, 1, 0.995], "lower", ">", True),
        ([0.9, 0.8, 0.7], "lower", "<", False),
        ([0.995, 1, 1], "higher", "<", True),
        ([0.7, 0.8, 0.9], "higher", ">", False),
    ],
)
def test_crossing_outside_the_range_is_a_bound(mean, better, bound, passes):
    found = threshold(np.array([1.0, 2, 4]), rows(mean, 4, 1e-4), better=better)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.bound == bound
    assert found.passes is passes
    assert found.certain


def test_bound_near_the_level_is_not_certain():
    found = threshold(np.array([1.0, 2, 4]), rows([1.0, 1.0, 0.992], 3, 0.01, 5))
    assert found.value is not None or not found.certain


def test_one_replicate_has_a_crossing_but_no_interval():
    found = threshold(np.array([0.0, 1, 2]), rows([1, 0.9, 0.8], 1), level=0.86, scale="linear")
    assert found.value == pytest.approx(1.4)
    assert (found.low, found.high) == (None, None)


def test_interval_that_leaves_the_range_is_open():
    ratios = np.array([[1.0, 1.0, 1.0], [0.999, 0.985, 0.992], [0.99, 0.97, 0.995]])
    found = threshold(np.array([1.0, 2, 4]), ratios, level=0.99)
    assert found.value is not None
    assert found.high is None


def test_missing_results_are_left_out_and_weighted():
    ratios = rows([1.0, 0.9, 0.8], 3)
    ratios[1, 2] = np.nan
    ratios[2, :] = np.nan
    found = threshold(np.array([0.0, 1, 2]), ratios, level=0.95, scale="linear")
    assert found.value == pytest.approx(0.5)
    assert found.replicates == 3
    assert found.levels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="no point has a result"):
        threshold(LEVELS, np.full((7, 3), np.nan))


def test_disorder_is_told():
    ratios = rows([1.0, 0.95, 1.0, 0.9], 5, 0.001, 2)
    found = threshold(np.arange(4.0), ratios, level=0.97, scale="linear")
    assert found.disorder > 3
    assert found.first < 1 < found.value


def test_crossing_of_a_plateau_at_the_level_is_its_end():
    assert crossing(np.arange(4.0), np.array([1.0, 0.9, 0.9, 0.5]), 0.9) == pytest.approx(2.0)
    assert crossing(np.arange(2.0), np.array([0.5, 0.4]), 0.9) == -math.inf
    assert crossing(np.arange(2.0), np.array([1.0, 0.95]), 0.9) == math.inf


def test_normalisation():
    assert normalise(0.5, 1.0, None) == 0.5
    assert normalise(0.55, 1.0, 0.1) == pytest.approx(0.5)


def test_mean_interval_is_students():
    low, high = mean_interval(np.array([1.0, 2.0, 3.0, np.nan]))
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert mean_interval(np.array([1.0])) == (-math.inf, math.inf)


@pytest.mark.parametrize(("replicates", "points"), [(3, 13), (5, 7), (5, 13), (10, 9)])
def test_interval_covers_the_truth(replicates, points):
    """Nominal 95 %: a sigmoid, binomial test noise of 10,000 images, seeds that shift the whole curve.

    With 200 trials the count of an exact interval has a standard error of 1.5 %; four of them below is refused.
    """
    levels = np.geomspace(1e-3, 1, points)

    def curve(log_level):
        return 0.1 + 0.875 / (1 + np.exp(2.2 * (log_level - math.log(0.1))))

    digital = curve(-20.0)
    fine = np.linspace(math.log(1e-3), 0, 40001)
    truth = math.exp(fine[np.flatnonzero(curve(fine) / digital >= 0.99)[-1]])
    rng = np.random.default_rng(points * 100 + replicates)
    trials, covered = 200, 0
    for _ in range(trials):
        shift = rng.normal(0, 0.1, replicates)
        accuracy = rng.binomial(10000, curve(np.log(levels)[:, None] - shift)) / 10000
        baseline = rng.binomial(10000, np.full(replicates, digital)) / 10000
        found = threshold(levels, accuracy / baseline)
        assert found.value is not None
        low = 0.0 if found.low is None else found.low
        high = math.inf if found.high is None else found.high
        covered += low <= truth <= high
    assert covered / trials >= 0.95 - 4 * 0.0154
