"""No field of a device is ignored: each changes exactly the hidden parameters that it should, and no other."""

from __future__ import annotations

import pytest
import torch

from sim.devices import (
    ConstantStepDevice,
    ExpressionDevice,
    ExpStepDevice,
    LinearStepDevice,
    PiecewiseStepDevice,
    PowStepDevice,
    PowStepReferenceDevice,
    PulsedDevice,
    SoftBoundsDevice,
    SoftBoundsPmaxDevice,
    SoftBoundsReferenceDevice,
    TableDevice,
    models,
)
from sim.random import Draws
from sim.settings import get_path, numeric_paths, set_path, settings_of

SHAPE = (30, 40)
STEPS = {"dwmin_up", "dwmin_down"}
BOUNDS = {"max_bound", "min_bound"}

# What a field changes, from a start at which all that it needs is switched on. The bounds vary so much there that
# some are swapped.
COMMON = {
    "dw_min": (0.5, STEPS),
    "dw_min_dtod": (0.5, STEPS),
    "dw_min_dtod_log_normal": (True, STEPS),
    "up_down": (0.4, {"dwmin_down"}),
    "up_down_dtod": (0.2, STEPS),
    "w_max": (0.9, BOUNDS),
    "w_max_dtod": (0.5, BOUNDS),
    "w_min": (-0.9, BOUNDS),
    "w_min_dtod": (0.5, BOUNDS),
    "enforce_consistency": (False, STEPS | BOUNDS),
    "perfect_bias": (True, STEPS | BOUNDS),
    "corrupt_devices_prob": (0.5, STEPS | BOUNDS),
    "corrupt_devices_range": (0.01, BOUNDS),
    "diffusion": (0.2, {"diffusion_rates"}),
    "diffusion_dtod": (0.2, {"diffusion_rates"}),
    "lifetime": (20.0, {"decay_scales"}),
    "lifetime_dtod": (0.2, {"decay_scales"}),
    "reset": (0.2, {"reset_bias"}),
    "reset_dtod": (0.2, {"reset_bias"}),
    "drift.nu": (0.2, {"drift_nu"}),
    "drift.nu_dtod": (0.2, {"drift_nu"}),
}
START = {
    "dw_min_dtod": 1.0,
    "w_max_dtod": 1.0,
    "w_min_dtod": 1.0,
    "corrupt_devices_prob": 0.1,
    "diffusion": 0.1,
    "diffusion_dtod": 0.1,
    "lifetime": 10.0,
    "lifetime_dtod": 0.1,
    "reset": 0.1,
    "reset_dtod": 0.1,
    "drift.nu": 0.1,
    "drift.nu_dtod": 0.1,
}
SLOPES = {"slope_up", "slope_down"}
EXPONENTS = {"gamma_up", "gamma_down"}
POWER = {
    "pow_gamma": (2.0, EXPONENTS),
    "pow_gamma_dtod": (0.3, EXPONENTS),
    "pow_up_down": (0.2, {"gamma_down"}),
    "pow_up_down_dtod": (0.3, EXPONENTS),
}
SOFT = {
    "mult_noise": (False, {"mult_noise"}),
    "reverse_up": (True, {"slope_up", "reverse_up"}),
    "reverse_down": (True, {"slope_down", "reverse_down"}),
    "reverse_offset": (0.5, {"reverse_offset"}),
}
OWN = {
    ConstantStepDevice: {},
    LinearStepDevice: {
        "gamma_up": (0.5, {"slope_up"}),
        "gamma_down": (0.5, {"slope_down"}),
        "gamma_up_dtod": (0.5, {"slope_up"}),
        "gamma_down_dtod": (0.5, {"slope_down"}),
        "allow_increasing": (True, SLOPES),
        "mean_bound_reference": (False, SLOPES),
        "mult_noise": (False, {"mult_noise"}),
        "reverse_up": (True, {"slope_up"}),
        "reverse_down": (True, {"slope_down"}),
    },
    SoftBoundsDevice: SOFT,
    SoftBoundsPmaxDevice: {
        **SOFT,
        "p_max": (500.0, STEPS | BOUNDS),
        "alpha": (0.002, STEPS | BOUNDS),
        "range_min": (-0.5, STEPS | BOUNDS),
        "range_max": (0.5, STEPS | BOUNDS),
        "exact_range": (False, STEPS | BOUNDS),
    },
    ExpStepDevice: {
        name: (0.5, {name})
        for name in ("A_up", "A_down", "gamma_up", "gamma_down", "a", "b", "dw_min_std_add", "dw_min_std_slope")
    },
    PowStepDevice: POWER,
    PowStepReferenceDevice: {
        **POWER,
        "subtract_symmetry_point": (True, {"reference"}),
        "reference_mean": (0.3, {"reference"}),
        "reference_std": (0.3, {"reference"}),
    },
    PiecewiseStepDevice: {},
    ExpressionDevice: {
        "parameters.a": (0.7, {"a", "p0"}),
        "dtod.a": (0.3, {"a", "p0"}),
    },
    TableDevice: {"dw_min_std": (0.5, {"dw_min_std"})},
    SoftBoundsReferenceDevice: {
        "mult_noise": (True, {"mult_noise"}),
        "slope_up_dtod": (0.5, {"max_bound"}),
        "slope_down_dtod": (0.5, {"min_bound"}),
        "reference_mean": (0.3, {"reference"}),
        "reference_std": (0.3, {"reference"}),
        "subtract_symmetry_point": (True, {"reference"}),
    },
}
# Derived quantities follow the common ones that they are made of.
ENDS = {"dwmin_up": "slope_up", "dwmin_down": "slope_down", "max_bound": "slope_up", "min_bound": "slope_down"}
FOLLOW = {
    LinearStepDevice: {"dwmin_up": "slope_up", "dwmin_down": "slope_down"},
    SoftBoundsDevice: ENDS,
    SoftBoundsPmaxDevice: ENDS,
}
EXPONENT_START = {"pow_gamma_dtod": 0.8}
START_OWN = {
    LinearStepDevice: {"gamma_up": 0.1, "gamma_down": 0.1, "gamma_up_dtod": 0.2, "gamma_down_dtod": 0.2},
    PowStepDevice: EXPONENT_START,
    PowStepReferenceDevice: EXPONENT_START,
    ExpressionDevice: {"parameters": {"a": 0.5}, "dtod": {"a": 0.1}},
}
# Fields that belong to what happens later: pulses, writes, resets, drift calls, or the key of the draws.
LATER = {
    "construction_seed",
    "dw_min_std",
    "reset_std",
    "count_pulses",
    "write_noise_std",
    "apply_write_noise_on_set",
    "piecewise_up",  # what the array shares, not a quantity of a crosspoint: test_laws.py
    "piecewise_up.0",
    "piecewise_down",
    "piecewise_down.0",
    "parameters",
    "dtod",
    "noise",
    "rows",
    "up",
    "up.0",
    "up.1",
    "down",
    "down.0",
    "down.1",
    *("drift." + name for name in ("t_0", "reset_tol", "nu_std", "wg_ratio", "g_offset", "w_offset", "nu_k", "log_g0")),
    "drift.w_noise_std",
}


def start(cls):
    device = cls()
    for path, value in {**START, **START_OWN.get(cls, {})}.items():
        set_path(device, path, value)
    return device


def everything(device):
    values = device.draw(SHAPE, Draws(3, SHAPE))
    return {k: torch.as_tensor(v).expand(SHAPE) for k, v in {**values, **device.hidden(values)}.items()}


def fields_of(cls):
    """The fields with an effect on the draws, and what they change."""
    return {path: to for path, to in {**COMMON, **OWN[cls]}.items() if path not in cls.derived}


@pytest.mark.parametrize(("cls", "path"), [(cls, path) for cls in models().values() for path in fields_of(cls)])
def test_field_changes_what_it_should(cls, path):
    value, expected = fields_of(cls)[path]
    before = everything(start(cls))
    device = start(cls)
    assert get_path(device, path) != value
    set_path(device, path, value)
    after = everything(device)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    expected = set(expected)
    if cls in (PowStepDevice, PowStepReferenceDevice) and path == "enforce_consistency":
        expected |= EXPONENTS
    if path != "corrupt_devices_range":  # it moves the bounds of stuck devices, whose slopes are 0
        follow = FOLLOW.get(cls, {})
        expected |= {follow[name] for name in expected if name in follow}
    if cls is LinearStepDevice and path in ("w_max", "w_min"):
        expected |= {"slope_up" if path == "w_max" else "slope_down"}  # the mean bounds are its reference
    assert changed == expected


def test_reversed_steps_use_the_offset():
    for cls, name in ((LinearStepDevice, "slope_up"), (SoftBoundsDevice, "slope_up"), (SoftBoundsPmaxDevice, "slope_up")):
        device = start(cls)
        device.reverse_up = True
        before = everything(device)[name]
        device.reverse_offset = 0.5
        assert not torch.equal(everything(device)[name], before)


@pytest.mark.parametrize("cls", models().values())
def test_every_field_is_listed(cls):
    listed = {*COMMON, *OWN[cls], *LATER, "drift", "n_estimation_steps"}  # the last: test_pow_step.py
    if cls is LinearStepDevice:
        listed.add("reverse_offset")  # only with a reversed step, above
    assert {*settings_of(cls), *numeric_paths(cls())} <= listed


def test_every_model_is_covered():
    assert set(OWN) == set(models().values())
    assert issubclass(LinearStepDevice, PulsedDevice)
