"""Columns without a pulse in a mini-batch are left out of the walk through its rows: nothing may depend on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sim.configs import SingleRPUConfig
from sim.devices import ConstantStepDevice, ExpStepDevice, PowStepDevice, SoftBoundsReferenceDevice
from sim.tiles import AnalogTile
from tests.sim.isas import on_every_isa

OUT, IN, BATCH = 37, 150, 6
LEARNING_RATES = {"one pulse a row": 1e-3, "few": 0.02, "dense rows": 0.5, "more than 32 a crosspoint": 10.0}


@pytest.mark.parametrize("rate", LEARNING_RATES.values(), ids=LEARNING_RATES)
@pytest.mark.parametrize("lit", [1, 40, 75, 100], ids=lambda n: f"{n} columns with inputs")
@pytest.mark.parametrize(
    "device",
    [
        ConstantStepDevice(dw_min=0.01),
        SoftBoundsReferenceDevice(dw_min=0.01, reference_std=0.05),
        PowStepDevice(dw_min=0.01, count_pulses=True),
        ExpStepDevice(dw_min=0.01, write_noise_std=1.0),
    ],
    ids=["four parameters", "references", "counted", "write noise"],
)
def test_a_sample_that_lights_all_columns_for_one_row_changes_no_other_row(device: Any, lit: int, rate: float) -> None:
    generator = torch.Generator().manual_seed(lit)
    x = torch.zeros(BATCH + 1, IN)
    columns = torch.randperm(IN, generator=generator)[:lit]
    x[:BATCH, columns] = torch.rand(BATCH, lit, generator=generator) * 2 - 1
    x[BATCH] = 1.0
    d = torch.rand(BATCH + 1, OUT, generator=generator) * 2 - 1
    d[BATCH] = 0.0
    d[BATCH, 0] = 1.0

    def after(samples: int) -> dict[str, torch.Tensor]:
        tile = AnalogTile(OUT, IN, rpu_config=SingleRPUConfig(device=device), seeds=[3], stream="tile")
        before = tile.array.weight.clone()
        tile.set_learning_rate(rate)
        tile.update(x[:samples], d[:samples])
        array = tile.array
        found = {"weight": array.weight, "read": array.read()} | ({"counts": array.counts} if device.count_pulses else {})
        unlit = torch.ones(IN, dtype=torch.bool)
        unlit[columns] = False
        if samples == BATCH:
            assert torch.equal(array.weight[..., unlit], before[..., unlit])
            assert not torch.equal(array.weight, before)
        return {name: value.clone()[..., 1:, :] for name, value in found.items()}

    for isa, (dark, all_lit) in on_every_isa(lambda: (after(BATCH), after(BATCH + 1))).items():
        for name, value in dark.items():
            assert torch.equal(value, all_lit[name]), (isa, name)
