"""Transfers between arrays: every field counts, checkpoints, replicas, threads, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sim.configs import (
    BufferedTransferCompound,
    ChoppedTransferCompound,
    ConstantStepDevice,
    DynamicTransferCompound,
    IOParameters,
    MixedPrecisionCompound,
    OneSidedUnitCell,
    SoftBoundsDevice,
    SoftBoundsReferenceDevice,
    TransferCompound,
    UnitCellRPUConfig,
    UpdateParameters,
    VectorUnitCell,
    build_config,
    from_toml,
    get_path,
    set_path,
    to_toml,
)
from sim.errors import ConfigError
from sim.tiles import AnalogTile

PERFECT = IOParameters(is_perfect=True)
CLEAN_READ = IOParameters(out_noise=0.0, out_res=0.0, inp_res=0.0)
OUT, IN = 5, 6


def soft(**fields: Any) -> SoftBoundsDevice:
    return SoftBoundsDevice(**{"dw_min": 0.01, "write_noise_std": 0.5} | fields)


def compound(kind: type[TransferCompound], arrays: int = 2, **fields: Any) -> TransferCompound:
    """A cell that moves soon: a strong transfer of a noisy array."""
    devices = fields.pop("devices", [soft()] * arrays)
    strong = {"fast_lr": 0.1, "transfer_lr": 20.0, "transfer_forward": IOParameters(out_noise=0.01, out_res=0.0)}
    return kind(unit_cell_devices=devices, **strong | fields)


def config_of(cell: Any, **update: Any) -> Any:
    if isinstance(cell, MixedPrecisionCompound):
        return build_config("mp", cell.device, PERFECT, UpdateParameters(**update)).__class__(
            device=cell, forward=PERFECT, backward=PERFECT, update=UpdateParameters(**update)
        )
    return UnitCellRPUConfig(device=cell, forward=PERFECT, backward=PERFECT, update=UpdateParameters(**update))


def steps(tile: AnalogTile, n: int, start: int = 0, batch: int = 4, rate: Any = 0.1) -> None:
    """n mini-batches, the same for all tiles and replicas; each has its own numbers."""
    tile.set_learning_rate(rate)
    for k in range(start, start + n):
        generator = torch.Generator().manual_seed(k)
        x, d = torch.randn(batch, IN, generator=generator), 0.3 + 0.3 * torch.randn(batch, OUT, generator=generator)
        tile.update(x.repeat(tile.replicas, 1), d.repeat(tile.replicas, 1))
        tile.end_step()


def state_after(cell: Any, n: int = 8, batch: int = 4, **update: Any) -> dict[str, Tensor]:
    tile = AnalogTile(OUT, IN, config_of(cell, **update), seeds=[7], stream="t")
    steps(tile, n, batch=batch)
    return {**tile.hidden_parameters(), "visible": tile.get_weights()[0]}


def differ(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() != b.keys() or any(not torch.equal(a[k], b[k]) for k in a)


KINDS = [TransferCompound, BufferedTransferCompound, ChoppedTransferCompound, DynamicTransferCompound]
COMMON: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"gamma": 0.5}),
    ({}, {"gamma_vec": [0.3, 1.0]}),
    ({}, {"transfer_every": 2.0}),
    ({}, {"transfer_every_vec": [3.0, 0.0]}),
    ({}, {"transfer_columns": False}),
    ({}, {"fast_lr": 0.2}),
    ({}, {"transfer_lr": 9.0}),
    ({}, {"transfer_lr_vec": [9.0, 9.0]}),
    ({}, {"transfer_forward": IOParameters(out_noise=0.02, out_res=0.0)}),
    ({}, {"transfer_forward": IOParameters(out_noise=0.01, out_res=0.01)}),
    ({}, {"transfer_forward": IOParameters(out_noise=0.01, out_res=0.0, inp_noise=0.1)}),
    ({}, {"construction_seed": 5}),
]
FIELDS: dict[type[TransferCompound], list[tuple[dict[str, Any], dict[str, Any]]]] = {
    TransferCompound: [
        ({}, {"units_in_mbatch": False}),
        ({}, {"n_reads_per_transfer": 2}),
        ({}, {"with_reset_prob": 0.7}),
        ({}, {"random_selection": True}),
        ({}, {"scale_fast_lr": False}),
        ({}, {"scale_transfer_lr": False}),
        ({}, {"transfer_update": UpdateParameters(desired_bl=3)}),
        ({}, {"transfer_update": UpdateParameters(um_grad_scale=0.1)}),
    ],
    BufferedTransferCompound: [
        ({}, {"thres_scale": 3.0}),
        ({}, {"step": 0.5}),
        ({}, {"momentum": 0.9}),
        ({}, {"forget_buffer": False}),
        ({}, {"with_reset_prob": 0.7}),
        ({}, {"n_reads_per_transfer": 3}),
        ({}, {"transfer_update": UpdateParameters(desired_bl=4)}),
    ],
    ChoppedTransferCompound: [
        ({}, {"in_chop_prob": 0.6}),
        ({}, {"in_chop_random": False}),
        ({}, {"out_chop_prob": 0.5}),
        ({}, {"buffer_granularity": 3.0}),
        ({}, {"auto_granularity": 2000.0}),
        ({}, {"step": 0.5}),
        ({}, {"momentum": 0.9}),
        ({"auto_granularity": 2000.0}, {"auto_granularity": 2000.0, "forget_buffer": False}),
        ({"auto_granularity": 2000.0}, {"auto_granularity": 2000.0, "no_buffer": True}),
        ({}, {"auto_scale": True}),
        ({"auto_scale": True}, {"auto_scale": True, "auto_momentum": 0.1}),
        ({}, {"correct_gradient_magnitudes": True, "buffer_granularity": 30.0}),
        ({}, {"transfer_every": -0.1}),
        ({}, {"units_in_mbatch": True}),
        ({}, {"scale_fast_lr": True}),
    ],
    DynamicTransferCompound: [
        ({}, {"in_chop_random": True}),
        ({}, {"tail_weightening": 0.5}),
        ({}, {"out_chop_prob": 0.5}),
        ({}, {"no_buffer": True, "momentum": 0.9}),
        ({"forget_buffer": False}, {"forget_buffer": False, "buffer_cap": 1.5}),
        ({}, {"experimental_correct_accumulation": True, "transfer_lr": 1.0}),
    ],
}
EVERY = [(kind, *case) for kind in KINDS for case in COMMON + FIELDS[kind]]


@pytest.mark.parametrize(("kind", "base", "changed"), EVERY, ids=[f"{k.__name__}-{'-'.join(c)}" for k, _, c in EVERY])
def test_every_field_counts(kind: type[TransferCompound], base: dict[str, Any], changed: dict[str, Any]) -> None:
    quick = {"in_chop_prob": 0.5} if kind is DynamicTransferCompound else {}
    assert differ(state_after(compound(kind, **quick | base), 12), state_after(compound(kind, **quick | base | changed), 12))


def test_a_last_array_is_never_transferred_to_itself() -> None:
    """FIX 12: the flag, and periods of the last array, are of no effect."""
    for kind in KINDS:
        plain = state_after(compound(kind))
        assert not differ(plain, state_after(compound(kind, no_self_transfer=False)))
        vec = compound(kind, transfer_every_vec=[1.0, 0.0])
        assert not differ(state_after(vec), state_after(compound(kind, transfer_every_vec=[1.0, 2.0])))


def tile_of(cell: Any, out: int = 2, n_in: int = 2, **update: Any) -> AnalogTile:
    tile = AnalogTile(out, n_in, config_of(cell, **update), seeds=[3], stream="t")
    tile.set_weights(torch.zeros(out, n_in))
    return tile


def still(dw_min: float = 0.01, **fields: float) -> ConstantStepDevice:
    plain = dict.fromkeys(("dw_min_dtod", "dw_min_std", "up_down_dtod", "w_max_dtod", "w_min_dtod", "reset_std"), 0.0)
    return ConstantStepDevice(**plain | {"dw_min": dw_min, "w_max": 10.0, "w_min": -10.0} | fields)


def quiet(kind: type[TransferCompound], g: tuple[float, ...] = (0.0625, 0.0625), **fields: Any) -> TransferCompound:
    return kind(unit_cell_devices=[still(step) for step in g], transfer_forward=PERFECT, **fields)


def test_derived_periods_follow_the_slices() -> None:
    """FIX 5: one sweep of an array for each transfer of the next, in columns (here 3), not in outputs (2)."""
    cell = quiet(TransferCompound, (0.0625,) * 3, n_reads_per_transfer=1)
    assert cell.periods((2, 3)) == [1.0, 3.0, 0.0]
    assert quiet(TransferCompound, (0.0625,) * 3, transfer_columns=False).periods((2, 3)) == [1.0, 2.0, 0.0]


def test_leading_weights_that_cancel_are_not_hidden() -> None:
    """FIX 6."""
    assert not quiet(TransferCompound, (0.0625,) * 3, gamma_vec=[1.0, -1.0, 1.0]).hidden()
    tile = tile_of(quiet(TransferCompound, (0.0625,) * 3, gamma_vec=[1.0, -1.0, 1.0], transfer_every=0.0))
    tile.set_learning_rate(0.0625)
    tile.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[-16.0, 0.0]]))
    assert float(tile.get_weights()[0][0, 0]) == pytest.approx(1.0)


def test_gradient_pulses_count_in_the_granularity_of_the_fast_array() -> None:
    """FIX 7: the peer takes the mean of both and moves the fast array by half of what is asked for."""
    tile = tile_of(quiet(TransferCompound, (0.0625, 0.1875), transfer_every=0.0))
    tile.set_learning_rate(0.125)
    tile.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
    assert float(tile.hidden_parameters()["hidden_weights_0"][1, 0]) == pytest.approx(-2 * 0.125)


def test_only_the_column_that_was_read_is_reset() -> None:
    """FIX 8: with two reads a transfer, the second column is read as it was."""
    cell = quiet(
        TransferCompound, n_reads_per_transfer=2, with_reset_prob=1.0, transfer_update=UpdateParameters(pulse_type="NONE")
    )
    tile = tile_of(cell, 2, 3)
    tile.set_learning_rate(0.125)
    tile.array.devices()[0].set(torch.full((1, 2, 3), 0.5))  # type: ignore[operator]
    tile.update(torch.zeros(1, 3), torch.zeros(1, 2))
    hidden = tile.hidden_parameters()
    np.testing.assert_allclose(hidden["hidden_weights_0"], [[0.0, 0.0, 0.5]] * 2)
    np.testing.assert_allclose(hidden["hidden_weights_1"], [[0.0625, 0.0625, 0.0]] * 2)


@pytest.mark.parametrize("pulse_type", ["NONE", "NONE_WITH_DEVICE"])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_updates_reach_the_fast_array(kind: type[TransferCompound], pulse_type: str) -> None:
    """FIX 9: without pulses the fast array takes the exact step, within its bounds if it keeps its devices."""
    cell = kind(unit_cell_devices=[still(w_max=0.3), still()], fast_lr=0.0, transfer_every=0.0, transfer_forward=PERFECT)
    tile = tile_of(cell, pulse_type=pulse_type)
    tile.set_learning_rate(0.25)
    tile.update(torch.tensor([[1.0, 0.5]]), torch.tensor([[-2.0, 0.3]]))
    high = 0.3 if pulse_type == "NONE_WITH_DEVICE" else 0.5
    np.testing.assert_allclose(tile.hidden_parameters()["hidden_weights_0"], [[high, 0.25], [-0.075, -0.0375]], rtol=1e-5)


def test_periods_in_mini_batches_count_mini_batches() -> None:
    """FIX 10: a small last batch shifts nothing."""
    cell = quiet(TransferCompound, transfer_every=2.0)
    tile = tile_of(cell, 2, 50)
    tile.set_learning_rate(0.1)
    for size in (4, 1, 4, 4, 7, 3):
        tile.update(torch.zeros(size, 50), torch.zeros(size, 2))
    assert int(tile.array.counters[0, 0, 2]) == 3  # type: ignore[index]
    assert int(tile.array.counters[0, 0, 0]) == 0  # type: ignore[index]


def test_the_period_of_auto_granularity_is_in_vectors() -> None:
    """FIX 11: two mini-batches of 4 vectors are 8 vectors."""

    def buffer_after(**fields: Any) -> Tensor:
        tile = tile_of(quiet(ChoppedTransferCompound, auto_granularity=64.0, fast_lr=0.0625, in_chop_prob=0.0, **fields))
        tile.array.devices()[0].set(torch.full((1, 2, 2), 0.125))  # type: ignore[operator]
        tile.set_learning_rate(0.125)
        for _ in range(2):
            tile.update(torch.zeros(4, 2), torch.zeros(4, 2))
        return tile.hidden_parameters()["buffered_FP_weight_0"]

    batches = buffer_after(units_in_mbatch=True, transfer_every=2)
    assert torch.equal(batches, buffer_after(transfer_every=8))
    assert float(batches[0, 0]) == pytest.approx(0.125 * 0.125 / (0.0625 * 64 / (2 * 8)))


def test_buffers_rest_in_the_first_phase() -> None:
    """FIX 14: what the gradients of the first phase say is not thrown away with writes that are held back."""
    tile = tile_of(quiet(DynamicTransferCompound, in_chop_prob=0.5, fast_lr=0.0625), 2, 2)
    tile.set_learning_rate(4.0)
    for _ in range(5):  # of three sweeps, which are the warm-up
        tile.update(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    hidden = tile.hidden_parameters()
    assert float(hidden["hidden_weights_0"].abs().min()) > 0
    assert float(hidden["buffered_FP_weight_0"].abs().max()) == 0
    assert float(hidden["running_mean_weight"].abs().min()) > 0


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_written_step_is_so_many_pulses(wanted: int) -> None:
    """FIX 2: exactly, up to desired_bl; the peer's mean saturates at its root."""
    write = UpdateParameters(desired_bl=3, update_management=False, update_bl_management=False)
    tile = tile_of(quiet(ChoppedTransferCompound, in_chop_prob=0.0, transfer_update=write), 2, 1)
    tile.set_learning_rate(1.0)
    tile.array.devices()[0].set(torch.full((1, 2, 1), 0.0625 * wanted))  # type: ignore[operator]
    tile.update(torch.zeros(1, 1), torch.zeros(1, 2))
    np.testing.assert_allclose(tile.hidden_parameters()["hidden_weights_1"], 0.0625 * wanted)


def test_a_part_of_a_step_is_written_on_average() -> None:
    tile = tile_of(quiet(ChoppedTransferCompound, in_chop_prob=0.0, step=0.25), 2000, 1)
    tile.set_learning_rate(1.0)
    tile.array.devices()[0].set(torch.full((1, 2000, 1), 0.0625))  # type: ignore[operator]
    tile.update(torch.zeros(1, 1), torch.zeros(1, 2000))
    pulses = tile.hidden_parameters()["hidden_weights_1"] / 0.0625
    assert set(pulses.flatten().tolist()) == {0.0, 1.0}
    assert abs(float(pulses.mean()) - 0.25) < 5 * np.sqrt(0.1875 / 2000)


@pytest.mark.parametrize("columns", [True, False])
def test_choppers_show_in_the_visible_weight(columns: bool) -> None:
    """FIX 21: by rows and columns as they are, whichever are transferred."""
    cell = quiet(ChoppedTransferCompound, gamma=0.5, in_chop_prob=0.9, out_chop_prob=0.9, transfer_columns=columns, fast_lr=0.125)
    tile = tile_of(cell, OUT, IN)
    steps(tile, 9)
    h, array = tile.hidden_parameters(), tile.array
    columns_of, rows_of = array.choppers()  # type: ignore[operator]
    assert {-1.0, 1.0} == set(columns_of.flatten().tolist()) | set(rows_of.flatten().tolist())
    visible = 0.5 * rows_of[0, :, None] * columns_of[0] * h["hidden_weights_0"] + h["hidden_weights_1"]
    torch.testing.assert_close(tile.get_weights()[0], visible)
    assert float(h["hidden_weights_0"].abs().max()) > 0


def test_choppers_undo_themselves() -> None:
    """What a chopped array collects is the gradient, whatever the signs: nothing else would average out its offset."""
    for columns in (True, False):
        chopped = quiet(
            ChoppedTransferCompound, in_chop_prob=0.05, out_chop_prob=0.05, transfer_columns=columns, fast_lr=0.125
        )  # fmt: skip
        tile = tile_of(chopped, OUT, IN)
        tile.set_learning_rate(0.125)
        for _ in range(50):
            tile.update(torch.full((20, IN), 0.5), torch.full((20, OUT), 0.25))
        assert float(tile.get_weights()[0].mean()) < -1
        assert {-1.0, 1.0} == set(torch.cat(tile.array.choppers(), 1).flatten().tolist())  # type: ignore[operator]


def test_setting_weights_starts_anew() -> None:
    """FIX 20: buffers, choppers, means and counters are reset."""
    for kind in KINDS:
        tile = AnalogTile(OUT, IN, config_of(compound(kind, devices=[still(), still()])), seeds=[1], stream="t")
        fresh = copy.deepcopy(tile)
        steps(tile, 7)
        for t in (tile, fresh):
            t.set_weights(torch.full((OUT, IN), 0.1))
        counted = ("steps", "step", "vectors")
        for name, value in fresh.state_dict().items():
            if name.rsplit(".", 1)[-1] not in counted and "learning_rate" not in name:
                assert torch.equal(value, tile.state_dict()[name]), name


MANY = {
    "transfer": compound(TransferCompound, 3, gamma=0.3, transfer_every=0.5, random_selection=True),
    "reset": compound(TransferCompound, with_reset_prob=0.5),
    "noisy read": compound(TransferCompound, transfer_forward=IOParameters(inp_noise=0.1)),
    "buffered": compound(BufferedTransferCompound, 3, units_in_mbatch=False, n_reads_per_transfer=2),
    "chopped": compound(ChoppedTransferCompound, in_chop_prob=0.4, out_chop_prob=0.4, auto_scale=True, gamma=0.1),
    "dynamic": compound(DynamicTransferCompound, in_chop_prob=0.5, in_chop_random=True, transfer_columns=False),
    "mixed": MixedPrecisionCompound(device=soft(), n_rows_per_transfer=2, random_row=True, n_x_bins=7, transfer_every=2),
    "mixed pair": MixedPrecisionCompound(device=OneSidedUnitCell(unit_cell_devices=[soft(w_min=0.0)], refresh_every=2)),
    "mixed vector": MixedPrecisionCompound(device=VectorUnitCell(unit_cell_devices=[soft(), soft()])),
}


@pytest.mark.parametrize("name", MANY)
def test_stop_and_continue(name: str) -> None:
    """FIX 20: a checkpoint and a copy go on as if nothing had been, bit for bit."""
    tile = AnalogTile(OUT, IN, config_of(MANY[name]), seeds=[1], stream="t")
    steps(tile, 9)
    other = AnalogTile(OUT, IN, config_of(MANY[name]), seeds=[99], stream="other")
    other.load_state_dict(tile.state_dict())
    third = copy.deepcopy(tile)
    for t in (tile, other, third):
        steps(t, 9, start=9, batch=3)
    for t in (other, third):
        for key, value in tile.state_dict().items():
            assert torch.equal(value, t.state_dict()[key]), key
    assert (
        float(
            (tile.get_weights()[0] - AnalogTile(OUT, IN, config_of(MANY[name]), seeds=[1], stream="t").get_weights()[0])
            .abs()
            .max()
        )
        > 0
    )


NUMBERS = {
    "fast_lr": 0.05,
    "transfer_lr": 7.0,
    "transfer_every": 2.0,
    "in_chop_prob": 0.3,
    "momentum": 0.4,
    "auto_granularity": 9.0,
}


@pytest.mark.parametrize("name", MANY)
def test_a_replica_is_itself_alone(name: str) -> None:
    def cell(r: int) -> Any:
        made = copy.deepcopy(MANY[name])
        for field, step in NUMBERS.items():
            if hasattr(made, field) and not isinstance(made, MixedPrecisionCompound):
                set_path(made, field, getattr(made, field) + (r * step if field != "in_chop_prob" else 0.1 * r))
        if isinstance(made, MixedPrecisionCompound):
            made.transfer_lr, made.transfer_every = 1.0 - 0.2 * r, made.transfer_every + r
        return made

    def run(which: list[int]) -> list[Tensor]:
        tile = AnalogTile(OUT, IN, [config_of(cell(r)) for r in which], seeds=which, stream="t")
        seen = []
        for k in range(4):
            # one replica rests now and then: with a rate of 0 nothing of it counts
            steps(tile, 4, start=4 * k, rate=[0.0 if k == r else 0.1 + 0.05 * r for r in which])
            seen += [tile.get_weights()[0], *tile.hidden_parameters().values()]
        return seen

    together = run([0, 1, 2, 3])
    for r in range(4):
        assert all(torch.equal(a[0], b[r]) for a, b in zip(run([r]), together, strict=True)), r


@pytest.mark.parametrize("name", MANY)
def test_any_number_of_threads(name: str) -> None:
    def run(threads: int) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            tile = AnalogTile(40, 70, config_of(MANY[name]), seeds=[0, 1, 2], stream="t", replicas=3)
            tile.set_learning_rate(0.1)
            generator = torch.Generator().manual_seed(0)
            for _ in range(3):
                tile.update(torch.randn(60, 70, generator=generator), torch.randn(60, 40, generator=generator))
            return tile.get_weights()[0]
        finally:
            torch.set_num_threads(before)

    assert torch.equal(run(1), run(3))


def test_a_batch_is_its_vectors_one_after_the_other() -> None:
    """What a transfer reads in the middle of a batch is what the array holds there; noise and bounds included in law."""
    n = 400
    device = SoftBoundsReferenceDevice(dw_min=0.05, write_noise_std=1.0, reference_std=0.1)
    exact = {"transfer_update": UpdateParameters(pulse_type="NONE"), "units_in_mbatch": False}
    slow = still(w_max=5.0, w_min=-5.0)
    cell = TransferCompound(unit_cell_devices=[device, slow], transfer_forward=CLEAN_READ, transfer_lr=5.0, **exact)
    generator = torch.Generator().manual_seed(2)
    x, d = torch.rand(12, 3, generator=generator), torch.randn(12, 2, generator=generator)

    def visible(split: list[int]) -> np.ndarray:
        tile = AnalogTile(2, 3, config_of(cell), seeds=range(n), replicas=n, stream="t")
        tile.set_weights(torch.zeros(2, 3))
        tile.set_learning_rate(0.2)
        for xs, ds in zip(x.split(split), d.split(split), strict=True):
            tile.update(xs.repeat(n, 1), ds.repeat(n, 1))
        return tile.get_weights()[0].double().numpy()

    whole, one_by_one = visible([12]), visible([1] * 12)
    error = np.sqrt((whole.var(0) + one_by_one.var(0)) / n)
    assert np.all(np.abs(whole.mean(0) - one_by_one.mean(0)) < 4.5 * error)
    assert np.all(np.abs(np.log(whole.std(0) / one_by_one.std(0))) < 4.5 / np.sqrt(n))


def test_reads_see_the_write_noise_that_products_see() -> None:
    """A look in the middle of a batch is the apparent weight; at its end it is the one that stays."""
    device = still(0.0625)
    noisy = SoftBoundsDevice(dw_min=0.0625, write_noise_std=3.0, dw_min_std=0.0, w_max=9.0, w_min=-9.0)
    exact = {"transfer_update": UpdateParameters(pulse_type="NONE"), "units_in_mbatch": False, "scale_transfer_lr": False}
    cell = TransferCompound(unit_cell_devices=[noisy, device], transfer_forward=PERFECT, **exact)
    tile = tile_of(cell, 3, 4)
    tile.set_learning_rate(0.5)
    torch.manual_seed(0)
    tile.update(torch.randn(4, 4), torch.randn(4, 3))
    hidden = tile.hidden_parameters()
    np.testing.assert_allclose(hidden["hidden_weights_1"][:, 3], hidden["hidden_weights_0"][:, 3], rtol=1e-6)
    assert float((hidden["hidden_weights_0"] - hidden["persistent_weights_0"]).abs().max()) > 0.05


BAD: list[tuple[Any, str]] = [
    (lambda: TransferCompound(unit_cell_devices=[soft()]), "at least two"),
    (lambda: ChoppedTransferCompound(unit_cell_devices=[soft()] * 3), "two devices"),
    (lambda: ChoppedTransferCompound(n_reads_per_transfer=2), "n_reads_per_transfer"),
    (lambda: DynamicTransferCompound(random_selection=True), "random_selection"),
    (lambda: ChoppedTransferCompound(with_reset_prob=0.1), "with_reset_prob"),
    (lambda: TransferCompound(with_reset_prob=0.1, transfer_columns=False), "only columns"),
    (lambda: compound(TransferCompound, gamma_vec=[1.0]), "2 numbers"),
    (lambda: compound(TransferCompound, gamma_vec=[1.0, 0.0]), "other than 0"),
    (lambda: compound(TransferCompound, transfer_every_vec=[1.0]), "transfer_every_vec"),
    (lambda: compound(TransferCompound, transfer_lr_vec=[1.0]), "transfer_lr_vec"),
    (lambda: TransferCompound(transfer_every=-1.0), "at least 0"),
    (lambda: compound(BufferedTransferCompound, transfer_every_vec=[-1.0, 0.0]), "at least 0"),
    (lambda: BufferedTransferCompound(thres_scale=0.0), "thres_scale"),
    (lambda: MixedPrecisionCompound(device=compound(TransferCompound)), "pulsed device"),
    (lambda: AnalogTile(2, 2, config_of(TransferCompound())), "unit_cell_devices"),
    (
        lambda: AnalogTile(2, 2, config_of(MANY["mixed pair"], pulse_type="NONE")),
        "update.pulse_type",
    ),
    (
        lambda: AnalogTile(2, 2, [config_of(compound(TransferCompound)), config_of(MANY["noisy read"])]),
        "transfer_forward",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words"), BAD)
def test_bad_compounds_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("name", MANY)
def test_compounds_as_text_and_by_path(name: str) -> None:
    config = config_of(MANY[name])
    assert from_toml(to_toml(config)) == config
    path = "device.device.dw_min" if name == "mixed" else "device.unit_cell_devices.0.dw_min"
    if "mixed " not in name:
        assert get_path(config, path) == 0.01
