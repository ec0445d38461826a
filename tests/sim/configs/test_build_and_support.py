"""build_config, and the refusal of what is not simulated."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sim.configs import (
    FloatingPointRPUConfig,
    IdealDevice,
    IOParameters,
    MappingParameter,
    SingleRPUConfig,
    SoftBoundsDevice,
    UpdateParameters,
    build_config,
    check_supported,
    set_path,
)
from sim.errors import ConfigError
from sim.presets import EcRamPresetDevice, PresetIOParameters


def test_build_config_composes_fresh_objects():
    device, io = SoftBoundsDevice(dw_min=0.01), IOParameters(out_noise=0.2)
    cfg = build_config("SGD", device, io, UpdateParameters(desired_bl=5), construction_seed=7, mapping=MappingParameter())
    assert cfg == SingleRPUConfig(
        device=SoftBoundsDevice(dw_min=0.01, construction_seed=7),
        forward=IOParameters(out_noise=0.2),
        backward=IOParameters(out_noise=0.2),
        update=UpdateParameters(desired_bl=5),
    )
    assert device.construction_seed == 0
    assert cfg.forward is not io
    assert cfg.forward is not cfg.backward
    assert build_config("sgd") == SingleRPUConfig()
    assert build_config("sgd", SoftBoundsDevice).device == SoftBoundsDevice()
    preset = build_config("sgd", EcRamPresetDevice, PresetIOParameters)
    assert preset.device == EcRamPresetDevice()
    assert preset.backward.out_bound == 20.0


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: build_config("ttv2"), "algorithm"),
        (lambda: build_config("sgd", n_devices=2), "n_devices"),
        (lambda: build_config("sgd", IOParameters()), "device"),
        (lambda: build_config("sgd", io_parameters=UpdateParameters), "io_parameters"),
        (lambda: build_config("sgd", maping=MappingParameter()), "maping"),
    ],
)
def test_build_config_refuses(call, field):
    with pytest.raises(ConfigError) as caught:
        call()
    assert caught.value.field == field


def test_defaults_are_supported():
    for cfg in (SingleRPUConfig(), FloatingPointRPUConfig(), SingleRPUConfig(device=IdealDevice())):
        check_supported(cfg)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("update.desired_bl", 4097, "4096"),
        ("update.d_sparsity", True, "False"),
    ],
)
def test_what_is_not_simulated_is_refused(path, value, words):
    cfg = SingleRPUConfig()
    set_path(cfg, path, value)
    with pytest.raises(ConfigError, match="is not simulated") as caught:
        check_supported(cfg)
    assert caught.value.field == path
    assert words in caught.value.allowed


def test_what_a_tile_without_pulses_would_lose_is_refused():
    cfg = SingleRPUConfig()
    cfg.device.lifetime = 0.5
    check_supported(cfg)
    cfg.update.pulse_type = "NONE"
    with pytest.raises(ConfigError, match=r"device\.lifetime"):
        check_supported(cfg)


def test_what_plays_no_part_is_not_refused():
    cfg = SingleRPUConfig()
    cfg.forward = IOParameters(is_perfect=True, ir_drop=1.0)
    cfg.backward.bound_management = "SHIFT"  # there is none in this direction
    cfg.update = UpdateParameters(pulse_type="NONE", desired_bl=5000)
    check_supported(cfg)


def test_joint_rules_are_looked_at_again():
    cfg = SingleRPUConfig()
    cfg.forward.inp_bound = 2.0
    with pytest.raises(ConfigError, match="noise_management"):
        check_supported(cfg)


def test_configurations_do_not_import_torch():
    code = "import sys, sim.configs, sim.presets; sys.exit(bool({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
