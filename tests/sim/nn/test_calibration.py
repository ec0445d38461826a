"""Input ranges from data after training (mapping_and_hwa.md, section 7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sim.configs import IdealDevice, InputRangeParameter, IOParameters, PrePostProcessingParameter, SingleRPUConfig
from sim.errors import ConfigError
from sim.nn import AnalogLinear, AnalogSequential, InputRangeCalibrationType, calibrate_input_ranges
from tests.sim.nn.common import ideal

BATCHES = [s * torch.randn(40, 6, generator=torch.Generator().manual_seed(k)) for k, s in enumerate((1.0, 2.0, 0.5))]


def layer(enable: bool = False, **fields: Any) -> AnalogLinear:
    config = ideal()
    config.pre_post = PrePostProcessingParameter(input_range=InputRangeParameter(enable=enable, **fields))
    return AnalogLinear(6, 3, rpu_config=config)


def rho(module: AnalogLinear) -> float:
    return next(module.analog_tiles()).input_range.item()


EVERYTHING = torch.cat(BATCHES).abs().numpy()
RULES = [
    ("MAX", {}, EVERYTHING.max()),
    ("CACHE_QUANTILE", {"quantile": 0.9}, np.quantile(EVERYTHING, 0.9)),
    ("MOVING_QUANTILE", {"quantile": 0.9}, np.mean([np.quantile(b.abs().numpy(), 0.9) for b in BATCHES])),
    ("MOVING_QUANTILE", {"quantile": 1.0}, np.mean([float(b.abs().max()) for b in BATCHES])),
    ("MOVING_STD", {}, np.mean([3.0 * float(b.std()) for b in BATCHES])),
    ("MOVING_STD", {"std_alpha": 2.0}, np.mean([2.0 * float(b.std()) for b in BATCHES])),
    ("MOVING_STD", {"max_samples": 2}, np.mean([3.0 * float(b.std()) for b in BATCHES[:2]])),
]


@pytest.mark.parametrize(("kind", "fields", "expected"), RULES)
@pytest.mark.parametrize("before", [False, True])
def test_every_rule(kind: str, fields: dict[str, Any], expected: float, before: bool) -> None:
    module = layer(enable=before)
    if before:  # M15: what was estimated in training does not count
        module(torch.randn(5, 6))
    calibrate_input_ranges(module, kind, [torch.cat([torch.zeros(30, 6), b]) for b in BATCHES], **fields)
    assert rho(module) == pytest.approx(expected, rel=1e-5)
    tile = next(module.analog_tiles())
    assert ("input_range" in dict(tile.named_parameters())) is before
    assert tile.rpu_config.pre_post.input_range.calibration_info == kind
    assert tile.rpu_config.pre_post.input_range.init_value == pytest.approx(expected, rel=1e-5)
    assert module.training
    module(torch.full((5, 6), 100.0))
    assert rho(module) == pytest.approx(expected, rel=1e-5)  # no estimate from data any more


def test_quantiles_are_of_magnitudes() -> None:
    # M14: one-sided negative inputs
    module = layer()
    calibrate_input_ranges(module, InputRangeCalibrationType.CACHE_QUANTILE, [-BATCHES[0].abs()], quantile=1.0)
    assert rho(module) == pytest.approx(float(BATCHES[0].abs().max()))


def test_a_cache_keeps_a_sample_of_all_batches() -> None:
    module = layer()
    batches = [torch.full((50, 6), float(k)) for k in (1, 2, 3, 4)]
    calibrate_input_ranges(module, "CACHE_QUANTILE", batches, quantile=0.5, max_samples=30)
    assert 1.0 <= rho(module) <= 4.0
    assert rho(module) > 2.0  # later batches are there, and more likely so


def test_noise_management_goes_and_outputs_stay() -> None:
    io = IOParameters(inp_res=-1, out_res=-1, out_noise=0.0, bound_management="NONE", out_bound=-1)
    model = AnalogSequential(
        *(AnalogLinear(6, 6, rpu_config=SingleRPUConfig(device=IdealDevice(), forward=io)) for _ in range(2))
    )
    before = model(BATCHES[0])
    calibrate_input_ranges(model, "MAX", [((b,), {}) for b in BATCHES])
    torch.testing.assert_close(model(BATCHES[0]), before)
    for tile in model.analog_tiles():
        assert tile.rpu_config.forward.noise_management.name == "NONE"  # type: ignore[attr-defined]
        assert not tile.rpu_config.forward.is_perfect  # type: ignore[attr-defined]
    hidden = model[0](torch.cat(BATCHES))
    assert rho(model[1]) == pytest.approx(float(hidden.detach().abs().max()), rel=1e-5)


def test_only_layers_that_have_a_range() -> None:
    with_it, without = layer(enable=True), layer()
    calibrate_input_ranges(AnalogSequential(without, torch.nn.Linear(3, 6), with_it), "MAX", BATCHES, force_all_layers=False)
    assert next(without.analog_tiles()).input_range is None
    assert rho(with_it) != 3.0
    config = SingleRPUConfig(pre_post=PrePostProcessingParameter(input_range=InputRangeParameter(enable=True)))
    with pytest.raises(ConfigError, match="noise_management"):
        calibrate_input_ranges(AnalogLinear(6, 3, rpu_config=config), "MAX", BATCHES, force_all_layers=False)


def test_nothing_and_zeros() -> None:
    module = layer()
    calibrate_input_ranges(module, "NONE", BATCHES)
    assert next(module.analog_tiles()).input_range is None
    calibrate_input_ranges(module, "MAX", [(torch.zeros(4, 6), torch.zeros(4))])
    assert rho(module) == 3.0
    for fields in ({"quantile": 0.0}, {"max_samples": 0}):
        with pytest.raises(ConfigError, match=next(iter(fields))):
            calibrate_input_ranges(module, "MAX", BATCHES, **fields)


def test_replicas_have_ranges_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    module = AnalogLinear(6, 3, rpu_config=ideal(), replicas=2)
    calibrate_input_ranges(module, "MAX", [torch.cat([BATCHES[0], BATCHES[1]])], verbose=True)
    tile = next(module.analog_tiles())
    assert tile.input_range.tolist() == [float(b.abs().max()) for b in BATCHES[:2]]
    assert "input range" in capsys.readouterr().out
