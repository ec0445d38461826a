"""Each law against an independent model in NumPy, its derivatives, and what no law may do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import _core
from sim.configs import UpdateParameters, from_json, to_json
from sim.devices import (
    ExpressionDevice,
    ExpStepDevice,
    PiecewiseStepDevice,
    PowStepDevice,
    PowStepReferenceDevice,
    PulsedDevice,
    SoftBoundsDevice,
    SoftBoundsPmaxDevice,
    TableDevice,
    models,
)
from tests.sim.arrays.pulses import array_of, pulse
from tests.sim.isas import on_every_isa

N = 300
SPREAD = {"dw_min": 0.02, "dw_min_std": 0.0, "corrupt_devices_prob": 0.1, "up_down_dtod": 0.1}
UP_NODES, DOWN_NODES = [0.2, 1.0, 1.7, 0.4, 0.9], [1.5, 0.1, 0.6, 1.2, 0.3]


def exp_step(h, w, up, d):
    moves = h["max_bound"] > h["min_bound"]
    # As an array holds them.
    a, b, a_up, a_down, gamma_up, gamma_down = map(float, np.float32([d.a, d.b, d.A_up, d.A_down, d.gamma_up, d.gamma_down]))
    z = 2 * a * w / np.where(moves, h["max_bound"] - h["min_bound"], 1.0) + b
    y = 1 - a_up * np.exp(gamma_up * z) if up else 1 - a_down * np.exp(-gamma_down * z)
    return np.where(moves, np.maximum(y, 0), 0)


def pow_step(h, w, up, d):
    width = h["max_bound"] - h["min_bound"]
    moves = width > 0
    base = (h["max_bound"] - w if up else w - h["min_bound"]) / np.where(moves, width, 1.0)
    return np.where(moves, np.clip(base, 0, 1) ** h["gamma_up" if up else "gamma_down"], 0)


def piecewise(h, w, up, d):
    moves = h["max_bound"] > h["min_bound"]
    q = (w - h["min_bound"]) / np.where(moves, h["max_bound"] - h["min_bound"], 1.0)
    nodes = np.float32(UP_NODES if up else DOWN_NODES).astype(float)
    return np.where(moves, np.interp(q, np.linspace(0, 1, len(nodes)), nodes), nodes[0])


def formula(h, w, up, d):
    return 1 - h["a"] * w if up else 1 + h["b"] * w**3


LAWS = {
    "exp": (ExpStepDevice(**SPREAD), exp_step),
    "exp, strong": (ExpStepDevice(**SPREAD, A_up=-0.5, A_down=0.8, gamma_up=3.0, gamma_down=2.0, a=-0.9, b=-0.3), exp_step),
    "pow": (PowStepDevice(**SPREAD, pow_gamma=1.7, pow_gamma_dtod=0.3, pow_up_down=0.2, pow_up_down_dtod=0.1), pow_step),
    "pow reference": (PowStepReferenceDevice(**SPREAD, pow_gamma=1.3, reference_mean=0.1, reference_std=0.1), pow_step),
    "piecewise": (PiecewiseStepDevice(**SPREAD, piecewise_up=UP_NODES, piecewise_down=DOWN_NODES), piecewise),
    "table": (TableDevice(**SPREAD, rows=5, up=UP_NODES, down=DOWN_NODES), piecewise),
    "formula": (
        ExpressionDevice(
            **SPREAD,
            up="dw_min*(1 - a*w)",
            down="dw_min*(1 + b*w**3)",
            parameters={"a": 0.5, "b": 0.8},
            dtod={"a": 0.2, "b": 0.1},
        ),
        formula,
    ),
}


def directions(seed: int, n: int) -> list[bool]:
    return (np.random.default_rng(seed).random(n) < 0.5).tolist()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("name", LAWS)
def test_law(name: str, dtype: torch.dtype, tolerance: float) -> None:
    device, law = LAWS[name]
    array = array_of(device, N).to(dtype)
    array.set(torch.linspace(-0.7, 0.7, N, dtype=dtype).reshape(1, 1, N))
    h = {k: v[0, 0].double().numpy() for k, v in array.hidden().items()}
    reference = h.get("reference", np.zeros(N))
    g = array.read()[0, 0].double().numpy() + reference
    moved = np.zeros(N)
    for up in [True] * 25 + [False] * 60 + directions(1, 40):
        pulse(array, up)
        step = h["dwmin_up" if up else "dwmin_down"] * law(h, g, up, device)
        after = np.clip(g + (step if up else -step), h["min_bound"], h["max_bound"])
        moved += np.abs(after - g)
        g = after
        np.testing.assert_allclose(array.read()[0, 0].numpy(), g - reference, rtol=0, atol=tolerance)
    stuck = h["max_bound"] == h["min_bound"]
    assert stuck.any()
    assert (moved[~stuck] > 0.05).mean() > 0.8
    assert (moved[stuck] < 1e-6).all()


def test_one_node_is_a_constant_step_and_many_nodes_are_found() -> None:
    plain = {"dw_min": 0.01, "dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
    for n in (1, 2, 4, 8, 9, 16, 17, 40, 100):  # tables that fit into registers of any width, and that do not
        nodes = np.random.default_rng(n).uniform(0.2, 1.0, n).tolist()
        device = PiecewiseStepDevice(**plain, piecewise_up=nodes, piecewise_down=nodes[::-1])
        w = torch.linspace(-0.59, 0.59, 64)
        for up, at in ((True, nodes), (False, nodes[::-1])):
            array = array_of(device, 64)
            array.set(w.reshape(1, 1, 64))
            pulse(array, up)
            change = (array.read()[0, 0] - w).double().numpy() * (1 if up else -1)
            np.testing.assert_allclose(change, 0.01 * np.interp(w.numpy(), np.linspace(-0.6, 0.6, n), at), atol=2e-7)


@pytest.mark.parametrize(
    ("text", "law", "tolerance"),
    [
        ("exp(x)", np.exp, 2.5e-7),
        ("log(abs(x))", lambda x: np.log(np.abs(x)), 2e-7),
        ("abs(x)**0.37", lambda x: np.abs(x) ** 0.37, 1e-6),
        ("abs(x)**(0-1.7)", lambda x: np.abs(x) ** -1.7, 2e-6),
        ("sqrt(abs(x))", lambda x: np.sqrt(np.abs(x)), 2e-7),
        ("x**7", lambda x: x**7, 5e-7),
        ("(x - 3)/(abs(x) + 2)", lambda x: (x - 3) / (np.abs(x) + 2), 5e-7),
        ("-x + 2*min(x, 4) - max(x, -1)", lambda x: -x + 2 * np.minimum(x, 4) - np.maximum(x, -1), 5e-7),
        ("2**x", lambda x: 2.0**x, 1e-5),
    ],
)
def test_accuracy_of_the_elementary_functions(text, law, tolerance) -> None:
    n = 20_000
    device = ExpressionDevice(dw_min_std=0.0, up=text, w_max=1e25, w_min=-1e25, parameters={"x": 5.0}, dtod={"x": 2.0})
    array = array_of(device, n)  # from w = 0 a pulse shows the formula itself
    array.update(torch.full((1, 1, n), -1.0), torch.ones(1, 1, 1), torch.tensor([1e9]))  # one pulse, whatever the granularity
    x = array.hidden()["x"][0, 0].double().numpy()
    ours, exact = array.read()[0, 0].double().numpy(), law(x)
    scale = np.maximum(np.abs(exact), np.abs(x) if "min" in text or "3" in text else (1e-7 if "log" not in text else 0.5))
    assert np.max(np.abs(ours - exact) / scale) < tolerance


def test_power_of_the_distance_to_a_bound() -> None:
    bounds = {"w_max": 1e3, "w_max_dtod": 0.6, "w_min": -1e3, "w_min_dtod": 0.6}
    steps = {"dw_min": 1.0, "dw_min_dtod": 0.0, "up_down_dtod": 0.0, "dw_min_std": 0.0}
    device = PowStepDevice(**bounds, **steps, pow_gamma=3.0, pow_gamma_dtod=0.5)
    array = array_of(device, 20_000)
    pulse(array, True)
    h = {k: v[0, 0].double().numpy() for k, v in array.hidden().items()}
    base, gamma = h["max_bound"] / (h["max_bound"] - h["min_bound"]), h["gamma_up"]
    error = np.abs(array.read()[0, 0].double().numpy() / base**gamma - 1)
    assert np.all(error < 4e-7 * (1 + np.abs(gamma * np.log2(base)) / 2) + 3e-7 * gamma)


def test_a_device_at_its_bound_stays_there() -> None:
    for gamma in (0.3, 1.0, 2.5):
        device = PowStepDevice(dw_min=0.1, dw_min_std=0.5, pow_gamma=gamma, pow_gamma_dtod=0.0)
        array = array_of(device, 100)
        array.set(torch.full((1, 1, 100), 10.0))
        before = array.read().clone()
        pulse(array, True)
        assert torch.equal(array.read(), before)


@pytest.mark.parametrize("name", LAWS)
def test_every_instruction_set_gives_the_same_bits(name: str) -> None:
    device = type(LAWS[name][0]).from_dict(LAWS[name][0].to_dict() | {"dw_min_std": 0.7})

    def pulsed() -> torch.Tensor:
        array = array_of(device, N)
        for up in [True] * 5 + [False] * 3:
            pulse(array, up)
        return array.read().clone()

    results = on_every_isa(pulsed)
    assert "baseline" in results
    for isa, weights in results.items():
        assert torch.equal(weights, results["baseline"]), isa


# --- derivatives -------------------------------------------------------------------------------------------------------


def kernel_case(name: str) -> tuple[PulsedDevice, np.ndarray, np.ndarray | None]:
    """A device of a law and its kernel's parameters at a crosspoint that moves, with what it shares."""
    device, _ = LAWS[name]
    array = array_of(device, N)
    index = _core.devices().index(device.kernel)
    names = _core.device_parameters(index)
    h = {k: v[0, 0].double().numpy() for k, v in array.hidden().items()}
    k = int(np.flatnonzero(h["max_bound"] - h["min_bound"] > 0.8)[0])
    values = [float(array.parameter(n)[0].expand(array.shape)[0, k]) for n in names]
    shared = device.shared()
    return device, np.array([values]), np.array(shared, dtype=np.float32) if shared else None


@pytest.mark.parametrize("name", LAWS)
def test_double_precision_follows_the_array_and_derivatives_its_differences(name: str) -> None:
    device, p, shared = kernel_case(name)
    pulses = np.array([0, 3, -5, 4, -2, 6], dtype=np.int32)
    segment, offsets = np.zeros(6, dtype=np.int32), np.array([0, 6], dtype=np.int64)
    count = p.shape[1]

    def trajectory(values: np.ndarray, start: float) -> np.ndarray:
        out = np.empty(6)
        _core.response_trajectory(device.kernel, values, pulses, segment, offsets, np.full(6, start), out, 1, shared)
        return out

    out, jacobian = np.empty(6), np.empty((6, count + 1))
    _core.response_trajectory_jacobian(device.kernel, p, pulses, segment, offsets, np.full(6, 0.05), out, jacobian, 1, shared)
    np.testing.assert_allclose(out, trajectory(p, 0.05), rtol=1e-12)
    assert np.ptp(out) > 0.01
    for i in range(count):
        step = 1e-6 * max(abs(p[0, i]), 1e-3)
        high, low = p.copy(), p.copy()
        high[0, i] += step
        low[0, i] -= step
        difference = (trajectory(high, 0.05) - trajectory(low, 0.05)) / (2 * step)
        np.testing.assert_allclose(jacobian[:, i], difference, rtol=1e-4, atol=1e-6)
    difference = (trajectory(p, 0.05 + 1e-6) - trajectory(p, 0.05 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jacobian[:, count], difference, rtol=1e-5)


@pytest.mark.parametrize("name", LAWS)
def test_likelihood_has_the_derivatives_of_its_differences(name: str) -> None:
    device, p, shared = kernel_case(name)
    n = 12
    pulses = np.array([0, 2, 3, -4, 1, -2, 5, -1, 2, -3, 4, -2], dtype=np.int32)
    segment, offsets = np.zeros(n, dtype=np.int32), np.array([0, n], dtype=np.int64)
    reads = np.random.default_rng(3).normal(0.05, 0.02, n)
    active = np.array([2, 3], dtype=np.int32)
    sigma, kappa = np.array([0.3]), np.array([0.01])

    def value(values: np.ndarray) -> float:
        out, a, b = np.empty(1), np.empty(n), np.empty(n)
        _core.response_likelihood(device.kernel, values, sigma, kappa, pulses, segment, offsets, reads, out, a, b, 1, shared)
        return float(out[0])

    nll, gradient = np.empty(1), np.empty((1, 4))
    _core.response_likelihood_gradient(
        device.kernel, p, active, sigma, kappa, pulses, segment, offsets, reads, nll, gradient, np.empty((0, 0, 0)), 1, shared
    )
    assert nll[0] == pytest.approx(value(p), rel=1e-12)
    for k, i in enumerate(active):
        high, low = p.copy(), p.copy()
        high[0, i] += 1e-7
        low[0, i] -= 1e-7
        assert gradient[0, k] == pytest.approx((value(high) - value(low)) / 2e-7, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("name", ["piecewise", "table", "formula"])
def test_the_response_refuses_to_run_without_what_the_kernel_shares(name: str) -> None:
    device, p, _ = kernel_case(name)
    one, whole = np.zeros(1), np.zeros(1, dtype=np.int32)
    with pytest.raises(ValueError, match="needs shared data"):
        _core.response_trajectory(device.kernel, p, whole, whole, np.array([0, 1]), one, one.copy(), 1)


# --- properties ----------------------------------------------------------------------------------------------------------

WIDE = UpdateParameters(desired_bl=7, update_management=False, update_bl_management=False)
EXAMPLES = {
    ExpressionDevice: {"up": "dw_min*(1 - 5*w)/(0.1 + abs(w))", "noise": "step + w"},
    TableDevice: {"rows": 3, "up": [-1.0, 3.0, 0.0, 1.0, -2.0, 2.0], "down": [1.0, 1.0, 0.0, 4.0, -1.0, 1.0]},
    PiecewiseStepDevice: {"piecewise_up": [3.0, -1.0, 0.5], "piecewise_down": [0.0, 2.0, 1.0]},
}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(models().values(), key=lambda c: c.__name__)),
    seed=st.integers(1, 10_000),
    noise=st.floats(0.0, 3.0),
    rate=st.floats(0.0, 2.0),
    spread=st.floats(0.0, 1.0),
    consistent=st.booleans(),
)
def test_weights_stay_finite_and_within_their_bounds(kind, seed, noise, rate, spread, consistent) -> None:
    fields = {"dw_min_std": noise, "w_max_dtod": spread, "w_min_dtod": spread, "dw_min_dtod": spread}
    device = kind(**fields, enforce_consistency=consistent, corrupt_devices_prob=0.1, **EXAMPLES.get(kind, {}))
    array = array_of(device, 40, key=seed, update=WIDE)
    generator = torch.Generator().manual_seed(seed)
    array.set(torch.randn(1, 1, 40, generator=generator))
    array.update(
        torch.randn(1, 5, 40, generator=generator), torch.randn(1, 5, 1, generator=generator), torch.tensor([rate * 0.1])
    )
    h = array.hidden()
    g = array.read() + h.get("reference", torch.zeros(()))
    assert bool(torch.isfinite(array.read()).all())
    slack = 1e-6 * (1 + g.abs())
    assert bool((g <= h["max_bound"] + slack).all())
    assert bool((g >= h["min_bound"] - slack).all())


@pytest.mark.parametrize("kind", models().values(), ids=lambda k: k.__name__)
def test_zero_rate_or_input_changes_nothing(kind) -> None:
    array = array_of(kind(**EXAMPLES.get(kind, {})), 20, update=WIDE)
    array.set(torch.linspace(-0.2, 0.2, 20).reshape(1, 1, 20))
    before = array.read().clone()
    array.update(torch.ones(1, 3, 20), torch.ones(1, 3, 1), torch.zeros(1))
    array.update(torch.zeros(1, 3, 20), torch.ones(1, 3, 1), torch.ones(1))
    assert torch.equal(array.read(), before)


def test_fields_of_the_formulas_reach_the_pulses() -> None:
    """up, down, noise, nodes and tables change the step; a round trip through text keeps them."""
    plain = {"dw_min": 0.01, "dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "dw_min_std": 0.0}

    def change(device: PulsedDevice, up: bool) -> float:
        array = array_of(from_json(to_json(device)), 1)
        pulse(array, up)
        return float(array.read())

    assert change(ExpressionDevice(**plain, up="2*dw_min"), True) == pytest.approx(0.02)
    assert change(ExpressionDevice(**plain, down="3*dw_min"), False) == pytest.approx(-0.03)
    assert change(PiecewiseStepDevice(**plain, piecewise_up=[2, 2], piecewise_down=[3, 3]), True) == pytest.approx(0.02)
    assert change(PiecewiseStepDevice(**plain, piecewise_up=[2, 2], piecewise_down=[3, 3]), False) == pytest.approx(-0.03)
    assert change(TableDevice(**plain, rows=3, up=[2] * 3, down=[3] * 3), True) == pytest.approx(0.02)
    assert change(TableDevice(**plain, rows=3, up=[2] * 3, down=[3] * 3), False) == pytest.approx(-0.03)


# --- soft bounds by pulses -----------------------------------------------------------------------------------------------

STILL = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "dw_min_std": 0.0}


@pytest.mark.parametrize(
    ("low", "high", "p_max", "alpha"), [(-1.0, 1.0, 200, 0.005), (-0.2, 0.9, 100, 0.01), (-0.8, 0.1, 50, 0.05)]
)
def test_pmax_meets_its_range(low, high, p_max, alpha) -> None:
    device = SoftBoundsPmaxDevice(**STILL, p_max=p_max, alpha=alpha, range_min=low, range_max=high)
    span = (high - low) / (1 - np.exp(-p_max * alpha))
    array = array_of(device)
    array.set(torch.full((1, 1, 1), low))
    for p in range(1, p_max + 1):
        pulse(array, True)
        assert float(array.read()) == pytest.approx(low + span * (1 - np.exp(-alpha * p)), abs=2e-5)
    assert float(array.read()) == pytest.approx(high, abs=2e-5)
    for p in range(1, p_max + 1):
        pulse(array, False)
        assert float(array.read()) == pytest.approx(high - span * (1 - np.exp(-alpha * p)), abs=4e-5)


def test_pmax_as_the_peer_converts_it() -> None:
    device = SoftBoundsPmaxDevice(**STILL, exact_range=False)
    assert device.w_max == pytest.approx(4.08299, abs=1e-5)
    up, down = device.mean_steps()
    assert (max(up, down), min(up, down)) == (pytest.approx(0.00254149, abs=1e-8), pytest.approx(0.001, abs=1e-6))
    array = array_of(device)
    array.set(torch.full((1, 1, 1), -1.0))
    for _ in range(1000):
        pulse(array, True)
    assert float(array.read()) == pytest.approx(1.3559, abs=1e-4)
    array.set(torch.full((1, 1, 1), 1.0))
    for _ in range(1000):
        pulse(array, False)
    assert float(array.read()) == pytest.approx(-0.2646, abs=1e-4)
    assert isinstance(device, SoftBoundsDevice)
