"""Drift of weights (devices.md, 7.3)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim.configs import (
    ConstantStepDevice,
    FloatingPointDevice,
    FloatingPointRPUConfig,
    SingleRPUConfig,
    SoftBoundsReferenceDevice,
)
from sim.devices.base import DriftParameter, SimpleDriftParameter
from sim.errors import ConfigError
from sim.tiles import AnalogTile, FloatingPointTile
from tests.sim.arrays.pulses import array_of

PLAIN = {"w_max_dtod": 0.0, "w_min_dtod": 0.0}


def drifted(drift: DriftParameter, start: float, calls: list[float], n: int = 1, **fields: float) -> np.ndarray:
    array = array_of(ConstantStepDevice(**PLAIN | fields, drift=drift), n)
    array.set(torch.full((1, 1, n), start))
    trace = []
    for elapsed in calls:
        array.drift(elapsed)
        trace.append(array.read()[0, 0].double().numpy().copy())
    return np.array(trace)


def test_vector_of_the_specification() -> None:
    array = array_of(ConstantStepDevice(**PLAIN, drift=DriftParameter(nu=0.1, t_0=2.0)))
    array.set(torch.full((1, 1, 1), 0.5))
    seen = []
    for elapsed in (1, 1, 2, 4):
        array.drift(elapsed)
        seen.append(float(array.read()))
    np.testing.assert_allclose(seen, [0.5, 0.5, 0.466517, 0.435275], atol=1e-6)
    array.set(torch.full((1, 1, 1), 0.4))
    for expected in (0.4, 0.4, 0.373213):
        array.drift(2)
        assert float(array.read()) == pytest.approx(expected, abs=1e-6)


def test_zero_conductance_does_not_drift() -> None:
    # the offset has the sign that follows from g = (w - w_offset) / wg_ratio + g_offset (section 12, item 4)
    trace = drifted(DriftParameter(nu=0.1, w_offset=-0.6), -0.6, [10.0, 10.0])
    np.testing.assert_allclose(trace, -0.6, atol=1e-6)
    other = drifted(DriftParameter(nu=0.1, w_offset=-0.6), 0.0, [10.0])
    np.testing.assert_allclose(other, 0.6 * 10**-0.1 - 0.6, atol=1e-6)


def test_exponents_differ_between_devices_and_calls() -> None:
    n = 20_000
    spread = drifted(DriftParameter(nu=0.1, nu_dtod=0.2), 0.5, [10.0], n)[0]
    nu = -np.log10(spread / 0.5)
    assert abs(nu.mean() - 0.1) < 4.5 * 0.02 / np.sqrt(n)
    assert abs(nu.std() - 0.02) < 4.5 * 0.02 / np.sqrt(2 * n)
    calls = drifted(DriftParameter(nu=0.1, nu_std=0.2), 0.5, [10.0, 0.0], n)
    seen = -np.log10(calls / 0.5)
    assert abs(seen[0].std() - 0.02) < 4.5 * 0.02 / np.sqrt(2 * n)
    assert abs(np.corrcoef(seen)[0, 1]) < 4.5 / np.sqrt(n)


def test_exponent_may_depend_on_the_conductance() -> None:
    trace = drifted(DriftParameter(nu=0.1, nu_k=0.05, log_g0=float(np.log(0.5))), 0.25, [10.0])
    np.testing.assert_allclose(trace, 0.25 * 10 ** -(0.1 - 0.05 * np.log(0.25 / 0.5)), atol=1e-6)


def test_the_conductance_of_that_exponent_has_a_scale() -> None:
    trace = drifted(DriftParameter(nu=0.1, nu_k=0.05, wg_ratio=0.02, g_offset=1.0, w_offset=-0.1), 0.25, [10.0])
    nu = 0.1 - 0.05 * np.log((0.25 + 0.1) / 0.02 + 1.0)
    offset = 1.0 * 0.02 + 0.1
    np.testing.assert_allclose(trace, 0.25 * 10**-nu + offset * (10**-nu - 1), atol=1e-6)


def test_a_change_within_the_tolerance_is_no_rewrite() -> None:
    for tolerance, expected in ((1e-7, 0.4), (0.2, 0.5 * 20**-0.1)):
        array = array_of(ConstantStepDevice(**PLAIN, drift=DriftParameter(nu=0.1, reset_tol=tolerance)))
        array.set(torch.full((1, 1, 1), 0.5))
        array.drift(10.0)  # 0.397
        array.set(torch.full((1, 1, 1), 0.4))
        array.drift(10.0)
        assert float(array.read()) == pytest.approx(expected, abs=1e-6)


def test_noise_of_a_call_does_not_pile_up() -> None:
    n = 20_000
    trace = drifted(DriftParameter(nu=1e-9, w_noise_std=0.01), 0.1, [10.0, 10.0, 10.0], n)
    assert abs(trace[2].std() - 0.01) < 4.5 * 0.01 / np.sqrt(2 * n)


def test_bounds_hold_and_no_drift_is_nothing() -> None:
    assert drifted(DriftParameter(nu=-0.0), 0.5, [10.0])[0, 0] == 0.5
    up = drifted(DriftParameter(nu=0.5, g_offset=-2.0), 0.5, [1e6], w_max=0.6)
    assert up[0, 0] == pytest.approx(0.6)


def test_the_state_behind_a_reference_drifts() -> None:
    device = SoftBoundsReferenceDevice(**PLAIN, reference_mean=0.2, drift=DriftParameter(nu=0.1))
    tile = AnalogTile(1, 1, SingleRPUConfig(device=device))
    tile.set_weights(torch.tensor([[0.3]]))
    tile.drift_weights(10.0)
    assert float(tile.get_weights()[0]) == pytest.approx(0.5 * 10**-0.1 - 0.2, abs=1e-6)


def test_a_digital_tile_drifts_with_one_exponent() -> None:
    config = FloatingPointRPUConfig(device=FloatingPointDevice(drift=SimpleDriftParameter(nu=0.1)))
    tile = FloatingPointTile(2, 2, config)
    tile.set_weights(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
    tile.drift_weights(10.0)
    torch.testing.assert_close(tile.get_weights()[0], torch.tensor([[1.0, -1.0], [0.5, 2.0]]) * 10**-0.1)


def test_bad_times() -> None:
    with pytest.raises(ConfigError, match="elapsed"):
        AnalogTile(2, 2).drift_weights(-1.0)


def test_clip() -> None:
    tile = AnalogTile(1, 3, SingleRPUConfig(device=ConstantStepDevice(**PLAIN)))
    tile.set_weights(torch.tensor([[0.5, -0.5, 0.1]]))
    tile.clip_weights(0.2)
    torch.testing.assert_close(tile.get_weights()[0], torch.tensor([[0.2, -0.2, 0.1]]))
    with pytest.raises(ConfigError, match="bound"):
        tile.clip_weights(-1.0)
