"""Intervals on request agree with those of the curvature where these are right; cross-validation; logarithmic scale."""

import numpy as np
import pytest

from fitlab.errors import FitError
from fitlab.fit import fit, parameter_set
from tests.fitlab.calibration import draw
from tests.fitlab.simulate import ramps, traces
from tests.fitlab.test_fit import response_of

TRUTH = {"step_up": 0.05, "step_down": 0.04, "w_max": 1.1, "w_min": -1.0, "dw_min_std": 0.4, "read_noise": 0.02}
PULSES = ramps(60, 60, 2)


@pytest.fixture(scope="module")
def response():
    return response_of(traces("SoftBounds", TRUTH, PULSES, 1, np.random.default_rng(61), -0.6), PULSES)


@pytest.fixture(scope="module")
def plain(response):
    return parameter_set(fit(response, "SoftBounds"))


@pytest.mark.parametrize("method", ["profile", "bootstrap", "emcee"])
def test_intervals_agree_with_the_curvature_of_a_well_determined_fit(response, plain, method):
    if method == "emcee":
        pytest.importorskip("emcee", reason="the extra mcmc is not installed")
    document = parameter_set(fit(response, "SoftBounds", intervals=method))
    assert method in document.intervals.replace("profile likelihood", "profile")
    for name in ("dw_min", "w_max", "w_min", "dw_min_std", "read_noise"):
        asked, known = document.parameters[name], plain.parameters[name]
        assert asked.value == known.value
        assert asked.low < asked.value < asked.high, name
        # normal intervals, within a fifth for 200 bootstraps and the skewness of small samples
        assert (asked.high - asked.low) / (2 * 1.96 * known.error) == pytest.approx(1, abs=0.3), name
    if method == "emcee":
        assert any("R-hat" in w for w in document.warnings)


def test_a_bound_near_which_states_stay_has_the_interval_of_its_profile():
    """Additive noise against a soft bound: by its curvature the truth would be 3.7 errors away, by its profile 1.7."""
    assert 0.9 < draw("SoftBoundsReference", 100_006)["w_max"] < 0.975


def test_wide_intervals_of_positive_quantities_stand_in_the_set(response):
    """Of 14 % error the interval of the logarithm, below which value +- 1.96 error would reach too far."""
    short = response_of(traces("SoftBounds", TRUTH, PULSES[:120], 1, np.random.default_rng(64), -0.6), PULSES[:120])
    found = parameter_set(fit(short, "SoftBounds")).parameters["dw_min_std"]
    assert found.error > 0.1 * found.value
    assert found.low * found.high == pytest.approx(found.value**2, rel=1e-6)
    assert found.low > found.value - 1.96 * found.error


def test_a_method_that_does_not_exist_is_refused(response):
    with pytest.raises(FitError, match="--intervals guess: choose from profile, bootstrap, emcee"):
        fit(response, "SoftBounds", intervals="guess")


def test_cross_validation_prefers_the_model_that_made_the_data():
    """Steps that vanish at the bounds, four cycles: constant steps predict cycles that they were not fitted to worse."""
    from tests.fitlab.test_population import cycles_of

    result = fit(cycles_of(np.full(4, 0.05), ramps(60, 60, 1)), ["ConstantStep", "SoftBounds"], cross_validate=True)
    held = {r.model: r for r in result.comparison}
    assert held["SoftBounds"].held_out == 0
    assert held["ConstantStep"].held_out < -3 * held["ConstantStep"].held_out_error
    assert parameter_set(result).comparison[1].held_out == pytest.approx(held["ConstantStep"].held_out, rel=1e-6)


def test_a_response_over_decades_is_fitted_on_a_logarithmic_scale():
    """Constant steps of ln G are those of a constant-step device in w; on the linear scale they are not."""
    truth = {"step_up": 0.02, "step_down": 0.02, "w_max": 9.0, "w_min": -9.0, "dw_min_std": 0.3, "read_noise": 0.01}
    pulses = ramps(90, 90, 2)
    w = traces("ConstantStep", truth, pulses, 1, np.random.default_rng(62), -0.9)
    response = response_of(1e-6 * 10 ** (1.5 * w), pulses, unit="S")
    log, linear = fit(response, "ConstantStep", log_scale=True), fit(response, "ConstantStep")
    assert log.chosen[0].r2 > 0.99
    assert linear.chosen[0].r2 < 0.95
    document = parameter_set(log)
    assert document.weight.scale == "log"
    step = document.parameters["dw_min"]
    # one unit of w is half the logarithmic window
    half = np.log10(document.weight.high / document.weight.low) / 2
    assert abs(step.value - 1.5 * 0.02 / half) < 4 * step.error
    assert document.weight.to_weight(document.weight.to_value(0.3)) == pytest.approx(0.3)
    assert document.weight.to_value(-1) == pytest.approx(document.weight.low)
    reads = log.devices[0].trace.reads
    assert log.window.to_value(reads) == pytest.approx(1e-6 * 10 ** (1.5 * w[0]), nan_ok=True)
    with pytest.raises(FitError, match="needs values above 0"):
        fit(response_of(w, pulses), "ConstantStep", log_scale=True)
