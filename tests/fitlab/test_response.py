"""The compiled response against an independent NumPy one, and its derivatives against differences."""

import numpy as np
import pytest

from fitlab.fit.models import MODELS
from fitlab.fit.response import (
    Kernel,
    Trace,
    innovations,
    kernel_parameters,
    likelihood_gradient,
    likelihood_values,
    trajectory,
    trajectory_jacobian,
)
from tests.fitlab.simulate import ramps, steps

TRUTH = {
    "ConstantStep": {"step_up": 0.03, "step_down": 0.024, "w_max": 0.8, "w_min": -0.9},
    "LinearStep": {"step_up": 0.03, "step_down": 0.024, "gamma_up": 0.6, "gamma_down": -0.3, "w_max": 0.8, "w_min": -0.9},
    "SoftBounds": {"step_up": 0.05, "step_down": 0.04, "w_max": 0.8, "w_min": -0.9},
    "SoftBoundsReference": {"step_up": 0.05, "step_down": 0.04, "w_max": 0.8, "w_min": -0.9},
    "SoftBoundsPmax": {"alpha": 0.05, "w_max": 0.8, "w_min": -0.9},
    "ExpStep": {
        "step_up": 0.04, "step_down": 0.03, "slope_up": 0.8, "slope_down": -0.6, "bend_up": 0.4, "bend_down": 0.3,
        "w_max": 0.8, "w_min": -0.9,
    },
    "PowStep": {"step_up": 0.05, "step_down": 0.04, "exponent_up": 1.4, "exponent_down": 0.6, "w_max": 0.8, "w_min": -0.9},
    "PowStepReference": {
        "step_up": 0.05, "step_down": 0.04, "exponent_up": 1.4, "exponent_down": 0.6, "w_max": 0.8, "w_min": -0.9,
    },
    "PiecewiseStep": {
        **{f"up_{k}": v for k, v in enumerate((0.05, 0.06, 0.05, 0.03, 0.02, 0.01))},
        **{f"down_{k}": v for k, v in enumerate((0.01, 0.02, 0.03, 0.05, 0.04, 0.06))},
        "w_max": 0.8, "w_min": -0.9,
    },
}  # fmt: skip
FORMS = [(name, mult) for name, model in MODELS.items() for mult in sorted({*model.noise, True})]


def reads_of(name, rng, noise=0.02):
    pulses = np.concatenate([ramps(60, 80, 2), rng.choice([-1, 1], 40), rng.integers(-3, 4, 30)])
    segment = np.repeat([0, 1], [150, len(pulses) - 150])
    w, out = -0.5, []
    truth = TRUTH[name]
    for k, count in enumerate(pulses):
        if k in (0, 150):
            w = -0.5 if k == 0 else 0.2
        else:
            for _ in range(abs(count)):
                up, down = steps(name, truth, np.array([w]))
                w = float(np.clip(w + (up[0] if count > 0 else -down[0]), truth["w_min"], truth["w_max"]))
        out.append(w)
    mean = np.array(out)
    return mean, Trace(mean + noise * rng.standard_normal(len(mean)), pulses, segment)


@pytest.mark.parametrize("name", MODELS)
def test_mean_trajectory_is_that_of_the_specification(name):
    mean, trace = reads_of(name, np.random.default_rng(1))
    kernel, _ = MODELS[name].kernel_values(TRUTH[name], True)
    found = trajectory(MODELS[name].kernel, kernel, trace, np.array([-0.5, 0.2]))
    np.testing.assert_allclose(found, mean, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", MODELS)
def test_jacobian_is_the_limit_of_differences(name):
    _, trace = reads_of(name, np.random.default_rng(2))
    model = MODELS[name]
    starts = np.array([-0.503, 0.207])
    values = {k: v * 1.013 for k, v in TRUTH[name].items()}
    kernel, slope = model.kernel_values(values, True)
    mean, jacobian = trajectory_jacobian(model.kernel, kernel, trace, starts)
    np.testing.assert_array_equal(mean, trajectory(model.kernel, kernel, trace, starts))
    by_free = jacobian[:, :-1] @ slope
    h = 1e-7
    for i, parameter in enumerate(model.parameters):
        ahead, behind = (model.kernel_values({**values, parameter: values[parameter] + s * h}, True)[0] for s in (1, -1))
        difference = (trajectory(model.kernel, ahead, trace, starts) - trajectory(model.kernel, behind, trace, starts)) / (2 * h)
        np.testing.assert_allclose(by_free[:, i], difference, rtol=1e-5, atol=1e-6)
    for segment in (0, 1):
        shift = np.eye(2)[segment] * h
        difference = (
            trajectory(model.kernel, kernel, trace, starts + shift) - trajectory(model.kernel, kernel, trace, starts - shift)
        ) / (2 * h)
        np.testing.assert_allclose(np.where(trace.segment == segment, jacobian[:, -1], 0), difference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "mult"), FORMS)
def test_gradient_and_information_are_the_limits_of_differences(name, mult):
    _, trace = reads_of(name, np.random.default_rng(3))
    trace.reads[[20, 21, 100]] = np.nan
    model = MODELS[name]
    kernel, slope = model.kernel_values(TRUTH[name], mult)
    active = np.flatnonzero(np.any(slope != 0, axis=1)).astype(np.int32)
    sigma, kappa = 0.4, 0.015
    value, gradient, information = likelihood_gradient(
        model.kernel, kernel[None], active, np.array([sigma]), np.array([kappa]), trace, information=True
    )
    nll, error, variance = innovations(model.kernel, kernel, sigma, kappa, trace)
    assert value[0] == pytest.approx(nll, rel=1e-12)
    slopes = []
    for i in range(len(active) + 2):
        results = []
        for sign in (1, -1):
            k, s, c = kernel.copy(), sigma, kappa
            h = 1e-6
            if i < len(active):
                k[active[i]] += sign * h
            elif i == len(active):
                s += sign * h
            else:
                c += sign * h
            results.append(innovations(model.kernel, k, s, c, trace))
        (f1, e1, v1), (f0, e0, v0) = results
        assert gradient[0, i] == pytest.approx((f1 - f0) / 2e-6, rel=2e-5, abs=2e-3)
        slopes.append(((e1 - e0) / 2e-6, (v1 - v0) / 2e-6))
    ok = np.isfinite(error)
    expected = np.array(
        [
            [np.sum(a[0][ok] * b[0][ok] / variance[ok] + a[1][ok] * b[1][ok] / (2 * variance[ok] ** 2)) for b in slopes]
            for a in slopes
        ]
    )
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(information[0] / np.outer(scale, scale), expected / np.outer(scale, scale), rtol=1e-4, atol=1e-5)


def numpy_kalman(name, truth, sigma, kappa, additive, trace):
    """The filter once more: steps linearised at the mean, moments of the clipped normal from SciPy's integrals."""
    from scipy.integrate import quad
    from scipy.stats import norm

    low, high = truth["w_min"], truth["w_max"]

    def step_at(w, sign):
        return steps(name, truth, np.array([w]))[0 if sign > 0 else 1][0]

    total, m, p = 0.0, None, None
    for k, (read, pulse) in enumerate(zip(trace.reads, trace.pulses, strict=True)):
        if k == 0 or trace.segment[k] != trace.segment[k - 1]:
            m, p = read, kappa**2
            continue
        sign = 1 if pulse > 0 else -1
        for _ in range(abs(pulse)):
            h = 1e-5
            a, step, b = step_at(0.0, sign), step_at(m, sign), (step_at(m + h, sign) - step_at(m - h, sign)) / (2 * h)
            noise = sigma**2 * (a**2 if additive else step**2 + b**2 * p)
            m, p = m + sign * step, (1 + sign * b) ** 2 * p + noise
            s = np.sqrt(p)
            if min(high - m, m - low) < 8 * s:
                spread = norm(m, s)
                inside = [
                    quad(
                        lambda x, n=n, spread=spread: x**n * spread.pdf(x),
                        max(low, m - 12 * s),
                        min(high, m + 12 * s),
                        epsabs=1e-14,
                    )[0]
                    for n in (1, 2)
                ]
                first = inside[0] + low * spread.cdf(low) + high * spread.sf(high)
                second = inside[1] + low**2 * spread.cdf(low) + high**2 * spread.sf(high)
                m, p = first, second - first**2
        v, big = read - m, p + kappa**2
        total += 0.5 * (np.log(2 * np.pi * big) + v**2 / big)
        m, p = m + p / big * v, p * kappa**2 / big
    return total


@pytest.mark.parametrize(("name", "mult"), FORMS)
def test_likelihood_is_that_of_a_filter_in_numpy(name, mult):
    _, full = reads_of(name, np.random.default_rng(4))
    trace = Trace(full.reads[:110], full.pulses[:110], full.segment[:110])
    kernel, _ = MODELS[name].kernel_values(TRUTH[name], mult)
    nll, _, _ = innovations(MODELS[name].kernel, kernel, 0.5, 0.02, trace)
    additive = not mult and "mult_noise" in kernel_parameters(MODELS[name].kernel)
    assert nll == pytest.approx(numpy_kalman(name, TRUTH[name], 0.5, 0.02, additive, trace), abs=1e-5)


def test_far_from_bounds_the_likelihood_is_the_exact_joint_normal():
    """Additive noise and linear steps: the reads are jointly normal, whatever the filter does."""
    from scipy.stats import multivariate_normal

    truth = {"step_up": 0.02, "step_down": 0.03, "w_max": 30.0, "w_min": -20.0}
    rng = np.random.default_rng(5)
    pulses = rng.choice([-1, 1], 40)
    sigma, kappa = 0.7, 0.05
    a = {1: 0.02, -1: -0.03}
    f = {1: 1 - 0.02 / 30, -1: 1 - 0.03 / 20}
    n = len(pulses)
    # state k = gain_k w0 + offset_k + sum of noises; w0 ~ N(read 0, kappa^2), read by read 0 already
    gain, offset, spread = np.ones(n), np.zeros(n), np.zeros((n, n))
    for k in range(1, n):
        gain[k], offset[k] = f[pulses[k]] * gain[k - 1], f[pulses[k]] * offset[k - 1] + a[pulses[k]]
        spread[k] = f[pulses[k]] * spread[k - 1]
        spread[k, k] = sigma * abs(a[pulses[k]])
    reads = gain * 0.1 + offset + spread @ rng.standard_normal(n) + kappa * rng.standard_normal(n)
    covariance = kappa**2 * np.outer(gain, gain) + spread @ spread.T + kappa**2 * np.eye(n)
    exact = -multivariate_normal((gain * reads[0] + offset)[1:], covariance[1:, 1:]).logpdf(reads[1:])
    model = MODELS["SoftBoundsReference"]
    kernel, _ = model.kernel_values(truth, False)
    nll, _, _ = innovations(model.kernel, kernel, sigma, kappa, Trace(reads, pulses, np.zeros(n)))
    assert nll == pytest.approx(exact, abs=1e-8)


def test_near_a_hard_bound_the_likelihood_agrees_with_a_grid():
    """Exact filter on a fine grid of states, with the atom at the bound; the closure may differ by 2 % of ln L a read."""
    from scipy.stats import norm

    truth = {"step_up": 0.1, "step_down": 0.1, "w_max": 0.3, "w_min": -5.0}
    sigma, kappa = 0.4, 0.05
    rng = np.random.default_rng(6)
    n = 60
    pulses = np.repeat([1, -1, 1], [25, 3, 32])
    w, reads = 0.0, [kappa * rng.standard_normal()]
    for pulse in pulses[1:]:
        w = min(w + pulse * 0.1 * (1 + sigma * rng.standard_normal()), 0.3)
        reads.append(w + kappa * rng.standard_normal())
    grid = np.arange(-1.2, 0.3 + 1e-9, 0.004)
    edges = np.append(grid - 0.002, np.inf)
    kernels = {d: np.diff(norm.cdf(edges[None, :], grid[:, None] + d * 0.1, 0.1 * sigma), axis=1) for d in (1, -1)}
    belief = norm.pdf(grid, reads[0], kappa)
    belief /= belief.sum()
    exact = 0.0
    for pulse, read in zip(pulses[1:], reads[1:], strict=True):
        belief = (belief @ kernels[pulse]) * norm.pdf(read, grid, kappa)
        exact -= np.log(belief.sum())
        belief /= belief.sum()
    model = MODELS["ConstantStep"]
    kernel, _ = model.kernel_values(truth, True)
    nll, _, _ = innovations(model.kernel, kernel, sigma, kappa, Trace(np.array(reads), pulses, np.zeros(n)))
    assert abs(nll - exact) < 0.02 * n


def test_points_of_a_batch_do_not_influence_one_another():
    _, trace = reads_of("LinearStep", np.random.default_rng(7))
    model = MODELS["LinearStep"]
    kernel, slope = model.kernel_values(TRUTH["LinearStep"], True)
    points = kernel * np.linspace(0.9, 1.1, 5)[:, None]
    active = np.flatnonzero(np.any(slope != 0, axis=1)).astype(np.int32)
    sigma, kappa = np.linspace(0.2, 0.6, 5), np.linspace(0.01, 0.03, 5)
    values, gradients, _ = likelihood_gradient(model.kernel, points, active, sigma, kappa, trace)
    np.testing.assert_allclose(likelihood_values(model.kernel, points, sigma, kappa, trace), values, rtol=1e-12)
    for i in range(5):
        value, gradient, _ = likelihood_gradient(
            model.kernel, points[i : i + 1], active, sigma[i : i + 1], kappa[i : i + 1], trace
        )
        assert value[0] == values[i]
        np.testing.assert_array_equal(gradient[0], gradients[i])


def test_the_core_refuses_arrays_that_do_not_fit():
    from sim import _core

    one = np.zeros(1)
    with pytest.raises(ValueError, match="no device kernel"):
        kernel_parameters(Kernel("no_such"))
    with pytest.raises(ValueError, match="one column for each name"):
        trajectory(Kernel("constant_step"), np.zeros(3), Trace(one, one, one), one)
    with pytest.raises(ValueError, match="one entry a read"):
        _core.response_trajectory(
            "constant_step", np.zeros((1, 4)), np.zeros(2, np.int32), np.zeros(2, np.int32), np.array([0, 2]), one, np.zeros(2), 1
        )
