"""Formulas as models: the likelihood of the same built-in model, derivatives, recovery, spreads, files, refusals."""

import numpy as np
import pytest

from fitlab.errors import FitError, FitlabError
from fitlab.export import EXPORTS
from fitlab.fit import fit, parameter_set
from fitlab.fit.formula import formula_model
from fitlab.fit.response import Trace, likelihood_gradient, trajectory
from fitlab.parameters import load
from fitlab.predictive import check_fit, device_of, simulated_reads
from sim.devices import ExpressionDevice
from tests.fitlab.simulate import ramps, traces
from tests.fitlab.test_fit import response_of

PULSES = ramps(60, 60, 3)
LINES = {"up": "dw_min*(1 - a*w/w_max)", "down": "dw_min*(1 - b*w/w_min)", "parameters": {"a": 0.3, "b": 0.3}}
"""LinearStep, written out."""
REACHED = {
    "step_up": 0.05, "step_down": 0.04, "gamma_up": 0.4, "gamma_down": 0.2, "w_max": 1.1, "w_min": -1.0, "dw_min_std": 0.4,
    "read_noise": 0.02,
}  # fmt: skip
"""Ramps reach both bounds."""
CURVES = {"up": "dw_min*exp(-a*w)", "down": "dw_min*exp(b*w)", "parameters": {"a": 1.0, "b": 1.0}}


def curved(truth, pulses, rng, count=1):
    """Reads (count, n) of steps exp(-a w) and exp(b w), from NumPy; every value of the truth may be an array (count,)."""
    w = np.full(count, -0.8)
    out = np.empty((count, len(pulses)))
    for k, pulse in enumerate(pulses):
        if k:
            mean = truth["up"] * np.exp(-truth["a"] * w) if pulse > 0 else truth["down"] * np.exp(truth["b"] * w)
            w = w + pulse * mean * (1 + truth["sigma"] * rng.standard_normal(count))
        out[:, k] = w
    return out + truth["kappa"] * rng.standard_normal(out.shape)


TRUTH = {"up": 0.03, "down": 0.025, "a": 1.2, "b": 0.7, "sigma": 0.3, "kappa": 0.01}


@pytest.mark.parametrize(("noise", "additive"), [("step", False), ("dw_min", True)])
def test_a_built_in_model_written_as_a_formula_is_the_same_model(noise, additive):
    reads = traces("LinearStep", REACHED, PULSES, 1, np.random.default_rng(81), -0.6, additive=additive)
    response = response_of(reads, PULSES)
    own = fit(response, ExpressionDevice(**LINES, noise=noise)).chosen[0]
    known = next(c for c in fit(response, "LinearStep").candidates[0] if c.mult_noise != additive)
    assert own.log_likelihood == pytest.approx(known.log_likelihood, abs=1e-4)
    assert own.parameters == known.parameters
    for mine, theirs in (("own_a", "gamma_up"), ("own_b", "gamma_down"), ("step_up", "step_up"), ("w_max", "w_max")):
        assert own.likelihood.values[mine] == pytest.approx(known.likelihood.values[theirs], rel=2e-3)
        assert own.likelihood.errors[mine] == pytest.approx(known.likelihood.errors[theirs], rel=2e-2)


@pytest.mark.parametrize(
    "step", ["dw_min*exp(-a*w)", "dw_min*max(1 - w/w_max, 0)**(1 + a)", "dw_min*sqrt(1.5 - w)*abs(a)", "dw_min*log(2 + a*w)/2"]
)
def test_derivatives_are_those_of_the_formula(step):
    model = formula_model(ExpressionDevice(up=step, down="dw_min*(1 - w*w/4)", parameters={"a": 0.7}))
    values = {"step_up": 0.03, "step_down": 0.02, "own_a": 0.7, "w_max": 1.2, "w_min": -1.1}
    pulses = np.array([0, 1, 1, 2, -1, -3, 1, 1], np.int32)
    trace = Trace(0.05 * np.arange(8.0), pulses, np.zeros(8))
    kernel, slope = model.kernel_values(values, True)
    active = np.flatnonzero(np.any(slope != 0, axis=1)).astype(np.int32)

    def nll(v):
        kernel, _ = model.kernel_values(v, True)
        value, gradient, _ = likelihood_gradient(
            model.kernel, kernel[None], active, np.array([0.4]), np.array([0.02]), trace
        )  # fmt: skip
        return value[0], gradient[0]

    gradient = nll(values)[1][:-2] @ slope[active]
    for j, name in enumerate(model.parameters):
        h = 1e-6
        difference = (nll({**values, name: values[name] + h})[0] - nll({**values, name: values[name] - h})[0]) / (2 * h)
        assert gradient[j] == pytest.approx(difference, rel=1e-5, abs=1e-5), name
    path = trajectory(model.kernel, kernel, trace, np.array([0.1]))
    up, _ = model.mean_steps(values, np.array([0.1]))
    assert path[1] - path[0] == pytest.approx(up[0], rel=1e-9)


@pytest.fixture(scope="module")
def result():
    return fit(response_of(curved(TRUTH, PULSES, np.random.default_rng(82)), PULSES), ["LinearStep", ExpressionDevice(**CURVES)])


def test_the_parameters_of_a_formula_come_back_with_errors(result):
    chosen, window = result.chosen[0], result.window
    assert chosen.name == "ExpressionDevice"
    # the window is another unit of the state: v = low + (w + 1) / 2 (high - low)
    half, middle = window.per_w, (window.high + window.low) / 2
    truth = {
        "own_a": TRUTH["a"] * half, "own_b": TRUTH["b"] * half, "step_up": TRUTH["up"] * np.exp(-TRUTH["a"] * middle) / half,
        "step_down": TRUTH["down"] * np.exp(TRUTH["b"] * middle) / half, "dw_min_std": 0.3, "read_noise": 0.01 / half,
    }  # fmt: skip
    for name, value in truth.items():
        assert abs(chosen.likelihood.values[name] - value) < 4 * chosen.likelihood.errors[name], name
        assert chosen.likelihood.errors[name] < 0.3 * abs(value), name
    rows = {r.model: r for r in result.comparison}
    assert rows["LinearStep"].delta_aicc > 10


def test_the_set_of_a_formula_is_read_back_simulated_and_exported(result, tmp_path):
    document = parameter_set(result, "mine")
    document.save(tmp_path / "mine.toml")
    again = load(tmp_path / "mine.toml")
    assert again == document
    device = again.to_device()
    assert (device.up, device.down, device.noise) == (CURVES["up"], CURVES["down"], "step")
    assert dict(device.parameters) == pytest.approx({n: document.parameters[f"own_{n}"].value for n in "ab"})
    assert document.parameters["own_a"].error > 0
    scope: dict[str, object] = {}
    exec(EXPORTS["python"](document), scope)
    assert scope["device"] == device
    assert "A_LTP" in EXPORTS["neurosim"](document)
    with pytest.raises(FitlabError, match="aihwkit has no ExpressionDevice"):
        EXPORTS["aihwkit"](document)
    (check,) = check_fit(result)
    assert check.mean_agrees, check.sentence()
    assert check.spread_agrees, check.sentence()


def test_the_simulator_runs_the_fitted_formula(result):
    chosen, trace = result.chosen[0], result.devices[0].trace
    copy = type(chosen)(**{**chosen.__dict__, "stored": {**chosen.stored, "read_noise": 0.0}, "reasons": {"dw_min_std": "no"}})
    assert device_of(copy).up == CURVES["up"]
    (path,) = simulated_reads(copy, trace, copies=1)
    assert path == pytest.approx(chosen.mean, abs=2e-3)


def test_spreads_of_the_parameters_of_a_formula_go_into_its_dtod():
    rng = np.random.default_rng(83)
    a = 1.2 * (1 + 0.2 * rng.standard_normal(40))
    pulses = ramps(60, 60, 2)
    response = response_of(curved({**TRUTH, "a": a}, pulses, rng, 40), pulses)
    document = parameter_set(fit(response, ExpressionDevice(**CURVES), threads=2))
    spread = document.dtod["own_a_dtod"]
    assert spread.low < np.std(a, ddof=1) / np.mean(a) < spread.high
    device = document.to_device()
    assert device.dtod["a"] == pytest.approx(spread.value)
    assert set(device.dtod) == {"a", "b"}


def test_parameters_of_any_size_are_found_and_those_that_act_together_are_named():
    response = response_of(curved(TRUTH, PULSES, np.random.default_rng(82)), PULSES)
    plain = fit(response, ExpressionDevice(**CURVES)).chosen[0]
    up, down = "dw_min*exp(-a*w/1e5)", "c*1e4*exp(b*1000*w)"
    scaled = ExpressionDevice(up=up, down=down, parameters={"a": 5e4, "b": 2e-4, "c": 1e-6})
    found = fit(response, scaled).chosen[0]
    assert found.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-3)
    values, errors = found.likelihood.values, found.likelihood.errors
    assert values["own_a"] == pytest.approx(1e5 * plain.likelihood.values["own_a"], rel=1e-3)
    assert errors["own_b"] == pytest.approx(1e-3 * plain.likelihood.errors["own_b"], rel=0.02)
    assert "step_down" not in values
    both = fit(response, ExpressionDevice(up="dw_min*c*exp(-a*w)", down="dw_min", parameters={"a": 1.0, "c": 1.0})).chosen[0]
    assert any("combination with" in reason for reason in both.reasons.values())


def test_two_formulas_are_two_rows_and_a_name_without_formula_is_refused():
    response = response_of(curved(TRUTH, PULSES, np.random.default_rng(82)), PULSES)
    result = fit(response, [ExpressionDevice(**LINES), ExpressionDevice(**CURVES)])
    assert {r.model for r in result.comparison} == {"ExpressionDevice", "ExpressionDevice 2"}
    assert result.chosen[0].name == "ExpressionDevice 2"
    with pytest.raises(FitError, match="has no formula; give --set up=FORMULA"):
        fit(response, "ExpressionDevice")
