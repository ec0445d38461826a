"""NeuroSim's curvature and label, in and out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from fitlab.errors import FitlabError
from fitlab.neurosim import NeuroSim, _branches, a_of_label, from_neurosim, label_of_a

GIVEN = NeuroSim(a_ltp=0.5, a_ltd=-0.2, pulses_ltp=97, pulses_ltd=100, g_min=3e-9, g_max=4e-8, var_amp=0.01)


def test_the_published_pairs_of_label_and_curvature():
    # published with one digit of A
    assert round(a_of_label(2.4), 1) == 0.5
    assert round(a_of_label(-4.88), 1) == -0.2


@pytest.mark.parametrize("label", [-8.5, -3.0, -0.01, 0.3, 2.4, 9.0])
def test_label_and_curvature_are_inverse(label):
    assert label_of_a(a_of_label(label)) == pytest.approx(label, rel=1e-9)


def test_straight_lines_and_nonsense():
    assert a_of_label(0) == math.inf
    assert label_of_a(math.inf) == 0
    for wrong in (9.1, math.nan):
        with pytest.raises(FitlabError, match="-9 to 9"):
            a_of_label(wrong)
    with pytest.raises(FitlabError, match="not 0"):
        label_of_a(0.0)
    for change in ({"pulses_ltp": 0}, {"g_max": 1e-9}, {"var_amp": -0.1}):
        with pytest.raises(FitlabError, match="NeuroSim device"):
            from_neurosim(dataclasses.replace(GIVEN, **change))


@pytest.mark.parametrize(("a_ltp", "a_ltd"), [(0.5, -0.2), (-0.75, -10.6), (math.inf, -1.0), (1.0, 0.8)])
def test_branches_of_the_device_are_those_of_the_formula(a_ltp, a_ltd):
    given = dataclasses.replace(GIVEN, a_ltp=a_ltp, a_ltd=a_ltd)
    device = from_neurosim(given)
    up, down = (device.dw_min * min(1.0, 1 + sign * device.up_down) for sign in (1, -1))
    for pulses, step, gamma, k in ((97, up, device.gamma_up, 1 / a_ltp), (100, down, device.gamma_down, -1 / a_ltd)):
        w, path = -1.0, [-1.0]
        for _ in range(pulses):
            w += step * (1 - gamma * w)
            path.append(w)
        p = np.arange(pulses + 1) / pulses
        formula = p if k == 0 else np.expm1(-k * p) / np.expm1(-k)
        np.testing.assert_allclose(path, 2 * formula - 1, atol=1e-9)
    assert device.dw_min_std * math.sqrt((up**2 + down**2) / 2) == pytest.approx(2 * given.var_amp)
    assert not device.mult_noise


def test_what_goes_in_comes_out_of_the_simulated_device():
    (up, k_up), (down, k_down), noise = _branches(from_neurosim(GIVEN), 90, 90)
    assert (up, down) == pytest.approx((97, 100), abs=3)  # the ends of the branches, where steps are small, by interpolation
    assert 1 / k_up == pytest.approx(GIVEN.a_ltp, rel=0.02)
    assert -1 / k_down == pytest.approx(GIVEN.a_ltd, rel=0.04)
    assert noise / 2 == pytest.approx(GIVEN.var_amp, rel=0.05)
