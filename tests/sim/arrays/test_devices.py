"""Response of the device models: test vectors of the specification and statistics recorded from the peer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sim import configs, presets
from sim.configs import (
    ConstantStepDevice,
    ExpressionDevice,
    ExpStepDevice,
    LinearStepDevice,
    PiecewiseStepDevice,
    PowStepDevice,
    PowStepReferenceDevice,
    SoftBoundsDevice,
    SoftBoundsPmaxDevice,
    SoftBoundsReferenceDevice,
    TableDevice,
)
from sim.devices.base import PulsedDevice
from tests.sim.arrays.pulses import array_of, pulse, response

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "devices.json").read_text())
PLAIN = {
    "dw_min": 0.02, "dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0,
}  # fmt: skip
NO_GAMMA_SPREAD = {"gamma_up_dtod": 0.0, "gamma_down_dtod": 0.0}
POWER = PLAIN | {"pow_gamma_dtod": 0.0}
NODES = {"piecewise_up": [0.5, 1.0, 2.0, 0.7], "piecewise_down": [1.0, 0.2, 0.4, 1.5]}

# devices.md, section 11: values after up pulse 1, 10, 30 and down pulse 1, 20, from w = -0.3
VECTORS = [
    (ConstantStepDevice(**PLAIN, up_down=0.3), [-0.28, -0.1, 0.3, 0.286, 0.02]),
    (
        LinearStepDevice(**PLAIN, **NO_GAMMA_SPREAD, gamma_up=0.3, gamma_down=0.5),
        [-0.277, -0.080079, 0.298689, 0.273711, -0.129155],
    ),
    (
        LinearStepDevice(**PLAIN, **NO_GAMMA_SPREAD, gamma_up=0.3, gamma_down=0.5, reverse_up=True, reverse_down=True),
        [-0.282951, -0.12176, 0.291589, 0.276369, -0.06522],
    ),
    (SoftBoundsDevice(**PLAIN), [-0.27, -0.041224, 0.274505, 0.245354, -0.156088]),
    (SoftBoundsDevice(**PLAIN, w_min=0.0), [0.02, 0.172517, 0.383003, 0.363003, 0.0]),
    (SoftBoundsReferenceDevice(**PLAIN, reference_mean=0.1), [-0.273333, -0.069977, 0.210671, 0.180315, -0.237729]),
    (
        SoftBoundsReferenceDevice(**PLAIN, up_down=0.5, subtract_symmetry_point=True),
        [-0.276667, -0.09873, 0.146837, 0.131056, -0.123465],
    ),
    (ExpStepDevice(**PLAIN), [-0.280073, -0.10119, 0.286901, 0.266975, -0.108388]),
    (PowStepDevice(**POWER, pow_gamma=2.0), [-0.28875, -0.198936, -0.052628, -0.05679, -0.125319]),
    (PowStepDevice(**POWER, pow_gamma=2.0, pow_up_down=0.2), [-0.28875, -0.198936, -0.052628, -0.058325, -0.15077]),
    (
        PowStepReferenceDevice(**POWER, pow_gamma=1.5, up_down=0.4, subtract_symmetry_point=True),
        [-0.289138, -0.200638, -0.050513, -0.055305, -0.137122],
    ),
    (PiecewiseStepDevice(**PLAIN, **NODES), [-0.2825, -0.099472, 0.50896, 0.483967, 0.20113]),
    # The same laws as the user's own formulas and as tables.
    (
        ExpressionDevice(**PLAIN, up="dw_min*(1 - w/w_max)", down="dw_min*(1 - w/w_min)"),
        [-0.27, -0.041224, 0.274505, 0.245354, -0.156088],
    ),
    (
        ExpressionDevice(
            **PLAIN,
            up="dw_min*((w_max - w)/(w_max - w_min))**g",
            down="dw_min*((w - w_min)/(w_max - w_min))**g",
            parameters={"g": 2.0},
        ),
        [-0.28875, -0.198936, -0.052628, -0.05679, -0.125319],
    ),
    (
        TableDevice(**PLAIN, rows=4, up=NODES["piecewise_up"], down=NODES["piecewise_down"]),
        [-0.2825, -0.099472, 0.50896, 0.483967, 0.20113],
    ),
]
GRANULARITY = [
    (ConstantStepDevice(**PLAIN, up_down=0.3), 0.02),
    (LinearStepDevice(**PLAIN, gamma_up=0.3), 0.02),
    (SoftBoundsDevice(**PLAIN), 0.02),
    (SoftBoundsReferenceDevice(**PLAIN, reference_mean=0.1), 0.02),
    # The average of both directions (devices.md, 12, item 3); 0.0196685 of the peer is twice the down step.
    (ExpStepDevice(**PLAIN), 0.5 * (0.02 * (1 - 0.00081 * np.exp(12.44625 * 0.2425)) + 0.0196685)),
    (ExpStepDevice(**PLAIN, A_up=1e3, A_down=1e3), 0.02),
    (PowStepDevice(**POWER, pow_gamma=2.0), 0.005),
    (PowStepReferenceDevice(**POWER, pow_gamma=1.5), 0.00707107),
    (PiecewiseStepDevice(**PLAIN, **NODES), 0.04),
    (SoftBoundsPmaxDevice(), 4.08298817 * (1 - np.exp(-0.0005))),
    (ExpressionDevice(**PLAIN, up="2*dw_min", down="dw_min"), 0.03),
    (TableDevice(**PLAIN, rows=2, up=[1.0, 3.0], down=[1.0, 1.0]), 0.03),
]


@pytest.mark.parametrize(("device", "expected"), GRANULARITY, ids=lambda v: type(v).__name__)
def test_granularity(device: PulsedDevice, expected: float) -> None:
    assert device.granularity() == pytest.approx(expected, rel=2e-6)
    assert device.num_states() == pytest.approx((device.w_max - device.w_min) / device.granularity())


@pytest.mark.parametrize(("device", "expected"), VECTORS, ids=lambda v: type(v).__name__ if isinstance(v, PulsedDevice) else "")
def test_vectors_of_the_specification(device: PulsedDevice, expected: list[float]) -> None:
    array = array_of(device)
    array.set(torch.full((1, 1, 1), -0.3))
    trace = response(array, [True] * 30 + [False] * 20)[:, 0]
    np.testing.assert_allclose(trace[[1, 10, 30, 31, 50]], expected, atol=2e-6)


def device_of(name: str) -> PulsedDevice:
    return getattr(presets if name.endswith("PresetDevice") else configs, name)()


def protocol(n_up: int) -> list[bool]:
    return [True] * n_up + [False] * (2 * n_up) + [True, False] * (n_up // 2)


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_noise_free_response_of_the_peer(name: str) -> None:
    case = REFERENCE[name]
    device = device_of(name)
    for field in [f for f in vars(device) if f.endswith(("_dtod", "_std")) or f == "reference_std"]:
        setattr(device, field, 0.0)
    array = array_of(device)
    array.set(torch.zeros(1, 1, 1))
    trace = response(array, protocol(case["n_up"]))[:, 0].numpy()
    np.testing.assert_allclose(trace[case["index"]], case["noise_free"], atol=1e-4 * (device.w_max - device.w_min))


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_response_statistics_of_the_peer(name: str) -> None:
    case = REFERENCE[name]
    n = case["n_devices"]
    array = array_of(device_of(name), n)
    array.set(torch.zeros(1, 1, n))
    trace = response(array, protocol(case["n_up"]))[case["index"]].double().numpy()
    start = 1  # the state before the first pulse differs where devices are set outside of their bounds (docs/differences.md)
    mean, std = np.array(case["mean"])[start:], np.array(case["std"])[start:]
    ours = trace[start:]
    both = np.sqrt(2.0 / n)  # two samples of n
    assert np.all(np.abs(ours.mean(1) - mean) < 5 * both * std), "mean"
    kurtosis = ((ours - ours.mean(1, keepdims=True)) ** 4).mean(1) / ours.var(1) ** 2
    assert np.all(np.abs(ours.std(1) - std) < 5 * both * std * np.sqrt((kurtosis - 1) / 4)), "standard deviation"
    rng = np.random.default_rng(0)
    for key, q in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
        resampled = np.quantile(ours[:, rng.integers(0, n, (60, n))], q, axis=2)  # (indices, 60)
        error = np.sqrt(2) * resampled.std(1)
        assert np.all(np.abs(np.quantile(ours, q, axis=1) - np.array(case[key])[start:]) < 5 * error + 1e-4), key


# devices.md, section 11: mean change and its std of one up pulse from 0.3
NOISE = [
    (SoftBoundsDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}), 0.005, 0.0025),
    (SoftBoundsDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, mult_noise=False), 0.005, 0.005),
    (ConstantStepDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}), 0.01, 0.005),
    (LinearStepDevice(**PLAIN | NO_GAMMA_SPREAD | {"dw_min": 0.01, "dw_min_std": 0.5}, gamma_up=1.0), 0.005, 0.0025),
    (
        LinearStepDevice(**PLAIN | NO_GAMMA_SPREAD | {"dw_min": 0.01, "dw_min_std": 0.5}, gamma_up=1.0, mult_noise=False),
        0.005,
        0.005,
    ),
    (SoftBoundsReferenceDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}), 0.005, 0.005),
    (SoftBoundsReferenceDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, mult_noise=True), 0.005, 0.0025),
    (PowStepDevice(**POWER | {"dw_min": 0.01, "dw_min_std": 0.5}), 0.0025, 0.00125),
    (PowStepReferenceDevice(**POWER | {"dw_min": 0.01, "dw_min_std": 0.5}), 0.0025, 0.00125),
    (
        PiecewiseStepDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, piecewise_up=[1, 0.5], piecewise_down=[1, 1]),
        0.00625,
        0.003125,
    ),
    (ExpStepDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}), 0.009244, 0.004622),
    (
        ExpStepDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, dw_min_std_add=0.01, dw_min_std_slope=0.02),
        0.009244,
        0.012622,
    ),
    # Where the step is floored to 0 the additive noise is left (devices.md, 12, item 12).
    (ExpStepDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, A_up=1e3, dw_min_std_add=0.01), 0.0, 0.005),
    (ExpressionDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, up="dw_min/2"), 0.005, 0.0025),
    (ExpressionDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, up="dw_min/2", noise="dw_min"), 0.005, 0.005),
    (ExpressionDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, up="0", noise="0.01*abs(w) + step"), 0.0, 0.0015),
    # A table that is linear in z is a normal distribution up to its last columns at +-4.
    (TableDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 1.0}, up=[-1.0, 3.0] * 2, down=[1, 1] * 2), 0.01, 0.005),
    (TableDevice(**PLAIN | {"dw_min": 0.01, "dw_min_std": 0.5}, up=[-1.0, 3.0] * 2, down=[1, 1] * 2), 0.01, 0.0025),
]


@pytest.mark.parametrize(("device", "mean", "std"), NOISE)
def test_cycle_noise_of_one_pulse(device: PulsedDevice, mean: float, std: float) -> None:
    n = 40_000
    array = array_of(device, n)
    array.set(torch.full((1, 1, n), 0.3))
    pulse(array, up=True)
    change = (array.read()[0, 0].double() - 0.3).numpy()
    # The numbers of the specification have six digits.
    assert abs(change.mean() - mean) < 4.5 * std / np.sqrt(n) + 5e-7
    assert abs(change.std() - std) < 4.5 * std / np.sqrt(2 * n) + 5e-7


WRITE_NOISE = [
    LinearStepDevice, SoftBoundsDevice, SoftBoundsReferenceDevice, ExpStepDevice, PowStepDevice, PiecewiseStepDevice,
    ExpressionDevice, TableDevice,
]  # fmt: skip


@pytest.mark.parametrize("kind", WRITE_NOISE)
def test_write_noise(kind: type[PulsedDevice]) -> None:
    n = 40_000
    spread = {LinearStepDevice: NO_GAMMA_SPREAD, PowStepDevice: {"pow_gamma_dtod": 0.0}}.get(kind, {})
    device = kind(**PLAIN | spread | {"dw_min": 0.01}, write_noise_std=2.0, lifetime=10.0)
    array = array_of(device, n)
    array.set(torch.full((1, 1, n), 0.1))
    persistent = array.weight[0, 0].clone()
    assert torch.equal(persistent, torch.full((n,), 0.1)), "the persistent weight is what was set"

    def noise() -> np.ndarray:
        return (array.read() - array.weight)[0, 0].double().numpy()

    seen = [noise()]
    pulse(array, up=True)
    seen.append(noise())
    array.end_step()
    seen.append(noise())
    for z in seen:
        assert abs(z.std() - 0.02) < 4.5 * 0.02 / np.sqrt(2 * n)
        assert abs(z.mean()) < 4.5 * 0.02 / np.sqrt(n)
    for a, b in ((0, 1), (1, 2)):
        assert abs(np.corrcoef(seen[a], seen[b])[0, 1]) < 4.5 / np.sqrt(n), "every event draws anew"
    assert bool((array.weight[0, 0] == array.weight[0, 0, 0]).all()), "write noise never enters the persistent weight"


def test_write_noise_is_redrawn_only_where_a_pulse_hit() -> None:
    array = array_of(SoftBoundsDevice(write_noise_std=2.0), 8)
    array.set(torch.zeros(1, 1, 8))
    before = array.read().clone()
    x = torch.tensor([[[1.0, 0, 0, -1.0, 0, 0, 0, 0]]])
    array.update(x, torch.ones(1, 1, 1), torch.ones(1))
    changed = (array.read() != before)[0, 0]
    assert changed.tolist() == [True, False, False, True, False, False, False, False]


def test_write_noise_on_set_can_be_off() -> None:
    array = array_of(SoftBoundsDevice(write_noise_std=2.0, apply_write_noise_on_set=False), 8)
    array.set(torch.full((1, 1, 8), 0.05))
    assert torch.equal(array.read(), torch.full((1, 1, 8), 0.05))


def test_reference_devices_act_on_the_state_behind_the_reference() -> None:
    # devices.md, 12, item 2: a set or reset is clipped as g = w + reference
    device = SoftBoundsReferenceDevice(**PLAIN, reference_mean=0.3, reset=0.1, reset_std=0.0)
    array = array_of(device, 3)
    array.set(torch.full((1, 1, 3), 0.6))
    np.testing.assert_allclose(array.read()[0, 0], 0.3, atol=1e-6)
    array.reset()
    np.testing.assert_allclose(array.read()[0, 0], 0.1, atol=1e-6)


def test_decay_moves_towards_the_reset_target() -> None:
    array = array_of(ConstantStepDevice(**PLAIN, lifetime=10.0, reset=0.2), 2)  # devices.md, section 11
    array.set(torch.full((1, 1, 2), 0.5))
    array.end_step()
    np.testing.assert_allclose(array.read()[0, 0], 0.47, atol=1e-6)


def test_lifetime_of_two_halves_a_weight_each_step() -> None:
    array = array_of(ConstantStepDevice(**PLAIN | {"w_max": 2.0}, lifetime=2.0))
    array.set(torch.ones(1, 1, 1))
    array.end_step()  # update.md, section 9
    assert float(array.read()) == 0.5


def test_diffusion() -> None:
    n = 40_000
    array = array_of(ConstantStepDevice(**PLAIN, diffusion=0.01), n)
    array.set(torch.zeros(1, 1, n))
    for _ in range(4):
        array.end_step()
    assert abs(float(array.read().std()) - 0.02) < 4.5 * 0.02 / np.sqrt(2 * n)


def test_reset_takes_columns_around_the_end() -> None:
    array = array_of(ConstantStepDevice(**PLAIN, reset_std=0.0), 5)
    array.set(torch.full((1, 1, 5), 0.4))
    array.reset(3, 3)
    np.testing.assert_allclose(array.read()[0, 0], [0, 0.4, 0.4, 0, 0], atol=1e-7)


def test_reset_with_a_probability() -> None:
    n = 10_000
    array = array_of(ConstantStepDevice(**PLAIN, reset_std=0.0), n)
    array.set(torch.full((1, 1, n), 0.4))
    array.reset(probability=0.3)
    hit = float((array.read() == 0).float().mean())
    assert abs(hit - 0.3) < 4.5 * np.sqrt(0.21 / n)
