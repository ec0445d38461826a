"""The simulated device over its measurement: of data from the model, of data from another, and of the measured sets."""

import numpy as np
import pytest

from fitlab.errors import FitError
from fitlab.fit import fit
from fitlab.io import Options, read, read_record
from fitlab.predictive import check_fit, device_of, simulated_reads
from tests.fitlab.shared import measured
from tests.fitlab.simulate import ramps, traces
from tests.fitlab.test_fit import LINEAR, response_of

PULSES = ramps(100, 100, 2)


def test_copies_of_the_truth_pass_about_as_often_as_they_should():
    """20 devices of the model: at 1 % each of two tests, three or more failures happen once in 140 runs."""
    reads = traces("LinearStep", LINEAR, PULSES, 20, np.random.default_rng(71), -0.9)
    checks = check_fit(fit(response_of(reads, PULSES), "LinearStep"), most=20)
    assert sum(not (c.mean_agrees and c.spread_agrees) for c in checks) <= 2
    # nine tenths of new reads; of those that were fitted some more
    assert 0.88 < np.mean([c.inside for c in checks]) < 0.98
    assert "lies over its measurement" in checks[0].sentence()


def test_another_mean_and_another_spread_are_told():
    reads = traces("LinearStep", LINEAR, PULSES, 1, np.random.default_rng(72), -0.9)
    result = fit(response_of(reads, PULSES), "LinearStep")
    result.chosen[0].stored["step_up"] *= 1.3
    (wrong,) = check_fit(result)
    assert not wrong.mean_agrees
    result = fit(response_of(reads, PULSES), "LinearStep")
    result.chosen[0].stored["read_noise"] *= 2
    (noisy,) = check_fit(result)
    assert noisy.mean_agrees
    assert not noisy.spread_agrees
    assert noisy.spread_ratio < 0.8


@pytest.mark.parametrize(
    "name", ["ConstantStep", "LinearStep", "SoftBounds", "SoftBoundsPmax", "ExpStep", "PowStep", "PiecewiseStep"]
)
def test_the_simulator_runs_the_fitted_response(name):
    """Without noise the product's array follows the mean trajectory of the fit, to the rounding of its floats."""
    reads = traces("LinearStep", LINEAR, PULSES, 1, np.random.default_rng(73), -0.9)
    result = fit(response_of(reads, PULSES), name)
    chosen, trace = result.chosen[0], result.devices[0].trace
    chosen.stored["read_noise"] = 0.0
    chosen.reasons["dw_min_std"] = "left out"
    assert device_of(chosen).dw_min_std == 0
    (path,) = simulated_reads(chosen, trace, copies=1)
    assert path == pytest.approx(chosen.mean, abs=2e-3)


def test_the_measured_sets_that_a_model_describes_lie_under_it():
    options = Options(columns="cycles", read_voltage_V=0.1)
    taox = read([measured("crosssim_taox_sandia/set.csv"), measured("crosssim_taox_sandia/reset.csv")], options)
    sets = {
        "gong": fit(read_record(measured("aihwkit_gong2018/gong_et_al.csv")), "LinearStep"),
        "taox": fit(taox.isel(cycle=slice(1)), "LinearStep"),
        "agasi": fit(read_record([measured(f"neurosim_ag_asi/{n}.csv") for n in ("ltp", "ltd")]), "ExpStep"),
    }
    organic = read(measured("organic_adc/Current.xlsx"))
    sets["organic"] = fit(organic.isel(pulse=slice(2000)), "PiecewiseStep")  # the first of ten alike cycles
    for name, result in sets.items():
        (check,) = check_fit(result)
        assert check.mean_agrees, (name, check.sentence())
        assert check.spread_agrees, (name, check.sentence())
    (worse,) = check_fit(fit(taox.isel(cycle=slice(1)), "SoftBounds"))
    assert not worse.mean_agrees
    assert "another" in worse.sentence() or "does not describe" in worse.sentence()


def test_the_other_measured_sets_are_refused_with_the_reason():
    """Pulses of many voltages, and reads over time without pulses, are no response to identical pulses."""
    sweep = next(p for p in sorted(measured("lbe247_ferroelectric_2024-09").glob("*/*/*pulsedAmplitude*.csv")) if "(0)" in p.name)
    others = {
        "lbe247": (sweep, Options(), "the pulses are not alike"),
        "sonos": (measured("crosssim_sonos_retention/sonos_state_current_nA.csv"), Options(), "4 usable reads; at least 10"),
        "mnncam": (measured("mnncam_retention/32-levels-retention.xlsx"), Options(columns="devices"), "--kind retention"),
        "sst": (measured("sst_digitised_endurance_retention/2A_HRS_10.csv"), Options(), "--kind retention"),
    }
    for name, (path, options, reason) in others.items():
        with pytest.raises(FitError) as caught:
            fit(read_record(path, options))
        assert reason in str(caught.value), name
