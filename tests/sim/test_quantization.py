"""Quantisers: levels, ranges, gradients (mapping_and_hwa.md, 16.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sim.configs import ActivationQuantParameter
from sim.quantization import Quantizer, calibrate_quantization_ranges

X = torch.tensor([[-1.0, -0.3, 0.0, 0.2, 0.7, 1.27]])


def of(n_bits: int = 8, groups: int = 1, learned: bool = False, after: int = 0, **fields: Any) -> Quantizer:
    return Quantizer(groups, ActivationQuantParameter(n_bits=n_bits, **fields), learned, after)


def levels(x: Tensor, n: int, symmetric: bool) -> Tensor:
    """Written from the specification."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 1e-8)
    if symmetric:
        bottom, top = (-(2 ** (n - 1)), 2 ** (n - 1) - 1) if low < 0 else (0, 2**n - 1)
        step, zero = max(-low, high) / top, 0
    else:
        bottom, top = 0, 2**n - 1
        step = (high - low) / top
        zero = round(-low / step)
    return step * ((torch.round(x.double() / step) + zero).clamp(bottom, top) - zero)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("n_bits", [2, 4, 8])
@pytest.mark.parametrize("x", [X, X.abs(), -X.abs(), torch.zeros(1, 3)])
def test_levels(n_bits: int, symmetric: bool, x: Tensor) -> None:
    found = of(n_bits, symmetric=symmetric)(x)
    torch.testing.assert_close(found.double(), levels(x, n_bits, symmetric), atol=1e-6, rtol=1e-5)
    assert len(found.unique()) <= 2**n_bits


def test_estimators() -> None:
    batches = [X, 0.5 * X, 2.0 * X]

    def ends(**fields: Any) -> tuple[float, float]:
        quantizer = of(**fields)
        for x in batches:
            quantizer(x)
        return float(quantizer.low), float(quantizer.high)

    assert ends(range_estimator="CURRENT_MINMAX") == pytest.approx((-2.0, 2.54))
    assert ends(range_estimator="ALL_MINMAX") == pytest.approx((-2.0, 2.54))
    running = ((-1.0 * 0.9 - 0.5 * 0.1) * 0.9 - 2.0 * 0.1, (1.27 * 0.9 + 0.635 * 0.1) * 0.9 + 2.54 * 0.1)
    assert ends() == pytest.approx(running)
    assert ends(momentum=0.0) == pytest.approx((-2.0, 2.54))
    batches = [2.0 * X, X]
    assert ends(range_estimator="ALL_MINMAX") == pytest.approx((-2.0, 2.54))
    assert ends(range_estimator="CURRENT_MINMAX") == pytest.approx((-1.0, 1.27))


@pytest.mark.parametrize("groups", [1, 3])
def test_percentiles_have_two_sides(groups: int) -> None:
    # M24: for a tensor as for channels
    x = torch.randn(groups, 5000, generator=torch.Generator().manual_seed(0))
    quantizer = of(groups=groups, range_estimator="CURRENT_MINMAX", percentile=99.0)
    quantizer(x)
    np.testing.assert_allclose(quantizer.low[:, 0], np.quantile(x, 0.01, axis=1), rtol=1e-5)
    np.testing.assert_allclose(quantizer.high[:, 0], np.quantile(x, 0.99, axis=1), rtol=1e-5)


def test_searched_ranges_lose_less() -> None:
    x = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    x[0, 0] = 30.0  # an outlier
    errors = {}
    for kind in ("CURRENT_MINMAX", "MSE"):
        quantizer = of(4, range_estimator=kind)
        errors[kind] = float((quantizer(x) - x).pow(2).mean())
    assert errors["MSE"] < 0.5 * errors["CURRENT_MINMAX"]
    assert float(of(4, range_estimator="MSE", num_candidates=2)(x).sub(x).pow(2).mean()) > errors["MSE"]
    wide = of(8, range_estimator="MSE", num_candidates=10, range_margin=0.0, symmetric=False)
    wide(x)
    assert float(wide.high) <= 30.0
    logits = 4.0 * torch.randn(1, 50, 10, generator=torch.Generator().manual_seed(1))
    quantizer = of(3, range_estimator="CROSS_ENTROPY")
    found = quantizer(logits)
    plain = of(3, range_estimator="CURRENT_MINMAX")(logits)

    def distance(y: Tensor) -> float:
        return float(-(logits.softmax(-1) * y.log_softmax(-1)).sum())

    assert distance(found) <= distance(plain)


def test_states() -> None:
    quantizer = of(range_estimator="CURRENT_MINMAX")
    quantizer(X)
    quantizer.eval()
    quantizer(3.0 * X)
    assert float(quantizer.high) == pytest.approx(1.27)  # fixed in evaluation
    fresh = of(range_estimator="CURRENT_MINMAX").eval()
    fresh(X)  # nothing is known: from this batch
    fresh(3.0 * X)
    assert float(fresh.high) == pytest.approx(1.27)
    model = nn.Sequential(fresh)
    calibrate_quantization_ranges(model, [X, 2.0 * X, 5.0 * X], max_num_batches=2)
    assert float(fresh.high) == pytest.approx(2.54)
    model.train()
    model(9.0 * X)
    assert float(fresh.high) == pytest.approx(2.54)  # fixed for good


def test_the_gradient_passes_the_rounding_and_stops_at_the_clamp() -> None:
    quantizer = of(4, symmetric=True)
    quantizer(X)
    quantizer.eval()
    x = torch.tensor([[-5.0, -0.4, 0.1, 5.0]], requires_grad=True)
    quantizer(x).backward(torch.ones(1, 4))
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize("symmetric", [True, False])
def test_learned_steps(symmetric: bool) -> None:
    quantizer = of(4, learned=True, after=2, symmetric=symmetric, range_estimator="CURRENT_MINMAX")
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.001)
    for k in range(4):
        before = quantizer.step.detach().clone()  # type: ignore[union-attr]
        y = quantizer((X * (1.0 + k)).requires_grad_())
        optimizer.zero_grad()
        (y - X).pow(2).sum().backward()
        if k < 2:  # estimated
            expected = 1.27 * (1 + k) / 7 if symmetric else 2.27 * (1 + k) / 15
            assert float(quantizer.step.detach()) == pytest.approx(expected)  # type: ignore[union-attr]
            optimizer.zero_grad()
        optimizer.step()
        if k >= 2:
            assert not torch.equal(quantizer.step.detach(), before)  # type: ignore[union-attr]
            assert float(quantizer.high) == pytest.approx(1.27 * 2)


def test_groups_have_ranges_of_their_own() -> None:
    both = of(3, groups=2)(torch.cat([X, -4.0 * X.abs()]))
    torch.testing.assert_close(both[:1], of(3)(X))
    torch.testing.assert_close(both[1:], of(3)(-4.0 * X.abs()))
    mixed = of(3, groups=2)(torch.cat([X, X.abs()]))
    torch.testing.assert_close(mixed[1:], of(3)(X.abs()))  # unsigned, whatever the other one is
