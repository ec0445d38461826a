"""Known devices, simulated by an independent NumPy copy of their equations, are found again, with honest errors."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fitlab.fit.models import MODELS
from fitlab.fit.output_error import fit_output_error
from fitlab.fit.prediction_error import fit_prediction_error
from fitlab.fit.response import Trace
from tests.fitlab.simulate import ramps, traces

REPEATS = 200
CASES = {
    "ConstantStep": (
        {"step_up": 0.02, "step_down": 0.016, "w_max": 1.0, "w_min": -1.0, "dw_min_std": 0.4, "read_noise": 0.02},
        ramps(130, 150, 3),
    ),
    "LinearStep": (
        {
            "step_up": 0.02, "step_down": 0.016, "gamma_up": 0.5, "gamma_down": 0.3, "w_max": 1.0, "w_min": -1.0,
            "dw_min_std": 0.4, "read_noise": 0.02,
        },
        ramps(170, 170, 2),
    ),
    "SoftBounds": (
        {"step_up": 0.03, "step_down": 0.024, "w_max": 1.2, "w_min": -1.1, "dw_min_std": 0.3, "read_noise": 0.02},
        ramps(80, 90, 4),
    ),
    "SoftBoundsReference": (
        {"step_up": 0.03, "step_down": 0.024, "w_max": 1.2, "w_min": -1.1, "dw_min_std": 0.4, "read_noise": 0.02},
        ramps(60, 70, 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_95_percent_intervals_cover_the_truth(name):
    """200 repeats: all parameters together 92 to 97 %; each alone within 3 binomial errors (0.0154) of 95 %."""
    truth, pulses = CASES[name]
    model = MODELS[name]
    additive = name == "SoftBoundsReference"
    reads = traces(name, truth, pulses, REPEATS, np.random.default_rng(11), -0.9, additive=additive)
    hits: dict[str, list[bool]] = {n: [] for n in truth}
    estimates: dict[str, list[float]] = {n: [] for n in truth}
    with threadpool_limits(1, user_api="blas"):
        for row in reads:
            trace = Trace(row, pulses, np.zeros(len(row)))
            mean = fit_output_error(model, trace, tries=1).values
            fit = fit_prediction_error(model, trace, mean, mult_noise=not additive)
            for n, value in truth.items():
                interval = fit.interval(n)
                assert interval is not None, (n, fit.reasons)
                hits[n].append(interval[0] < value < interval[1])
                estimates[n].append(fit.values[n])
    cover = {n: float(np.mean(h)) for n, h in hits.items()}
    assert 0.92 <= np.mean(list(cover.values())) <= 0.97, cover
    assert all(c >= 0.95 - 3 * 0.0154 for c in cover.values()), cover
    for n, value in truth.items():
        # bias below a quarter of the standard deviation of one estimate (plain maximum likelihood: 0.4 for dw_min_std)
        assert abs(np.mean(estimates[n]) - value) < 0.25 * np.std(estimates[n]), n


@pytest.mark.parametrize(("sigma", "kappa"), [(0.3, 0.002), (0.3, 0.01), (0.3, 0.03), (1.0, 0.03), (3.0, 0.01)])
def test_read_and_step_noise_are_told_apart(sigma, kappa):
    """Mean over 20 traces of 1000 reads within 3 errors of the mean; scatter as the reported (Cramer-Rao) errors say."""
    truth = {"step_up": 0.02, "step_down": 0.02, "w_max": 1.6, "w_min": -1.6, "dw_min_std": sigma, "read_noise": kappa}
    pulses = ramps(50, 50, 10)
    reads = traces("ConstantStep", truth, pulses, 20, np.random.default_rng(12), -0.5)
    found, errors = [], []
    fixed = frozenset({"w_max", "w_min"})
    start = {k: truth[k] for k in MODELS["ConstantStep"].parameters}
    for row in reads:
        fit = fit_prediction_error(
            MODELS["ConstantStep"], Trace(row, pulses, np.zeros(len(row))), start, mult_noise=True, fixed=fixed
        )
        found.append([fit.values["dw_min_std"], fit.values["read_noise"]])
        names = ["dw_min_std", "read_noise"]
        # Next to steps 6 times as wide, some traces show no read noise: then there is a reason in the place of the error.
        assert all(name in fit.errors or fit.reasons[name] for name in names)
        errors.append([fit.errors.get(name, np.nan) for name in names])
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
    assert np.all(np.abs(mean - [sigma, kappa]) < 3 * spread / np.sqrt(20))
    assert np.isfinite(errors).mean() > 0.85
    # the scatter of 20 values is known to 16 %
    assert np.all(np.abs(spread / np.nanmean(errors, axis=0) - 1) < 3.5 * 0.16)


def test_ties_and_fixed_parameters_are_kept():
    truth, pulses = CASES["SoftBounds"]
    row = traces("SoftBounds", truth, pulses, 1, np.random.default_rng(13), -0.9)[0]
    trace = Trace(row, pulses, np.zeros(len(row)))
    model = MODELS["SoftBounds"]

    def adjust(parameters):
        parameters["step_down"].set(expr="0.8 * step_up")
        parameters["w_min"].set(value=-1.1, vary=False)

    mean = fit_output_error(model, trace, adjust=adjust).values
    assert mean["step_down"] == pytest.approx(0.8 * mean["step_up"])
    fit = fit_prediction_error(model, trace, mean, mult_noise=True, adjust=adjust)
    assert fit.values["step_down"] == pytest.approx(0.8 * fit.values["step_up"])
    assert fit.values["w_min"] == -1.1
    assert "w_min" not in fit.errors
    assert "step_down" not in fit.errors
    assert abs(fit.values["step_up"] - 0.03) < 4 * fit.errors["step_up"]
    assert fit.converged


def test_plain_parameters_and_those_of_lmfit_give_the_same_fit():
    truth, pulses = CASES["LinearStep"]
    row = traces("LinearStep", truth, pulses, 1, np.random.default_rng(14), -0.9)[0]
    trace, model = Trace(row, pulses, np.zeros(len(row))), MODELS["LinearStep"]
    names = []

    def look(parameters):
        names.append(set(parameters))

    plain, theirs = (fit_output_error(model, trace, adjust=a) for a in (None, look))
    assert {*model.parameters, "start_0"} in names
    # lmfit finishes the adjusted one: the same optimum, found twice
    assert plain.values == pytest.approx(theirs.values, rel=1e-4)
    first, second = (fit_prediction_error(model, trace, plain.values, mult_noise=True, adjust=a) for a in (None, look))
    assert {*model.parameters, "dw_min_std", "read_noise"} in names
    assert first.values == second.values
    assert np.array_equal(first.covariance, second.covariance)


@pytest.mark.parametrize("name", CASES)
def test_the_output_error_fit_is_the_best_of_many_starts(name):
    """Sum of squares at most that of scipy's trust-region search from 20 scattered starts (the landscape has kinks at bounds)."""
    from scipy.optimize import least_squares

    from fitlab.fit.output_error import mean_response

    truth, pulses = CASES[name]
    model, rng = MODELS[name], np.random.default_rng(15)
    row = traces(name, truth, pulses, 1, rng, -0.9, additive=name == "SoftBoundsReference")[0]
    trace = Trace(row, pulses, np.zeros(len(row)))
    found = fit_output_error(model, trace)

    def residual(x):
        values = dict(zip(model.parameters, x, strict=False))
        return mean_response(model, values, trace, x[-1:]) - row

    centre = np.array([*(truth[n] for n in model.parameters), -0.9])
    low = np.where(centre < 0, centre * 5 - 1, 1e-6)
    high = np.where(centre < 0, -1e-6, centre * 5 + 1)
    best = min(
        least_squares(residual, np.clip(centre * rng.uniform(0.7, 1.4, len(centre)), low, high), bounds=(low, high)).cost
        for _ in range(20)
    )
    assert np.sum((found.mean - row) ** 2) / 2 < best * (1 + 1e-5)
