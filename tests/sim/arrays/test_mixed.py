"""Mixed precision: every field, and the corrections of compounds.md, section 13."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sim.configs import (
    ConstantStepDevice,
    DigitalRankUpdateRPUConfig,
    IOParameters,
    MixedPrecisionCompound,
    SoftBoundsDevice,
    UpdateParameters,
    VectorUnitCell,
)
from sim.tiles import AnalogTile

PLAIN = dict.fromkeys(("dw_min_dtod", "dw_min_std", "up_down_dtod", "w_max_dtod", "w_min_dtod"), 0.0)
G = 0.0625


def tile_of(out: int = 2, n_in: int = 2, update: UpdateParameters | None = None, device: Any = None, **fields: Any) -> AnalogTile:
    device = device or ConstantStepDevice(dw_min=G, w_max=10.0, w_min=-10.0, **PLAIN)
    perfect = IOParameters(is_perfect=True)
    cell = MixedPrecisionCompound(device=device, **fields)
    config = DigitalRankUpdateRPUConfig(device=cell, forward=perfect, backward=perfect, update=update or UpdateParameters())
    tile = AnalogTile(out, n_in, config, seeds=[3], stream="t")
    tile.set_weights(torch.zeros(out, n_in))
    tile.set_learning_rate(1.0)
    return tile


def give(tile: AnalogTile, gradient: Any) -> tuple[np.ndarray, np.ndarray]:
    """One mini-batch whose sum of outer products is the gradient; weights and digital matrix after it."""
    g = torch.tensor(gradient, dtype=torch.float32)
    tile.update(torch.eye(g.shape[1]), g.T.contiguous())
    return tile.get_weights()[0].numpy(), tile.hidden_parameters()["hidden_weights_chi"].numpy()


def test_whole_steps_are_written_and_the_rest_stays() -> None:
    weight, chi = give(tile_of(), [[2.5 * G, 0.5 * G], [-1.25 * G, 0.0]])
    np.testing.assert_allclose(weight, [[-2 * G, 0.0], [G, 0.0]], atol=1e-6)
    np.testing.assert_allclose(chi, [[0.5 * G, 0.5 * G], [-0.25 * G, 0.0]], atol=1e-8)


def test_periods_end_with_a_transfer() -> None:
    """FIX 17."""
    tile = tile_of(transfer_every=3)
    for n in range(1, 7):
        weight, chi = give(tile, np.full((2, 2), G))
        assert weight[0, 0] == pytest.approx(-G * (n - n % 3))
        assert chi[0, 0] == pytest.approx(G * (n % 3), abs=1e-7)
    assert np.abs(give(tile_of(transfer_every=0), np.full((2, 2), 9 * G))[0]).max() == 0


def test_rows_take_turns() -> None:
    tile = tile_of(4, 1, n_rows_per_transfer=3)
    for rows in ([0, 1, 2], [3, 0, 1], [2, 3, 0]):
        before = tile.get_weights()[0].numpy().copy()
        after = give(tile, np.full((4, 1), 20 * G))[0]
        assert set(np.flatnonzero(after[:, 0] != before[:, 0])) == set(rows)
    assert np.abs(give(tile_of(n_rows_per_transfer=0), np.full((2, 2), 9 * G))[0]).max() == 0


def test_random_rows() -> None:
    tile = tile_of(4, 1, n_rows_per_transfer=1, random_row=True)
    chosen = []
    for _ in range(400):
        before = tile.get_weights()[0].clone()
        give(tile, np.full((4, 1), 0.001))
        give(tile, np.full((4, 1), G * 40))
        chosen += np.flatnonzero((tile.get_weights()[0] != before).numpy()[:, 0]).tolist()
        tile.set_weights(torch.zeros(4, 1))
    share = np.bincount(chosen, minlength=4) / len(chosen)
    assert np.abs(share - 0.25).max() < 4.5 * np.sqrt(0.1875 / len(chosen))


def test_granularity_is_the_unit_of_the_matrix() -> None:
    weight, chi = give(tile_of(granularity=4 * G), [[5 * G, 3 * G], [0.0, -8 * G]])
    np.testing.assert_allclose(weight, [[-4 * G, 0.0], [0.0, 8 * G]], atol=1e-6)
    np.testing.assert_allclose(chi, [[G, 3 * G], [0.0, 0.0]], atol=1e-8)


def test_transfer_lr_scales_what_is_written() -> None:
    np.testing.assert_allclose(give(tile_of(transfer_lr=2.0), [[G, 0.0], [0.0, 0.0]])[0], [[-2 * G, 0.0], [0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(give(tile_of(transfer_lr=-1.0), [[G, 0.0], [0.0, 0.0]])[0], [[G, 0.0], [0.0, 0.0]], atol=1e-6)
    weight, chi = give(tile_of(transfer_lr=0.0), [[G, 0.0], [0.0, 0.0]])
    assert weight[0, 0] == 0
    assert chi[0, 0] == pytest.approx(G)


@pytest.mark.parametrize("cell", [False, True])
def test_what_a_full_train_cannot_write_stays(cell: bool) -> None:
    """FIX 16."""
    device = ConstantStepDevice(dw_min=G, w_max=10.0, w_min=-10.0, **PLAIN)
    if cell:
        device = VectorUnitCell(unit_cell_devices=[device], gamma_vec=[1.0])
    weight, chi = give(tile_of(1, 2, UpdateParameters(desired_bl=4), device), [[10 * G, 0.0]])
    assert weight[0, 0] == pytest.approx(-4 * G)
    assert chi[0, 0] == pytest.approx(6 * G, rel=1e-5)


@pytest.mark.parametrize("pulse_type", ["NONE", "NONE_WITH_DEVICE"])
def test_writes_without_pulses(pulse_type: str) -> None:
    device = ConstantStepDevice(dw_min=G, w_max=2 * G, w_min=-2 * G, **PLAIN)
    weight = give(tile_of(1, 2, UpdateParameters(pulse_type=pulse_type), device), [[40.5 * G, -G]])[0]
    most = 40 if pulse_type == "NONE" else 2
    np.testing.assert_allclose(weight, [[-most * G, G]], rtol=1e-5)


@pytest.mark.parametrize("side", ["x", "d"])
@pytest.mark.parametrize("bins", [2, 5, 7])
def test_quantised_vectors(side: str, bins: int) -> None:
    """FIX 18: each side by itself, by the largest entry of each vector."""
    fields = {f"n_{side}_bins": bins, f"stoc_round_{side}": False, "transfer_every": 0}
    tile = tile_of(3, 3, **fields)
    v, w = torch.tensor([[0.9, -0.31, 0.12], [0.03, 0.01, -0.02]]), torch.tensor([[1.0, 0.0, 0.5], [0.25, -1.0, 0.0]])
    tile.update(*((v, w) if side == "x" else (w, v)))
    half = bins // 2
    step = np.abs(v.numpy()).max(1, keepdims=True) / half
    q = np.clip(np.round(v.numpy() / step), -half, half) * step
    expected = w.numpy().T @ q if side == "x" else q.T @ w.numpy()
    np.testing.assert_allclose(tile.hidden_parameters()["hidden_weights_chi"], expected, atol=1e-6)


@pytest.mark.parametrize("side", ["x", "d"])
def test_stochastic_rounding_is_right_on_average(side: str) -> None:
    n = 4000
    tile = tile_of(1, 1 if side == "d" else 2, **{f"n_{side}_bins": 3, "transfer_every": 0})
    v = torch.tensor([[1.0, 0.3]]).repeat(n, 1)
    if side == "x":
        tile.update(v, torch.full((n, 1), 1.0 / n))
        assert abs(float(tile.hidden_parameters()["hidden_weights_chi"][0, 1]) - 0.3) < 4.5 * np.sqrt(0.21 / n)
    else:
        two = tile_of(2, 1, n_d_bins=3, transfer_every=0)
        two.update(torch.full((n, 1), 1.0 / n), v)
        assert abs(float(two.hidden_parameters()["hidden_weights_chi"][1, 0]) - 0.3) < 4.5 * np.sqrt(0.21 / n)


def test_one_seed_whichever_level_it_is_given_at() -> None:
    """FIX 15."""

    def drawn(inner: int, outer: int, stream: str) -> torch.Tensor:
        cell = MixedPrecisionCompound(device=SoftBoundsDevice(construction_seed=inner), construction_seed=outer)
        tile = AnalogTile(3, 4, DigitalRankUpdateRPUConfig(device=cell), seeds=[hash(stream) % 1000], stream=stream)
        return tile.hidden_parameters()["dwmin_up"]

    assert torch.equal(drawn(5, 0, "a"), drawn(0, 5, "b"))
    assert not torch.equal(drawn(0, 0, "a"), drawn(0, 0, "b"))
    assert not torch.equal(drawn(5, 6, "a"), drawn(5, 0, "a"))


def test_setting_weights_clears_the_matrix() -> None:
    tile = tile_of(2, 2, transfer_every=2, n_rows_per_transfer=1)
    give(tile, np.full((2, 2), 0.5 * G))
    tile.set_weights(torch.zeros(2, 2))
    assert float(tile.hidden_parameters()["hidden_weights_chi"].abs().max()) == 0
    assert np.abs(give(tile, np.full((2, 2), G))[0]).max() == 0, "the period starts anew"
    assert np.abs(give(tile, np.full((2, 2), G))[0][0]).max() > 0
