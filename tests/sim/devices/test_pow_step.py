"""Exponents and symmetry points of power-step devices."""

from __future__ import annotations

import pytest
import torch

from sim.devices import PowStepDevice, PowStepReferenceDevice
from tests.sim.arrays.pulses import array_of, response
from tests.sim.devices.drawing import assert_mean, assert_std, correlation, draw

STILL = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}


def test_exponents_follow_the_one_sided_rule() -> None:
    h = draw(PowStepDevice(pow_gamma=2.0, pow_gamma_dtod=0.1, pow_up_down=0.3))
    assert_mean(h.gamma_up, 2.0)
    assert_mean(h.gamma_down, 1.4)
    assert_std(h.gamma_up, 0.2)
    assert_std(h.gamma_down, 0.2)
    assert correlation(h.gamma_up, h.gamma_down) == pytest.approx(1.0, abs=1e-4)
    h = draw(PowStepDevice(pow_gamma=2.0, pow_gamma_dtod=0.0, pow_up_down=-0.3, pow_up_down_dtod=0.05))
    assert_mean(h.gamma_up, 1.4)
    assert_mean(h.gamma_down, 2.0)
    assert_std(h.gamma_up, 0.1)
    assert correlation(h.gamma_up, h.gamma_down) == pytest.approx(-1.0, abs=1e-4)


def test_negative_exponents_are_folded_with_consistency_only() -> None:
    wild = {"pow_gamma": 1.0, "pow_gamma_dtod": 1.0}
    free, kept = draw(PowStepDevice(**wild, enforce_consistency=False)), draw(PowStepDevice(**wild))
    assert bool((free.gamma_up < 0).any())
    assert torch.equal(kept.gamma_up, free.gamma_up.abs())


def test_a_negative_mean_exponent() -> None:
    """Folded with consistency; else steps grow towards the bound, and a weight at the bound stays there (devices.md, 5.8)."""
    device = PowStepDevice(**STILL, dw_min=0.01, dw_min_std=0.0, pow_gamma=-2.0, pow_gamma_dtod=0.0)
    assert array_of(device).hidden()["gamma_up"].item() == 2.0
    device.enforce_consistency = False
    array = array_of(device)
    assert array.hidden()["gamma_up"].item() == -2.0
    array.set(torch.full((1, 1, 1), 0.3))
    assert response(array, [True])[1].item() == pytest.approx(0.3 + 0.01 * (0.3 / 1.2) ** -2)
    assert response(array, [True] * 3)[-1].item() == pytest.approx(0.6)


def steps_at(h, g):
    width = h.max_bound - h.min_bound
    return (
        h.dwmin_up * ((h.max_bound - g) / width) ** h.gamma_up,
        h.dwmin_down * ((g - h.min_bound) / width) ** h.gamma_down,
    )


def test_the_symmetry_point_is_exact() -> None:
    h = draw(PowStepReferenceDevice(pow_gamma=1.5, pow_gamma_dtod=0.2, up_down=0.4, subtract_symmetry_point=True, reset=0.1))
    # With a very small exponent the point is nearer to a bound than float32 can tell.
    defined = (h.max_bound > 0) & (h.min_bound < 0) & (h.dwmin_up > 0) & (h.dwmin_down > 0) & (h.gamma_up > 0.1)
    up, down = steps_at(h, h.reference)
    assert torch.allclose(up[defined], down[defined], rtol=1e-4)
    assert float(defined.double().mean()) > 0.99
    assert set(h.reset_bias.flatten().tolist()) == {0.1}, "a reset means w = reset, whatever the reference"
    one = draw(
        PowStepReferenceDevice(pow_gamma=1.5, pow_gamma_dtod=0.0, up_down=0.4, subtract_symmetry_point=True, **STILL), (2, 2)
    )
    assert float(one.reference[0, 0]) == pytest.approx(0.101189, abs=1e-6)  # devices.md, section 11


def test_the_symmetry_point_by_pulse_pairs() -> None:
    """n_estimation_steps: simultaneous mean steps from 0."""
    fields = {"dw_min": 0.02, "pow_gamma": 1.5, "pow_gamma_dtod": 0.0, "up_down": 0.4, "subtract_symmetry_point": True, **STILL}
    point = 0.0
    for _ in range(3):
        point += 0.02 * ((0.6 - point) / 1.2) ** 1.5 - 0.012 * ((point + 0.6) / 1.2) ** 1.5
    few = draw(PowStepReferenceDevice(**fields, n_estimation_steps=3), (2, 2))
    assert float(few.reference[0, 0]) == pytest.approx(point, rel=1e-6)
    many, exact = (draw(PowStepReferenceDevice(**fields, n_estimation_steps=n), (2, 2)).reference[0, 0] for n in (600, -1))
    assert float(many) == pytest.approx(float(exact), abs=1e-6)


def test_devices_without_a_symmetry_point_keep_their_reference() -> None:
    one_way = PowStepReferenceDevice(up_down=1.0, subtract_symmetry_point=True, reference_mean=0.05, **STILL)
    assert set(draw(one_way, (2, 2)).reference.flatten().tolist()) == {float(torch.tensor(0.05))}
    h = draw(PowStepReferenceDevice(corrupt_devices_prob=0.3, subtract_symmetry_point=True, up_down=0.4))
    stuck = h.max_bound == h.min_bound
    assert bool(stuck.any())
    assert set(h.reference[stuck].tolist()) == {0.0}
    assert bool(torch.isfinite(h.reference).all())


def test_a_reference_beyond_the_bounds_never_gives_a_jump() -> None:
    # devices.md, 5.9: the peer takes the power of a negative number there and jumps to the lower bound.
    from tests.sim.arrays.pulses import array_of, pulse

    device = PowStepReferenceDevice(dw_min=0.02, pow_gamma=1.5, pow_gamma_dtod=0.0, dw_min_std=0.0, reference_mean=0.3, **STILL)
    array = array_of(device)
    array.set(torch.full((1, 1, 1), 0.5))
    assert float(array.read()) == pytest.approx(0.3)
    pulse(array, True)
    assert float(array.read()) == pytest.approx(0.3)
    pulse(array, False)
    assert float(array.read()) == pytest.approx(0.28)
