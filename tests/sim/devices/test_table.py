"""Tables of measured steps: what is drawn, and how a table is made of data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim.devices import TableDevice
from sim.errors import ConfigError
from tests.sim.arrays.pulses import array_of, pulse

STILL = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}


def measured(n: int = 40_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skewed steps that shrink towards the bounds, in siemens: 1 uS to 5 uS."""
    rng = np.random.default_rng(seed)
    sign = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    g = rng.uniform(1e-6, 5e-6, n)
    fraction = (g - 1e-6) / 4e-6
    size = np.where(sign > 0, 4e-8 * (1.2 - fraction), 6e-8 * (0.2 + fraction))
    return g, sign * size * rng.gamma(4.0, 0.25, n), sign  # mean 1, variance 1/4, skewness 1


def drawn(device: TableDevice, w: float, up: bool, n: int = 40_000) -> np.ndarray:
    array = array_of(device, n)
    array.set(torch.full((1, 1, n), w))
    pulse(array, up)
    return (array.read()[0, 0].double().numpy() - np.float32(w)) * (1 if up else -1)


@pytest.mark.parametrize("w", [-0.6, 0.0, 0.55])
@pytest.mark.parametrize("up", [True, False])
def test_a_device_made_of_data_draws_their_distribution(w: float, up: bool) -> None:
    n = 40_000
    device = TableDevice.from_data(*measured(), rows=21)
    fraction = (w + 1) / 2
    mean = 0.5 * (0.04 * (1.2 - fraction) if up else 0.06 * (0.2 + fraction))  # 4 uS are 2 in weight
    change = drawn(device, w, up) / mean
    # About 2,000 measured steps enter a row: their sampling error dominates.
    assert change.mean() == pytest.approx(1.0, abs=5 * 0.5 / np.sqrt(2000))
    assert change.std() == pytest.approx(0.5, abs=5 * 0.5 * np.sqrt((4.5 - 1) / 4 / 2000))
    skewness = ((change - change.mean()) ** 3).mean() / change.std() ** 3
    assert skewness == pytest.approx(1.0, abs=0.5)
    for q in (0.1, 0.5, 0.9):
        exact = np.quantile(np.random.default_rng(1).gamma(4.0, 0.25, 400_000), q)
        assert np.quantile(change, q) == pytest.approx(exact, abs=0.09)
    assert len(change) == n


def test_without_noise_it_follows_the_mean() -> None:
    device = TableDevice.from_data(*measured(), rows=21, noise=False)
    change = drawn(device, 0.0, True, 50)
    assert np.ptp(change) == 0
    assert change[0] == pytest.approx(0.5 * 0.04 * 0.7, rel=0.06)
    noisy = TableDevice.from_data(*measured(), rows=21)
    noisy.dw_min_std = 0.0
    assert drawn(noisy, 0.0, True, 50) == pytest.approx(change, rel=0.01)


def test_noise_scales_the_deviation_from_the_mean() -> None:
    n = 40_000
    table = [-1.0, 0.0, 0.5, 4.0]
    full = TableDevice(dw_min=0.01, rows=2, up=table * 2, down=table * 2, **STILL)
    one, half = drawn(full, 0.0, True), drawn(TableDevice.from_dict(full.to_dict() | {"dw_min_std": 0.5}), 0.0, True)
    assert half.mean() == pytest.approx(one.mean(), abs=5 * one.std() / np.sqrt(n))
    np.testing.assert_allclose(half - half.mean(), 0.5 * (one - one.mean()), atol=2e-4)  # the same normals
    assert full.granularity() == pytest.approx(one.mean(), rel=0.02)


def test_rows_and_columns_are_interpolated() -> None:
    """Against interpolation in NumPy, from the normals that the pulses draw."""
    n = 5000
    rng = np.random.default_rng(0)
    table = np.sort(rng.normal(1.0, 0.4, (4, 7)), axis=1)
    device = TableDevice(dw_min=0.01, rows=4, up=table.ravel(), down=(2 * table).ravel(), **STILL)
    straight = TableDevice(dw_min=0.01, rows=2, up=[-4.0, 4.0] * 2, down=[-4.0, 4.0] * 2, **STILL)
    for up in (True, False):
        xi = drawn(straight, 0.1, up, n) / 0.01
        at = (0.1 + 0.6) / 1.2 * 3
        k, t = int(at), at - int(at)
        columns = np.linspace(-4, 4, 7)
        rows = [np.interp(xi, columns, table[i]) for i in (k, k + 1)]
        expected = 0.01 * ((1 - t) * rows[0] + t * rows[1]) * (1 if up else 2)
        np.testing.assert_allclose(drawn(device, 0.1, up, n), expected, atol=3e-6)


def test_range_is_where_both_directions_have_data() -> None:
    g = np.concatenate([np.linspace(0, 8, 400), np.linspace(2, 10, 400)])
    sign = np.repeat([1.0, -1.0], 400)
    device = TableDevice.from_data(g, 0.1 * sign, sign, w_min=-0.5, w_max=0.25)
    assert (device.w_min, device.w_max) == (-0.5, 0.25)
    assert device.dw_min == pytest.approx(0.1 * 0.75 / 6)  # weight per unit: from 2 to 8
    assert np.allclose(device.up, 1.0)
    assert np.allclose(device.down, 1.0)
    assert device.w_max_dtod == 0.0
    assert TableDevice.from_data(g, 0.1 * sign, sign, dw_min_dtod=0.2).dw_min_dtod == 0.2


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"dg": np.zeros(3)}, "dg", "one length"),
        ({"g": np.r_[np.nan, np.ones(39)]}, "g", r"g\[0\] is not finite"),
        ({"direction": np.ones(40)}, "direction", "0 down pulses: give at least 10"),
        ({"g": np.r_[np.linspace(0, 1, 20), np.linspace(2, 3, 20)]}, "g", "no common range"),
        ({"dg": np.zeros(40)}, "dg", "0 on average"),
        ({"rows": 1}, "rows", "at least 2 rows"),
    ],
)
def test_data_that_make_no_table(change, field, words) -> None:
    sign = np.repeat([1.0, -1.0], 20)
    data = {"g": np.tile(np.linspace(0, 1, 20), 2), "dg": 0.01 * sign, "direction": sign}
    TableDevice.from_data(**data)
    with pytest.raises(ConfigError, match=words) as error:
        TableDevice.from_data(**data | change)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"rows": 2, "up": [1, 2, 3]}, "up", "which 2 rows do not divide"),
        ({"rows": 2, "up": [1, 2, 3, 2]}, "up.3", "up.3 = 2 is below 3"),
        ({"rows": 2, "up": [1, 2, 3, 4]}, "down", "down has 2 numbers and up 4"),
        ({"up": []}, "up", "has 0 numbers"),
    ],
)
def test_tables_that_are_none(fields, field, words) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        TableDevice(**fields)
    assert error.value.field == field
