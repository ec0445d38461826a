"""Exact currents against a sparse solution of Kirchhoff's laws, node by node."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from sim.circuit.nodal import NodalArray, nodal_weights
from sim.circuit.report import ir_drop_report
from sim.errors import FitlabError


def kirchhoff(g: np.ndarray, row_wire: float, column_wire: float) -> np.ndarray:
    """Current of each column for 1 V on each row, from all nodes at once."""
    out, n_in = g.shape
    nodes, inputs = 2 * out * n_in, np.zeros((2 * out * n_in, n_in))
    matrix = sparse.lil_matrix((nodes, nodes))

    def join(a: int, b: int | None, conductance: float) -> None:
        matrix[a, a] += conductance
        if b is not None:
            matrix[b, b] += conductance
            matrix[a, b] -= conductance
            matrix[b, a] -= conductance

    for j in range(n_in):
        for i in range(out):
            row, column = j * out + i, out * n_in + j * out + i
            join(row, column, g[i, j])
            join(row, row - 1 if i else None, 1 / row_wire)
            join(column, column - out if j else None, 1 / column_wire)
        inputs[j * out, j] = 1 / row_wire
    voltages = splu(matrix.tocsc()).solve(inputs)
    return voltages[out * n_in : out * n_in + out] / column_wire


@pytest.mark.parametrize("wires", [(1.0, 1.0), (100.0, 3.0), (0.35, 500.0)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (7, 12), (16, 16), (20, 9), (3, 140)])
def test_currents_are_exact(shape: tuple[int, int], wires: tuple[float, float]) -> None:
    g = np.random.default_rng(0).uniform(0, 1e-4, shape)
    g[0, 0] = 0.0
    expected = kirchhoff(g, *wires)
    np.testing.assert_allclose(NodalArray(torch.tensor(g), *wires).operator, expected, atol=1e-11 * np.abs(expected).max())


def test_chunks_meet() -> None:
    g = np.random.default_rng(0).uniform(0, 1e-4, (131, 3))
    expected = kirchhoff(g, 2.0, 1.0)
    np.testing.assert_allclose(NodalArray(torch.tensor(g), 2.0, 1.0).operator, expected, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (9, 4)])
def test_wires_of_one_side_only(shape: tuple[int, int]) -> None:
    g = np.random.default_rng(0).uniform(0, 1e-4, shape)
    for wires, near in (((0.0, 50.0), (1e-7, 50.0)), ((50.0, 0.0), (50.0, 1e-7))):
        np.testing.assert_allclose(NodalArray(torch.tensor(g), *wires).operator, kirchhoff(g, *near), rtol=1e-6)
    np.testing.assert_array_equal(NodalArray(torch.tensor(g), 0.0, 0.0).operator, g)


def test_many_vectors_and_one_column_by_hand() -> None:
    array = NodalArray(torch.tensor([[1e-3, 2e-3]]), 0.0, 100.0)
    # near cell 1 mS, far cell 2 mS: the near node u has (1 - u) 1e-3 + i = u / 100, i = (v - u) / (100 + 500)
    for v in ([1.0, 0.0], [0.0, 1.0], [0.5, -0.2]):
        u = (v[0] * 1e-3 + v[1] / 600) / (1e-3 + 1 / 600 + 1 / 100)
        assert float(array.currents(torch.tensor([v]))[0, 0]) == pytest.approx(u / 100, rel=1e-6)
    assert array.currents(torch.zeros(2, 7, 2)).shape == (2, 7, 1)


def test_weights_fall_with_the_distance() -> None:
    seen = nodal_weights(torch.full((32, 32), -0.5), 1e-4, 1.0, 1.0)
    assert bool((seen.diff(dim=0) > 0).all())
    assert bool((seen.diff(dim=1) > 0).all())
    assert bool((seen < 0).all())


def test_report_of_the_approximations() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (0.3 * torch.randn(64, 64, generator=generator)).clamp(-1, 1)
    x = torch.rand(50, 64, generator=generator) * 2 - 1
    report = ir_drop_report(weight, x, g_max=5e-6, row_wire=0.0, column_wire=20.0)
    # With wires in the columns only: lumped segments are near the exact drop; the quadratic profile has the right size.
    assert report.time_stepped < 0.3 * report.paired_drop
    assert 0.01 < report.drop < 0.2
    assert report.quadratic < 2 * report.drop
    finer = ir_drop_report(weight, x, g_max=5e-6, row_wire=0.0, column_wire=20.0, segments=64)
    assert finer.time_stepped < report.time_stepped
    assert ir_drop_report(weight, x, row_wire=1e-6, column_wire=1e-6).quadratic < 1e-6


@pytest.mark.parametrize(
    "call",
    [
        lambda: NodalArray(torch.zeros(3), 1.0, 1.0),
        lambda: NodalArray(-torch.ones(3, 3), 1.0, 1.0),
        lambda: NodalArray(torch.ones(3, 3), -1.0, 1.0),
        lambda: NodalArray(torch.ones(3, 3), 1.0, float("inf")),
        lambda: ir_drop_report(torch.ones(3, 4), torch.ones(2, 3)),
        lambda: ir_drop_report(2 * torch.ones(3, 8), torch.ones(2, 8)),
        lambda: ir_drop_report(torch.ones(3, 9), torch.ones(2, 9)),
    ],
)
def test_what_is_no_array_is_refused(call: object) -> None:
    with pytest.raises(FitlabError):
        call()  # type: ignore[operator]
