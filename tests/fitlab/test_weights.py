"""Weights of reads: in the likelihood, in files, in Python."""

import numpy as np
import pytest

from fitlab.errors import ReadError
from fitlab.fit import fit, parameter_set
from fitlab.fit.models import MODELS
from fitlab.fit.output_error import fit_output_error
from fitlab.fit.prediction_error import fit_prediction_error
from fitlab.fit.response import Trace, innovations, likelihood_gradient, likelihood_values
from fitlab.io import Options, read, read_record
from tests.fitlab.simulate import ramps, traces
from tests.fitlab.test_fit import response_of

TRUTH = {"step_up": 0.05, "step_down": 0.04, "w_max": 1.1, "w_min": -1.0, "dw_min_std": 0.3, "read_noise": 0.01}
PULSES = ramps(60, 60, 2)
MODEL = MODELS["SoftBounds"]


def reads_of(seed, spread):
    """Reads of the truth whose noise is `spread` (n,) times the usual."""
    rng = np.random.default_rng(seed)
    clean = traces("SoftBounds", {**TRUTH, "read_noise": 0.0}, PULSES, 1, rng, -0.6)[0]
    return clean + spread * TRUTH["read_noise"] * rng.standard_normal(len(clean))


def test_a_weight_divides_the_variance_of_a_read():
    """Weight 4 for all with kappa is kappa / 2; derivatives too."""
    reads = reads_of(91, 1.0)
    segment = np.zeros(len(reads))
    kernel, _ = MODEL.kernel_values(TRUTH, True)
    plain, four = Trace(reads, PULSES, segment), Trace(reads, PULSES, segment, np.full(len(reads), 4.0))
    one, error, variance = innovations(MODEL.kernel, kernel, 0.3, 0.01, plain)
    other, error4, variance4 = innovations(MODEL.kernel, kernel, 0.3, 0.02, four)
    assert other == pytest.approx(one, rel=1e-12)
    np.testing.assert_allclose(error4, error, rtol=1e-9)
    np.testing.assert_allclose(variance4, variance, rtol=1e-9)
    points, active = np.tile(kernel, (2, 1)), np.arange(4, dtype=np.int32)
    sigma, kappa = np.full(2, 0.3), np.full(2, 0.02)
    value, slope, information = likelihood_gradient(MODEL.kernel, points, active, sigma, kappa, four, information=True)
    value1, slope1, information1 = likelihood_gradient(MODEL.kernel, points, active, sigma, kappa / 2, plain, information=True)
    chain = np.array([1, 1, 1, 1, 1, 0.5])  # d kappa / d (2 kappa)
    np.testing.assert_allclose(value, value1, rtol=1e-12)
    np.testing.assert_allclose(slope, slope1 * chain, rtol=1e-9)
    np.testing.assert_allclose(information, information1 * np.outer(chain, chain), rtol=1e-9)
    np.testing.assert_allclose(likelihood_values(MODEL.kernel, points, sigma, kappa, four), value, rtol=1e-12)


def test_right_weights_give_right_and_smaller_errors():
    """Every third read ten times noisier: with its weight the parameters scatter as stated, and less than without."""
    spread = np.where(np.arange(len(PULSES)) % 3 == 0, 10.0, 1.0)
    pulls, gains = [], []
    for seed in range(20):
        reads = reads_of(100 + seed, spread)
        weighted, plain = (Trace(reads, PULSES, np.zeros(len(reads)), w) for w in (spread**-2, None))
        found = []
        for trace in (weighted, plain):
            mean = fit_output_error(MODEL, trace).values
            found.append(fit_prediction_error(MODEL, trace, mean, mult_noise=True))
        best, worse = found
        pulls += [(best.values[n] - TRUTH[n]) / best.errors[n] for n in ("step_up", "step_down", "w_max", "w_min", "read_noise")]
        gains.append(worse.errors["w_max"] / best.errors["w_max"])
        assert abs(best.values["read_noise"] - 0.01) < 4.5 * best.errors["read_noise"]
    # 100 standardised differences of five parameters
    assert np.std(pulls) == pytest.approx(1, abs=0.3)
    assert np.median(gains) > 1.2


def test_least_squares_is_weighted():
    """A read that is off by much and has next to no weight does not move the mean response; one without weight is not there."""
    reads = reads_of(93, 1.0)
    clean = fit_output_error(MODEL, Trace(reads, PULSES, np.zeros(len(reads))))
    wrong, weight = reads.copy(), np.ones(len(reads))
    wrong[30:40] += 0.5
    weight[30:40] = 1e-9
    light = fit_output_error(MODEL, Trace(wrong, PULSES, np.zeros(len(reads)), weight))
    pulled = fit_output_error(MODEL, Trace(wrong, PULSES, np.zeros(len(reads))))
    assert light.values["step_up"] == pytest.approx(clean.values["step_up"], rel=0.02)
    assert pulled.values["step_up"] != pytest.approx(clean.values["step_up"], rel=0.04)


def test_weights_of_a_dataset_reach_the_fit():
    response = response_of(reads_of(94, 1.0), PULSES).dataset()
    ones, none, zero = response.copy(deep=True), response.copy(deep=True), response.copy(deep=True)
    ones["weight"][:] = 1.0
    zero["weight"][..., 20:40] = 0.0
    none["value"][..., 20:40] = np.nan
    none["flag"][..., 20:40] = 1
    sets = [parameter_set(fit(r, "SoftBounds")).parameters for r in (response, ones, zero, none)]
    assert sets[0] == sets[1]
    assert sets[2] == sets[3]
    assert sets[0] != sets[2]
    uneven = response.copy(deep=True)
    uneven["weight"][:] = np.linspace(0.2, 3, len(PULSES))
    assert parameter_set(fit(uneven, "SoftBounds")).parameters != sets[0]


def test_a_column_of_weights_or_of_errors_is_read(tmp_path):
    reads = reads_of(95, 1.0)
    error = 0.01 * np.where(np.arange(len(reads)) % 3 == 0, 2.0, 1.0)
    rows = [f"{p},{v:.6f},{e:.4f},{1 / e**2:.1f}" for p, v, e in zip(PULSES, reads, error, strict=True)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["direction,w,std,precision", *rows]) + "\n", encoding="utf-8")
    by_error = read_record(path, Options(mapping={"value": "w", "error": "std"}))
    by_weight = read_record(path, Options(mapping={"value": "w", "weight": "precision"}))
    np.testing.assert_allclose(by_error.weight[0, 0], (0.01 / error) ** 2)
    np.testing.assert_allclose(by_weight.weight[0, 0], 1 / error**2)
    # kappa is that of a read of weight 1, or of the usual error
    one, other = (fit(r, "SoftBounds").chosen[0].likelihood.values for r in (by_error, by_weight))
    assert other["read_noise"] == pytest.approx(100 * one["read_noise"], rel=1e-4)
    assert other["step_up"] == pytest.approx(one["step_up"], rel=1e-4)
    plain = read(path, Options(mapping={"value": "w", "ignore": "std"}, columns="devices", format="trace"))
    assert np.isnan(plain["weight"]).all()


@pytest.mark.parametrize(("role", "cell"), [("weight", "-1"), ("error", "0"), ("weight", "nan"), ("error", "x")])
def test_weights_that_are_none_are_refused_with_their_place(tmp_path, role, cell):
    rows = [f"{p},{v:.4f},{cell if k == 7 else 2}" for k, (p, v) in enumerate(zip(PULSES, reads_of(96, 1.0), strict=True))]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["direction,w,x", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(ReadError, match=r"trace\.csv:9:3: ") as caught:
        read_record(path, Options(mapping={"value": "w", role: "x"}))
    assert cell in str(caught.value)
