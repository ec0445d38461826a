"""The analog matrix-vector product: conformance vectors of the specification, statistics recorded from the peer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sim.arrays.product import Product
from sim.configs import IOParameters
from sim.configs.io import quantiser_step
from tests.sim.isas import on_every_isa

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "mvm.json").read_text())
W = torch.tensor([[[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65]]])
X = torch.tensor([[[0.2, -0.7, 1.0, 0.45], [-3.0, 0.5, 1.5, -0.2]]])
OFF = {"noise_management": "NONE", "bound_management": "NONE", "inp_res": -1, "out_res": -1, "out_noise": 0.0}
# mvm.md, section 16, by its numbers
VECTORS = {
    1: ({}, [[0.575, -1.075, 0.0525], [0.325, -0.31, 1.07]]),
    2: (
        {"inp_res": 1 / 126, "out_res": 1 / 510, "noise_management": "ABS_MAX"},
        [[0.564706, -1.082353, 0.047059], [-0.282353, -0.847059, 2.82353]],
    ),
    3: (
        {"inp_res": 254, "out_res": 254, "out_bound": 2.0, "noise_management": "CONSTANT", "nm_thres": 1.5},
        [[0.590551, -1.086614, 0.047244], [0.448819, -0.661417, 1.559055]],
    ),
    4: ({"noise_management": "MAX"}, [[0.575, -1.075, 0.0525], [0.45, -0.66, 1.57]]),
    5: ({"noise_management": "ABS_MAX", "nm_thres": 1.2}, [[0.575, -1.075, 0.0525], [0.375, -0.45, 1.27]]),
    7: (
        {
            "noise_management": "ABS_MAX",
            "bound_management": "ITERATIVE",
            "out_bound": 0.4,
            "inp_res": 1 / 126,
            "out_res": 1 / 510,
        },
        [[0.589804, -1.08549, 0.062745], [-0.338824, -0.752941, 2.842353]],
    ),
    6: (
        {"noise_management": "ABS_MAX_NP_SUM", "out_bound": 0.5, "inp_res": 1 / 126},
        [[0.581429, -0.99, 0.059714], [-0.289524, -0.828953, 1.92]],
    ),
    8: ({"ir_drop": 1.5, "ir_drop_g_ratio": 20}, [[0.532199, -0.96338, 0.013299], [0.1798, -0.258955, 1.049224]]),
    12: (
        {"out_nonlinearity": 0.6, "out_bound": 3.0, "slope_calibration": 0.5},
        [[0.871525, -1.495267, 0.087803], [0.515728, -0.493314, 1.489539]],
    ),
    14: ({"inp_asymmetry": 0.1, "out_asymmetry": 0.2}, [[0.5575, -0.8096, 0.0805], [0.355, -0.2352, 1.003]]),
}
V = [0.05, -0.1, 0.2]
A = [[1.1, 0.9, 1.0, 1.2], [0.8, 1.0, 1.05, 0.95], [1.0, 1.0, 0.9, 1.1]]
SIGNS = {"out_res": 0.05, "out_bound": 1.0, "w_read_asymmetry_dtod": 1.0}
# The same where what is drawn at construction is given.
DRAWN_VECTORS = {
    9: ({"v_offset_std": 1.0}, {"v_offset": V}, [[0.45125, -0.9925, -0.338], [0.27875, -0.281, 0.736]]),
    10: (
        {"v_offset_std": 1.0, "r_series": 0.1},
        {"v_offset": V},
        [[0.346091, -0.916624, -0.312171], [0.252998, -0.273125, 0.614426]],
    ),
    11: (
        {"v_offset_std": 1.0, "r_series": 0.1, "v_offset_w_min": 0.0},
        {"v_offset": V},
        [[0.516548, -1.06772, 0.041781], [0.299031, -0.330747, 0.773261]],
    ),
    13: (
        {"out_nonlinearity": 0.6, "out_bound": 3.0, "slope_calibration": 0.5, "r_series": 0.1, "v_offset_w_min": 0.0},
        {},
        [[1.031077, -1.709027, 0.10867], [0.622608, -0.596318, 1.703009]],
    ),
    15: (SIGNS | {"mv_type": "POS_NEG_SEPARATE"}, {"w_asymmetry": A}, [[0.6, -1.0, 0.1], [0.3, -0.3, 1.0]]),
    16: (SIGNS | {"mv_type": "POS_NEG_SEPARATE_DIGITAL_SUM"}, {"w_asymmetry": A}, [[0.6, -1.0, 0.0], [0.3, -0.3, 1.1]]),
    17: (
        {
            "inp_res": 1 / 126, "out_res": 1 / 510, "noise_management": "ABS_MAX", "ir_drop": 1.5, "ir_drop_g_ratio": 20,
            "v_offset_std": 1.0, "r_series": 0.1, "out_nonlinearity": 0.6, "slope_calibration": 0.25, "out_bound": 3.0,
            "out_scale": 0.5,
        },
        {"v_offset": V},
        [[0.223529, -0.511765, -0.241177], [-0.194118, -0.705882, 1.641177]],
    ),
}  # fmt: skip


def product(io: IOParameters, weight: torch.Tensor, x: torch.Tensor, transposed: bool = False, key: int = 3) -> torch.Tensor:
    keys = [key + r for r in range(weight.shape[0])]
    return Product([io] * weight.shape[0], keys, transposed, tuple(weight.shape[1:]))(weight.contiguous(), x.contiguous())[0]


@pytest.mark.parametrize("number", VECTORS)
def test_vectors_of_the_specification(number: int) -> None:
    setting, expected = VECTORS[number]
    np.testing.assert_allclose(product(IOParameters(**OFF | setting), W, X)[0], expected, atol=2e-6)


@pytest.mark.parametrize("number", DRAWN_VECTORS)
def test_vectors_with_what_is_drawn_at_construction(number: int) -> None:
    setting, drawn, expected = DRAWN_VECTORS[number]
    module = Product([IOParameters(**OFF | setting)], [1], False, (3, 4))
    module.set_parameters({name: torch.tensor(value) for name, value in drawn.items()})
    np.testing.assert_allclose(module(W, X)[0][0], expected, atol=2e-6)


def test_vector_18_backward() -> None:
    io = IOParameters(
        noise_management="ABS_MAX",
        inp_res=1 / 126,
        out_res=1 / 510,
        out_noise=0.0,
        ir_drop=1.0,
        ir_drop_g_ratio=20,
        out_scale=2.0,
    )
    y = product(io, W, torch.tensor([[[0.3, -1.0, 0.6]]]), transposed=True)
    np.testing.assert_allclose(y[0, 0], [-0.847059, -1.411765, 1.788235, -0.470588], atol=2e-6)


def test_backward_is_the_transpose() -> None:
    d = torch.tensor([[[0.3, -1.0, 0.6]]])
    expected = (d @ W)[0]
    np.testing.assert_allclose(product(IOParameters(is_perfect=True), W, d, transposed=True)[0], expected, atol=1e-6)
    io = IOParameters(noise_management="ABS_MAX", inp_res=1 / 126, out_res=1 / 510, out_noise=0.0, out_scale=2.0)
    u = torch.round(d * 63) / 63  # noise management scales by 1 here
    z = u @ W
    q = torch.round(z / (24 / 510)) * (24 / 510)
    np.testing.assert_allclose(product(io, W, d, transposed=True)[0], 2 * q[0], atol=2e-6)


def fields_of(case: dict[str, object]) -> dict[str, object]:
    return {} if case["io"] == "default" else dict(case["io"])  # type: ignore[call-overload]


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda c: str(fields_of(c))[-60:])
def test_mean_and_std_of_the_peer(case: dict[str, object]) -> None:
    n = REFERENCE["repeats"]
    big = case["matrix"] == "big"
    weight = torch.tensor(REFERENCE["W_big" if big else "W"]).float().unsqueeze(0)
    x = torch.tensor(REFERENCE["X_big" if big else "X"]).float()
    fields = fields_of(case)
    if fields.get("mv_type") == "IDEAL":
        fields["is_perfect"] = True
    repeats = 8000
    y = product(IOParameters(**fields), weight, x.repeat_interleave(repeats, 0).unsqueeze(0))  # type: ignore[arg-type]
    y = y.reshape(x.shape[0], repeats, -1).double().numpy()
    mean, std = np.array(case["mean"]), np.array(case["std"])
    error = np.sqrt(std**2 / n + y.var(1) / repeats)  # 0 for both where nothing is drawn
    assert np.all(np.abs(y.mean(1) - mean) < 5 * error + 1e-5), "mean"
    kurtosis = ((y - y.mean(1, keepdims=True)) ** 4).mean(1) / np.maximum(y.var(1), 1e-20) ** 2
    assert np.all(np.abs(y.std(1) - std) < 5 * error * np.sqrt(np.maximum(kurtosis - 1, 1) / 4) + 1e-5), "std"


@pytest.mark.parametrize(
    ("resolution", "bound", "step"),
    [
        (1 / 126, 1.0, 1 / 63), (126, 1.0, 1 / 63), (1 / 510, 12.0, 24 / 510), (1.0, 2.0, 4.0), (0.0, 1.0, 0.0),
        (-1.0, 1.0, 0.0), (0.1, np.inf, 0.0), (0.1, 0.0, 0.0),
    ],
)  # fmt: skip
def test_quantiser_step(resolution: float, bound: float, step: float) -> None:
    assert quantiser_step(resolution, bound) == pytest.approx(step)


NOISES = [
    ({"out_noise": 0.1}, lambda u, w: 0.1),
    ({"inp_noise": 0.1}, lambda u, w: 0.1 * np.linalg.norm(w, axis=1)),
    ({"w_noise": 0.1, "w_noise_type": "ADDITIVE_CONSTANT"}, lambda u, w: 0.1 * np.linalg.norm(u)),
    ({"inp_sto_round": True, "inp_res": 0.1}, None),
    ({"out_sto_round": True, "out_res": 0.05}, None),
]


@pytest.mark.parametrize(("setting", "std"), NOISES)
def test_noise_is_unbiased_and_of_the_right_size(setting: dict[str, object], std: object) -> None:
    n = 20_000
    x = torch.tensor([0.23, -0.71, 0.97, 0.45])
    io = IOParameters(**OFF | setting)  # type: ignore[arg-type]
    y = product(io, W, x.expand(1, n, 4))[0].double().numpy()
    exact = (W[0] @ x).double().numpy()
    spread = y.std(0)
    assert np.all(spread > 1e-4)
    assert np.all(np.abs(y.mean(0) - exact) < 4.5 * spread / np.sqrt(n))
    if std is not None:
        expected = std(x.numpy(), W[0].numpy())  # type: ignore[operator]
        assert np.all(np.abs(spread - expected) < 4.5 * expected / np.sqrt(2 * n))
    correlation = np.corrcoef(y[:-1].T, y[1:].T)[:3, 3:]
    assert np.all(np.abs(correlation) < 4.5 / np.sqrt(n)), "vectors draw independently"


def test_every_call_draws_anew_and_a_key_repeats_it() -> None:
    io = IOParameters(out_res=-1)
    p, q = Product([io], [3], False, (3, 4)), Product([io], [3], False, (3, 4))
    first, second = p(W, X)[0], p(W, X)[0]
    assert not torch.equal(first, second)
    assert torch.equal(q(W, X)[0], first)
    assert torch.equal(q(W, X)[0], second)


def test_directions_draw_independently() -> None:
    io = IOParameters(**OFF | {"out_noise": 1.0})
    weight, x = torch.zeros(1, 64, 64), torch.zeros(1, 500, 64)
    forward, backward = product(io, weight, x), product(io, weight, x, transposed=True)
    r = np.corrcoef(forward.flatten(), backward.flatten())[0, 1]
    assert abs(r) < 4.5 / np.sqrt(forward.numel())


def test_iterative_bound_management_stops_at_its_limits() -> None:
    # mvm.md, section 6: the last reduction is the first power of two above the limit
    for limit, setting, last in ((8, {"max_bm_factor": 8}, 16), (15.75, {"inp_res": 1 / 126}, 16)):
        io = IOParameters(**OFF | {"bound_management": "ITERATIVE", "out_bound": 1e-3} | setting)
        y = product(io, torch.ones(1, 1, 1), torch.ones(1, 1, 1))
        assert float(y) == pytest.approx(1e-3 * last), limit


def test_bound_management_sees_either_bound_unless_told_otherwise() -> None:
    weight = torch.tensor([[[2.0], [-3.0], [0.5]]])
    io = {"bound_management": "ITERATIVE", "out_bound": 1.0, "inp_bound": 10.0}
    both = product(IOParameters(**OFF | io), weight, torch.ones(1, 1, 1))[0, 0]
    np.testing.assert_allclose(both, [2.0, -3.0, 0.5])
    upper = product(IOParameters(**OFF | io | {"bm_test_negative_bound": False}), weight, torch.ones(1, 1, 1))[0, 0]
    np.testing.assert_allclose(upper, [2.0, -2.0, 0.5])  # a negative excess does not clear the positive one (D5)


def test_zero_input_gives_zero_output_under_noise_management() -> None:
    assert bool((product(IOParameters(), W, torch.zeros(1, 3, 4)) == 0).all())
    assert bool((product(IOParameters(noise_management="NONE"), W, torch.zeros(1, 3, 4)) != 0).any())


def test_clipped_outputs_are_told() -> None:
    io = IOParameters(**OFF | {"out_bound": 1.0, "inp_bound": 10.0})
    y, clipped = Product([io], [1], False, (3, 4))(W, X, want_clipped=True)
    exact = X @ W.transpose(1, 2)
    assert torch.equal(clipped.bool(), exact.abs() > 1.0)
    torch.testing.assert_close(y, exact.clamp(-1, 1))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (10, 128), (17, 33), (70, 65), (128, 784)])
@pytest.mark.parametrize("batch", [1, 2, 3, 10, 16, 37])
def test_products_are_exact_to_rounding(shape: tuple[int, int], batch: int, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    out, n_in = shape
    weight = torch.from_numpy(rng.standard_normal((2, out, n_in)).astype(np.float32))
    x = torch.from_numpy(rng.standard_normal((2, batch, out if transposed else n_in)).astype(np.float32))
    y = product(IOParameters(is_perfect=True), weight, x, transposed)
    matrix = weight.double() if transposed else weight.double().transpose(1, 2)
    bound = 2e-7 * np.sqrt(x.shape[2]) * (x.double().abs() @ matrix.abs()) + 1e-7
    assert bool(((y.double() - x.double() @ matrix).abs() <= bound).all())


def test_a_vector_does_not_feel_its_batch() -> None:
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.standard_normal((1, 70, 65)).astype(np.float32))
    x = torch.from_numpy(rng.standard_normal((1, 37, 65)).astype(np.float32))
    for transposed in (False, True):
        v = x if not transposed else torch.from_numpy(rng.standard_normal((1, 37, 70)).astype(np.float32))
        whole = product(IOParameters(is_perfect=True), weight, v, transposed)
        for b in range(37):
            assert torch.equal(product(IOParameters(is_perfect=True), weight, v[:, b : b + 1], transposed)[:, 0], whole[:, b])


@pytest.mark.parametrize("n_in", [70, 300, 9000])
def test_zeros_that_are_left_out_change_no_bit(n_in: int) -> None:
    """Vectors of zeros are skipped where all samples of a tile have them: dense neighbours must make no difference."""
    generator = torch.Generator().manual_seed(4)
    w, x = torch.randn(1, 9, n_in, generator=generator), torch.randn(1, 23, n_in, generator=generator)
    perfect, sparse = IOParameters(is_perfect=True), x.clone()
    for b in range(23):
        sparse[0, b, 16 * (b // 4) + b : -20] = -0.0 if b % 2 else 0.0
    mixed = torch.stack([sparse, x], dim=2).reshape(1, 46, n_in)  # each beside a dense one
    found = product(perfect, w, sparse)
    assert torch.equal(found, product(perfect, w, mixed)[:, ::2])
    exact = sparse.double() @ w.double().transpose(1, 2)
    torch.testing.assert_close(found.double(), exact, atol=1e-4 * n_in**0.5, rtol=0)


def test_instruction_sets_agree_to_rounding() -> None:
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.standard_normal((1, 70, 65)).astype(np.float32) * 0.1)
    x = torch.from_numpy(rng.standard_normal((1, 37, 65)).astype(np.float32))
    first, *others = on_every_isa(lambda: product(IOParameters(out_res=-1, bound_management="NONE"), weight, x)).values()
    for y in others:
        torch.testing.assert_close(y, first, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("setting", [{}, {"noise_management": "NONE", "bound_management": "NONE"}, {"is_perfect": True}])
def test_what_is_not_a_number_shows(setting: dict[str, object]) -> None:
    x = torch.tensor([[[np.nan] * 4, [1.0, np.nan, 0.0, 0.5], [1.0, 0.2, 0.0, 0.5]]])
    y = product(IOParameters(**setting), W, x)  # type: ignore[arg-type]
    assert bool(torch.isnan(y[0, :2]).all())
    assert bool(torch.isfinite(y[0, 2]).all())


def test_a_converter_saturates_at_infinity() -> None:
    y = product(IOParameters(**OFF), W, torch.tensor([[[np.inf, 0.0, 0.0, 0.0]]]))  # type: ignore[arg-type]
    torch.testing.assert_close(y, W[:, :, 0].unsqueeze(0))
