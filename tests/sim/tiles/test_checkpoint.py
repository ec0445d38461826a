"""State dicts: what is saved, what may be loaded into what (mapping_and_hwa.md, section 14)."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from sim.configs import (
    ConstantStepDevice,
    FloatingPointRPUConfig,
    IdealDevice,
    InputRangeParameter,
    IOParameters,
    MappingParameter,
    PrePostProcessingParameter,
    SingleRPUConfig,
    SoftBoundsDevice,
    TransferCompound,
    UnitCellRPUConfig,
)
from sim.errors import ConfigError
from sim.nn import AnalogLinear
from sim.tiles import AnalogTile, FloatingPointTile


def config(out_noise: float = 0.0, **mapping: Any) -> SingleRPUConfig:
    io = IOParameters(out_noise=out_noise)
    return SingleRPUConfig(device=ConstantStepDevice(), forward=io, mapping=MappingParameter(**mapping))


def test_the_saved_configuration_comes_along() -> None:
    saved = AnalogTile(3, 4, config(0.3, weight_scaling_omega=0.5))
    saved.set_weights(torch.rand(3, 4))
    other = AnalogTile(3, 4, config(0.0))
    anchor = other.analog_ctx
    other.load_state_dict(saved.state_dict())
    assert other.rpu_config == saved.rpu_config
    assert other.analog_ctx is anchor  # what an optimizer knows stays
    assert torch.equal(other.get_weights()[0], saved.get_weights()[0])
    x = torch.rand(5, 4)
    assert torch.equal(saved(x), other(x))


def test_a_tile_can_keep_its_own_configuration() -> None:
    saved = AnalogTile(3, 4, config(0.3))
    other = AnalogTile(3, 4, config(0.0))
    other.load_state_dict(saved.state_dict(), load_rpu_config=False)
    assert other.rpu_config.forward.out_noise == 0.0  # type: ignore[attr-defined]
    assert torch.equal(other.get_weights()[0], saved.get_weights()[0])
    assert torch.equal(other.hidden_parameters()["max_bound"], saved.hidden_parameters()["max_bound"])
    x = torch.rand(500, 4)
    exact = x @ other.get_weights()[0].T
    assert float((saved(x) - exact).detach().std()) > 0.2
    assert float((other(x) - exact).detach().std()) < 0.05


def test_what_does_not_fit_is_refused() -> None:
    state = AnalogTile(3, 4, config(digital_bias=False)).state_dict()
    with pytest.raises(ConfigError, match="mapping"):
        AnalogTile(3, 4, config()).load_state_dict(state, load_rpu_config=False)
    AnalogTile(3, 4, config()).load_state_dict(state, load_rpu_config=False, strict_rpu_config_check=False)
    with pytest.raises(ConfigError, match="FloatingPointTile cannot take the state of a AnalogTile"):
        FloatingPointTile(3, 4, FloatingPointRPUConfig()).load_state_dict(state)
    with pytest.raises(ConfigError, match="1 replicas"):
        AnalogTile(3, 4, config(), replicas=2).load_state_dict(state)
    del state["_extra_state"]
    with pytest.raises(RuntimeError, match="_extra_state"):
        AnalogTile(3, 4, config(digital_bias=False)).load_state_dict(state)
    AnalogTile(3, 4, config(digital_bias=False)).load_state_dict(state, strict=False)


def test_a_state_dict_has_tensors_only() -> None:
    layer = AnalogLinear(4, 3, rpu_config=config(0.1))
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    other = AnalogLinear(4, 3, rpu_config=config())
    other.load_state_dict(state)
    assert torch.equal(other.get_weights()[0], layer.get_weights()[0])


def test_another_configuration_for_the_same_weights_and_devices() -> None:
    tile = AnalogTile(3, 4, config(0.0))
    weight, bounds = tile.get_weights()[0], tile.hidden_parameters()["max_bound"]
    tile.to(config(0.5))
    assert tile.rpu_config.forward.out_noise == 0.5  # type: ignore[attr-defined]
    assert torch.equal(tile.get_weights()[0], weight)
    assert torch.equal(tile.hidden_parameters()["max_bound"], bounds)
    with pytest.raises(ConfigError, match="mappings"):
        tile.replace_rpu_config(config(max_input_size=7))
    with pytest.raises(ConfigError, match="not related"):
        tile.replace_rpu_config(FloatingPointRPUConfig())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="does not go"):
        tile.replace_rpu_config(SingleRPUConfig(device=SoftBoundsDevice()))
    assert tile.rpu_config == config(0.5)
    assert torch.equal(tile.get_weights()[0], weight)


def test_ranges_and_scales_are_saved() -> None:
    pre_post = PrePostProcessingParameter(input_range=InputRangeParameter(enable=True))
    mapping = MappingParameter(learn_out_scaling=True)
    cfg = SingleRPUConfig(device=IdealDevice(), pre_post=pre_post, mapping=mapping)
    tile, other = AnalogTile(3, 4, cfg), AnalogTile(3, 4, cfg)
    tile.set_mapping_scales(torch.tensor([1.0, 2.0, 3.0]))
    for _ in range(3):
        tile(torch.rand(5, 4))
    with torch.no_grad():
        tile.out_scaling_alpha.fill_(0.25)
    other.load_state_dict(tile.state_dict())
    assert other.get_scales().tolist() == [0.25, 0.5, 0.75]
    assert torch.equal(other.input_range, tile.input_range)
    assert int(other.input_range_update_idx) == 3
    other.set_mapping_scales(7.0)
    plain = AnalogTile(3, 4, cfg)
    other.load_state_dict(plain.state_dict())  # a state without scales: they are 1
    assert other.get_mapping_scales().tolist() == [1.0, 1.0, 1.0]


def test_a_compound_that_keeps_its_own_configuration_keeps_its_periods() -> None:
    def of(every: float) -> UnitCellRPUConfig:
        devices = [ConstantStepDevice(), ConstantStepDevice()]
        return UnitCellRPUConfig(device=TransferCompound(unit_cell_devices=devices, transfer_every=every))

    saved, other = AnalogTile(3, 4, of(2.0)), AnalogTile(3, 4, of(5.0))
    own = other.array.every.clone()
    other.load_state_dict(saved.state_dict(), load_rpu_config=False)
    assert torch.equal(other.array.every, own)
    assert torch.equal(other.get_weights()[0], saved.get_weights()[0])
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other.array.every, saved.array.every)
