"""Conductance converters: check values, maps forth and back, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sim.errors import ConfigError
from sim.inference import (
    BaseConductanceConverter,
    CustomPairConductanceConverter,
    DualPairConductanceConverter,
    FusionConductanceConverter,
    NPairConductanceConverter,
    SingleDeviceConductanceConverter,
    SinglePairConductanceConverter,
)
from sim.settings import from_toml, to_toml

W = torch.tensor([[-1.0, -0.4, 0.0, 0.1, 0.5]])

CHECK = [
    (SinglePairConductanceConverter(g_max=25.0, g_min=1.0), [[1, 1, 1, 3.4, 13], [25, 10.6, 1, 1, 1]]),
    (
        NPairConductanceConverter(f_lst=[1.0, 2.0]),
        [[0, 0, 0, 7.5, 25], [25, 25, 0, 0, 0], [0, 0, 0, 0, 6.25], [25, 2.5, 0, 0, 0]],
    ),
    (
        DualPairConductanceConverter(f_lst=[1.0, 3.0], g_max=15.0, g_min=0.1),
        [[0.1, 0.1, 0.1, 6.06, 15], [15, 15, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 5.06667], [15, 3.08, 0.1, 0.1, 0.1]],
    ),
    (SingleDeviceConductanceConverter(), [[9, 40.68, 61.8, 67.08, 88.2]]),
]
SYMMETRIC = CustomPairConductanceConverter(
    f_lst=[1.0, 3.0],
    g_lst=[[0, 0, 0, 5, 10], [10, 5, 0, 0, 0], [1, 1, 1, 6, 11], [11, 6, 1, 1, 1]],
    g_min=0.0,
)
ALL = [converter for converter, _ in CHECK] + [SYMMETRIC, FusionConductanceConverter(), CustomPairConductanceConverter()]


@pytest.mark.parametrize(("converter", "expected"), CHECK)
def test_check_values(converter: BaseConductanceConverter, expected: Any) -> None:
    conductances, _ = converter.convert_to_conductances(W)
    np.testing.assert_allclose(np.concatenate(conductances), expected, atol=1e-5)


@pytest.mark.parametrize("converter", ALL)
@pytest.mark.parametrize("shape", [(1, 5), (7, 4)])
def test_there_and_back(converter: BaseConductanceConverter, shape: tuple[int, int]) -> None:
    w = torch.from_numpy(np.random.default_rng(0).uniform(-0.7, 0.7, shape).astype(np.float32))
    conductances, params = converter.convert_to_conductances(w)
    assert all(g.shape == w.shape for g in conductances)
    low, high = getattr(converter, "g_min", 0.0), converter.g_max  # type: ignore[attr-defined]
    assert all(float(g.min()) >= low - 1e-5 and float(g.max()) <= high * (1 + 1e-6) for g in conductances)
    torch.testing.assert_close(converter.convert_back_to_weights(conductances, params), w, atol=2e-6, rtol=1e-5)
    assert from_toml(to_toml(converter), BaseConductanceConverter) == converter


@pytest.mark.parametrize("converter", ALL)
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_matrices_have_conductances(converter: BaseConductanceConverter, value: float) -> None:
    # FIX 8: no division by zero
    w = torch.full((2, 3), value)
    conductances, params = converter.convert_to_conductances(w)
    torch.testing.assert_close(converter.convert_back_to_weights(conductances, params), w, atol=1e-6, rtol=1e-4)


def test_custom_tables_are_interpolated() -> None:
    conductances, params = SYMMETRIC.convert_to_conductances(torch.tensor([[-1.0, -0.25, 0.75, 1.0]]))
    np.testing.assert_allclose(conductances[0], [[0, 0, 7.5, 10]], atol=1e-5)
    np.testing.assert_allclose(conductances[3], [[11, 3.5, 1, 1]], atol=1e-5)
    assert params["scale"] == pytest.approx(10 + 3 * 10)


def test_a_row_of_the_fusion_chip_fits_its_original() -> None:
    w = torch.tensor([[1.0, 0.2], [0.3, -0.4]])
    converter = FusionConductanceConverter()
    (g,), params = converter.convert_to_conductances(w)
    np.testing.assert_allclose(g, [[40, 8], [30, 40]], atol=1e-5)
    (h,), _ = converter.convert_to_conductances(torch.tensor([[-0.5, 0.6], [0.7, -1.0]]))
    np.testing.assert_allclose(h, [[33.33333, 40], [28, 40]], atol=1e-5)
    # A gain of the chip in one row drops out.
    torch.testing.assert_close(converter.convert_back_to_weights([g * torch.tensor([[0.5], [2.0]])], params), w)


def test_the_difference_of_single_pairs_with_an_offset() -> None:
    (plus, minus), params = SinglePairConductanceConverter(g_max=1.0).convert_to_conductances(
        torch.tensor([[1.0, 0.2], [0.3, -0.4]])
    )
    np.testing.assert_allclose(plus.reshape(-1), [1, 0.2, 0.3, 0], atol=1e-6)
    np.testing.assert_allclose(minus.reshape(-1), [0, 0, 0, 0.4], atol=1e-6)
    assert params["scale"] == 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SinglePairConductanceConverter(g_max=-1.0), "g_max"),
        (lambda: SinglePairConductanceConverter(g_min=-1.0), "g_min"),
        (lambda: SinglePairConductanceConverter(g_max=5.0, g_min=5.0), "g_min below"),
        (lambda: NPairConductanceConverter(f_lst=[1.0, 0.0]), "f_lst"),  # FIX 12
        (lambda: NPairConductanceConverter(f_lst=[1.0, -2.0]), "f_lst"),
        (lambda: NPairConductanceConverter(f_lst=[]), "f_lst"),
        (lambda: NPairConductanceConverter(f_lst=3.0), "f_lst"),
        (lambda: DualPairConductanceConverter(f_lst=[1.0, 2.0, 3.0]), "two numbers"),
        (lambda: CustomPairConductanceConverter(f_lst=[1.0], g_lst=[[0, 1]]), "two for each"),
        (lambda: CustomPairConductanceConverter(f_lst=[1.0], g_lst=[[0, 1], [0, 1, 2]]), "one length"),
        (lambda: CustomPairConductanceConverter(f_lst=[1.0], g_lst=[[0, 0, 0, 1, 9], [9, 1, 0, 0, 0]]), "not invertible"),
        (lambda: FusionConductanceConverter(g_max=9), "g_max"),
        (lambda: FusionConductanceConverter(g_max=41), "g_max"),
        (lambda: SinglePairConductanceConverter().convert_back_to_weights([W], {"scale": 1.0}), "2 matrices"),
    ],
)
def test_bad_converters_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_the_invertibility_test_can_be_left_out() -> None:
    crooked = CustomPairConductanceConverter(
        f_lst=[1.0], g_lst=[[0, 0, 0, 1, 9], [9, 1, 0, 0, 0]], invertibility_test=False, g_max=20.0
    )
    assert crooked.g_max == 20.0
    crooked.g_lst = [[0, 0, 0, 2, 9], [9, 2, 0, 0, 0]]
    assert crooked.g_lst[0].values[3] == 2.0
