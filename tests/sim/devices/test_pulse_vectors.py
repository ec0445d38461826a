"""One crosspoint, no variation: 30 pulses up from w = -0.3, then 20 down (values of the reference simulator, float32)."""

from __future__ import annotations

import pytest
import torch

from sim.configs import SingleRPUConfig, UpdateParameters
from sim.devices import ConstantStepDevice, LinearStepDevice, SoftBoundsDevice, SoftBoundsReferenceDevice
from sim.settings import settings_of
from sim.tiles import AnalogTile

REVERSED = {"reverse_up": True, "reverse_down": True}
GAMMA = {"gamma_up": 0.3, "gamma_down": 0.5}
VECTORS = [  # after up pulse 1, 10, 30 and down pulse 1, 20
    (ConstantStepDevice, {"up_down": 0.3}, (-0.28, -0.1, 0.3, 0.286, 0.02)),
    (LinearStepDevice, GAMMA, (-0.277, -0.080079, 0.298689, 0.273711, -0.129155)),
    (LinearStepDevice, {**GAMMA, **REVERSED}, (-0.282951, -0.12176, 0.291589, 0.276369, -0.06522)),
    (SoftBoundsDevice, {}, (-0.27, -0.041224, 0.274505, 0.245354, -0.156088)),
    (SoftBoundsDevice, {"w_min": 0.0}, (0.02, 0.172517, 0.383003, 0.363003, 0.0)),
    (SoftBoundsReferenceDevice, {"reference_mean": 0.1}, (-0.273333, -0.069977, 0.210671, 0.180315, -0.237729)),
    (
        SoftBoundsReferenceDevice,
        {"up_down": 0.5, "subtract_symmetry_point": True},
        (-0.276667, -0.09873, 0.146837, 0.131056, -0.123465),
    ),
]


def tile_of(cls, fields):
    none = {name: 0.0 for name in settings_of(cls) if name.endswith("_dtod") or name == "dw_min_std"}
    update = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    tile = AnalogTile(1, 1, SingleRPUConfig(device=cls(**{**none, "dw_min": 0.02, **fields}), update=update))
    tile.set_learning_rate(1.0)  # granularity is below 1: the pulse is certain
    return tile


@pytest.mark.parametrize(("cls", "fields", "expected"), VECTORS)
def test_vector(cls, fields, expected):
    tile = tile_of(cls, fields)
    tile.set_weights(torch.tensor([[-0.3]]))
    one, path = torch.ones(1, 1), []
    for direction in [-1] * 30 + [1] * 20:
        tile.update(one, direction * one)
        path.append(float(tile.get_weights()[0]))
    assert [path[k] for k in (0, 9, 29, 30, 49)] == pytest.approx(expected, abs=2e-6)


def test_a_step_is_not_floored_beyond_its_reference():
    fields = {"gamma_up": 1.0, "w_max": 0.5, "w_min": -0.5, "dw_min": 0.05, "perfect_bias": True}
    tile = tile_of(LinearStepDevice, fields)
    tile.set_weights(torch.tensor([[1.0]]))
    tile.update(torch.ones(1, 1), -torch.ones(1, 1))
    assert float(tile.get_weights()[0]) == pytest.approx(0.95)


def test_bounds_and_reset_of_a_reference_device_act_on_its_state():
    """Where the reference simulator compares the weight without the reference (docs/differences.md)."""
    tile = tile_of(SoftBoundsReferenceDevice, {"reference_mean": 0.3})
    tile.set_weights(torch.tensor([[0.6]]))
    assert float(tile.get_weights()[0]) == pytest.approx(0.3)
    tile = tile_of(SoftBoundsReferenceDevice, {"up_down": 0.5, "subtract_symmetry_point": True, "reset_std": 0.0})
    tile.set_weights(torch.tensor([[-0.3]]))
    tile.reset_columns()
    assert float(tile.get_weights()[0]) == pytest.approx(0.0)
