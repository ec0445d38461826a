"""Populations of devices: spreads, correlations, outliers, yield, failures, wear; processes, clusters, interruptions."""

from __future__ import annotations

import numpy as np
import pytest

from fitlab.errors import FitError
from fitlab.fit import fit, parameter_set
from fitlab.fit.between import relative_to
from fitlab.fit.cycles import theil_sen
from fitlab.fit.models import MODELS
from fitlab.fit.population import censored, correlations, log_normal, outlying, random_effects, share
from fitlab.fit.workers import Crew, Failure
from fitlab.io.record import Origin, Run, record
from tests.fitlab.simulate import ramps, traces
from tests.fitlab.test_fit import response_of

PULSES = ramps(50, 50, 2)
SPREADS = {"dw_min_dtod": 0.25, "up_down_dtod": 0.05, "w_max_dtod": 0.15, "w_min_dtod": 0.1}


def population(count, rng, model="SoftBounds", pulses=PULSES):
    """Reads (count, n) of devices drawn as the simulator does (devices.md 3), and their parameters."""
    drawn = {n: s * rng.standard_normal(count) for n, s in SPREADS.items()}
    gain = 1 + drawn["dw_min_dtod"]
    truth = {
        "step_up": 0.05 * np.maximum(gain + drawn["up_down_dtod"], 0.1),
        "step_down": 0.05 * np.maximum(gain - 0.2 - drawn["up_down_dtod"], 0.1),
        "w_max": 1.1 * (1 + drawn["w_max_dtod"]), "w_min": -1.0 * (1 + drawn["w_min_dtod"]),
        "dw_min_std": 0.3, "read_noise": 0.01,
    }  # fmt: skip
    return traces(model, truth, pulses, count, rng, -0.5), truth


@pytest.fixture(scope="module")
def many():
    reads, drawn = population(200, np.random.default_rng(41))
    return fit(response_of(reads, PULSES), "SoftBounds", threads=2), drawn


def test_spreads_are_recovered_from_200_devices(many):
    """Each within 10 % of the spread of the 200 that were drawn, and inside its interval; where r is at w = 0 of the window."""
    result, truth = many
    window = result.window
    middle, half = (window.high + window.low) / 2, window.per_w
    own = {
        "step_up": truth["step_up"] * (1 - middle / truth["w_max"]) / half,
        "step_down": truth["step_down"] * (1 - middle / truth["w_min"]) / half,
        **{n: (truth[n] - middle) / half for n in ("w_max", "w_min")},
    }
    drawn = relative_to(MODELS["SoftBounds"], {n: float(v.mean()) for n, v in own.items()})
    each = [drawn({n: float(v[k]) for n, v in own.items()}) for k in range(200)]
    assert set(result.population.spreads) == set(SPREADS)
    for name, spread in result.population.spreads.items():
        expected = float(np.std([e[name] for e in each], ddof=1))
        assert spread.tau == pytest.approx(expected, rel=0.1), name
        assert spread.low < expected < spread.high, name
    document = parameter_set(result)
    assert document.dtod["dw_min_dtod"].value == pytest.approx(0.25, rel=0.15)
    assert document.to_device().dw_min_dtod == document.dtod["dw_min_dtod"].value
    assert document.corrupt_devices.value == 0
    assert 0 < document.corrupt_devices.high < 0.03
    assert not document.outliers
    assert "compared on 32 of 200" in " ".join(document.warnings)


def test_processes_and_threads_give_the_same(many):
    result, _ = many
    reads, _ = population(200, np.random.default_rng(41))
    few = list(range(24))
    processes = fit(response_of(reads[few], PULSES), "SoftBounds", threads=2)
    thread = fit(response_of(reads[few], PULSES), "SoftBounds", threads=1)
    for a, b in zip(processes.chosen, thread.chosen, strict=True):
        assert a.stored == b.stored
    assert processes.population.spreads == thread.population.spreads
    assert len(result.chosen) == 200


def test_correlations_are_found_with_honest_intervals():
    """300 populations of 40 devices, correlation 0.6, errors as large as half the spreads: the interval covers."""
    rng = np.random.default_rng(42)
    between = np.array([[0.04, 0.6 * 0.2 * 0.1], [0.6 * 0.2 * 0.1, 0.01]])
    hits, values = [], []
    for _ in range(300):
        theta = rng.multivariate_normal([1.0, 0.0], between, 40)
        error = np.diag([0.1**2, 0.05**2]) * rng.uniform(0.5, 1.5, (40, 1, 1))
        x = theta + np.stack([rng.multivariate_normal([0, 0], e) for e in error])
        (pair,) = correlations(["a", "b"], x, error)
        hits.append(pair.low <= 0.6 <= pair.high)
        values.append(pair.value)
    assert abs(np.mean(hits) - 0.95) < 3.5 * 0.0126
    assert abs(np.mean(values) - 0.6) < 0.03
    x[0, 1] = np.nan
    (pair,) = correlations(["a", "b"], x, error)
    assert np.isfinite(pair.value)


def test_random_effects_in_many_dimensions_take_the_errors_out():
    rng = np.random.default_rng(43)
    between = np.diag([0.04, 0.09, 0.01])
    error = np.tile(np.diag([0.04, 0.02, 0.02]), (2000, 1, 1))
    x = rng.multivariate_normal([1, 2, 3], between, 2000) + rng.multivariate_normal([0, 0, 0], error[0], 2000)
    mean, covariance = random_effects(x, error)
    assert mean == pytest.approx([1, 2, 3], abs=0.03)
    assert np.diag(covariance) == pytest.approx([0.04, 0.09, 0.01], abs=0.008)
    assert abs(covariance[0, 1]) < 0.005


def test_devices_that_do_not_belong_are_named():
    rng = np.random.default_rng(44)
    x = 1 + 0.1 * rng.standard_normal((60, 2))
    error = np.tile(np.diag([0.02**2, 0.02**2]), (60, 1, 1))
    names = [f"d{k}" for k in range(60)]
    assert outlying(names, ["a", "b"], x, error) == []
    x[7, 1] += 1.5
    (found,) = outlying(names, ["a", "b"], x, error)
    assert (found.device, found.field) == ("d7", "b")
    assert found.deviation > 8


def test_a_log_normal_spread_is_told_from_a_normal_one():
    rng = np.random.default_rng(45)
    error = np.full(300, 0.02)
    assert log_normal(np.exp(0.4 * rng.standard_normal(300)), error)
    assert not log_normal(1 + 0.3 * rng.standard_normal(300), error)


def test_yield_has_an_interval():
    found = share(3, 40)
    # Wilson, 3 of 40: 2.6 to 19.9 %
    assert (found.value, found.low, found.high) == (0.075, pytest.approx(0.0258, abs=1e-3), pytest.approx(0.1986, abs=1e-3))
    assert share(0, 40).low == 0


def test_bad_devices_are_listed_and_the_others_fitted():
    reads, _ = population(6, np.random.default_rng(46))
    runs = []
    for k, row in enumerate(reads):
        n = 8 if k == 1 else len(row)
        own = np.full(n, 0.2) if k == 2 else row[:n]
        direction = np.zeros(n, np.int8) if k == 3 else np.sign(PULSES[:n]).astype(np.int8)
        restart = np.arange(n) == 0
        runs.append(Run(f"d{k}", 0, own, direction, np.ones(n, np.int32), restart, np.zeros(n, np.uint8)))
    result = fit(record(runs, Origin("made", "0" * 64, "test", "norm")), "SoftBounds")
    assert [d.name for d in result.devices] == ["d0", "d4", "d5"]
    assert result.dead == ["d2"]
    assert {f.name: f.reason.split(";")[0] for f in result.failures} == {"d1": "8 usable reads", "d3": "no pulse"}
    document = parameter_set(result)
    assert document.protocol.failed["d1"].startswith("8 usable reads")
    assert document.protocol.left_out == ["d2"]
    assert document.protocol.devices == 6
    assert document.corrupt_devices.value == pytest.approx(1 / 4)
    assert document.device.fields["corrupt_devices_prob"] == pytest.approx(1 / 4)
    assert "2 of 6 devices could not be fitted (d1: 8 usable reads" in " ".join(document.warnings)


def broken(item):
    if item == 3:
        raise ValueError("three")
    if item == 5:
        import os

        os._exit(1)
    return item**2


@pytest.mark.parametrize("workers", [1, 2])
def test_what_one_item_does_wrong_costs_only_that_item(workers):
    items = [(f"i{k}", k) for k in range(30) if workers > 1 or k != 5]
    crew = Crew(workers)
    results = dict(crew.batches(broken, [items[:10], items[10:20], items[20:]]))
    flat = [r for k in range(3) for r in results[k]]
    expected = [Failure(n, "ValueError: three") if k == 3 else k**2 for n, k in items]
    if workers > 1:
        expected[5] = Failure("i5", "its worker process died")
    assert flat == expected


def test_a_cluster_gives_the_same_and_a_wrong_address_is_refused():
    from distributed import LocalCluster

    reads, _ = population(3, np.random.default_rng(47))
    response = response_of(reads, PULSES)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        there = fit(response, "SoftBounds", dask=cluster.scheduler_address)
    here = fit(response, "SoftBounds")
    for a, b in zip(there.chosen, here.chosen, strict=True):
        assert a.stored == b.stored
    with pytest.raises(FitError, match="--dask nowhere: no scheduler answers"):
        fit(response, "SoftBounds", dask="nowhere")


def test_an_interrupted_fit_is_taken_up_again(tmp_path, monkeypatch):
    import fitlab.fit.run as run

    reads, _ = population(40, np.random.default_rng(48))
    response = response_of(reads, PULSES)
    whole = fit(response, "ConstantStep", threads=1)
    done = []

    def interrupt(now, total):
        done.append((now, total))
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(response, "ConstantStep", threads=1, keep=tmp_path / "parts", progress=interrupt)
    calls = []
    conclude = run._conclude
    monkeypatch.setattr(run, "_conclude", lambda item: calls.append(1) or conclude(item))
    (tmp_path / "parts" / "devices_000000.pickle").write_bytes(b"torn")
    again = fit(response, "ConstantStep", threads=1, keep=tmp_path / "parts")
    assert len(calls) == 40 - 16  # the second batch was kept; the torn one is done again
    assert done[-1] == (32, 40)
    for a, b in zip(again.chosen, whole.chosen, strict=True):
        assert a.stored == b.stored
    with pytest.raises(FitError, match="of other data, models or versions"):
        fit(response, "SoftBounds", keep=tmp_path / "parts")
    (tmp_path / "other").mkdir()
    with pytest.raises(FitError, match="holds no partial fit"):
        fit(response, "SoftBounds", keep=tmp_path / "other")


def cycles_of(steps, pulses):
    """A device whose up step is another in every cycle."""
    rng, runs = np.random.default_rng(49), []
    for k, step in enumerate(steps):
        truth = {"step_up": step, "step_down": 0.04, "w_max": 1.0, "w_min": -1.0, "dw_min_std": 0.3, "read_noise": 0.01}
        row = traces("SoftBounds", truth, pulses, 1, rng, -0.6)[0]
        n = len(row)
        restart = np.arange(n) == 0
        runs.append(Run("d", k, row, np.sign(pulses).astype(np.int8), np.ones(n, np.int32), restart, np.zeros(n, np.uint8)))
    return record(runs, Origin("made", "0" * 64, "test", "norm"))


def test_wear_is_seen_and_its_absence_too():
    pulses = ramps(40, 40, 1)
    worn = fit(cycles_of(0.05 * (1 - 0.03 * np.arange(12)), pulses), "SoftBounds")
    trend = worn.trends["step_up"]
    expected = -0.03 * 0.05 / worn.window.per_w
    assert trend.significant
    assert trend.slope_low < expected < trend.slope_high
    assert any(w.startswith("step_up changes by") for w in worn.warnings)
    assert parameter_set(worn).trends["step_up"].slope == pytest.approx(trend.slope, rel=1e-6)
    steady = fit(cycles_of(np.full(12, 0.05), pulses), "SoftBounds")
    assert steady.trends["step_up"].cycles == 12
    assert not any("cycle" in w for w in steady.warnings)


def test_devices_of_which_only_a_limit_is_known_are_allowed_for():
    """Half of the values hidden above thresholds of their own: the mean and spread of the known ones alone are far off."""
    rng = np.random.default_rng(52)
    pulls = []
    for _ in range(30):
        true, limit = 1 + 0.1 * rng.standard_normal(400), 1 + 0.1 * rng.standard_normal(400)
        seen = true < limit
        x = true + 0.01 * rng.standard_normal(400)
        found = censored(x[seen], np.full(seen.sum(), 0.01), limit[~seen])
        assert found.beyond == (~seen).sum()
        assert found.low < found.tau < found.high
        pulls.append([(found.mean - 1) / found.mean_error, (found.tau - 0.1) / found.tau_error])
        assert abs(np.mean(x[seen]) - 1) > 5 * found.mean_error
    # 30 standardised differences: mean within 4 / sqrt(30), spread within 4 / sqrt(60)
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.75)
    assert np.all(np.abs(np.std(pulls, axis=0) - 1) < 0.55)


def test_ramps_that_end_before_the_bounds_of_many_devices_give_no_wrong_spread():
    """LinearStep without spread of gamma: slopes refer to the mean bound, bounds that are not reached count as beyond."""
    rng, count = np.random.default_rng(53), 120
    gain, high, low = (1 + s * rng.standard_normal(count) for s in (0.2, 0.1, 0.1))
    truth = {
        "step_up": 0.05 * gain, "step_down": 0.045 * gain, "w_max": 1.1 * high, "w_min": -1.0 * low,
        # slopes of all devices are those of the mean bounds
        "gamma_up": 0.4 * high, "gamma_down": 0.3 * low, "dw_min_std": 0.3, "read_noise": 0.01,
    }  # fmt: skip
    pulses = ramps(40, 40, 2)
    result = fit(response_of(traces("LinearStep", truth, pulses, count, rng, -0.5), pulses), "LinearStep", threads=2)
    spreads, half = result.population.spreads, result.window.per_w
    middle = (result.window.high + result.window.low) / 2
    assert spreads["w_max_dtod"].beyond > 20
    for name, bound in (("w_max_dtod", truth["w_max"]), ("w_min_dtod", -truth["w_min"])):
        expected = np.std(bound) / (np.mean(bound) - (1 if name == "w_max_dtod" else -1) * middle)
        assert abs(spreads[name].tau - expected) < 3 * spreads[name].tau_error, name
    document = parameter_set(result)
    known = document.parameters["w_max"]
    assert abs(known.value - (np.mean(truth["w_max"]) - middle) / half) < 4 * known.error
    assert any("w_max is not reached by" in text for text in document.warnings)
    assert not any("w_max" in p.first + p.second for p in document.dtod_correlation)


def test_theil_sen_intervals_cover():
    rng = np.random.default_rng(50)
    x = np.arange(15.0)
    hits = []
    for _ in range(400):
        slope, low, high = theil_sen(x, 0.3 * x + rng.standard_normal(15))
        assert low <= slope <= high
        hits.append(low <= 0.3 <= high)
    # the interval of ranks is conservative: 0.94 to 0.99
    assert 0.93 < np.mean(hits) < 0.995
