"""build_config, and the refusal of what is not simulated."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sim.configs import (
    ChoppedTransferCompound,
    DigitalRankUpdateRPUConfig,
    DynamicTransferCompound,
    FloatingPointRPUConfig,
    IdealDevice,
    IOParameters,
    MappingParameter,
    MixedPrecisionCompound,
    SingleRPUConfig,
    SoftBoundsDevice,
    TransferCompound,
    UnitCellRPUConfig,
    UpdateParameters,
    VectorUnitCell,
    build_config,
    check_supported,
    set_path,
)
from sim.errors import ConfigError
from sim.presets import EcRamPresetDevice, PCMPresetUnitCell, PresetIOParameters


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


def test_build_config_of_several_devices():
    cfg = build_config("sgd", SoftBoundsDevice, n_devices=3, construction_seed=5)
    cell = VectorUnitCell(unit_cell_devices=[SoftBoundsDevice()] * 3, update_policy="SINGLE_RANDOM", construction_seed=5)
    assert cfg == UnitCellRPUConfig(device=cell)


@pytest.mark.parametrize(
    ("names", "compound", "fields", "fast_bl"),
    [
        (("tiki-taka", "TT", "ttv1"), TransferCompound, {}, 31),
        (("ttv2",), ChoppedTransferCompound, {"in_chop_prob": 0.0}, 5),
        (("c-ttv2", "Chopped-TTv2", "ttv3"), ChoppedTransferCompound, {"fast_lr": 0.1, "auto_scale": True}, 5),
        (("agad", "ttv4"), DynamicTransferCompound, {"fast_lr": 0.1, "auto_scale": True}, 5),
    ],
)
def test_build_config_of_transfer_algorithms(names, compound, fields, fast_bl):
    io, update = IOParameters(out_noise=0.2), UpdateParameters(um_grad_scale=0.5)
    unmanaged = IOParameters(out_noise=0.2, noise_management="NONE", bound_management="NONE")
    managed = compound is DynamicTransferCompound
    single = UpdateParameters(desired_bl=1, um_grad_scale=0.5, update_management=managed, update_bl_management=managed)
    for name in names:
        cfg = build_config(name, SoftBoundsDevice(dw_min=0.01), io, update, construction_seed=3)
        cell = compound(
            unit_cell_devices=[SoftBoundsDevice(dw_min=0.01)] * 2,
            transfer_forward=io if managed else unmanaged,
            transfer_update=update if compound is TransferCompound else single,
            construction_seed=3,
            **fields,
        )
        assert cfg == UnitCellRPUConfig(
            device=cell, forward=io, backward=io, update=UpdateParameters(desired_bl=fast_bl, um_grad_scale=0.5)
        )
        assert cfg.device.unit_cell_devices[0] is not cfg.device.unit_cell_devices[1]
        check_supported(cfg)
    both = build_config(names[0], [SoftBoundsDevice(dw_min=0.02), SoftBoundsDevice()]).device.unit_cell_devices
    assert [device.dw_min for device in both] == [0.02, 0.001]


def test_build_config_of_mixed_precision():
    for name in ("mp", "Mixed-Precision"):
        cfg = build_config(name, SoftBoundsDevice, construction_seed=4)
        cell = MixedPrecisionCompound(device=SoftBoundsDevice(), construction_seed=4)
        assert cfg == DigitalRankUpdateRPUConfig(device=cell)
    assert build_config("mp", PCMPresetUnitCell).device.device == PCMPresetUnitCell()


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: build_config("ttv5"), "algorithm"),
        (lambda: build_config("sgd", n_devices=0), "n_devices"),
        (lambda: build_config("ttv2", n_devices=2), "n_devices"),
        (lambda: build_config("mp", IdealDevice), "device"),
        (lambda: build_config("agad", [SoftBoundsDevice()]), "device"),
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


TRAINING = """
import sys, torch
from sim.nn import AnalogLinear, AnalogSequential
from sim.optim import AnalogSGD
model = AnalogSequential(AnalogLinear(3, 4), torch.nn.ReLU(), AnalogLinear(4, 2))
optimizer = AnalogSGD(model.parameters(), lr=0.1, momentum=0.9)
optimizer.zero_grad()
torch.nn.functional.cross_entropy(model(torch.rand(5, 3)), torch.zeros(5, dtype=torch.int64)).backward()
optimizer.step()
sys.exit('torch._dynamo' in sys.modules)
"""


def test_training_does_not_import_the_compiler_of_torch():
    # A second or two of every process, for what few of them do.
    assert subprocess.run([sys.executable, "-c", TRAINING], check=False).returncode == 0
