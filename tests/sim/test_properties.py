"""Properties that hold for every pulsed device and any numbers."""

from __future__ import annotations

import inspect
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from sim import devices as device_modules
from sim.arrays import PulsedArray
from sim.configs import ConstantStepDevice, PulseType, UpdateParameters
from sim.devices.base import DriftParameter, PulsedDevice
from sim.ops import device_parameters
from tests.sim.arrays.pulses import array_of, pulse

NEEDED: dict[str, dict[str, Any]] = {
    "ExpressionDevice": {"up": "dw_min*(1 - gamma*w)", "down": "dw_min*(1 + gamma*w)", "parameters": {"gamma": 0.5}},
    "PiecewiseStepDevice": {"piecewise_up": [1.0, 0.5], "piecewise_down": [0.5, 1.0]},
}


def kinds() -> list[type[PulsedDevice]]:
    found = [getattr(device_modules, name) for name in device_modules.__all__]
    return [k for k in found if inspect.isclass(k) and issubclass(k, PulsedDevice) and not k._abstract()]


def made(kind: type[PulsedDevice], **fields: Any) -> PulsedDevice:
    """A device of a kind with those of the fields that it has and that may be given."""
    device = kind(**NEEDED.get(kind.__name__, {}))
    for name, value in fields.items():
        if name in vars(device) and name not in kind.derived:
            setattr(device, name, value)
    return device


def within_bounds(array: PulsedArray) -> bool:
    names = device_parameters(array.kernel)
    reference = array.parameter("reference") if "reference" in names else torch.zeros(1)
    state = array.weight + reference
    slack = 1e-6 * (1 + state.abs())
    low, high = array.parameter("min_bound"), array.parameter("max_bound")
    return bool(((state >= low - slack) & (state <= high + slack)).all())


spread = st.floats(0.0, 1.5)
common = st.fixed_dictionaries(
    {
        "dw_min": st.floats(1e-4, 0.5), "dw_min_dtod": spread, "dw_min_std": st.floats(0.0, 5.0), "up_down": st.floats(-0.9, 0.9),
        "up_down_dtod": st.floats(0.0, 0.3), "w_max": st.floats(0.0, 2.0), "w_min": st.floats(-2.0, 0.0), "w_max_dtod": spread,
        "w_min_dtod": spread, "corrupt_devices_prob": st.floats(0.0, 1.0), "enforce_consistency": st.booleans(),
        "perfect_bias": st.booleans(), "write_noise_std": st.sampled_from([0.0, 1.0]), "reference_std": st.floats(0.0, 0.5),
        "reset": st.floats(-1.0, 1.0), "diffusion": st.sampled_from([0.0, 0.05]), "lifetime": st.sampled_from([0.0, 3.0]),
    }
)  # fmt: skip


@pytest.mark.parametrize("kind", kinds(), ids=lambda k: k.__name__)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(fields=common, key=st.integers(0, 2**63), pulse_type=st.sampled_from([p for p in PulseType if p is not PulseType.NONE]))
def test_weights_never_leave_their_bounds(
    kind: type[PulsedDevice], fields: dict[str, Any], key: int, pulse_type: PulseType
) -> None:
    array = PulsedArray([made(kind, **fields)], [UpdateParameters(pulse_type=pulse_type)], (4, 9), [key])
    generator = torch.Generator().manual_seed(key % 2**31)
    array.set(torch.randn(1, 4, 9, generator=generator) * 3)
    assert within_bounds(array)
    for _ in range(3):
        x, d = (torch.randn(1, 5, n, generator=generator) for n in (9, 4))
        array.update(x, d, torch.tensor([10.0]))
        assert within_bounds(array)
        array.end_step()
        assert within_bounds(array)
    array.reset(probability=0.5)
    assert within_bounds(array)
    assert bool(torch.isfinite(array.read()).all())


def state_of(array: PulsedArray) -> list[Tensor]:
    return [array.weight.clone(), array.read().clone()]


@pytest.mark.parametrize("kind", kinds(), ids=lambda k: k.__name__)
@pytest.mark.parametrize("which", ["rate", "x", "d", "empty"])
def test_nothing_in_nothing_out(kind: type[PulsedDevice], which: str) -> None:
    array = PulsedArray([made(kind, write_noise_std=1.0)], [UpdateParameters()], (4, 9), [3])
    array.set(torch.full((1, 4, 9), 0.05))
    before = state_of(array)
    batch = 0 if which == "empty" else 5
    x = torch.zeros(1, batch, 9) if which == "x" else torch.ones(1, batch, 9)
    d = torch.zeros(1, batch, 4) if which == "d" else torch.ones(1, batch, 4)
    array.update(x, d, torch.zeros(1) if which == "rate" else torch.ones(1))
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(array), strict=True))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(start=st.floats(-0.5, 0.5), step=st.floats(1e-3, 0.05), n=st.integers(1, 3))
def test_up_then_down_of_a_symmetric_device_returns(start: float, step: float, n: int) -> None:
    plain = {
        "dw_min_dtod": 0.0,
        "dw_min_std": 0.0,
        "up_down_dtod": 0.0,
        "w_max_dtod": 0.0,
        "w_min_dtod": 0.0,
        "w_max": 1.0,
        "w_min": -1.0,
    }
    array = array_of(ConstantStepDevice(dw_min=step, **plain))  # type: ignore[arg-type]
    array.set(torch.full((1, 1, 1), start))
    for up in [True] * n + [False] * n:
        pulse(array, up)
    assert float(array.read()) == pytest.approx(start, abs=1e-6)


@pytest.mark.parametrize("kind", kinds(), ids=lambda k: k.__name__)
def test_up_pulses_raise_and_down_pulses_lower(kind: type[PulsedDevice]) -> None:
    quiet = {"dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
    array = array_of(made(kind, **quiet), 200)
    array.set(torch.linspace(-0.3, 0.3, 200).reshape(1, 1, 200))
    start = array.read().clone()
    pulse(array, up=True)
    raised = array.read().clone()
    pulse(array, up=False)
    assert bool((raised >= start).all())
    assert float((raised - start).mean()) > 0
    assert bool((array.read() <= raised).all())
    assert np.isfinite(float(array.read().sum()))


# --- the mean update ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    rate=st.floats(0.005, 0.1), largest_x=st.floats(0.01, 2.0), largest_d=st.floats(0.01, 1.0), step=st.floats(0.003, 0.03),
    noise=st.floats(0.0, 1.0), balance=st.floats(0.5, 1.0),
    managed=st.sampled_from([(True, True), (True, False), (False, False)]),
    key=st.integers(0, 2**31),
)  # fmt: skip
def test_the_mean_update_is_the_gradient_step(
    rate: float,
    largest_x: float,
    largest_d: float,
    step: float,
    noise: float,
    balance: float,
    managed: tuple[bool, bool],
    key: int,
) -> None:
    """Wherever no probability saturates: at most 31 pulses wanted, and at most one a slot."""
    plain = dict.fromkeys(("dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod"), 0.0)
    device = ConstantStepDevice(**plain, dw_min=step, dw_min_std=noise, w_max=100.0, w_min=-100.0)
    update = UpdateParameters(um_grad_scale=balance, update_management=managed[0], update_bl_management=managed[1])
    generator = torch.Generator().manual_seed(key)
    x, d = largest_x * (2 * torch.rand(7, generator=generator) - 1), largest_d * (2 * torch.rand(5, generator=generator) - 1)
    base = (rate / (step * 31)) ** 0.5
    wanted = rate * float(x.abs().max() * d.abs().max()) / step
    if managed[0]:
        assume(wanted <= 31 * balance**2)
        assume(not managed[1] or wanted * balance > 1)  # a train of one slot saturates below that where the balance is not 1
        assume(not managed[1] or wanted / balance <= np.ceil(wanted * balance))
    else:
        assume(base * float(torch.maximum(x.abs().max(), d.abs().max())) <= 1)
    n = 1500
    array = PulsedArray([device] * n, [update] * n, (5, 7), [key + k for k in range(n)])
    array.update(x.expand(n, 1, 7).contiguous(), d.expand(n, 1, 5).contiguous(), torch.full((n,), rate))
    changes = array.read().double()
    error = changes.std(0) / n**0.5
    expected = -rate * torch.outer(d, x).double()
    # a crosspoint that rarely pulses has a long tail; where it never did, the expected number of pulses was small
    rare = 5 * step * (expected.abs() / step / n).sqrt() + 5 * step / n
    assert bool(((changes.mean(0) - expected).abs() < 5 * error + rare).all())


# --- save, load, continue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", kinds(), ids=lambda k: k.__name__)
def test_a_continued_run_is_the_uninterrupted_one(kind: type[PulsedDevice]) -> None:
    def fresh() -> PulsedArray:
        fields = {"write_noise_std": 1.0, "diffusion": 1e-3, "lifetime": 50.0, "reference_std": 0.1, "count_pulses": True}
        device = made(kind, **fields, drift=DriftParameter(nu=0.05, nu_std=0.1, w_noise_std=1e-3))
        return PulsedArray([device, device], [UpdateParameters()] * 2, (4, 9), [3, 4])

    def steps(array: PulsedArray, which: range) -> None:
        for k in which:
            generator = torch.Generator().manual_seed(k)
            x, d = (torch.randn(2, 5, n, generator=generator) for n in (9, 4))
            array.update(x, d, torch.tensor([0.02, 0.1]))
            array.end_step()
            array.drift(3.0)
            array.reset(k % 9, 1, 0.5)

    whole, first, second = fresh(), fresh(), fresh()
    steps(whole, range(6))
    steps(first, range(3))
    second.load_state_dict(first.state_dict())
    steps(second, range(3, 6))
    ours, theirs = whole.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not torch.equal(ours["weight"], first.state_dict()["weight"])
