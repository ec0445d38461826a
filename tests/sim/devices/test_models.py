"""What every device model must satisfy, and the numbers that name it."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

from sim import ops
from sim.configs import from_toml, to_toml
from sim.devices import (
    ConstantStepDevice,
    ExpressionDevice,
    ExpStepDevice,
    IdealDevice,
    LinearStepDevice,
    PiecewiseStepDevice,
    PowStepDevice,
    PowStepReferenceDevice,
    SoftBoundsDevice,
    SoftBoundsPmaxDevice,
    SoftBoundsReferenceDevice,
    TableDevice,
    models,
)
from sim.devices.base import HIDDEN
from sim.random import Draws
from sim.settings import settings_of

MODELS = list(models().values())


OWN_HIDDEN = {
    ConstantStepDevice: [],
    LinearStepDevice: ["slope_up", "slope_down"],
    SoftBoundsDevice: ["slope_up", "slope_down"],
    SoftBoundsPmaxDevice: ["slope_up", "slope_down"],
    SoftBoundsReferenceDevice: ["reference"],
    ExpStepDevice: [],
    PowStepDevice: ["gamma_up", "gamma_down"],
    PowStepReferenceDevice: ["gamma_up", "gamma_down", "reference"],
    PiecewiseStepDevice: [],
    ExpressionDevice: [],
    TableDevice: [],
}


def test_all_models_are_found():
    assert set(MODELS) == set(OWN_HIDDEN)


@pytest.mark.parametrize("cls", MODELS)
def test_documented(cls):
    for word in (".. math::", "[weight]", "Source:"):
        assert word in cls.__doc__
    assert all(len(setting.doc) > 10 for setting in settings_of(cls).values())


@pytest.mark.parametrize("cls", MODELS)
def test_draw_gives_what_the_kernel_takes(cls):
    values = cls().draw((3, 4), Draws(1, (3, 4)))
    assert set(ops.device_parameters(cls.kernel)) <= set(values)
    for value in values.values():
        if isinstance(value, torch.Tensor):
            assert value.shape == (3, 4)
            assert value.dtype == torch.float32
            assert bool(torch.isfinite(value).all())
        else:
            assert type(value) is float


@pytest.mark.parametrize("cls", MODELS)
def test_without_spread_nothing_costs_memory(cls):
    none = {name: 0.0 for name in settings_of(cls) if name.endswith("_dtod")}
    values = cls(**none).draw((3, 4), Draws(1, (3, 4)))
    assert {type(value) for value in values.values()} == {float}


@pytest.mark.parametrize("cls", MODELS)
def test_draws_depend_on_the_key_only(cls):
    one, again, other = (cls().draw((3, 4), Draws(key, (3, 4))) for key in (1, 1, 2))
    for name in one:
        assert torch.equal(torch.as_tensor(one[name]), torch.as_tensor(again[name]))
    assert not torch.equal(one["max_bound"], other["max_bound"])


@pytest.mark.parametrize("cls", MODELS)
def test_no_draw_moves_another(cls):
    """Switching a spread on leaves the numbers of all others as they were."""
    more = cls(reset_dtod=0.1, lifetime=10.0, lifetime_dtod=0.1, diffusion=0.1, diffusion_dtod=0.1)
    a, b = cls().draw((3, 4), Draws(1, (3, 4))), more.draw((3, 4), Draws(1, (3, 4)))
    for name in set(a) - {"reset_bias", "decay_scales", "diffusion_rates"}:
        assert torch.equal(torch.as_tensor(a[name]), torch.as_tensor(b[name])), name


@pytest.mark.parametrize("cls", MODELS)
def test_bounds_enclose_zero_by_default(cls):
    values = cls(w_max_dtod=1.0, w_min_dtod=1.0).draw((50, 50), Draws(1, (50, 50)))
    assert bool((values["min_bound"] <= 0).all())
    assert bool((values["max_bound"] >= 0).all())


@pytest.mark.parametrize("cls", MODELS)
def test_hidden_names_in_standard_order(cls):
    device = cls()
    values = device.draw((3, 4), Draws(1, (3, 4)))
    own = OWN_HIDDEN[cls]
    assert list(device.hidden(values)) == [*HIDDEN, *own]
    persistent = torch.zeros(3, 4)
    assert list(device.hidden(values, persistent)) == [*HIDDEN, "persistent_weights", *own]
    assert device.hidden(values, persistent)["persistent_weights"] is persistent


@pytest.mark.parametrize("cls", MODELS)
def test_copies_and_text(cls):
    device = cls(w_max_dtod=0.01, up_down_dtod=0.2)
    assert pickle.loads(pickle.dumps(device)) == device
    assert from_toml(to_toml(device)) == device


@pytest.mark.parametrize("cls", [ConstantStepDevice, LinearStepDevice, SoftBoundsDevice, SoftBoundsReferenceDevice])
def test_granularity_and_states(cls):
    device = cls(dw_min=0.02, w_max=0.5, w_min=-0.3, up_down=0.5)
    assert device.granularity() == 0.02
    assert device.num_states() == pytest.approx(40.0)


@pytest.mark.parametrize("cls", MODELS)
def test_write_noise_is_in_units_of_dw_min(cls):
    if cls is SoftBoundsPmaxDevice:
        assert cls(write_noise_std=2.0).write_noise == pytest.approx(2.0 * cls().dw_min)
    elif cls in (ConstantStepDevice, PowStepReferenceDevice):
        assert cls().write_noise == 0.0
        assert "write_noise_std" not in settings_of(cls)
    else:
        assert cls(write_noise_std=2.0, dw_min=0.01).write_noise == pytest.approx(0.02)


def test_construction_seed_replaces_the_key_of_the_tile():
    free, fixed = ConstantStepDevice(), ConstantStepDevice(construction_seed=5)
    assert free.construction_key(11) == 11
    assert fixed.construction_key(11) == fixed.construction_key(12)
    assert fixed.construction_key(11) != ConstantStepDevice(construction_seed=6).construction_key(11)


def test_defaults_of_noise():
    assert LinearStepDevice().mult_noise
    assert SoftBoundsDevice().mult_noise
    assert not SoftBoundsReferenceDevice().mult_noise
    assert IdealDevice().reset_std == 0.01
    assert math.isclose(ConstantStepDevice().num_states(), 1200.0)


def test_unknown_names_of_the_package():
    import sim.devices

    with pytest.raises(AttributeError, match="did you mean 'SoftBoundsDevice'"):
        sim.devices.SoftBoundDevice  # noqa: B018
