"""What the linear step does beyond its reference."""

from __future__ import annotations

import pytest
import torch

from sim.configs import SingleRPUConfig, UpdateParameters
from sim.devices import LinearStepDevice
from sim.tiles import AnalogTile


def test_a_step_is_not_floored_beyond_its_reference():
    """With gamma 1 and the 100-fold bounds of a perfect bias, an up pulse at w = 2 w_max moves down by dw_min."""
    device = LinearStepDevice(
        dw_min=0.05, dw_min_std=0.0, w_max=0.5, w_min=-0.5, gamma_up=1.0, gamma_up_dtod=0.0, perfect_bias=True
    )
    update = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    tile = AnalogTile(1, 1, SingleRPUConfig(device=device, update=update))
    tile.set_learning_rate(1.0)
    tile.set_weights(torch.tensor([[1.0]]))
    tile.update(torch.ones(1, 1), -torch.ones(1, 1))
    assert float(tile.get_weights()[0]) == pytest.approx(0.95)
