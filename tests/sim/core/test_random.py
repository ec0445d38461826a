"""Random numbers: Philox's published answers, and the law of the normals made from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sim import _core, ops
from tests.sim.isas import on_every_isa

KEY = 0x1234_5678_9ABC_DEF0


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
        ([0] * 2, [0], [0xFF1DAE59, 0x6CD10DF2]),
        ([0xFFFFFFFF] * 2, [0xFFFFFFFF], [0x2C3F628B, 0xAB4FD7AD]),
        ([0x243F6A88, 0x85A308D3], [0x13198A2E], [0xDD7CE038, 0xF62A4C12]),
    ],
)
def test_philox_known_answers(counter: list[int], key: list[int], answer: list[int]) -> None:
    # Random123, file kat_vectors
    assert _core.philox(counter, key) == answer


@pytest.fixture(scope="module")
def normals() -> np.ndarray:
    return ops.normal_field(KEY, (10_000_000,)).numpy().astype(np.float64)


def test_normals_follow_the_normal_law(normals: np.ndarray) -> None:
    assert stats.kstest(normals, "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("order", "mean", "variance"), [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (5, 0, 945), (6, 15, 10170)]
)
def test_moments(normals: np.ndarray, order: int, mean: float, variance: float) -> None:
    error = np.sqrt(variance / normals.size)  # of the mean of z^order
    assert abs((normals**order).mean() - mean) < 4.5 * error


@pytest.mark.parametrize("threshold", [3.0, 4.0, 4.5])
def test_tails(normals: np.ndarray, threshold: float) -> None:
    for sign in (1, -1):
        expected = stats.norm.sf(threshold) * normals.size
        assert abs((sign * normals > threshold).sum() - expected) < 4.5 * np.sqrt(expected)


def test_tails_reach_beyond_five_sigma() -> None:
    total = sum(int((ops.normal_field(KEY, (10_000_000,), step).abs() > 5.0).sum()) for step in range(1, 5))
    expected = 2 * stats.norm.sf(5.0) * 4e7
    assert abs(total - expected) < 4.5 * np.sqrt(expected)


def correlation_error(n: int) -> float:
    return 4.5 / np.sqrt(n)


@pytest.mark.parametrize("lag", [1, 2, 3, 15, 16, 17, 32, 48, 64])
def test_neighbouring_elements_are_independent(normals: np.ndarray, lag: int) -> None:
    for power in (1, 2):
        z = stats.zscore(normals[:1_000_000] ** power)
        assert abs((z[lag:] * z[:-lag]).mean()) < correlation_error(z.size)


def test_steps_and_streams_and_keys_are_independent() -> None:
    n = 1_000_000
    base = ops.normal_field(KEY, (n,)).numpy()
    others = [
        ops.normal_field(KEY, (n,), step=1),
        ops.normal_field(KEY, (n,), stream=1),
        ops.normal_field(KEY + 1, (n,)),
        ops.normal_field(KEY ^ (1 << 63), (n,)),
    ]
    for other in others:
        for power in (1, 2):
            r = np.corrcoef(base**power, other.numpy() ** power)[0, 1]
            assert abs(r) < correlation_error(n)


def test_uniforms() -> None:
    u = ops.uniform_field(KEY, (1_000_000,)).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_a_field_is_a_function_of_key_and_element() -> None:
    long = ops.normal_field(KEY, (1000,))
    assert torch.equal(ops.normal_field(KEY, (130,)), long[:130])
    keys = ops.key_tensor_of([3, KEY, 5])
    assert torch.equal(ops.normal_field(keys, (1000,))[1], long)


def test_every_instruction_set_gives_the_same_bits() -> None:
    first, *others = on_every_isa(lambda: ops.normal_field(KEY, (100_003,))).values()
    assert all(torch.equal(first, f) for f in others)


def test_sigmoid_is_accurate_and_blind_to_position() -> None:
    x = torch.linspace(-30, 30, 100_003)
    y = ops.sigmoid(x)
    exact = torch.sigmoid(x.double())
    assert float(((y.double() - exact) / exact).abs().max()) < 4e-7
    for start in (1, 7, 33):
        assert torch.equal(ops.sigmoid(x[start : start + 101].clone()), y[start : start + 101])
