"""Assignment, comparison, printing and paths of configurations."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from sim.configs import (
    ConstantStepDevice,
    FloatingPointDevice,
    FloatingPointRPUConfig,
    IdealDevice,
    IOParameters,
    LinearStepDevice,
    MappingParameter,
    NoiseManagementType,
    PulsedDevice,
    SingleRPUConfig,
    SoftBoundsDevice,
    SoftBoundsReferenceDevice,
    UpdateParameters,
    get_path,
    has_path,
    numeric_paths,
    set_path,
    setting_at,
    structure,
)
from sim.errors import ConfigError, FitlabError
from sim.settings import settings_of

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("owner", "field", "value", "stored"),
    [
        (IOParameters, "out_noise", 1, 1.0),
        (IOParameters, "out_noise", np.float32(0.5), 0.5),
        (IOParameters, "out_bound", INF, INF),
        (IOParameters, "noise_management", "MAX", NoiseManagementType.MAX),
        (IOParameters, "noise_management", NoiseManagementType.MAX, NoiseManagementType.MAX),
        (IOParameters, "is_perfect", np.True_, True),
        (UpdateParameters, "desired_bl", 10.0, 10),
        (UpdateParameters, "desired_bl", np.int64(10), 10),
        (ConstantStepDevice, "w_min", 0, 0.0),
        (MappingParameter, "max_input_size", 0, 0),
    ],
)
def test_accepted_values_are_stored_as_plain_ones(owner, field, value, stored):
    cfg = owner()
    setattr(cfg, field, value)
    assert getattr(cfg, field) == stored
    assert type(getattr(cfg, field)) is type(stored)
    assert owner(**{field: value}) == cfg


@pytest.mark.parametrize(
    ("owner", "field", "value", "words"),
    [
        (ConstantStepDevice, "dw_min", 0.0, "above 0"),
        (ConstantStepDevice, "dw_min", 1e-60, "above 0"),
        (ConstantStepDevice, "dw_min", NAN, "above 0"),
        (ConstantStepDevice, "dw_min", INF, "above 0"),
        (ConstantStepDevice, "dw_min", True, "a number"),
        (ConstantStepDevice, "dw_min", "0.1", "a number"),
        (ConstantStepDevice, "dw_min", None, "a number"),
        (ConstantStepDevice, "w_max", 1e300, "a number"),
        (ConstantStepDevice, "w_max", 10**400, "a number"),
        (ConstantStepDevice, "w_max", -0.1, "at least 0"),
        (ConstantStepDevice, "w_min", 0.1, "at most 0"),
        (ConstantStepDevice, "corrupt_devices_prob", 1.5, "from 0 to 1"),
        (ConstantStepDevice, "construction_seed", -1, "whole number"),
        (ConstantStepDevice, "enforce_consistency", 1, "true or false"),
        (ConstantStepDevice, "drift", 0.1, "a DriftParameter"),
        (IOParameters, "out_bound", NAN, "infinite allowed"),
        (IOParameters, "max_bm_factor", 2.5, "whole number"),
        (IOParameters, "max_bm_factor", INF, "whole number"),
        (IOParameters, "noise_management", "ABSMAX", "did you mean 'ABS_MAX'"),
        (IOParameters, "noise_management", 1, "one of NONE"),
        (UpdateParameters, "desired_bl", 0, "at least 1"),
        (UpdateParameters, "um_grad_scale", 0, "above 0"),
        (SingleRPUConfig, "device", ConstantStepDevice, "an AnalogDevice"),
        (SingleRPUConfig, "device", FloatingPointDevice(), "an AnalogDevice"),
        (FloatingPointRPUConfig, "device", ConstantStepDevice(), "a FloatingPointDevice"),
    ],
)
def test_refused_values_name_field_value_and_what_is_allowed(owner, field, value, words):
    cfg = owner()
    with pytest.raises(ConfigError) as caught:
        setattr(cfg, field, value)
    assert cfg == owner(), "a refused assignment must change nothing"
    error = caught.value
    assert f"{owner.__name__}.{field} = " in str(error)
    assert words in str(error)
    assert error.field == field
    assert error.value is value
    assert error.allowed in str(error)
    with pytest.raises(ConfigError):
        owner(**{field: value})


SPREADS = [
    (cls, name)
    for cls in (*PulsedDevice.kinds().values(), IOParameters)
    for name in settings_of(cls)
    if name.endswith(("_dtod", "_std", "_noise")) and settings_of(cls)[name].numeric
]


@pytest.mark.parametrize(("cls", "name"), SPREADS)
def test_no_spread_may_be_negative(cls, name):
    with pytest.raises(ConfigError, match="at least 0"):
        cls(**{name: -1e-9})


def test_unknown_fields_are_refused_with_a_close_match():
    with pytest.raises(ConfigError, match="ConstantStepDevice has no field 'write_noise_std'"):
        ConstantStepDevice(write_noise_std=1.0)
    with pytest.raises(ConfigError, match="did you mean 'out_noise'"):
        IOParameters().out_nois = 0.1
    with pytest.raises(ConfigError, match="did you mean 'forward'"):
        SingleRPUConfig(forwrd=IOParameters())


def test_fields_that_must_go_together():
    for cls in (LinearStepDevice, SoftBoundsDevice):
        for field in ("reverse_up", "reverse_down"):
            with pytest.raises(ConfigError, match="mult_noise") as caught:
                cls(mult_noise=False, **{field: True})
            assert caught.value.field == field
    for cls in (IdealDevice, FloatingPointDevice):
        with pytest.raises(ConfigError, match="more than 1") as caught:
            cls(lifetime=1.0)
        assert caught.value.field == "lifetime"
        assert cls(lifetime=1.5).lifetime == 1.5
    cfg = SingleRPUConfig()
    cfg.backward.inp_bound = 2.0  # allowed until it is looked at as a whole
    with pytest.raises(ConfigError, match="noise_management") as caught:
        cfg.check()
    assert caught.value.field == "backward.inp_bound"
    cfg.backward.noise_management = "NONE"
    cfg.check()


def test_base_classes_cannot_be_made():
    with pytest.raises(TypeError, match="ConstantStepDevice"):
        PulsedDevice()


def test_errors_survive_pickling():
    with pytest.raises(FitlabError) as caught:
        ConstantStepDevice(dw_min=-1)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.field, again.value, again.allowed) == (
        str(caught.value),
        "dw_min",
        -1,
        caught.value.allowed,
    )


def test_compared_by_value_and_copied_deeply():
    cfg = SingleRPUConfig(device=SoftBoundsDevice(dw_min=0.01))
    twin = copy.deepcopy(cfg)
    assert twin == cfg == pickle.loads(pickle.dumps(cfg))
    twin.device.drift.nu = 0.1
    assert twin != cfg
    assert cfg.device.drift.nu == 0.0
    assert SingleRPUConfig().forward is not SingleRPUConfig().forward
    assert SoftBoundsDevice() != LinearStepDevice()


def test_prints_what_differs_from_the_default():
    assert repr(SingleRPUConfig()) == "SingleRPUConfig()"
    cfg = SingleRPUConfig(device=SoftBoundsDevice())
    cfg.forward.noise_management = "NONE"
    text = "SingleRPUConfig(device=SoftBoundsDevice(), forward=IOParameters(noise_management=NoiseManagementType.NONE))"
    assert repr(cfg) == text
    known = {c.__name__: c for c in (SingleRPUConfig, SoftBoundsDevice, IOParameters, NoiseManagementType)}
    assert eval(repr(cfg), known) == cfg
    cfg.forward.out_noise = 0.123
    assert "\n    device=SoftBoundsDevice(),\n    forward=IOParameters(out_noise=0.123," in str(cfg)


def test_paths_reach_every_number():
    cfg = SingleRPUConfig(device=SoftBoundsReferenceDevice())
    paths = numeric_paths(cfg)
    for path in ("device.dw_min", "device.drift.nu", "device.reference_std", "forward.out_noise", "update.desired_bl"):
        assert has_path(cfg, path)
        assert paths[path] == get_path(cfg, path)
    assert "device.mult_noise" not in paths
    assert has_path(cfg, "device.mult_noise")  # a switch
    for path in ("", "dw_min", "device.", "device.dw_min.0", "device.nothing", "nothing.dw_min", "device.drift.nu.nu"):
        assert not has_path(cfg, path)
        with pytest.raises(ConfigError, match="has no such setting"):
            get_path(cfg, path)
    assert "forward.noise_management" not in paths
    for path, value in paths.items():
        changed = copy.deepcopy(cfg)
        new = next(v for v in (value * 0.5, value + 1, value - 1) if v != value and _takes(changed, path, v))
        set_path(changed, path, new)
        assert get_path(changed, path) == new
        assert changed != cfg
    assert setting_at(cfg, "device.dw_min").doc.startswith("mean step")


def _takes(cfg, path, value):
    try:
        setting_at(cfg, path).coerce(value, path, path)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("device.dwmin", "'device.dw_min'"),
        ("dw_min", "'device.dw_min'"),
        ("device.dw_min.x", "'device.dw_min'"),
        ("qqqqqqqq", "no such setting"),
        ("", "no such setting"),
    ],
)
def test_unknown_paths(path, words):
    for use in (get_path, setting_at, lambda cfg, p: set_path(cfg, p, 1.0)):
        with pytest.raises(ConfigError, match=words) as caught:
            use(SingleRPUConfig(), path)
        assert caught.value.field == path


def test_a_bad_value_at_a_path_names_the_whole_path():
    with pytest.raises(ConfigError, match=r"device\.drift\.nu = -1") as caught:
        set_path(SingleRPUConfig(), "device.drift.nu", -1)
    assert caught.value.field == "device.drift.nu"


def test_structure_ignores_numbers_and_nothing_else():
    base = SingleRPUConfig()
    hash(structure(base))
    for path, value in numeric_paths(base).items():
        changed = copy.deepcopy(base)
        set_path(changed, path, next(v for v in (value * 0.5, value + 1, value - 1) if v != value and _takes(base, path, v)))
        shapes = path.split(".")[-1] in ("max_input_size", "max_output_size", "split_mode_bit_shift")
        assert (structure(changed) != structure(base)) == shapes, path
    for path, value in (
        ("device", LinearStepDevice()),
        ("device", IdealDevice()),
        ("device.perfect_bias", True),
        ("forward.noise_management", "NONE"),
        ("update.update_management", False),
        ("mapping.digital_bias", False),
    ):
        changed = copy.deepcopy(base)
        set_path(changed, path, value)
        assert structure(changed) != structure(base), path
