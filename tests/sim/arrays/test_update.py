"""The pulsed update: trains and coincidences against the specification and the statistics recorded from the peer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sim.arrays import IdealArray, PulsedArray
from sim.configs import (
    ConstantStepDevice,
    IdealDevice,
    LinearStepDevice,
    SoftBoundsDevice,
    SoftBoundsReferenceDevice,
    UpdateParameters,
)
from sim.devices.base import PulsedDevice
from sim.ops import exact_update_, key_tensor_of

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "update.json").read_text())
COUNTER = {
    "dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "w_max": 1e4, "w_min": -1e4,
}  # fmt: skip
ROUNDING = 2e-7  # float32 sums of up to 31 steps of 1e-3, where a crosspoint pulses in every slot
X, D = [0.3, -0.7, 1.2, 0.05], [0.9, -0.2, 0.02]


def repeated(
    x: list[float], d: list[float], lr: float, repeats: int, update: UpdateParameters, device: PulsedDevice | None = None
) -> np.ndarray:
    """Weight changes of ``repeats`` independent updates of one sample, (repeats, out, in); replicas are the repeats."""
    device = device or ConstantStepDevice(**COUNTER, dw_min=1.0)
    array = PulsedArray([device] * repeats, [update] * repeats, (len(d), len(x)), range(1, repeats + 1))
    xs, ds = (
        torch.tensor(x, dtype=torch.float32).expand(repeats, 1, -1).contiguous(),
        torch.tensor(d, dtype=torch.float32).expand(repeats, 1, -1).contiguous(),
    )
    array.update(xs, ds, torch.full((repeats,), lr))
    return array.read().double().numpy()


def update_of(case: dict[str, object]) -> UpdateParameters:
    return UpdateParameters(**case)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda c: f"{c['lr']}-{c['update']}")
def test_mean_and_std_of_the_peer(case: dict[str, object]) -> None:
    n = REFERENCE["repeats"]
    device = ConstantStepDevice(**COUNTER | {"w_max": 100.0, "w_min": -100.0}, dw_min=0.001)
    ours = repeated(REFERENCE["x"], REFERENCE["d"], float(case["lr"]), n, update_of(case["update"]), device)  # type: ignore[arg-type]
    mean, std = np.array(case["mean"]), np.array(case["std"])
    both = np.sqrt(2.0 / n)
    pooled = np.sqrt((std**2 + ours.std(0) ** 2) / 2)  # a rare pulse may be absent from one of the samples
    assert np.all(np.abs(ours.mean(0) - mean) <= 5 * both * pooled + ROUNDING)
    pulses = np.abs(np.outer(REFERENCE["d"], REFERENCE["x"])) * float(case["lr"]) / 0.001  # wanted: rare ones have a long tail
    error = both * pooled * np.sqrt((2 + 1 / np.maximum(pulses, 1e-9)) / 4)
    assert np.all(np.abs(ours.std(0) - std) <= 5 * error + ROUNDING)


# update.md, 4.4: learning rate, setting, BL, largest p and q (with the recommended length-independent rate and cap)
LONGER = {"fixed_bl": False, "desired_bl": 10, "update_bl_management": False}
PLANS = [
    (0.5, {}, 1, 0.734847, 0.734847),
    (0.5, {"um_grad_scale": 0.5}, 1, 0.519615, 1.039230),
    (0.5, {"update_bl_management": False}, 31, 0.131982, 0.131982),
    (0.5, {"update_bl_management": False, "update_management": False}, 31, 0.152400, 0.114300),
    (5.0, {}, 6, 0.948683, 0.948683),
    (5.0, {"um_grad_scale": 0.5}, 3, 0.948683, 1.897367),
    (5.0, {"update_bl_management": False}, 31, 0.417365, 0.417365),
    (5.0, {"update_bl_management": False, "update_management": False}, 31, 0.481932, 0.361449),
    (60.0, {}, 31, 1.0, 2.090323),
    (60.0, {"um_grad_scale": 0.5}, 31, 1.0, 2.090323),
    (60.0, {"update_bl_management": False, "update_management": False}, 31, 1.669460, 1.252095),
    (0.5, LONGER | {"update_management": False}, 10, 0.268328, 0.201246),
    (60.0, LONGER | {"update_management": False}, 60, 1.2, 0.9),
    (60.5, LONGER | {"update_management": False}, 61, 1.195073, 0.896304),
    (60.0, LONGER, 60, 1.0, 1.08),
    (60.0, LONGER | {"update_bl_management": True}, 10, 1.0, 6.48),
]


@pytest.mark.parametrize(("lr", "setting", "length", "p_max", "q_max"), PLANS)
def test_pulse_counts_follow_the_plan(lr: float, setting: dict[str, object], length: int, p_max: float, q_max: float) -> None:
    n = 4000
    counts = -repeated(X, D, lr, n, UpdateParameters(**setting))  # type: ignore[arg-type]
    p = np.minimum(np.abs(X) / np.max(np.abs(X)) * p_max, 1.0)
    q = np.minimum(np.abs(D) / np.max(np.abs(D)) * q_max, 1.0)
    sign = np.sign(np.outer(D, X))
    coincidence = np.outer(q, p)
    mean, variance = length * coincidence, length * coincidence * (1 - coincidence)
    assert np.all(np.abs(counts.mean(0) - sign * mean) < 4.5 * np.sqrt(variance / n) + 1e-6)
    fourth = variance * (1 + 3 * variance * (1 - 2 / length)) if length > 1 else variance  # central moment of the binomial law
    error = np.sqrt(np.maximum(fourth, variance**2) / n)
    assert np.all(np.abs(counts.var(0) - variance) < 5 * error + 0.02 * variance + 1e-6)
    assert np.abs(counts).max() <= length


def test_a_line_shares_its_bits() -> None:
    # update.md, 5.2: covariances of crosspoints of one row, one column, and of neither
    n, length = 60_000, 31
    update = UpdateParameters(update_management=False, update_bl_management=False)
    counts = -repeated([0.5, 0.5], [0.5, 0.5], 4.0, n, update).reshape(n, 4)
    p = 0.5 * np.sqrt(4.0 / length)
    covariance = np.cov(counts.T)
    shared = length * p * p * p * (1 - p)
    variance = length * p * p * (1 - p * p)
    error = 5 * variance / np.sqrt(n)
    assert abs(covariance[0, 0] - variance) < 2 * error
    assert abs(covariance[0, 1] - shared) < error, "same row"
    assert abs(covariance[0, 2] - shared) < error, "same column"
    assert abs(covariance[0, 3]) < error, "neither"


@pytest.mark.parametrize("length", [1, 2, 4, 5, 8, 9, 16, 17, 31, 32, 33, 70])
@pytest.mark.parametrize("p", [0.004, 0.3, 0.5, 0.97])
def test_pulses_of_a_line_are_binomial(length: int, p: float) -> None:
    """Against a certain line, whatever the layout of the random bits: the law of each line, and no relation between lines."""
    n = 4096
    update = UpdateParameters(desired_bl=length, update_management=False, update_bl_management=False)
    array = PulsedArray([ConstantStepDevice(**COUNTER, dw_min=1.0)], [update], (n, 1), [length])
    array.update(torch.ones(1, 2, 1), torch.full((1, 2, n), p), torch.tensor([float(length)]))
    both = -array.read()[0, :, 0].double().numpy()
    array.update(torch.ones(1, 1, 1), torch.full((1, 1, n), p), torch.tensor([float(length)]))
    third = -array.read()[0, :, 0].double().numpy() - both
    for counts, most in ((both, 2 * length), (third, length)):
        assert abs(counts.sum() - n * most * p) < 4.5 * np.sqrt(n * most * p * (1 - p))
        expected = stats.binom.pmf(np.arange(most + 1), most, p) * n
        seen = np.bincount(np.rint(counts).astype(int), minlength=most + 1)
        rare = expected < 10
        rare[np.argmin(np.where(rare, np.inf, expected))] = True  # one class, with the least common of the others
        pooled = [np.append(v[~rare], v[rare].sum()) for v in (seen, expected)]
        assert stats.chisquare(pooled[0], pooled[1] * n / pooled[1].sum()).pvalue > 1e-4
    for lag in (1, 2, 4, 8, 16, 64):
        assert abs(np.corrcoef(both[lag:], both[:-lag])[0, 1]) < 4.5 / np.sqrt(n - lag)
    assert abs(np.corrcoef(both, third)[0, 1]) < 4.5 / np.sqrt(n)


def test_a_probability_of_one_is_certain() -> None:
    # update.md, section 11: the bias input is the largest, so it pulses in every slot
    changes = repeated([0.5, 1.0], [-0.5], 8.0, 5000, UpdateParameters())[:, 0]
    assert np.all(changes[:, 1] == 4)
    assert abs(changes[:, 0].mean() - 2) < 4.5 * np.sqrt(1 / 5000)


@pytest.mark.parametrize(
    ("res", "sto_round", "expected"), [(0.0, False, 5e-4), (1 / 31, False, 4.895e-4), (1 / 31, True, 5e-4), (31, False, 4.895e-4)]
)
def test_resolution_of_the_probabilities(res: float, sto_round: bool, expected: float) -> None:
    # update.md, section 11; a resolution above 1 is a number of bins (section 12, item 1)
    device = ConstantStepDevice(**COUNTER, dw_min=1e-4)
    n = 4000
    changes = repeated([0.5] * 4, [-0.5] * 4, 0.002, n, UpdateParameters(res=res, sto_round=sto_round), device).mean((1, 2))
    assert abs(changes.mean() - expected) < 4.5 * changes.std() / np.sqrt(n) + 1e-6
    assert changes.std() > 0


def test_the_mean_update_is_the_gradient_step() -> None:
    rng = np.random.default_rng(3)
    x, d = rng.uniform(-1, 1, 6), rng.uniform(-0.3, 0.3, 5)
    n = 20_000
    device = ConstantStepDevice(**COUNTER | {"dw_min_std": 0.3}, dw_min=0.01)
    changes = repeated(list(x), list(d), 0.1, n, UpdateParameters(), device)
    assert np.all(np.abs(changes.mean(0) + 0.1 * np.outer(d, x)) < 4.5 * changes.std(0) / np.sqrt(n) + 1e-8)


@pytest.mark.parametrize(
    "setting",
    [
        {"desired_bl": 5},
        {"desired_bl": 32},
        {"desired_bl": 64},
        {"desired_bl": 100, "update_bl_management": False, "update_management": False},
    ],
)
def test_trains_of_any_length(setting: dict[str, object]) -> None:
    n = 3000
    counts = -repeated([0.5, -1.0], [0.8], 1e3, n, UpdateParameters(**setting))  # type: ignore[arg-type]
    assert np.abs(counts).max() <= setting["desired_bl"]  # type: ignore[operator]
    assert abs(counts[:, 0, 1]).max() == setting["desired_bl"], "the largest crosspoint is saturated"


def test_a_batch_is_its_samples_in_order() -> None:
    # soft bounds saturate: the order of samples shows
    device = SoftBoundsDevice(**COUNTER | {"w_max": 1.0, "w_min": -1.0}, dw_min=0.2)
    one = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    x = torch.tensor([[[1.0], [1.0], [-1.0]]])
    array = PulsedArray([device], [one], (1, 1), [1])
    array.set(torch.zeros(1, 1, 1))
    array.update(x, -torch.ones(1, 3, 1), torch.ones(1))
    w = 0.0
    for up in (True, True, False):
        w = w + 0.2 * (1 - w) if up else w - 0.2 * (1 + w)
    assert abs(float(array.read()) - w) < 1e-6


def numpy_model(device: PulsedDevice, w: np.ndarray, directions: np.ndarray, hidden: dict[str, Tensor]) -> np.ndarray:
    """The laws of devices.md, 5.2 to 5.6, written once more, without noise."""
    h = {k: v[0].numpy().astype(np.float64) for k, v in hidden.items()}
    reference = h.get("reference", np.zeros_like(w))
    for up in directions:
        g = w + reference
        if isinstance(device, ConstantStepDevice):
            g = g + h["dwmin_up"] if up else g - h["dwmin_down"]
        elif isinstance(device, SoftBoundsReferenceDevice):
            g = g + h["dwmin_up"] * (1 - g / h["max_bound"]) if up else g - h["dwmin_down"] * (1 - g / h["min_bound"])
        else:
            g = g + h["dwmin_up"] + h["slope_up"] * g if up else g - h["dwmin_down"] - h["slope_down"] * g
        w = np.clip(g, h["min_bound"], h["max_bound"]) - reference
    return w


@pytest.mark.parametrize(
    "device",
    [
        ConstantStepDevice(dw_min=0.05, dw_min_std=0.0),
        LinearStepDevice(dw_min=0.05, dw_min_std=0.0, gamma_up=0.4, gamma_down=0.2),
        SoftBoundsDevice(dw_min=0.05, dw_min_std=0.0),
        SoftBoundsReferenceDevice(dw_min=0.05, dw_min_std=0.0, reference_std=0.1, slope_up_dtod=0.1, slope_down_dtod=0.1),
    ],
    ids=lambda d: type(d).__name__,
)
def test_every_crosspoint_follows_an_independent_model(device: PulsedDevice) -> None:
    one = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    array = PulsedArray([device], [one], (13, 37), [5])
    rng = np.random.default_rng(0)
    array.set(torch.from_numpy(rng.uniform(-0.2, 0.2, (1, 13, 37)).astype(np.float32)))
    start = array.read()[0].double().numpy()
    directions = rng.random(150) < 0.5
    x = torch.from_numpy(np.where(directions, -1.0, 1.0).astype(np.float32)).reshape(1, -1, 1).expand(1, 150, 37).contiguous()
    array.update(x, torch.ones(1, 150, 13), torch.ones(1))
    expected = numpy_model(device, start, directions, array.hidden())
    np.testing.assert_allclose(array.read()[0].numpy(), expected, atol=5e-6)


def test_exact_update() -> None:
    array = IdealArray([IdealDevice()] * 2, (5, 7), key_tensor_of([1, 2]))
    rng = np.random.default_rng(1)
    x, d = (torch.from_numpy(rng.standard_normal((2, 9, n)).astype(np.float32)) for n in (7, 5))
    array.update(x, d, torch.tensor([0.1, 0.2]))
    expected = -torch.tensor([0.1, 0.2]).reshape(2, 1, 1) * torch.einsum("rbi,rbj->rij", d, x)
    torch.testing.assert_close(array.read(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("batch", "out", "n_in"), [(3, 7, 21), (130, 70, 75), (20, 3, 16)])
def test_exact_update_adds_sample_after_sample(batch: int, out: int, n_in: int) -> None:
    """Each crosspoint in the order of the samples, rounded after the product and after the sum, for any number of threads."""
    rng = np.random.default_rng(2)
    w, x, d = (rng.standard_normal((2, *shape)).astype(np.float32) for shape in ((out, n_in), (batch, n_in), (batch, out)))
    d[rng.random(d.shape) < 0.6] = 0.0
    x[0, 1, 2] = np.inf
    d[0, 1, 1:] = 0.0  # it is written only where there is an error
    rate = np.array([0.1, 0.3], dtype=np.float32)
    expected = w.copy()
    for b in range(batch):
        factor = (-rate[:, None] * d[:, b])[:, :, None]
        expected += np.multiply(x[:, b, None, :], factor, where=factor != 0, out=np.zeros_like(w))
    threads = torch.get_num_threads()
    for n in (1, 3):
        torch.set_num_threads(n)
        found = torch.from_numpy(w.copy())
        exact_update_(found, *(torch.from_numpy(v) for v in (x, d, rate)))
        np.testing.assert_array_equal(found.numpy(), expected)
    torch.set_num_threads(threads)


# update.md, section 11: number of down pulses of one update
DETERMINISTIC = [
    (5, "MEAN_COUNT", {}, [[1, -3, 6, 0], [0, 0, -1, 0], [0, 0, 0, 0]]),
    (5, "DETERMINISTIC_IMPLICIT", {}, [[1, -3, 5, 0], [0, 1, -1, 0], [0, 0, 0, 0]]),
    (5, "MEAN_COUNT", {"res": 0.1}, [[1, -3, 4, 0], [0, 1, -1, 0], [0, 0, 0, 0]]),
    (60, "MEAN_COUNT", {}, [[8, -18, 31, 1], [-4, 8, -14, 0], [0, -1, 1, 0]]),
    (60, "DETERMINISTIC_IMPLICIT", {}, [[8, -18, 31, 1], [-4, 8, -14, -1], [0, -1, 1, 0]]),
    (
        60,
        "DETERMINISTIC_IMPLICIT",
        {"x_res_implicit": 0.1, "d_res_implicit": 0.1},
        [[6, -19, 31, 0], [-3, 9, -16, 0], [0, 0, 0, 0]],
    ),
    (60, "DETERMINISTIC_IMPLICIT", {"update_bl_management": False}, [[8, -18, 31, 1], [-4, 8, -14, -1], [0, -1, 1, 0]]),
]


@pytest.mark.parametrize(("lr", "pulse_type", "setting", "expected"), DETERMINISTIC)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_deterministic_pulses(
    lr: float, pulse_type: str, setting: dict[str, object], expected: list[list[int]], sign: float
) -> None:
    # a negative rate, which compounds use, flips every pulse once (section 5.8)
    counts = -repeated(X, D, sign * lr, 2, UpdateParameters(pulse_type=pulse_type, **setting))[0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(counts, sign * np.array(expected))


def test_a_negative_rate_flips_random_pulses() -> None:
    up, down = (repeated(X, D, rate, 3, UpdateParameters()) for rate in (5.0, -5.0))
    np.testing.assert_array_equal(up, -down)
    assert np.abs(up).sum() > 0


def test_many_deterministic_pulses_are_all_applied() -> None:
    update = UpdateParameters(pulse_type="MEAN_COUNT", desired_bl=200, update_bl_management=False, update_management=False)
    assert repeated([1.0, -1.0], [1.0], 1e4, 1, update)[0].tolist() == [[-200.0, 200.0]]


def test_exact_step_with_the_bounds_of_the_device() -> None:
    # update.md, 5.5: clipped after each sample
    device = ConstantStepDevice(**COUNTER | {"w_max": 0.6, "w_min": -0.6})
    array = PulsedArray([device], [UpdateParameters(pulse_type="NONE_WITH_DEVICE")], (1, 1), [1])
    array.set(torch.full((1, 1, 1), 0.5))
    array.update(torch.ones(1, 2, 1), torch.tensor([[[-0.5], [0.5]]]), torch.ones(1))
    assert float(array.read()) == pytest.approx(0.1)


def test_exact_step_reaches_the_persistent_weight_and_the_reference() -> None:
    device = SoftBoundsReferenceDevice(write_noise_std=1.0, dw_min=0.01, reference_mean=0.2, w_max_dtod=0.0)
    array = PulsedArray([device], [UpdateParameters(pulse_type="NONE_WITH_DEVICE")], (3, 40), [1])
    array.set(torch.zeros(1, 3, 40))
    array.update(torch.ones(1, 1, 40), torch.tensor([[[-0.1, -0.2, -9.0]]]), torch.ones(1))
    np.testing.assert_allclose(array.weight[0, :, 0], [0.1, 0.2, 0.4], atol=1e-6)  # bounds act on w + reference
    noise = (array.read() - array.weight)[0].flatten()
    assert abs(float(noise.std()) - 0.01) < 4.5 * 0.01 / np.sqrt(240)


@pytest.mark.parametrize(
    ("setting", "batch", "rate", "least"),
    [
        ({}, 20, 9.0, 1000),
        ({"desired_bl": 100, "update_bl_management": False}, 20, 9.0, 1000),
        ({"pulse_type": "MEAN_COUNT"}, 20, 9.0, 1000),
        ({}, 1, 0.5, 20),
        ({}, 3, 0.5, 60),
    ],
)
def test_pulses_are_counted_where_they_happen(setting: dict[str, object], batch: int, rate: float, least: int) -> None:
    # steps of 1 without noise: the weight is ups - downs; a bound absorbs a pulse but not its count
    rng = np.random.default_rng(2)
    device = ConstantStepDevice(**COUNTER, dw_min=1.0, count_pulses=True)
    array = PulsedArray([device] * 2, [UpdateParameters(**setting)] * 2, (9, 33), [1, 2])  # type: ignore[arg-type]
    array.set(torch.zeros(2, 9, 33))
    for _ in range(3):
        x, d = (torch.from_numpy(rng.uniform(-1, 1, (2, batch, n)).astype(np.float32)) for n in (33, 9))
        array.update(x, d, torch.full((2,), rate))
    counts = array.counts
    assert counts is not None
    assert int(counts.min()) >= 0
    assert int(counts.sum()) > least
    np.testing.assert_array_equal(array.read().numpy(), (counts[:, 1] - counts[:, 0]).float().numpy())


@pytest.mark.parametrize(("batch", "rate"), [(9, 1.0), (1, 0.001), (3, 0.001)])
def test_counting_changes_nothing_else(batch: int, rate: float) -> None:
    x, d = torch.linspace(-1, 1, batch * 70).view(1, batch, 70), torch.linspace(1, 0.1, batch * 5).view(1, batch, 5)

    def run(counting: bool) -> Tensor:
        array = PulsedArray([SoftBoundsDevice(count_pulses=counting)], [UpdateParameters()], (5, 70), [1])
        array.set(torch.zeros(1, 5, 70))
        before = array.read().clone()
        array.update(x, d, torch.full((1,), rate))
        assert not torch.equal(array.read(), before)
        return array.read()

    assert torch.equal(run(True), run(False))


@pytest.mark.parametrize("pulse_type", ["STOCHASTIC_COMPRESSED", "MEAN_COUNT", "DETERMINISTIC_IMPLICIT"])
@pytest.mark.parametrize(
    ("x", "d", "rate"), [(0.5, np.inf, 0.1), (0.0, np.inf, 0.1), (np.inf, np.inf, 0.1), (0.5, 0.3, 1e38), (1e30, 1e30, 0.1)]
)
def test_numbers_out_of_range_never_make_more_pulses_than_the_train(pulse_type: str, x: float, d: float, rate: float) -> None:
    counts = repeated([x, 0.2, -0.1], [d, 0.1], rate, 50, UpdateParameters(pulse_type=pulse_type))
    assert np.isfinite(counts).all()
    assert np.abs(counts).max() <= 31


def test_what_is_not_a_number_gets_no_pulses() -> None:
    counts = repeated([np.nan, 1.0], [1.0, np.nan], 8.0, 20, UpdateParameters())
    assert np.all(counts[:, :, 0] == 0)
    assert np.all(counts[:, 1] == 0)
    assert np.all(counts[:, 0, 1] == -8)
