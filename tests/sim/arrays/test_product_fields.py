"""Every field of the periphery acts, by its law; what is drawn at construction; managements of noise and bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sim.arrays.product import Product
from sim.configs import IOParameters
from sim.errors import ConfigError

W = torch.tensor([[[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65]]])
X = torch.tensor([[[0.2, -0.7, 1.0, 0.45], [-3.0, 0.5, 1.5, -0.2]]])
OFF = {"noise_management": "NONE", "bound_management": "NONE", "inp_res": -1, "out_res": -1, "out_noise": 0.0}


def make(setting: dict[str, object], transposed: bool = False, key: int = 3, weight: torch.Tensor = W) -> Product:
    return Product([IOParameters(**OFF | setting)] * len(weight), [key] * len(weight), transposed, tuple(weight.shape[1:]))  # type: ignore[arg-type]


def run(setting: dict[str, object], weight: torch.Tensor = W, x: torch.Tensor = X) -> torch.Tensor:
    return make(setting, weight=weight)(weight.contiguous(), x.contiguous())[0]


# Each field with what it needs to act, and another value.
FIELDS: dict[str, tuple[dict[str, object], object]] = {
    "is_perfect": ({"inp_res": 0.1}, True),
    "mv_type": ({"out_bound": 1.0, "out_noise": 0.1}, "POS_NEG_SEPARATE_DIGITAL_SUM"),
    "inp_bound": ({}, 0.5),
    "inp_noise": ({}, 0.1),
    "inp_res": ({}, 0.1),
    "inp_sto_round": ({"inp_res": 0.1}, True),
    "inp_asymmetry": ({}, 0.1),
    "out_bound": ({}, 0.5),
    "out_noise": ({}, 0.1),
    "out_noise_std": ({"out_noise": 0.1}, 0.3),
    "out_res": ({}, 0.1),
    "out_sto_round": ({"out_res": 0.1}, True),
    "out_scale": ({}, 2.0),
    "out_asymmetry": ({}, 0.1),
    "bound_management": ({"out_bound": 0.5, "inp_res": 0.01}, "ITERATIVE"),
    "noise_management": ({"inp_res": 0.1}, "ABS_MAX"),
    "w_noise": ({"w_noise_type": "PCM_READ"}, 0.1),
    "w_noise_type": ({"w_noise": 0.1}, "ADDITIVE_CONSTANT"),
    "ir_drop": ({"ir_drop_g_ratio": 20}, 1.0),
    "ir_drop_g_ratio": ({"ir_drop": 1.0}, 20.0),
    "out_nonlinearity": ({}, 1.0),
    "out_nonlinearity_std": ({"out_nonlinearity": 1.0}, 0.3),
    "slope_calibration": ({"out_nonlinearity": 1.0}, 0.5),
    "v_offset_std": ({}, 0.3),
    "v_offset_signed": ({"v_offset_std": 0.3}, True),
    "v_offset_w_min": ({"v_offset_std": 0.3}, 0.0),
    "r_series": ({}, 0.1),
    "w_read_asymmetry_dtod": ({"mv_type": "POS_NEG_SEPARATE"}, 0.3),
    "max_bm_factor": ({"bound_management": "ITERATIVE", "out_bound": 1e-3}, 3),
    "max_bm_res": ({"bound_management": "ITERATIVE", "out_bound": 1e-3, "inp_res": 1 / 126}, 0.05),
    "bm_test_negative_bound": ({"bound_management": "ITERATIVE", "out_bound": 0.3, "max_bm_factor": 1}, False),
    "nm_thres": ({"noise_management": "ABS_MAX"}, 0.5),
    "split_mode_bit_shift": ({"mv_type": "SPLIT_MODE", "inp_res": 1 / 126, "out_noise": 0.1}, 2),
}


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(IOParameters)])
def test_every_field_acts(name: str) -> None:
    needs, value = FIELDS[name]
    weight, x = W, X
    if name == "bm_test_negative_bound":
        weight, x = -torch.ones(1, 3, 4), torch.full((1, 1, 4), 0.1)
    assert not torch.equal(run(needs, weight, x), run({**needs, name: value}, weight, x))


# What is drawn at construction (mvm.md, 3.4)


def drawn(setting: dict[str, object], name: str, n: int = 20_000, **kwargs: object) -> np.ndarray:
    module = make(setting, weight=torch.zeros(1, n, 1), **kwargs)  # type: ignore[arg-type]
    return module.parameters_by_name()[name][0].double().numpy()


def near(values: np.ndarray, expected: float) -> bool:
    return bool(abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(values.size))


def test_voltage_offsets_are_half_normal() -> None:
    # D2: max(sigma xi, 0) with one draw, and the signed variant
    v = drawn({"v_offset_std": 0.2}, "v_offset")
    assert v.min() == 0
    assert near(v == 0, 0.5)
    assert near(v, 0.2 / np.sqrt(2 * np.pi))
    assert near(v**2, 0.02)
    signed = drawn({"v_offset_std": 0.2, "v_offset_signed": True}, "v_offset")
    assert near(signed, 0)
    assert near(signed**2, 0.04)


def test_spreads_of_saturation_noise_and_asymmetry() -> None:
    n = drawn({"out_nonlinearity": 0.6, "out_nonlinearity_std": 0.2, "out_bound": 3.0}, "out_nonlinearity")
    assert near(n, 0.2)
    assert near((n - 0.2) ** 2, 0.04**2)
    unbounded = drawn({"out_nonlinearity": 0.6, "out_bound": 0.0}, "out_nonlinearity")
    np.testing.assert_allclose(unbounded, 0.6, rtol=1e-6)
    s = drawn({"out_noise": 0.5, "out_noise_std": 0.3}, "out_noise_values")  # D13: with the factor
    assert near(s, 0.5)
    assert near((s - 0.5) ** 2, 0.15**2)
    a = drawn({"mv_type": "POS_NEG_SEPARATE", "w_read_asymmetry_dtod": 0.1}, "w_asymmetry")
    assert near(a, 1)
    assert near((a - 1) ** 2, 0.01)


def test_every_output_has_its_own_noise() -> None:
    # D14: of the last axis, whatever the shape
    module = make({"out_noise": 0.1, "out_noise_std": 0.5})
    sizes = module.parameters_by_name()["out_noise_values"][0]
    n = 20_000
    y = module(W, X[:, :1].expand(1, n, 4).contiguous())[0][0]
    np.testing.assert_allclose(y.std(0), sizes, rtol=4.5 / np.sqrt(2 * n))


def test_directions_and_quantities_are_drawn_apart() -> None:
    setting = {"v_offset_std": 1.0, "v_offset_signed": True, "out_noise": 1.0, "out_noise_std": 0.1, "out_nonlinearity": 1.0,
               "out_nonlinearity_std": 0.1}  # fmt: skip
    square = torch.zeros(1, 2000, 2000)
    values = [make(setting, transposed, weight=square).parameters_by_name() for transposed in (False, True)]
    columns = [v[name][0].numpy() for v in values for name in ("v_offset", "out_noise_values", "out_nonlinearity")]
    correlation = np.corrcoef(columns) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
    assert torch.equal(values[0]["v_offset"], make(setting, weight=square).parameters_by_name()["v_offset"])


def test_what_was_drawn_is_state() -> None:
    setting = {"v_offset_std": 0.2, "out_nonlinearity": 0.6, "slope_calibration": 0.5, "out_noise": 0.1, "out_noise_std": 0.3,
               "mv_type": "POS_NEG_SEPARATE", "w_read_asymmetry_dtod": 0.1}  # fmt: skip
    module, other = make(setting), make(setting, key=4)
    names = {"v_offset", "out_nonlinearity", "out_nonlinearity_factor", "out_noise_values", "w_asymmetry"}
    assert set(module.parameters_by_name()) == names
    assert not torch.equal(module(W, X)[0], other(W, X)[0])
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(W, X)[0], other(W, X)[0])
    third = make(setting, key=3)
    third.step.fill_(2)
    third.set_parameters({name: torch.zeros_like(v) for name, v in third.parameters_by_name().items()})
    third.set_parameters({name: v[0] for name, v in module.parameters_by_name().items()})
    assert torch.equal(module(W, X)[0], third(W, X)[0])
    with pytest.raises(ConfigError, match="v_offset has shape"):
        third.set_parameters({"v_offset": torch.zeros(4)})
    with pytest.raises(ConfigError, match="not a parameter of this product"):
        make({}).set_parameters({"v_offset": torch.zeros(3)})


def test_a_tile_shows_and_takes_them() -> None:
    from sim.configs import SingleRPUConfig
    from sim.tiles import AnalogTile

    config = SingleRPUConfig(forward=IOParameters(v_offset_std=0.1), backward=IOParameters(out_noise_std=0.1))
    tile = AnalogTile(3, 4, config)
    assert tile.get_forward_parameters()["v_offset"].shape == (3,)
    assert tile.get_backward_parameters()["out_noise_values"].shape == (4,)
    tile.set_forward_parameters(v_offset=torch.ones(3))
    tile.set_backward_parameters({"out_noise_values": torch.zeros(4)})
    assert bool((tile.get_forward_parameters()["v_offset"] == 1).all())
    assert bool((tile.get_backward_parameters()["out_noise_values"] == 0).all())


# Noise


@pytest.mark.parametrize("setting", [{}, {"out_nonlinearity": 1e-9}, {"out_asymmetry": 1e-6}, {"mv_type": "POS_NEG_SEPARATE"}])
@pytest.mark.parametrize("kind", ["ADDITIVE_CONSTANT", "PCM_READ"])
def test_weight_noise_has_its_size_beside_output_noise(setting: dict[str, object], kind: str) -> None:
    # drawn together with the output noise where nothing separates them, apart elsewhere: one law
    n, x = 20_000, torch.tensor([0.23, -0.71, 0.97, 0.45])
    y = run({"w_noise": 0.1, "w_noise_type": kind, "out_noise": 0.05, **setting}, x=x.expand(1, n, 4))[0].double().numpy()
    weight = W[0].abs().numpy() if kind == "PCM_READ" else np.ones((3, 4))
    expected = np.sqrt(0.01 * (weight * x.numpy() ** 2).sum(1) + 0.05**2)
    np.testing.assert_allclose(y.std(0), expected, rtol=4.5 / np.sqrt(2 * n))
    exact = (W[0] @ x).numpy()
    assert np.all(np.abs(y.mean(0) - exact) < 4.5 * expected / np.sqrt(n) + 1e-5)


def test_signs_apart_share_their_input_noise() -> None:
    n = 20_000
    y = run({"mv_type": "POS_NEG_SEPARATE_DIGITAL_SUM", "inp_noise": 0.2}, x=X[:, :1].expand(1, n, 4))[0].double()
    expected = 0.2 * W[0].double().norm(dim=1)
    np.testing.assert_allclose(y.std(0), expected, rtol=4.5 / np.sqrt(2 * n))


# Managements


def test_average_abs_max_moves_once_a_batch_in_training_only() -> None:
    # D3, D10: a state for each direction, the mean of this batch
    module = make({"noise_management": "AVERAGE_ABS_MAX"})
    assert module.average is not None
    batches = [X, 0.1 * X[:, :1], torch.cat([X, X, X], 1)]
    module.eval()(W, X)
    assert float(module.average) == -1
    state = -1.0
    for batch in batches:
        mean = float(batch.abs().amax(2).mean())
        state = mean if state < 0 else (1 - 1e-3) * state + 1e-3 * mean
        y = module.train()(W, batch)[0]
        assert float(module.average) == pytest.approx(state, rel=1e-6)
        torch.testing.assert_close(y, state * ((batch / state).clamp(-1, 1) @ W.transpose(1, 2)), atol=1e-5, rtol=1e-5)
    before = module.average.clone()
    module.eval()(W, X)
    assert torch.equal(module.average, before)
    weight, x = W.expand(2, 3, 4).contiguous(), torch.cat([X, 2 * X])
    two = Product([IOParameters(noise_management="AVERAGE_ABS_MAX")] * 2, [3, 4], False, (3, 4))
    one = Product([IOParameters(noise_management="AVERAGE_ABS_MAX")], [4], False, (3, 4))
    assert torch.equal(two(weight, x)[0][1:], one(W, x[1:].contiguous())[0])


def test_average_of_what_is_not_a_number_stays_finite() -> None:
    module = make({"noise_management": "AVERAGE_ABS_MAX"})
    x = X.clone()
    x[0, 0, 0] = np.nan
    module(W, x)
    assert module.average is not None
    assert bool(torch.isfinite(module.average).all())


def test_np_sum_is_limited_by_the_levels_of_the_input() -> None:
    # mvm.md, section 5: p <= a max_bm_res / step; here P = 4, 0.6 * 4 / 0.01 = 240 against 15.75
    x = torch.ones(1, 1, 4)
    io = {"noise_management": "ABS_MAX_NP_SUM", "out_bound": 0.01}
    bounded = run(io | {"inp_res": 1 / 126, "out_res": -1}, torch.full((1, 1, 4), 1e-3), x)
    assert float(bounded) == pytest.approx(4e-3 / 63 * 4 * 15.75, rel=1e-5)  # 63 / 15.75 = 4 levels
    free = run(io, torch.full((1, 1, 4), 1.0), x)
    assert float(free) == pytest.approx(240 * 0.01, rel=1e-5)  # 4 / 240 is beyond the bound: clipped


def test_worst_case_takes_its_estimate_in_the_second_round() -> None:
    weight, x = torch.full((1, 1, 40), 0.5), torch.ones(1, 1, 40)
    io = {"noise_management": "ABS_MAX", "bound_management": "ITERATIVE_WORST_CASE", "out_bound": 1.0, "inp_res": 1 / 126}
    # r: 0.6 * 40 = 24, at most 15.75: 63 / 15.75 = 4 levels of the input; the sum 20 / 15.75 is clipped, and no round follows
    assert float(run(io, weight, x)) == pytest.approx(15.75, rel=1e-5)
    assert float(run(io, 0.5 * weight, x)) == pytest.approx(10.0, rel=1e-5)


def test_worst_case_does_not_quantise_the_input_away() -> None:
    # D4: the whole reduction ends at max_bm_res / step, also with further halvings
    weight, x = torch.ones(1, 1, 4), torch.tensor([[[1.0, 0.5, -1.0, 1.0]]])
    io = {"noise_management": "ABS_MAX", "bound_management": "ITERATIVE_WORST_CASE", "out_bound": 1e-3, "inp_res": 1 / 126}
    y = run(io, weight, x)
    assert float(y) == pytest.approx(1e-3 * 15.75, rel=1e-5)
    slow = io | {"out_bound": 0.5, "inp_res": -1, "max_bm_factor": 3}  # estimate 0.6 * 2.5 / 0.5 = 3
    assert float(run(slow, weight, x)) == pytest.approx(1.5, rel=1e-5)
    more = io | {"out_bound": 0.5, "inp_res": -1}  # the estimate fails, one halving more suffices: 1.5 / (2 * 3) < 0.5
    assert float(run(more, 2 * weight, x)) == pytest.approx(3.0, rel=1e-5)


def test_worst_case_without_noise_management_repeats_and_then_halves() -> None:
    io = {"bound_management": "ITERATIVE_WORST_CASE", "out_bound": 0.5}
    torch.testing.assert_close(run(io, x=X.clamp(-1, 1)), X.clamp(-1, 1) @ W.transpose(1, 2), atol=1e-6, rtol=0)


def test_shift_brings_the_largest_output_to_the_bound() -> None:
    # the differences below the bound stay, as a softmax wants them
    y = run({"bound_management": "SHIFT", "out_bound": 0.5}, x=X.clamp(-1, 1))
    exact = X.clamp(-1, 1) @ W.transpose(1, 2)
    lift = (0.5 - exact.amax(2, keepdim=True)).clamp(max=0.0)
    assert bool((lift < 0).any())
    torch.testing.assert_close(y, (exact + lift).clamp(-0.5, 0.5), atol=1e-6, rtol=0)


def test_bound_management_looks_at_both_passes() -> None:
    io = {"mv_type": "POS_NEG_SEPARATE_DIGITAL_SUM", "bound_management": "ITERATIVE", "out_bound": 0.5}
    weight, x = torch.tensor([[[0.2, -1.0]], [[1.0, -0.2]]]), torch.tensor([[[1.0, -1.0]], [[1.0, -1.0]]])
    torch.testing.assert_close(run(io, weight, x), torch.full((2, 1, 1), 1.2), atol=1e-6, rtol=0)


def test_there_is_no_bound_management_backward() -> None:
    y = make({"bound_management": "ITERATIVE", "out_bound": 0.5}, transposed=True)(W, torch.ones(1, 1, 3))[0]
    torch.testing.assert_close(y, (torch.ones(1, 1, 3) @ W).clamp(-0.5, 0.5))


@pytest.mark.parametrize("bound", [np.inf, 0.0])
def test_an_unbounded_converter_does_not_quantise(bound: float) -> None:
    # D1
    y = run({"inp_bound": bound, "out_bound": bound, "inp_res": 0.1, "out_res": 0.1})
    torch.testing.assert_close(y, X @ W.transpose(1, 2), atol=1e-6, rtol=0)


def test_perfect_is_perfect_but_scaled() -> None:
    # D6, D11
    io = {"is_perfect": True, "out_scale": 2.0, "r_series": 1.0, "out_noise": 1.0, "out_noise_std": 1.0, "ir_drop": 1.0}
    torch.testing.assert_close(run(io), 2 * X @ W.transpose(1, 2))


def test_reductions_double_without_noise_management() -> None:
    # D7, D8, D12: 1, 2, 4, 8, for one vector as for many, each vector by itself
    io = {"bound_management": "ITERATIVE", "out_bound": 0.3, "inp_res": 0.01, "inp_bound": 4.0, "max_bm_res": 10.0}
    many, one = run(io), torch.cat([run(io, x=X[:, :1]), run(io, x=X[:, 1:])], 1)
    assert torch.equal(many, one)
    s = 1 / torch.tensor([[4.0], [16.0]])  # the first powers of two that bring 1.11 and 2.82 into 0.3
    quantised = torch.round(X * s / 0.08) * 0.08 / s
    torch.testing.assert_close(many, quantised @ W.transpose(1, 2), atol=1e-5, rtol=0)


def test_positive_inputs_stay_in_later_rounds() -> None:
    # D9
    io = {"mv_type": "POS_NEG_SEPARATE", "bound_management": "ITERATIVE", "out_bound": 0.3, "inp_bound": 4.0}
    torch.testing.assert_close(run(io), X @ W.transpose(1, 2), atol=1e-5, rtol=0)


# Products of everything together


ALL = {
    "noise_management": "ABS_MAX", "bound_management": "ITERATIVE", "inp_res": 1 / 126, "inp_noise": 0.01, "inp_asymmetry": 0.02,
    "out_bound": 2.0, "out_noise": 0.02, "out_res": 1 / 254, "out_asymmetry": 0.03, "w_noise": 0.01, "w_noise_type": "PCM_READ",
    "ir_drop": 1.0, "ir_drop_g_ratio": 1e4, "out_nonlinearity": 0.1, "out_nonlinearity_std": 0.1, "slope_calibration": 0.3,
    "v_offset_std": 0.02, "r_series": 0.01, "out_noise_std": 0.1, "w_read_asymmetry_dtod": 0.05, "inp_sto_round": True,
    "out_sto_round": True,
}  # fmt: skip


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("mv_type", ["ONE_PASS", "POS_NEG_SEPARATE", "POS_NEG_SEPARATE_DIGITAL_SUM", "BIT_WISE"])
def test_bits_depend_on_neither_threads_nor_neighbours(mv_type: str, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.standard_normal((3, 70, 65))).float() * 0.2
    x = torch.tensor(rng.standard_normal((3, 37, 70 if transposed else 65))).float()
    io = [
        IOParameters(**ALL | {"mv_type": mv_type, "ir_drop": f, "v_offset_std": 0.1 * f, "r_series": 0.1 * f}) for f in (0, 1, 2)
    ]  # type: ignore[arg-type]
    together = Product(io, [5, 6, 7], transposed, (70, 65))(weight, x)[0]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(Product(io, [5, 6, 7], transposed, (70, 65))(weight, x)[0], together)
    finally:
        torch.set_num_threads(threads)
    for r in range(3):
        alone = Product([io[r]], [5 + r], transposed, (70, 65))
        assert torch.equal(alone(weight[r : r + 1], x[r : r + 1])[0][0], together[r])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(3, 5), (10, 17), (70, 65), (33, 200)])
@pytest.mark.parametrize("batch", [1, 2, 3, 6, 37])
def test_sums_of_the_ir_drop_are_exact_to_rounding(shape: tuple[int, int], batch: int, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    n = shape[0] if transposed else shape[1]
    weight = torch.tensor(rng.standard_normal((2, *shape))).float() * 0.3
    x = torch.tensor(rng.uniform(-1, 1, (2, batch, n))).float()
    io = [IOParameters(**OFF | {"ir_drop": 1.5, "ir_drop_g_ratio": 40.0 * n, "out_bound": 0.0})] * 2  # type: ignore[arg-type]
    y = Product(io, [1, 2], transposed, shape)(weight, x)[0]
    a, u = weight.double() if transposed else weight.double().transpose(1, 2), x.double()
    share = u.abs() @ a.abs() / 40.0
    h = 1 - (1 - torch.arange(n).double() / n) ** 2
    expected = u @ a - 1.5 * (0.05 * share**3 - 0.2 * share**2 + 0.5 * share) * ((h * u) @ a)
    torch.testing.assert_close(y.double(), expected, atol=5e-6, rtol=1e-5)


def test_the_error_budget_of_a_tile() -> None:
    """512 x 512, 8-bit converters: relative L2 error of each non-ideality and of all."""
    generator = torch.Generator().manual_seed(0)
    weight = (0.246 * torch.randn(1, 512, 512, generator=generator)).clamp(-1, 1)
    x = torch.rand(1, 1000, 512, generator=generator) * 2 - 1
    x = x * (torch.rand(1, 1000, 512, generator=generator) < 0.5)
    exact = x @ weight.transpose(1, 2)
    parts = {
        "DAC": ({"inp_res": 1 / 254}, 0.43),
        "ADC": ({"out_res": 1 / 254}, 1.01),
        "output noise": ({"out_noise": 0.04}, 1.77),
        "weight noise": ({"w_noise": 0.01, "w_noise_type": "ADDITIVE_CONSTANT"}, 4.05),
        "IR drop": ({"ir_drop": 1.0}, 0.85),
    }
    everything = {name: value for part, _ in parts.values() for name, value in part.items()}
    for name, (setting, percent) in {**parts, "all": (everything, 4.62)}.items():
        y = run({"noise_management": "ABS_MAX", "out_bound": 10.0, **setting}, weight, x)
        error = 100 * float((y - exact).norm() / exact.norm())
        # Each holds the few outputs of a sample of a million that the ADC clips, 0.05 % to 0.2 %, which count for the DAC.
        assert error == pytest.approx(percent, rel=0.02, abs=0.03), name
