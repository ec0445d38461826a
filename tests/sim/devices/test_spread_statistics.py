"""Device-to-device spread against its law: 200,000 crosspoints, fixed keys, 5 standard errors.

The expected values are those of the closed forms in ``sim/devices/base.py`` written out by hand.
"""

from __future__ import annotations

import math

import pytest
import torch

from sim.devices import ConstantStepDevice, LinearStepDevice, SoftBoundsDevice, SoftBoundsReferenceDevice
from sim.random import Draws
from tests.sim.devices.drawing import SHAPE, assert_mean, assert_std, correlation, draw

STILL = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}


@pytest.mark.parametrize(("up_down", "up", "down"), [(-0.3, 0.7, 1.0), (0.3, 1.0, 0.7)])
def test_asymmetry_weakens_one_direction(up_down, up, down):
    h = draw(ConstantStepDevice(dw_min=1.0, dw_min_dtod=0.0, up_down=up_down, up_down_dtod=0.05))
    assert_mean(h.dwmin_up, up)
    assert_mean(h.dwmin_down, down)
    assert_std(h.dwmin_up, 0.05)
    assert_std(h.dwmin_down, 0.05)
    assert correlation(h.dwmin_up, h.dwmin_down) == pytest.approx(-1.0, abs=1e-5)


def test_the_gain_is_shared_by_both_directions():
    h = draw(ConstantStepDevice(dw_min=1.0, dw_min_dtod=0.2, up_down=0.3, up_down_dtod=0.0))
    assert_mean(h.dwmin_up, 1.0)
    assert_std(h.dwmin_up, 0.2)
    assert_mean(h.dwmin_down, 0.7)
    # Folding at 0 matters here: the step is |N(0.7, 0.2)|, whose std differs from 0.2 by 2e-5 at most.
    assert_std(h.dwmin_down, 0.2)
    assert correlation(h.dwmin_up, h.dwmin_down) == pytest.approx(1.0, abs=1e-3)


def test_log_normal_gain_has_median_one():
    h = draw(ConstantStepDevice(dw_min=1.0, dw_min_dtod=0.5, dw_min_dtod_log_normal=True, up_down_dtod=0.0))
    assert_mean(h.dwmin_up, math.exp(0.125))
    assert_std(h.dwmin_up, math.exp(0.125) * math.sqrt(math.exp(0.25) - 1))
    below = (h.dwmin_up < 1.0).double()
    assert_mean(below, 0.5)


def test_bounds():
    device = ConstantStepDevice(w_max=0.6, w_max_dtod=0.3, w_min=-0.4, w_min_dtod=0.2, enforce_consistency=False)
    h = draw(device)
    assert_mean(h.max_bound, 0.6)
    assert_std(h.max_bound, 0.18)
    assert_mean(h.min_bound, -0.4)
    assert_std(h.min_bound, 0.08)
    assert abs(correlation(h.max_bound, h.min_bound)) < 5 / math.sqrt(h.max_bound.numel())


def test_consistency_folds_steps_and_bounds():
    wild = {"dw_min_dtod": 1.0, "w_max_dtod": 1.0, "w_min_dtod": 1.0, "up_down_dtod": 0.0}
    free = draw(ConstantStepDevice(enforce_consistency=False, **wild))
    # P(1 + xi < 0) = Phi(-1); P(b_min > b_max) = P(N(1.2, 0.6 sqrt 2) < 0) = Phi(-sqrt 2).
    assert_mean((free.dwmin_up < 0).double(), 0.5 * math.erfc(1 / math.sqrt(2)))
    frozen = free.max_bound == free.min_bound
    assert_mean(frozen.double(), 0.5 * math.erfc(1.0))
    assert bool((free.min_bound <= free.max_bound).all())
    kept = draw(ConstantStepDevice(**wild))
    assert torch.equal(kept.dwmin_up, free.dwmin_up.abs())
    assert torch.equal(kept.dwmin_down, free.dwmin_down.abs())
    # Swapped, then folded: the larger of the two raw bounds gives the upper magnitude.
    draws = Draws(1, SHAPE)
    raw_max = 0.6 * (1 + draws.normal("max_bound").double())
    raw_min = -0.6 * (1 + draws.normal("min_bound").double())
    assert torch.allclose(kept.max_bound, torch.maximum(raw_max, raw_min).abs(), atol=1e-6)
    assert torch.allclose(kept.min_bound, -torch.minimum(raw_max, raw_min).abs(), atol=1e-6)
    middle = (raw_max + raw_min) / 2
    assert torch.allclose(free.max_bound[frozen], middle[frozen], atol=1e-6)


def test_stuck_devices():
    h = draw(ConstantStepDevice(corrupt_devices_prob=0.2, corrupt_devices_range=0.1))
    stuck = h.max_bound == h.min_bound
    assert_mean(stuck.double(), 0.2)
    assert torch.equal(stuck, (h.dwmin_up == 0) & (h.dwmin_down == 0))
    values = h.max_bound[stuck]
    # Uniform in +-0.1, except where a bound is nearer than 0.1: P(|1 + 0.3 xi| < 1/6) = 0.3 % on either side.
    assert float(values.abs().max()) <= 0.1
    assert float(values.mean()) == pytest.approx(0.0, abs=5 * 0.0577 / math.sqrt(values.numel()))
    assert float(values.std()) == pytest.approx(0.2 / math.sqrt(12), rel=0.01)
    near = {**STILL, "w_max": 0.02, "corrupt_devices_prob": 1.0, "corrupt_devices_range": 0.1}
    narrow = draw(ConstantStepDevice(**near))
    assert float(narrow.max_bound.max()) <= 0.02 + 1e-7
    assert float(narrow.max_bound.min()) < -0.09


def test_perfect_bias_idealises_the_last_column_only():
    device = ConstantStepDevice(perfect_bias=True, corrupt_devices_prob=0.5, up_down=0.3, lifetime=10.0, lifetime_dtod=0.1)
    h, plain = draw(device), draw(ConstantStepDevice(**{**_changes(device), "perfect_bias": False}))
    assert set(h.max_bound[:, -1].tolist()) == {float(torch.tensor(60.0))}
    assert set(h.min_bound[:, -1].tolist()) == {float(torch.tensor(-60.0))}
    for steps in (h.dwmin_up, h.dwmin_down):
        assert set(steps[:, -1].tolist()) == {float(torch.tensor(0.001))}
    assert torch.equal(h.max_bound[:, :-1], plain.max_bound[:, :-1])
    assert float(h.decay_scales[:, -1].std()) > 0
    still = ConstantStepDevice(perfect_bias=True, up_down=0.5, **STILL).draw((3, 4), Draws(1, (3, 4)))
    assert still["dwmin_up"] == 0.001  # it does not vary, so it costs no memory
    assert torch.allclose(torch.as_tensor(still["dwmin_down"])[0], torch.tensor([0.0005, 0.0005, 0.0005, 0.001]))


def test_slow_operators():
    h = draw(ConstantStepDevice(reset=0.1, reset_dtod=0.05, lifetime=100.0, lifetime_dtod=0.1, diffusion=0.2, diffusion_dtod=0.1))
    assert_mean(h.reset_bias, 0.1)
    assert_std(h.reset_bias, 0.05)
    # 1 - 1/t with t ~ N(100, 10): mean 1 - 0.01 (1 + 0.01 + 3e-4 + ...), std about 0.00102.
    assert float(h.decay_scales.mean()) == pytest.approx(0.9899, abs=2e-5)
    assert float(h.decay_scales.std()) == pytest.approx(0.00103, abs=3e-5)
    assert_mean(h.diffusion_rates, 0.2)
    assert_std(h.diffusion_rates, 0.02)
    folded = draw(ConstantStepDevice(diffusion=0.2, diffusion_dtod=2.0))
    assert float(folded.diffusion_rates.min()) >= 0
    short = draw(ConstantStepDevice(lifetime=0.5))
    assert set(short.decay_scales.flatten().tolist()) == {0.0}
    mixed = draw(ConstantStepDevice(lifetime=1.0, lifetime_dtod=0.5))
    assert_mean((mixed.decay_scales == 0).double(), 0.5)
    assert float(mixed.decay_scales.max()) < 1


def test_drift_exponent():
    device = ConstantStepDevice()
    device.drift.nu, device.drift.nu_dtod = 0.1, 0.2
    h = draw(device)
    assert_mean(h.drift_nu, 0.1)
    assert_std(h.drift_nu, 0.02)


def test_linear_step_slopes():
    device = LinearStepDevice(gamma_up=0.3, gamma_down=0.5, w_max=0.5, w_min=-0.4, dw_min=0.02, **STILL)
    h = draw(device)
    gamma_up, gamma_down = -h.slope_up * 0.5 / 0.02, h.slope_down * 0.4 / 0.02
    assert_mean(gamma_up, 0.3)
    assert_std(gamma_up, 0.05)
    assert_mean(gamma_down, 0.5)
    assert_std(gamma_down, 0.05)
    assert abs(correlation(gamma_up, gamma_down)) < 5 / math.sqrt(gamma_up.numel())


def test_linear_step_sign_of_gamma():
    free = draw(LinearStepDevice(gamma_up_dtod=0.1, allow_increasing=True))
    assert_mean((free.slope_up > 0).double(), 0.5)
    folded = draw(LinearStepDevice(gamma_up_dtod=0.1))
    assert torch.equal(folded.slope_up, -free.slope_up.abs())


def test_linear_step_reference_and_final_steps():
    fields = {"gamma_up": 0.3, "gamma_down": 0.5, "gamma_up_dtod": 0.0, "gamma_down_dtod": 0.0}
    mean = draw(LinearStepDevice(**fields))
    assert torch.allclose(mean.slope_up, -0.3 * mean.dwmin_up / 0.6, rtol=1e-5)
    assert torch.allclose(mean.slope_down, 0.5 * mean.dwmin_down / 0.6, rtol=1e-5)
    own = draw(LinearStepDevice(mean_bound_reference=False, **fields))
    assert torch.allclose(own.slope_up, -0.3 * own.dwmin_up / own.max_bound, rtol=1e-5)
    assert torch.allclose(own.slope_down, -0.5 * own.dwmin_down / own.min_bound, rtol=1e-5)
    turned = LinearStepDevice(reverse_up=True, reverse_down=True, dw_min=0.02, **fields, **STILL)
    values = turned.hidden(turned.draw((2, 2), Draws(1, (2, 2))))
    assert values["slope_up"] == pytest.approx(0.00983607, abs=1e-8)
    assert values["slope_down"] == pytest.approx(-0.0163934, abs=1e-7)
    none = LinearStepDevice(w_max=0.0, **fields, **STILL)
    assert none.draw((2, 2), Draws(1, (2, 2)))["slope_up"] == 0.0


def test_soft_bounds_slopes_end_at_the_bounds():
    h = draw(SoftBoundsDevice())
    assert torch.allclose(h.slope_up, -h.dwmin_up / h.max_bound, rtol=1e-5)
    assert torch.allclose(h.slope_down, -h.dwmin_down / h.min_bound, rtol=1e-5)
    turned = SoftBoundsDevice(reverse_up=True, reverse_down=True, reverse_offset=0.1, dw_min=0.02, **STILL)
    values = turned.hidden(turned.draw((2, 2), Draws(1, (2, 2))))
    assert values["slope_up"] == pytest.approx(0.02 / 0.7)
    assert values["slope_down"] == pytest.approx(-0.02 / 0.7)
    stuck = draw(SoftBoundsDevice(corrupt_devices_prob=1.0, corrupt_devices_range=0.0))
    assert set(stuck.slope_up.flatten().tolist()) == {0.0}, "a bound at 0 leaves the step constant"


def test_reference_of_soft_bounds():
    h = draw(SoftBoundsReferenceDevice(reference_mean=0.1, reference_std=0.05))
    assert_mean(h.reference, 0.1)
    assert_std(h.reference, 0.05)


def test_spread_of_slopes_changes_the_bounds():
    fields = {"w_max": 0.6, "w_min": -0.5, **STILL}
    h = draw(SoftBoundsReferenceDevice(slope_up_dtod=0.1, slope_down_dtod=0.2, **fields))
    up, down = 0.6 / h.max_bound, -0.5 / h.min_bound
    assert_mean(up, 1.0)
    assert_std(up, 0.1)
    assert_mean(down, 1.0)
    assert_std(down, 0.2)
    assert abs(correlation(up, down)) < 5 / math.sqrt(up.numel())


def test_symmetry_point_is_subtracted():
    device = SoftBoundsReferenceDevice(up_down=0.5, subtract_symmetry_point=True, **STILL)
    assert device.draw((2, 2), Draws(1, (2, 2)))["reference"] == pytest.approx(0.2)
    h = draw(SoftBoundsReferenceDevice(up_down=0.3, subtract_symmetry_point=True, slope_up_dtod=0.1, reset=0.1))
    up = h.dwmin_up * (1 - h.reference / h.max_bound)
    down = h.dwmin_down * (1 - h.reference / h.min_bound)
    assert torch.allclose(up, down, rtol=1e-4, atol=1e-9), "at w = 0 both steps are equal"
    assert set(h.reset_bias.flatten().tolist()) == {0.1}, "a reset means w = reset, whatever the reference"


def test_stuck_devices_have_no_symmetry_point():
    device = SoftBoundsReferenceDevice(
        corrupt_devices_prob=0.3, subtract_symmetry_point=True, slope_up_dtod=0.5, slope_down_dtod=0.5, up_down=0.5
    )
    h = draw(device)
    stuck = (h.dwmin_up == 0) & (h.dwmin_down == 0)
    assert bool(stuck.any())
    assert torch.equal(h.max_bound[stuck], h.min_bound[stuck])
    assert set(h.reference[stuck].tolist()) == {0.0}
    assert bool(torch.isfinite(h.reference).all())
    # Without down steps and with consistency off nothing divides by zero either.
    odd = draw(SoftBoundsReferenceDevice(up_down=1.0, subtract_symmetry_point=True, enforce_consistency=False, **STILL))
    assert torch.allclose(odd.reference, torch.full(SHAPE, 0.6, dtype=torch.float64))


def _changes(device):
    return {name: value for name, value in device.to_dict().items() if name not in ("drift", "class")}
