"""Compounds against the peer's statistics and against their pseudocode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sim import configs
from sim.configs import (
    BufferedTransferCompound,
    ChoppedTransferCompound,
    ConstantStepDevice,
    DynamicTransferCompound,
    IOParameters,
    RPUConfig,
    TransferCompound,
    UnitCellRPUConfig,
    UpdateParameters,
)
from sim.tiles import AnalogTile
from tests.sim.arrays.compounds_oracle import Oracle

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "compounds.json").read_text())
KINDS = {
    "transfer": TransferCompound,
    "buffered": BufferedTransferCompound,
    "chopped": ChoppedTransferCompound,
    "dynamic": DynamicTransferCompound,
}
PERFECT = IOParameters(is_perfect=True)


def config_of(case: dict[str, Any]) -> RPUConfig:
    """The recorded configuration."""
    kind = case["rpu_config"]
    return getattr(configs, kind["rpu_config"]).from_dict({"device": case["config"], "update": kind["update"]})


def visible(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Visible weights (records, repeats, out, in), and with them, for mixed precision, the digital matrix taken off."""
    repeats = REFERENCE["repeats"]
    config = config_of(REFERENCE["cases"][name])
    tile = AnalogTile(*np.shape(REFERENCE["W0"]), config, replicas=repeats, seeds=range(repeats), stream="tile")
    tile.set_weights(torch.tensor(REFERENCE["W0"]))
    tile.set_learning_rate(REFERENCE["lr"])
    seen, whole = [], []
    for step, (x, d) in enumerate(zip(REFERENCE["X"], REFERENCE["D"], strict=True), start=1):
        tile.update(torch.tensor(x).repeat(repeats, 1), torch.tensor(d).repeat(repeats, 1))
        if step in REFERENCE["record_at"]:
            weight, digital = tile.get_weights()[0], tile.array.hidden().get("hidden_weights_chi", torch.zeros(()))
            seen.append(weight.double().numpy())
            whole.append((weight - digital).double().numpy())
    return np.array(seen), np.array(whole)


def recorded(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the peer, (records, out, in)."""
    case = REFERENCE["cases"][name]
    mean, std = (np.array([case[key][str(step)] for step in REFERENCE["record_at"]]) for key in ("mean", "std"))
    return mean, std


@pytest.mark.parametrize("name", [n for n in REFERENCE["cases"] if n != "mp_constant"])
def test_visible_weights_of_the_peer(name: str) -> None:
    ours, (mean, std) = visible(name)[0], recorded(name)
    error = np.sqrt((std**2 + ours.std(1) ** 2) / REFERENCE["repeats"]) + 1e-5
    assert np.all(np.abs(ours.mean(1) - mean) < 5 * error)
    spread = std > 1e-6
    assert abs(np.median(ours.std(1)[spread] / std[spread]) - 1) < 0.1


def test_mixed_precision_loses_nothing() -> None:
    """Where the peer transfers a vector late (FIX 17) and loses what a full train cannot write (FIX 16), the right value is

    the exact sum of all gradients: in the mean, what was written and what the digital matrix still holds add up to it, from
    the first vector on. The scatter of what is written is the peer's.
    """
    ours, whole = visible("mp_constant")
    x, d, start = (np.array(REFERENCE[key]) for key in ("X", "D", "W0"))
    for k, step in enumerate(REFERENCE["record_at"]):
        exact = start - REFERENCE["lr"] * d[:step].T @ x[:step]
        error = whole[k].std(0) / np.sqrt(REFERENCE["repeats"]) + 1e-5
        assert np.all(np.abs(whole[k].mean(0) - exact) < 5 * error)
        if step in (5, 10, 20):  # the trains are full now and then: at most so much is waiting
            assert np.abs(ours[k].mean(0) - exact).max() < 0.06
    std = recorded("mp_constant")[1][1:]
    assert abs(np.median(ours.std(1)[1:][std > 1e-6] / std[std > 1e-6]) - 1) < 0.1


def test_bed(dw_min: float) -> ConstantStepDevice:
    plain = dict.fromkeys(("dw_min_dtod", "dw_min_std", "up_down_dtod", "w_max_dtod", "w_min_dtod"), 0.0)
    return ConstantStepDevice(dw_min=dw_min, w_max=100.0, w_min=-100.0, **plain)


test_bed.__test__ = False  # type: ignore[attr-defined]

CHOP = {"in_chop_prob": 0.5, "in_chop_random": False, "momentum": 0.25}
CASES = [
    ("transfer", {}),
    ("transfer", {"transfer_columns": False, "gamma": 0.5}),
    ("transfer", {"units_in_mbatch": False, "transfer_every": 3, "n_reads_per_transfer": 2}),
    ("transfer", {"arrays": 3, "transfer_every": 1.0, "units_in_mbatch": False, "gamma": 0.5, "n_reads_per_transfer": 2}),
    ("transfer", {"arrays": 3, "transfer_every_vec": (1.0, 3.0, 0.0), "transfer_lr_vec": (8.0, -4.0, 1.0)}),
    ("transfer", {"arrays": 4, "units_in_mbatch": False, "transfer_every": 1, "transfer_columns": False}),
    ("transfer", {"transfer_every": 0.5, "fast_lr": 0.0, "scale_transfer_lr": False}),
    ("buffered", {"transfer_lr": 2.0}),
    ("buffered", {"transfer_lr": 20.0, "forget_buffer": False, "thres_scale": 1.7, "step": 1.0, "transfer_columns": False}),
    ("buffered", {"arrays": 3, "gamma": 0.5, "units_in_mbatch": False, "transfer_lr": 3.0}),
    ("buffered", {"limit": 4, "transfer_lr": 9.0, "forget_buffer": False, "units_in_mbatch": False}),
    ("chopped", {"in_chop_prob": 0.0, "fast_lr": 1 / 32}),
    ("chopped", CHOP | {"fast_lr": 1 / 32, "gamma": 0.5}),
    ("chopped", CHOP | {"fast_lr": 1 / 32, "transfer_columns": False, "gamma": 0.5, "transfer_every": 2}),
    ("chopped", CHOP | {"in_chop_prob": 0.25, "fast_lr": 1 / 32, "forget_buffer": False, "units_in_mbatch": True}),
    ("chopped", CHOP | {"fast_lr": 1 / 32, "no_buffer": True, "transfer_lr": 3.0}),
    ("chopped", CHOP | {"fast_lr": 1 / 32, "auto_granularity": 9.0, "transfer_every": 3}),
    ("chopped", CHOP | {"fast_lr": 1 / 32, "correct_gradient_magnitudes": True, "buffer_granularity": 0.5}),
    ("chopped", CHOP | {"fast_lr": 1.0, "auto_scale": True, "limit": 3, "step": 1.0}),
    ("dynamic", {"in_chop_prob": 0.5, "fast_lr": 1 / 32}),
    ("dynamic", {"in_chop_prob": 0.1, "fast_lr": 1 / 32, "tail_weightening": 1.0}),
    ("dynamic", {"in_chop_prob": 0.25, "fast_lr": 1 / 32, "transfer_columns": False, "gamma": 0.5}),
    ("dynamic", {"in_chop_prob": 0.5, "fast_lr": 1 / 32, "forget_buffer": False, "buffer_cap": 0.5, "transfer_lr": 5.0}),
    ("dynamic", {"in_chop_prob": 0.34, "fast_lr": 1 / 32, "experimental_correct_accumulation": True, "transfer_lr": 5.0}),
    ("dynamic", {"in_chop_prob": 0.5, "fast_lr": 1 / 32, "no_buffer": True, "transfer_lr": 5.0}),
]


@pytest.mark.parametrize("stepwise", [False, True], ids=["whole", "stepwise"])
@pytest.mark.parametrize(("kind", "fields"), CASES, ids=[f"{k}{n}" for n, (k, _) in enumerate(CASES)])
def test_pseudocode_vector_by_vector(kind: str, fields: dict[str, Any], stepwise: bool) -> None:
    """compounds.md, section 14: one pulse wherever the gradient is, exact writes, so that nothing is random."""
    fields = dict(fields)
    arrays, limit = fields.pop("arrays", 2), fields.pop("limit", 1)
    rate, shape, fast_bl = 0.125, (3, 4), 8
    fields.setdefault("fast_lr", 0.25)  # gradient writes of whole granularities of the fast array
    g = [1 / 64] + [0.03] * (arrays - 1)
    write = UpdateParameters(pulse_type="NONE") if kind == "transfer" else UpdateParameters(
        desired_bl=limit, update_management=False, update_bl_management=False
    )  # fmt: skip
    pulses = UpdateParameters(desired_bl=fast_bl, pulse_type="MEAN_COUNT" if stepwise else "STOCHASTIC_COMPRESSED")
    cell = KINDS[kind](
        unit_cell_devices=[test_bed(step) for step in g], transfer_forward=PERFECT, transfer_update=write, **fields
    )
    tile = AnalogTile(*shape, UnitCellRPUConfig(device=cell, forward=PERFECT, backward=PERFECT, update=pulses))
    tile.set_weights(torch.zeros(shape))
    tile.set_learning_rate(rate)
    given = {"units_in_mbatch": False, "scale_fast_lr": False} if kind in ("chopped", "dynamic") else {}
    rest = {k: v for k, v in fields.items() if k != "in_chop_random"}
    oracle = Oracle(kind, shape, g, limit, fast_bl, **({"in_chop_prob": 0.1} if kind == "dynamic" else {}) | given | rest)
    generator = np.random.default_rng(3)
    batches = [3, 3, 5, 1, 70, 4, 90]
    for size in batches:
        x, d = np.zeros((size, shape[1])), np.zeros((size, shape[0]))
        x[np.arange(size), generator.integers(shape[1], size=size)] = 1.0
        d[np.arange(size), generator.integers(shape[0], size=size)] = generator.choice([-1.0, 1.0], size, p=[0.7, 0.3])
        tile.update(torch.tensor(x, dtype=torch.float32), torch.tensor(d, dtype=torch.float32))
        oracle.update(x, d, rate)
        hidden = tile.hidden_parameters()
        for k, array in enumerate(oracle.arrays):
            np.testing.assert_allclose(hidden[f"hidden_weights_{k}"], array, atol=2e-5, err_msg=f"array {k}")
        if kind != "transfer":
            for j in range(arrays - 1):
                buffer = oracle.buffer[j].T if cell.transfer_columns else oracle.buffer[j]
                np.testing.assert_allclose(hidden[f"buffered_FP_weight_{j}"], buffer, atol=2e-4)
        np.testing.assert_allclose(tile.get_weights()[0], oracle.weight(), atol=3e-5)
    assert np.abs(oracle.arrays[-1]).max() > 0.02
