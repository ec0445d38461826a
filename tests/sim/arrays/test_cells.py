"""Unit cells: several devices a crosspoint (devices.md, section 10)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sim import configs
from sim.configs import (
    ConstantStepDevice,
    IOParameters,
    LinearStepDevice,
    OneSidedUnitCell,
    ReferenceUnitCell,
    SingleRPUConfig,
    SoftBoundsDevice,
    SoftBoundsReferenceDevice,
    UnitCellRPUConfig,
    UpdateParameters,
    VectorUnitCell,
    from_toml,
    get_path,
    set_path,
    to_toml,
)
from sim.errors import ConfigError
from sim.presets import PCMPresetDevice, PCMPresetUnitCell
from sim.settings import Config
from sim.tiles import AnalogTile

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "cells.json").read_text())
PLAIN = {"dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
PERFECT = IOParameters(is_perfect=True)
ONE_PULSE = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)


def tile_of(cell: Any, out: int = 1, n_in: int = 1, update: UpdateParameters | None = None, **how: Any) -> AnalogTile:
    config = UnitCellRPUConfig(device=cell, forward=PERFECT, backward=PERFECT, update=update or UpdateParameters())
    return AnalogTile(out, n_in, config, **how)


def plain(**fields: float) -> ConstantStepDevice:
    return ConstantStepDevice(**PLAIN | fields)


def hidden(tile: AnalogTile, k: int) -> Tensor:
    return tile.hidden_parameters()[f"hidden_weights_{k}"]


def config_of(case: dict[str, Any]) -> Any:
    """The recorded configuration; drift is off in all cases."""

    def made(fields: dict[str, Any]) -> Config:
        rest = {k: v for k, v in fields.items() if k not in ("class", "drift")}
        if "unit_cell_devices" in rest:
            rest["unit_cell_devices"] = [made(d) for d in rest["unit_cell_devices"]]
        return getattr(configs, fields["class"])(**rest)

    kind = getattr(configs, case["rpu_config"]["rpu_config"])
    return kind(device=made(case["config"]), update=UpdateParameters(**case["rpu_config"]["update"]))


@pytest.mark.parametrize("name", REFERENCE["cases"])
def test_visible_weights_of_the_peer(name: str) -> None:
    case = REFERENCE["cases"][name]
    repeats = REFERENCE["repeats"]
    tile = AnalogTile(*np.shape(REFERENCE["W0"]), config_of(case), replicas=repeats, seeds=range(repeats), stream="tile")
    tile.set_weights(torch.tensor(REFERENCE["W0"]))
    tile.set_learning_rate(REFERENCE["lr"])
    seen = []
    for step, (x, d) in enumerate(zip(REFERENCE["X"], REFERENCE["D"], strict=True), start=1):
        tile.update(torch.tensor(x).repeat(repeats, 1), torch.tensor(d).repeat(repeats, 1))
        if step in REFERENCE["record_at"]:
            seen.append(tile.get_weights()[0].double().numpy())
    ours = np.array(seen)  # (records, repeats, out, in)
    mean, std = (np.array([case[key][str(step)] for step in REFERENCE["record_at"]]) for key in ("mean", "std"))
    error = np.sqrt((std**2 + ours.std(1) ** 2) / repeats) + 1e-5
    assert np.all(np.abs(ours.mean(1) - mean) < 5 * error)
    spread = std > 1e-6
    ratio = ours.std(1)[spread] / std[spread]
    assert abs(np.median(ratio) - 1) < 0.1


def test_set_weights_of_a_vector_cell() -> None:
    tile = tile_of(VectorUnitCell(unit_cell_devices=[plain(w_max=0.1), plain()]))
    tile.set_weights(torch.tensor([[0.3]]))  # devices clip by themselves
    assert float(tile.get_weights()[0]) == pytest.approx(0.2)
    weighted = tile_of(VectorUnitCell(unit_cell_devices=[plain(), plain()], gamma_vec=[1.0, 0.1]))
    weighted.set_weights(torch.tensor([[0.2]]))
    assert float(weighted.get_weights()[0]) == pytest.approx(0.22)


def test_devices_of_a_cell_get_the_same_pulses() -> None:
    cell = VectorUnitCell(unit_cell_devices=[plain(), plain(), plain(dw_min=0.001, w_max=9.0)])
    tile = tile_of(cell, 5, 7)
    tile.set_weights(torch.zeros(5, 7))
    tile.set_learning_rate(0.01)
    torch.manual_seed(0)
    tile.update(torch.randn(4, 7), torch.randn(4, 5))
    assert torch.equal(hidden(tile, 0), hidden(tile, 1))
    assert torch.equal(hidden(tile, 0), hidden(tile, 2))
    assert float(hidden(tile, 0).abs().sum()) > 0


def test_devices_of_a_cell_have_their_own_spread_and_noise() -> None:
    cell = VectorUnitCell(unit_cell_devices=[ConstantStepDevice(), ConstantStepDevice()])
    tile = tile_of(cell, 30, 40)
    parameters = tile.hidden_parameters()
    r = np.corrcoef(parameters["dwmin_up_0"].flatten(), parameters["dwmin_up_1"].flatten())[0, 1]
    assert abs(r) < 4.5 / np.sqrt(1200)
    noisy = tile_of(VectorUnitCell(unit_cell_devices=[plain(), plain()]), 30, 40, ONE_PULSE)
    for device in noisy.array.devices():  # type: ignore[operator]
        device.noise[:, 0] = 0.5
    noisy.set_weights(torch.zeros(30, 40))
    noisy.set_learning_rate(1.0)
    noisy.update(torch.ones(1, 40), torch.ones(1, 30))
    r = np.corrcoef(hidden(noisy, 0).flatten(), hidden(noisy, 1).flatten())[0, 1]
    assert abs(r) < 4.5 / np.sqrt(1200)


@pytest.mark.parametrize(
    ("policy", "first", "expected"),
    [("SINGLE_FIXED", 1, [1, 1, 1, 1]), ("SINGLE_SEQUENTIAL", 0, [0, 1, 2, 0]), ("SINGLE_SEQUENTIAL", 2, [2, 0, 1, 2])],
)
def test_update_policies(policy: str, first: int, expected: list[int]) -> None:
    cell = VectorUnitCell(unit_cell_devices=[plain(dw_min=0.01)] * 3, update_policy=policy, first_update_idx=first)
    tile = tile_of(cell, update=ONE_PULSE)
    tile.set_weights(torch.zeros(1, 1))
    tile.set_learning_rate(1.0)
    before = [float(hidden(tile, k)) for k in range(3)]
    for index in expected:
        tile.update(-torch.ones(2, 1), torch.ones(2, 1))  # one choice a mini-batch
        after = [float(hidden(tile, k)) for k in range(3)]
        assert [k for k in range(3) if after[k] != before[k]] == [index]
        assert after[index] - before[index] == pytest.approx(0.02)
        before = after
    assert float(tile.get_weights()[0]) == pytest.approx(sum(before) / 3)


def test_random_choice_of_a_device() -> None:
    cell = VectorUnitCell(unit_cell_devices=[plain(dw_min=1e-4)] * 4, update_policy="SINGLE_RANDOM")
    replicas = 2000
    tile = tile_of(cell, update=ONE_PULSE, replicas=replicas, seeds=range(replicas), stream="t")
    tile.set_weights(torch.zeros(1, 1))
    tile.set_learning_rate(1.0)
    chosen = []
    for _ in range(3):
        tile.update(-torch.ones(replicas, 1), torch.ones(replicas, 1))
        chosen.append(tile.array.index.clone())  # type: ignore[union-attr, operator]
    for index in chosen:
        share = torch.bincount(index, minlength=4) / replicas
        assert float((share - 0.25).abs().max()) < 4.5 * np.sqrt(0.1875 / replicas)
    agree = float((chosen[0] == chosen[1]).float().mean())
    assert abs(agree - 0.25) < 4.5 * np.sqrt(0.1875 / replicas)


def test_reference_cell() -> None:
    tile = tile_of(ReferenceUnitCell(unit_cell_devices=[plain()]))
    tile.set_weights(torch.tensor([[0.2]]))
    tile.set_hidden_update_index(1)
    tile.set_weights(torch.tensor([[0.05]]))
    assert float(tile.get_weights()[0]) == pytest.approx(0.15)
    assert len(tile.array.arrays) == 2  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="update index"):
        tile.set_hidden_update_index(2)
    with pytest.raises(ConfigError, match="no device to choose"):
        AnalogTile(1, 1).set_hidden_update_index(0)


def test_a_reference_cell_may_begin_with_its_second_device() -> None:
    tile = tile_of(ReferenceUnitCell(unit_cell_devices=[plain()], first_update_idx=1), update=ONE_PULSE)
    tile.set_weights(torch.tensor([[0.2]]))
    assert float(tile.get_weights()[0]) == pytest.approx(-0.2)
    tile.set_learning_rate(1.0)
    before = [float(hidden(tile, k)) for k in range(2)]
    tile.update(-torch.ones(1, 1), torch.ones(1, 1))
    assert [float(hidden(tile, k)) != before[k] for k in range(2)] == [False, True]


def test_gammas_and_policy_of_a_reference_cell() -> None:
    cell = ReferenceUnitCell(unit_cell_devices=[plain(dw_min=0.01)], gamma_vec=[2.0, -0.5], update_policy="ALL")
    tile = tile_of(cell, update=ONE_PULSE)
    tile.set_weights(torch.tensor([[0.2]]))
    assert float(tile.get_weights()[0]) == pytest.approx(0.3)
    tile.set_learning_rate(1.0)
    tile.update(-torch.ones(1, 1), torch.ones(1, 1))
    assert [float(hidden(tile, k)) for k in range(2)] == pytest.approx([0.21, 0.21])
    assert float(tile.get_weights()[0]) == pytest.approx(0.315)


def one_sided(**fields: Any) -> OneSidedUnitCell:
    device = plain(w_min=0.0, **{k: v for k, v in fields.items() if k in ("dw_min", "reset_std")} | {"reset_std": 0.0})
    rest = {k: v for k, v in fields.items() if k not in ("dw_min", "reset_std")}
    return OneSidedUnitCell(unit_cell_devices=[device], refresh_forward=PERFECT, **rest)


def test_one_sided_cells_only_go_up() -> None:
    tile = tile_of(one_sided(dw_min=0.01), 4, 6)
    start = torch.linspace(-0.2, 0.2, 24).reshape(4, 6)
    tile.set_weights(start)
    torch.testing.assert_close(hidden(tile, 1), start.clamp(min=0))
    torch.testing.assert_close(hidden(tile, 0), (-start).clamp(min=0))
    tile.set_learning_rate(0.02)
    torch.manual_seed(0)
    before = [hidden(tile, k) for k in range(2)]
    x, d = torch.randn(6, 6), torch.randn(6, 4)
    tile.update(x, d)
    after = [hidden(tile, k) for k in range(2)]
    assert all(bool((b >= a).all()) for a, b in zip(before, after, strict=True))
    torch.testing.assert_close(tile.get_weights()[0], after[1] - after[0])
    mean = start - 0.02 * d.T @ x
    assert float(np.corrcoef((tile.get_weights()[0] - start).flatten(), (mean - start).flatten())[0, 1]) > 0.9


def test_pulses_of_one_sided_cells_count_in_the_up_step() -> None:
    """FIX 1: by hand for the PCM preset, dw_min (1 - A_up) and not its mean with the down step."""
    assert PCMPresetUnitCell().granularity() == pytest.approx(0.01 * (1 + 27.235))
    assert PCMPresetDevice().granularity() == pytest.approx(0.01 * (1 + (27.235 + 2.235) / 2))


def test_a_pulse_goes_to_the_side_that_makes_the_change() -> None:
    for pulse_type in ("STOCHASTIC_COMPRESSED", "MEAN_COUNT"):
        update = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False, pulse_type=pulse_type)
        tile = tile_of(one_sided(dw_min=0.01), 1, 2, update)
        tile.set_weights(torch.zeros(1, 2))
        tile.set_learning_rate(1.0)
        tile.update(torch.tensor([[-1.0, 1.0]]), torch.ones(1, 1))
        np.testing.assert_allclose(hidden(tile, 1), [[0.01, 0.0]], atol=1e-7)
        np.testing.assert_allclose(hidden(tile, 0), [[0.0, 0.01]], atol=1e-7)


def refreshed(plus: float, minus: float, dw_min: float, **fields: Any) -> tuple[float, float]:
    tile = tile_of(one_sided(dw_min=dw_min, refresh_every=1, **fields))
    array = tile.array
    tile.set_weights(torch.zeros(1, 1))
    array.devices()[0].set(torch.full((1, 1, 1), minus))  # type: ignore[operator]
    array.devices()[1].set(torch.full((1, 1, 1), plus))  # type: ignore[operator]
    tile.set_learning_rate(0.1)
    tile.update(torch.zeros(1, 1), torch.zeros(1, 1))  # an all-zero vector counts
    return float(hidden(tile, 1)), float(hidden(tile, 0))


def test_refresh_writes_the_difference_back() -> None:
    # devices.md, 10.3: the pulse cap loses weight where the step is small
    assert refreshed(0.46, 0.23, 0.01) == pytest.approx((0.23, 0.0), abs=1e-6)
    assert refreshed(0.551, 0.2, 0.001) == pytest.approx((0.031, 0.0), abs=1e-6)
    assert refreshed(0.23, 0.46, 0.01) == pytest.approx((0.0, 0.23), abs=1e-6)
    assert refreshed(0.40, 0.23, 0.01) == pytest.approx((0.40, 0.23), abs=1e-6), "below the upper threshold"
    assert refreshed(0.50, 0.10, 0.01) == pytest.approx((0.50, 0.10), abs=1e-6), "below the lower threshold"


def test_thresholds_and_trains_of_a_refresh() -> None:
    assert refreshed(0.40, 0.23, 0.01, refresh_upper_thres=0.6) == pytest.approx((0.17, 0.0), abs=1e-6)
    assert refreshed(0.46, 0.23, 0.01, refresh_upper_thres=0.9) == pytest.approx((0.46, 0.23), abs=1e-6)
    assert refreshed(0.50, 0.10, 0.02, refresh_lower_thres=0.1) == pytest.approx((0.40, 0.0), abs=1e-6)
    assert refreshed(0.46, 0.23, 0.01, refresh_lower_thres=0.5) == pytest.approx((0.46, 0.23), abs=1e-6)
    longer = UpdateParameters(desired_bl=400)  # devices.md, 12, item 16: a longer train keeps the weight
    assert refreshed(0.551, 0.2, 0.001, refresh_update=longer) == pytest.approx((0.351, 0.0), abs=2e-3)


@pytest.mark.parametrize(
    ("fields", "batches", "expected"),
    [
        ({"refresh_every": 1}, [4, 4], [4, 8]),
        ({"refresh_every": 3, "units_in_mbatch": False}, [4, 4, 4], [3, 6, 9, 12]),
        ({"refresh_every": 2}, [4, 4, 4], [8]),
        ({"refresh_every": 0}, [4, 4], []),
    ],
)
def test_refresh_periods(
    fields: dict[str, Any], batches: list[int], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tile = tile_of(one_sided(**fields))
    seen: list[int] = []
    monkeypatch.setattr(type(tile.array), "refresh", lambda array: seen.append(int(array.vectors)))
    tile.set_weights(torch.zeros(1, 1))
    for batch in batches:
        tile.update(torch.zeros(batch, 1), torch.zeros(batch, 1))
    assert seen == expected


@pytest.mark.parametrize(
    "device",
    [
        SoftBoundsDevice(),
        LinearStepDevice(gamma_up=0.3),
        SoftBoundsReferenceDevice(reference_std=0.1, up_down=0.2, reset_dtod=0.1),
    ],
    ids=lambda d: type(d).__name__,
)
def test_mirrored_devices(device: Any) -> None:
    tile = tile_of(OneSidedUnitCell(unit_cell_devices=[device], copy_inverted=True), 20, 30)
    h = tile.hidden_parameters()
    torch.testing.assert_close(h["dwmin_up_1"], h["dwmin_down_0"])
    torch.testing.assert_close(h["max_bound_1"], -h["min_bound_0"])
    torch.testing.assert_close(h["min_bound_1"], -h["max_bound_0"])
    torch.testing.assert_close(h["reset_bias_1"], -h["reset_bias_0"])
    if "reference_0" in h:
        torch.testing.assert_close(h["reference_1"], -h["reference_0"])
    if "slope_up_0" in h:
        torch.testing.assert_close(h["slope_up_1"], -h["slope_down_0"])
    # the mirror image under up pulses is the original under down pulses
    minus, plus = tile.array.devices()  # type: ignore[operator]
    start = torch.full((1, 20, 30), 0.05)
    minus.set(start)
    plus.set(-start)
    for array in (minus, plus):
        array.noise.zero_()
    ones = torch.ones(1, 1, 30), torch.ones(1, 1, 20)
    args = tile.array.trains, torch.ones(1), torch.zeros((), dtype=torch.int64)
    minus.pulse(*ones, torch.ones(1), *args)
    plus.pulse(*ones, -torch.ones(1), *args)
    torch.testing.assert_close(plus.read(), -minus.read())


def test_decay_diffusion_and_reset_reach_every_device() -> None:
    tile = tile_of(VectorUnitCell(unit_cell_devices=[plain(lifetime=2.0), plain()]))
    tile.set_weights(torch.tensor([[0.4]]))
    tile.end_step()
    assert float(tile.get_weights()[0]) == pytest.approx(0.3)
    tile.reset_columns()
    assert abs(float(tile.get_weights()[0])) < 0.1


def test_devices_without_decay_keep_their_write_noise() -> None:
    """FIX 22."""
    noisy = [SoftBoundsDevice(write_noise_std=10.0, lifetime=lifetime) for lifetime in (2.0, 0.0)]
    tile = tile_of(VectorUnitCell(unit_cell_devices=noisy), 3, 3)
    before = [device.read().clone() for device in tile.array.devices()]
    tile.end_step()
    same = [torch.equal(b, device.read()) for b, device in zip(before, tile.array.devices(), strict=True)]
    assert same == [False, True]


def test_counts_of_each_device() -> None:
    cell = VectorUnitCell(unit_cell_devices=[plain(count_pulses=True), plain(count_pulses=True)], update_policy="SINGLE_FIXED")
    tile = tile_of(cell, update=ONE_PULSE)
    tile.set_learning_rate(1.0)
    tile.update(torch.ones(3, 1), torch.ones(3, 1))
    assert tile.pulse_counts()["down"].flatten().tolist() == [3, 0]
    assert tile.pulse_counts()["up"].flatten().tolist() == [0, 0]


def test_a_checkpoint_restores_every_device() -> None:
    cell = OneSidedUnitCell(unit_cell_devices=[SoftBoundsDevice(write_noise_std=1.0, w_min=0.0)], refresh_every=2)
    tile = tile_of(cell, 3, 4)
    tile.set_learning_rate(0.1)
    torch.manual_seed(0)
    for _ in range(3):
        tile.update(torch.randn(2, 4), torch.randn(2, 3))
    other = tile_of(cell, 3, 4)
    other.load_state_dict(tile.state_dict())
    third = copy.deepcopy(tile)
    for _ in range(3):
        x, d = torch.randn(2, 4), torch.randn(2, 3)
        for t in (tile, other, third):
            t.update(x, d)
    for t in (other, third):
        assert all(torch.equal(v, t.state_dict()[k]) for k, v in tile.state_dict().items())


@pytest.mark.parametrize("policy", ["ALL", "SINGLE_SEQUENTIAL", "SINGLE_RANDOM"])
def test_a_replica_of_cells_is_itself_alone(policy: str) -> None:
    def cells(r: int) -> VectorUnitCell:
        devices = [SoftBoundsDevice(dw_min=0.002 * (r + 1), write_noise_std=0.5 * r), LinearStepDevice(dw_min_std=0.1 * r)]
        return VectorUnitCell(unit_cell_devices=devices, update_policy=policy, gamma_vec=[1.0, 0.1 * r])

    def run(which: list[int]) -> Tensor:
        config = [UnitCellRPUConfig(device=cells(r)) for r in which]
        tile = AnalogTile(5, 7, config, seeds=which, stream="t")
        tile.set_learning_rate([0.01 * (r + 1) for r in which])
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            x, d = torch.randn(3, 7, generator=generator), torch.randn(3, 5, generator=generator)
            tile.update(x.repeat(len(which), 1), d.repeat(len(which), 1))
            tile.end_step()
        return tile.get_weights()[0]

    group = run([0, 1, 2, 3])
    for r in range(4):
        assert torch.equal(run([r])[0], group[r])


def test_construction_seed_of_the_cell_governs() -> None:
    def drawn(kind: Any, seed: int = 7, **fields: Any) -> Tensor:
        cell = kind(unit_cell_devices=[ConstantStepDevice(**fields)] * 2, construction_seed=seed)
        return tile_of(cell, 4, 5).hidden_parameters()["dwmin_up_0"]

    for kind in (VectorUnitCell, ReferenceUnitCell, OneSidedUnitCell):
        assert torch.equal(drawn(kind), drawn(kind))
        assert not torch.equal(drawn(kind), drawn(kind, 8))
        assert torch.equal(drawn(kind, construction_seed=3), drawn(kind, construction_seed=4))


BAD = [
    (lambda: tile_of(VectorUnitCell()), "unit_cell_devices"),
    (lambda: VectorUnitCell(unit_cell_devices=[plain()], gamma_vec=[1.0, 2.0]), "gamma_vec"),
    (lambda: VectorUnitCell(unit_cell_devices=[plain()], first_update_idx=1), "first_update_idx"),
    (lambda: VectorUnitCell(unit_cell_devices=[IOParameters()]), "unit_cell_devices"),
    (lambda: VectorUnitCell(unit_cell_devices=plain()), "unit_cell_devices"),
    (lambda: OneSidedUnitCell(unit_cell_devices=[plain(), SoftBoundsDevice()]), "two that are equal"),
    (lambda: OneSidedUnitCell(unit_cell_devices=[plain(), plain(dw_min=0.5)]), "two that are equal"),  # FIX 4
    (lambda: SingleRPUConfig(device=VectorUnitCell(unit_cell_devices=[plain()])), "device"),
    (lambda: tile_of(one_sided(), update=UpdateParameters(pulse_type="NONE_WITH_DEVICE")), "pulse_type"),
]


@pytest.mark.parametrize(("make", "words"), BAD)
def test_bad_cells_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_cells_as_text_and_by_path() -> None:
    config = UnitCellRPUConfig(
        device=VectorUnitCell(unit_cell_devices=[plain(), SoftBoundsDevice(dw_min=0.02)], gamma_vec=[1, 0.5])
    )
    assert from_toml(to_toml(config)) == config
    assert get_path(config, "device.unit_cell_devices.1.dw_min") == 0.02
    set_path(config, "device.unit_cell_devices.1.dw_min", 0.03)
    assert config.device.unit_cell_devices[1].dw_min == 0.03
    with pytest.raises(ConfigError, match=r"unit_cell_devices\.2"):
        get_path(config, "device.unit_cell_devices.2.dw_min")
