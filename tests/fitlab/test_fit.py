"""Fits of whole files: models and their choice, noise, symmetry point, populations, invariances, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from fitlab.errors import FitError
from fitlab.fit import fit, parameter_set
from fitlab.fit.noise import Law, noise_moments
from fitlab.fit.population import paule_mandel
from fitlab.fit.response import Trace
from fitlab.io import Options, read
from fitlab.io.record import Origin, Run, record
from tests.fitlab.shared import measured
from tests.fitlab.simulate import ramps, traces

EXAMPLE = Path(__file__).parents[2] / "data" / "reram_8cells.csv"
LINEAR = {
    "step_up": 0.02, "step_down": 0.016, "gamma_up": 0.6, "gamma_down": 0.4, "w_max": 1.0, "w_min": -1.0,
    "dw_min_std": 0.3, "read_noise": 0.015,
}  # fmt: skip


def response_of(reads, pulses, scale=1.0, offset=0.0, unit="norm"):
    runs = []
    for i, row in enumerate(np.atleast_2d(reads)):
        n = len(row)
        restart = np.zeros(n, bool)
        restart[0] = True
        runs.append(
            Run(
                f"d{i}",
                0,
                scale * row + offset,
                np.sign(pulses).astype(np.int8),
                np.abs(pulses).astype(np.int32),
                restart,
                np.zeros(n, np.uint8),
            )
        )
    return record(runs, Origin("made", "0" * 64, "test", unit))


@pytest.fixture(scope="module")
def linear():
    pulses = ramps(150, 150, 2, pairs=60)
    return traces("LinearStep", LINEAR, pulses, 1, np.random.default_rng(21), -0.9)[0], pulses


@pytest.fixture(scope="module")
def gong():
    return fit(read(measured("aihwkit_gong2018/gong_et_al.csv")), threads=1)


def test_every_model_reaches_the_peers_r2_on_gong(gong):
    best = {row.model: row.r2 for row in gong.comparison}
    assert best["ConstantStep"] >= 0.8853 - 0.001
    assert best["LinearStep"] >= 0.9249 - 0.001
    assert best["SoftBounds"] >= 0.9134 - 0.001
    assert best["SoftBoundsReference"] >= 0.9134 - 0.001


def test_gong_is_best_described_by_linear_steps_at_the_noise_floor(gong):
    assert gong.chosen[0].model.name == "LinearStep"
    assert gong.chosen[0].r2 >= 0.925
    document = parameter_set(gong)
    assert document.goodness.r2 == pytest.approx(gong.chosen[0].r2, rel=1e-6)
    for name in ("dw_min", "up_down", "gamma_down"):
        estimate = document.parameters[name]
        assert abs(estimate.value) > 3 * estimate.error, name


def test_with_coloured_read_noise_the_mean_is_still_found_with_honest_errors():
    """30 traces with slow read noise: flagged, and the intervals of the steps cover the truth (binomial error 4 %)."""
    rng = np.random.default_rng(30)
    truth = {"step_up": 0.002, "step_down": 0.0016, "w_max": 9.0, "w_min": -9.0, "dw_min_std": 0.0, "read_noise": 0.05}
    pulses = ramps(700, 900, 1)
    hits, flags = [], []
    for reads in traces("ConstantStep", truth, pulses, 30, rng, -0.8):
        slow = np.zeros(len(reads))
        for k in range(1, len(slow)):
            slow[k] = 0.8 * slow[k - 1] + 0.06 * rng.standard_normal()
        result = fit(response_of(reads + slow, pulses), "ConstantStep")
        flags.append(any("coloured" in w for w in result.warnings))
        chosen, scale = result.chosen[0], result.window.per_w
        for name in ("step_up", "step_down"):
            error = chosen.likelihood.errors[name] * scale
            hits.append(abs(chosen.stored[name] * scale - truth[name]) < 1.96 * error)
    assert np.mean(flags) > 0.9
    assert np.mean(hits) > 0.95 - 4 * 0.04


def test_gong_has_errors_and_its_coloured_noise_is_told(gong):
    document = parameter_set(gong)
    assert document.weight.unit == "norm"
    assert any("coloured" in w for w in document.warnings)
    assert document.parameters["dw_min"].error is not None
    assert document.dtod["dw_min_dtod"].value is None
    assert "not measured" in document.dtod["dw_min_dtod"].reason
    for name, estimate in document.parameters.items():
        assert estimate.error is not None or estimate.reason, name
    assert gong.diagnoses[0].moments.lag1 == pytest.approx(-0.44, abs=0.02)


def test_taox_cycle_one_grows_with_its_state():
    options = Options(columns="cycles", read_voltage_V=0.1)
    response = read([measured("crosssim_taox_sandia/set.csv"), measured("crosssim_taox_sandia/reset.csv")], options).isel(
        cycle=slice(1)
    )
    result = fit(response)
    best = {row.model: row.r2 for row in result.comparison}
    assert result.chosen[0].model.name == "LinearStep"
    assert best["LinearStep"] >= 0.9995 - 0.001
    assert best["ConstantStep"] >= 0.9453 - 0.001
    assert best["SoftBounds"] >= 0.8566 - 0.001
    document = parameter_set(result)
    assert document.device.fields["allow_increasing"] is True
    assert document.parameters["gamma_up"].value < 0
    assert "not reached" in document.parameters["w_max"].reason
    assert document.to_device().gamma_up < 0


def test_all_taox_cycles_in_one_fit():
    options = Options(columns="cycles", read_voltage_V=0.1)
    response = read([measured("crosssim_taox_sandia/set.csv"), measured("crosssim_taox_sandia/reset.csv")], options)
    result = fit(response, "LinearStep")
    assert result.chosen[0].least_squares.r2 >= 0.996
    # read noise and lag-1 correlation as the data's description says, 0.03 uA of a half window of 41 uA
    moments = result.diagnoses[0].moments
    assert -0.33 < moments.lag1 < -0.19
    assert moments.read_noise * result.window.per_w * 0.1 == pytest.approx(0.030e-6, rel=0.15)


def test_the_right_model_is_chosen_and_found(linear):
    reads, pulses = linear
    result = fit(response_of(reads, pulses))
    assert result.chosen[0].name == "LinearStep"
    assert sum(row.weight for row in result.comparison) == pytest.approx(1)
    assert result.diagnoses[0].whiteness > 1e-3
    assert not any("coloured" in w for w in result.warnings)
    document = parameter_set(result)
    # in the fit's window the truth's step at w = 0 is that at the state in the middle of the window
    middle, half = (result.window.high + result.window.low) / 2, result.window.per_w
    up = 0.02 * (1 - 0.6 * middle) / half
    down = 0.016 * (1 + 0.4 * middle) / half
    dw_min, up_down = document.parameters["dw_min"], document.parameters["up_down"]
    assert abs(dw_min.value - max(up, down)) < 3.5 * dw_min.error
    assert abs(up_down.value - (1 - down / up)) < 3.5 * up_down.error
    assert document.correlation is not None


def test_symmetry_point_from_steps_and_from_alternation_agree(linear):
    reads, pulses = linear
    result = fit(response_of(reads, pulses), "LinearStep")
    symmetry = result.diagnoses[0].symmetry
    truth = (0.02 - 0.016) / (0.02 * 0.6 + 0.016 * 0.4)
    expected = float(result.window.to_w(np.array(truth)))
    assert abs(symmetry.value - expected) < 3.5 * symmetry.error
    assert 0 < symmetry.error < 0.1


def test_scale_and_offset_of_the_measurement_change_nothing(linear):
    reads, pulses = linear
    plain = parameter_set(fit(response_of(reads, pulses), "LinearStep"))
    scaled = parameter_set(fit(response_of(reads, pulses, 3.7e-6, 2e-5, "S"), "LinearStep"))
    for name, estimate in plain.parameters.items():
        assert scaled.parameters[name].value == pytest.approx(estimate.value, rel=1e-5), name
    assert scaled.weight.low == pytest.approx(3.7e-6 * plain.weight.low + 2e-5)
    assert scaled.weight.unit == "S"


def test_turning_the_sign_of_response_and_pulses_exchanges_the_directions(linear):
    reads, pulses = linear
    plain = fit(response_of(reads, pulses), "LinearStep").chosen[0].stored
    turned = fit(response_of(-reads, -pulses), "LinearStep").chosen[0].stored
    for name, other, sign in (("step_up", "step_down", 1), ("gamma_up", "gamma_down", 1), ("w_max", "w_min", -1)):
        assert turned[name] == pytest.approx(sign * plain[other], rel=2e-3)


def test_devices_in_another_order_or_number_of_threads_give_the_same(linear):
    truth = {**LINEAR, "dw_min_std": 0.4}
    pulses = ramps(120, 120, 2)
    reads = traces("LinearStep", truth, pulses, 3, np.random.default_rng(22), -0.9)
    one = fit(response_of(reads, pulses), "LinearStep", threads=1)
    two = fit(response_of(reads, pulses), "LinearStep", threads=2)
    turned = fit(response_of(reads[::-1], pulses), "LinearStep", threads=2)
    for a, b, c in zip(one.chosen, two.chosen, reversed(turned.chosen), strict=True):
        assert a.stored == b.stored
        assert c.stored == pytest.approx(a.stored, rel=1e-9)


def test_bounds_that_no_read_reaches_are_not_given_an_error():
    truth = {**LINEAR, "w_max": 5.0, "w_min": -5.0, "gamma_up": 1.0, "gamma_down": 1.0}
    pulses = ramps(60, 60, 3)
    reads = traces("LinearStep", truth, pulses, 1, np.random.default_rng(23), -0.6)[0]
    document = parameter_set(fit(response_of(reads, pulses), "LinearStep"))
    for name in ("w_max", "w_min"):
        assert document.parameters[name].error is None
        assert "not reached" in document.parameters[name].reason


def test_no_read_noise_is_an_upper_limit_not_a_number():
    truth = {**LINEAR, "read_noise": 0.0}
    pulses = ramps(150, 150, 1)
    reads = traces("LinearStep", truth, pulses, 1, np.random.default_rng(24), -0.9)[0]
    document = parameter_set(fit(response_of(reads, pulses), "LinearStep"))
    noise = document.parameters["read_noise"]
    if noise.error is None:
        assert noise.value == 0
        assert 0 < noise.high < 0.01
    else:
        assert noise.value < 3 * noise.error


def test_an_outlier_is_left_out_and_told(linear):
    reads, pulses = linear
    spoiled = reads.copy()
    spoiled[[60, 200]] += 0.8
    clean = fit(response_of(reads, pulses), "LinearStep")
    result = fit(response_of(spoiled, pulses), "LinearStep")
    assert result.devices[0].outlier[[60, 200]].all()
    assert result.devices[0].outlier.sum() <= 4
    assert any("outliers" in w for w in result.warnings)
    errors = clean.chosen[0].likelihood.errors
    for name, error in errors.items():
        assert abs(result.chosen[0].likelihood.values[name] - clean.chosen[0].likelihood.values[name]) < error, name


def test_clean_traces_have_next_to_no_outliers():
    pulses = ramps(150, 150, 2)
    reads = traces("LinearStep", LINEAR, pulses, 10, np.random.default_rng(25), -0.9)
    result = fit(response_of(reads, pulses), "LinearStep")
    # 6000 normal reads beyond 5 sigma: 0.003; the local scale makes some more
    assert sum(d.outlier.sum() for d in result.devices) <= 3


@pytest.mark.parametrize("name", ["SoftBoundsPmax", "SoftBounds"])
def test_soft_bounds_converge_on_steps_that_do_not_vanish(name):
    """TaOx grows towards its bound: the bounds go as far as the search lets them, and it is said that only ratios are known."""
    options = Options(columns="cycles", read_voltage_V=0.1)
    taox = read([measured("crosssim_taox_sandia/set.csv"), measured("crosssim_taox_sandia/reset.csv")], options)
    chosen = fit(taox.isel(cycle=slice(1)), name).chosen[0]
    assert chosen.likelihood.converged
    assert any("only step/bound is determined" in reason for reason in chosen.reasons.values())


@pytest.fixture(scope="module")
def example():
    return fit(read(EXAMPLE))


def test_the_example_gives_its_truth_back(example):
    assert example.chosen[0].model.name == "SoftBoundsReference"
    truth = np.genfromtxt(EXAMPLE.with_name("reram_8cells_truth.csv"), delimiter=",", names=True, dtype=None, encoding="utf-8")
    window = example.window
    pulls = []
    for candidate, row in zip(example.chosen, truth, strict=True):
        for bound in ("w_max", "w_min"):
            error = candidate.likelihood.errors[bound]
            pulls.append((candidate.stored[bound] - float(window.to_w(np.array((50 + 25 * row[bound]) * 1e-6)))) / error)
        # relative change of the state a pulse: free of the window
        for step, bound in (("step_up", "w_max"), ("step_down", "w_min")):
            rate = candidate.stored[step] / abs(candidate.stored[bound])
            assert rate == pytest.approx(row[step] / abs(row[bound]), rel=0.35)
    # 16 standardised differences: their mean square is 1 within 4 errors of sqrt(2 / 16)
    assert np.mean(np.square(pulls)) < 1 + 4 * np.sqrt(2 / 16)


def test_the_example_gives_its_spreads(example):
    document = parameter_set(example)
    assert document.protocol.devices == 8
    for name, true in (("dw_min_dtod", 0.3), ("w_max_dtod", 0.2)):
        estimate = document.dtod[name]
        assert estimate.low < true * 1.6, name
        assert estimate.high > true, name
    device = document.to_device()
    assert device.dw_min_dtod == document.dtod["dw_min_dtod"].value
    assert len(document.devices) == 8


def test_random_effects_take_the_errors_of_the_fits_out():
    """1000 devices whose errors are as large as their spread: tau is right, the plain deviation is 41 % too large."""
    rng = np.random.default_rng(26)
    error = rng.uniform(0.15, 0.25, 1000)
    x = 1 + 0.2 * rng.standard_normal(1000) + error * rng.standard_normal(1000)
    spread = paule_mandel(x, error)
    assert abs(spread.tau - 0.2) < 3 * spread.tau_error
    assert spread.tau_error < 0.02
    assert spread.low < 0.2 < spread.high
    assert abs(spread.mean - 1) < 3 * spread.mean_error
    assert np.std(x) > 0.2 + 5 * spread.tau_error


def test_random_effects_intervals_cover():
    rng = np.random.default_rng(27)
    hits = []
    for _ in range(300):
        error = rng.uniform(0.05, 0.2, 12)
        spread = paule_mandel(0.1 * rng.standard_normal(12) + error * rng.standard_normal(12), error)
        hits.append(spread.low <= 0.1 <= spread.high)
    # binomial error of 300 at 95 %: 0.0126
    assert abs(np.mean(hits) - 0.95) < 3.5 * 0.0126


def test_no_spread_is_zero_with_an_upper_limit():
    spread = paule_mandel([1.0, 1.001, 0.999, 1.0], [0.1, 0.1, 0.1, 0.1])
    assert spread.tau == 0
    assert spread.tau_error is None
    assert spread.high > 0
    with pytest.raises(ValueError, match="at least two"):
        paule_mandel([1.0], [0.1])


@pytest.mark.parametrize(("colour", "flagged"), [("white", False), ("slow", True), ("alternating", True)])
def test_coloured_read_noise_is_flagged_and_white_is_not(colour, flagged):
    rng = np.random.default_rng(28)
    n = 2000
    pulses = ramps(100, 100, 10)
    steps = 0.01 * pulses
    mean = np.cumsum(steps)
    white = rng.standard_normal(n)
    if colour == "white":
        noise = 0.05 * white + np.cumsum(0.01 * rng.standard_normal(n))
    elif colour == "slow":
        slow = np.zeros(n)
        for k in range(1, n):
            slow[k] = 0.8 * slow[k - 1] + 0.05 * rng.standard_normal()
        noise = 0.05 * white + slow
    else:
        noise = 0.05 * np.where(np.arange(n) % 2, 1, -1) * (1 + 0.1 * white)
    moments = noise_moments(
        Trace(mean + noise, pulses, np.zeros(n)),
        steps,
        mean,
        np.zeros(n, int),
        Law(steps, np.ones(n), -9, 9, np.full(n, 0.01), 0.05),
    )
    assert bool(moments.warnings) is flagged
    if colour == "white":
        assert moments.read_noise == pytest.approx(0.05, rel=0.1)


def test_what_cannot_be_fitted_is_refused():
    pulses = ramps(30, 30, 1)
    with pytest.raises(FitError, match=r"constant at 0\.5"):
        fit(response_of(np.full(60, 0.5), pulses))
    with pytest.raises(FitError, match="directions are probably swapped"):
        fit(response_of(-np.concatenate([np.linspace(0, 1, 30), np.linspace(1, 0, 30)]), pulses))
    with pytest.raises(FitError, match="no such model; choose from auto, table, ExpressionDevice, ConstantStep"):
        fit(response_of(np.linspace(0, 1, 60), pulses), "PowerStep")
    short = response_of(np.linspace(0, 1, 8), ramps(8, 0, 1))
    with pytest.raises(FitError, match="8 usable reads; at least 10"):
        fit(short)
    with pytest.raises(FitError, match="no device responds"):
        fit(response_of(np.random.default_rng(29).standard_normal(200), ramps(50, 50, 2)), "ConstantStep")
