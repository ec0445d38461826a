"""Phases of the inputs, slices of the weights, and columns with wires while the inputs last (mvm.md, sections 9 and 14)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim.arrays.product import Product
from sim.arrays.slices import significances, weight_slices
from sim.circuit.column import Conductances, single_pair
from sim.configs import BitSlicedIOParameters, IOParameters, IOParametersIRDropT
from sim.errors import ConfigError

OFF = {"noise_management": "NONE", "bound_management": "NONE", "out_res": -1, "out_noise": 0.0, "out_bound": 0.0}
W = torch.tensor([[[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65], [0.35, -0.55, 0.15, 0.85]]])
X = torch.tensor([[[0.2, -0.7, 1.0, 0.45], [-1.0, 0.5, 1.0, -0.2]]])
APART = (torch.round(X * 63 + 0.1) + 0.2) / 63  # no input half way between levels
TIMED = {
    "inp_res": 1 / 62, "ir_drop": 2.0, "ir_drop_rs": 500.0, "ir_drop_segments": 4, "adc_quantization": False,
    "ir_drop_integration_sum": True,
}  # fmt: skip

# mvm.md, section 16, R. The rows with the trapezoid (D17) are left out: the charge is exact here.
VECTORS = [
    (
        {"ir_drop_v_read": 0.4, "ir_drop_rs": 0.0},
        [[0.57258, -1.08387, 0.05484, 0.99194], [0.31452, -0.29355, 1.08065, -0.64839]],
    ),
    ({}, [[0.46926, -0.93777, 0.06491, 0.84442], [0.27911, -0.23694, 0.88674, -0.57289]]),
    ({"ir_drop_segments": 8}, [[0.45481, -0.92819, 0.06473, 0.83922], [0.27859, -0.24781, 0.88524, -0.57393]]),
    ({"adc_quantization": True}, [[0.41356, -0.93052, 0.0, 0.82713], [0.20678, -0.20678, 0.82713, -0.51696]]),
    ({"mv_type": "SPLIT_MODE"}, [[0.46791, -0.93882, 0.06379, 0.84337], [0.27776, -0.23799, 0.88563, -0.57394]]),
    ({"mv_type": "BIT_WISE"}, [[0.46421, -0.94172, 0.06073, 0.84048], [0.27406, -0.24089, 0.88257, -0.57682]]),
]  # fmt: skip


def timed(
    setting: dict[str, object], weight: torch.Tensor = W, x: torch.Tensor = X, transposed: bool = False, size: int = 8
) -> torch.Tensor:
    io = IOParametersIRDropT(**OFF | TIMED | setting)  # type: ignore[arg-type]
    module = Product([io] * len(weight), list(range(len(weight))), transposed, tuple(weight.shape[1:]), size)  # type: ignore[arg-type]
    return module.eval()(weight, x)[0]


@pytest.mark.parametrize(("setting", "expected"), VECTORS)
def test_vectors_of_the_specification(setting: dict[str, object], expected: list[list[float]]) -> None:
    np.testing.assert_allclose(timed(setting)[0], expected, atol=1.1e-5)


@pytest.mark.parametrize("mv_type", ["ONE_PASS", "SPLIT_MODE", "BIT_WISE"])
@pytest.mark.parametrize("rule", [True, False])
def test_the_charge_is_exact_with_either_rule(mv_type: str, rule: bool) -> None:
    # D17: k full steps for level k; without wires the product of the quantised input is left
    setting = {"mv_type": mv_type, "ir_drop_integration_sum": rule, "ir_drop_rs": 0.0, "ir_drop_v_read": 0.4}
    quantised = torch.round(X * 31) / 31
    torch.testing.assert_close(timed(setting), quantised @ W.transpose(1, 2), atol=2e-6, rtol=0)


@pytest.mark.parametrize("resolution", [1 / 126, 1 / 510, 1 / 30, 1 / 14])
def test_levels_are_compared_as_whole_numbers(resolution: float) -> None:
    # D19: the pulse of level k lasts k steps at every resolution
    levels = round(1 / resolution / 2)
    x = (torch.arange(-levels, levels + 1) / levels).reshape(1, -1, 1)
    setting = {"inp_res": resolution, "ir_drop_rs": 0.0, "ir_drop_v_read": 0.4, "ir_drop_segments": 1}
    y = timed(setting, torch.ones(1, 1, 1), x, size=0)
    torch.testing.assert_close(y, x, atol=1e-6, rtol=0)


def test_time_resolution_keeps_the_gain() -> None:
    # D18; a coarser axis rounds the widths of the pulses
    fine, plain = timed({"ir_drop_time_step_resolution_scale": 3.0}), timed({})
    torch.testing.assert_close(fine, plain, atol=1e-6, rtol=0)
    setting = {"ir_drop_time_step_resolution_scale": 0.25, "ir_drop_rs": 0.0, "ir_drop_v_read": 0.4}
    widths = torch.round(torch.round(X * 31) / 4) * 4 / 31
    torch.testing.assert_close(timed(setting), widths @ W.transpose(1, 2), atol=2e-6, rtol=0)


def test_any_number_of_columns_and_both_directions() -> None:
    # D16; the columns of the backward direction are the rows of the matrix
    odd = W[:, :3].contiguous()
    torch.testing.assert_close(timed({}, odd), timed({})[:, :, :3], atol=1e-6, rtol=0)  # the largest weight is the same
    forward = timed({}, W.transpose(1, 2).contiguous(), X)
    torch.testing.assert_close(timed({}, W, X, transposed=True), forward, atol=1e-6, rtol=0)


def test_training_has_no_wires() -> None:
    io = IOParametersIRDropT(**OFF | TIMED)  # type: ignore[arg-type]
    module = Product([io], [0], False, (4, 4), 8).train()
    quantised = torch.round(X * 31) / 31
    torch.testing.assert_close(module(W, X)[0], quantised @ W.transpose(1, 2), atol=2e-6, rtol=0)
    assert not torch.allclose(module.eval()(W, X)[0], quantised @ W.transpose(1, 2), atol=1e-3)


CHANGES = {
    "ir_drop": 1.0, "ir_drop_rs": 100.0, "ir_drop_segments": 2, "ir_drop_time_step_resolution_scale": 0.3, "ir_drop_v_read": 0.41,
    "adc_quantization": True, "mv_type": "BIT_WISE", "apply_xdep_pcm_read_noise": True,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_acts(name: str) -> None:
    assert not torch.equal(timed({}), timed({name: CHANGES[name]}))


def test_fields_that_act_with_another() -> None:
    quantised = {"adc_quantization": True}
    assert not torch.equal(timed(quantised), timed(quantised | {"adc_frequency": 20.0}))
    noisy = {"apply_xdep_pcm_read_noise": True}
    assert not torch.equal(timed(noisy), timed(noisy | {"xdep_pcm_read_noise_scale": 2.0}))
    split = {"mv_type": "SPLIT_MODE"}
    assert not torch.equal(timed(split), timed(split | {"split_mode_bit_shift": 2}))  # D15: a field
    assert not torch.equal(timed({}, size=8), timed({}, size=16))
    assert torch.equal(timed({"ir_drop": 0.0, "ir_drop_v_read": 0.5}), timed({"ir_drop": 0.0}))


def test_steps_in_time_give_the_same_charge() -> None:
    """An independent simulation, step by step and segment by segment, from the equations of mvm.md, 14.4."""
    rng = np.random.default_rng(3)
    weight, u = rng.standard_normal((5, 24)) * 0.3, rng.integers(-31, 32, (7, 24))
    segments, r_s, v_read, g_max = 6, 400.0, 0.39, 25.0
    scale = g_max / np.abs(weight).max()
    expected = np.zeros((7, 5))
    for b in range(7):
        for i in range(5):
            turn = slice(None, None, -1) if i % 2 else slice(None)
            plus, minus, k = np.clip(weight[i] * scale, 0, None)[turn], np.clip(-weight[i] * scale, 0, None)[turn], u[b][turn]
            for t in range(32):
                high, low = np.where(k > t, 0.6, np.where(k < -t, 0.2, 0.4)), np.where(k > t, 0.2, np.where(k < -t, 0.6, 0.4))
                g = (plus + minus).reshape(segments, -1).sum(1) + 1e-12
                v = (high * plus + low * minus).reshape(segments, -1).sum(1) / g
                r_wire = 1e-6 * r_s * 24 / segments
                r_th, v_th = 1 / g[0], v[0]
                for q in range(1, segments):
                    r1, r2 = r_th + r_wire, 1 / g[q]
                    r_th = r1 * r2 / (r1 + r2)
                    v_th = (v_th / r1 + v[q] / r2) * r_th
                expected[b, i] += (v_th - v_read) / (r_th + r_wire / 2)
    expected /= scale * 0.2 * 31
    setting = {"ir_drop": 1.0, "ir_drop_rs": r_s, "ir_drop_segments": segments, "ir_drop_v_read": v_read}
    y = timed(setting, torch.tensor(weight).float().unsqueeze(0), torch.tensor(u / 31).float().unsqueeze(0), size=0)
    np.testing.assert_allclose(y[0], expected, atol=3e-6)


def test_input_dependent_read_noise() -> None:
    # mvm.md, 14.6: of a single device, from its law; none without an input (D20)
    io = IOParametersIRDropT(**OFF | TIMED | {"ir_drop": 0.0, "apply_xdep_pcm_read_noise": True})  # type: ignore[arg-type]
    n, weight = 20_000, torch.full((1, 20_000, 1), 0.5)
    weight[0, 0] = 1.0  # the largest is at g_max
    y = Product([io], [1], False, (n, 1))(weight, torch.full((1, 1, 1), 20 / 31))[0][0, 0, 1:].double()
    log = np.log10(20.0)
    a = 2.1926e-4 * log**4 - 1.87352e-3 * log**3 + 6.55714e-3 * log**2 - 1.46159e-2 * log + 2.578764e-2
    b = 1.11906167e-9 * log**4 - 9.08576764e-9 * log**3 + 3.07015063e-8 * log**2 - 6.77079241e-8 * log + 1.17763144e-7
    expected = (a * 12.5 + 1e6 * b) / 25 * 20 / 31
    assert abs(float(y.std()) / expected - 1) < 4.5 / np.sqrt(2 * n)
    assert abs(float(y.mean()) - 10 / 31) < 4.5 * expected / np.sqrt(n)
    assert bool((Product([io], [1], False, (n, 1))(weight, torch.zeros(1, 3, 1))[0] == 0).all())


def test_several_pairs_are_quantised_apart() -> None:
    def two_pairs(weight: torch.Tensor) -> Conductances:
        single = single_pair(weight, 25.0)
        (plus, minus) = single.pairs[0]
        return Conductances([(plus, minus), (plus * 0.5, minus * 0.5)], [0.8, 0.4], single.scale)

    setting = OFF | TIMED | {"ir_drop_rs": 0.0, "ir_drop_v_read": 0.4}
    quantised = torch.round(X * 31) / 31
    exact = quantised @ W.transpose(1, 2)
    y = Product([IOParametersIRDropT(**setting)], [1], False, (4, 4), 8, two_pairs).eval()(W, X)[0]  # type: ignore[arg-type]
    torch.testing.assert_close(y, exact, atol=2e-6, rtol=0)
    counted = setting | {"adc_quantization": True}
    y = Product([IOParametersIRDropT(**counted)], [1], False, (4, 4), 8, two_pairs).eval()(W, X)[0]  # type: ignore[arg-type]
    quantum = 100 / 6.24 / (25 * 0.2 * 31)
    parts = sum(f * quantum * torch.trunc(g * exact / quantum) for f, g in ((0.8, 1.0), (0.4, 0.5)))
    torch.testing.assert_close(y, parts, atol=2e-6, rtol=0)


@pytest.mark.parametrize("mv_type", ["SPLIT_MODE", "BIT_WISE"])
@pytest.mark.parametrize("transposed", [False, True])
def test_phases_add_up_to_the_product(mv_type: str, transposed: bool) -> None:
    io = IOParameters(**OFF | {"mv_type": mv_type, "inp_res": 1 / 126})  # type: ignore[arg-type]
    y = Product([io], [1], transposed, (4, 4))(W, APART)[0]
    matrix = W if transposed else W.transpose(1, 2)
    torch.testing.assert_close(y, torch.round(APART * 63) / 63 @ matrix, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("mv_type", "phases"), [("SPLIT_MODE", [1.0, 8.0]), ("BIT_WISE", [1.0, 2.0, 4.0, 8.0, 16.0, 32.0])])
def test_every_phase_has_its_own_converter(mv_type: str, phases: list[float]) -> None:
    n = 20_000
    io = IOParameters(**OFF | {"mv_type": mv_type, "inp_res": 1 / 126, "out_noise": 0.1})  # type: ignore[arg-type]
    y = Product([io], [1], False, (4, 4))(W, APART[:, :1].expand(1, n, 4).contiguous())[0].double()
    expected = 0.1 * np.sqrt(sum(c * c for c in phases))
    np.testing.assert_allclose(y.std(1)[0], expected, rtol=4.5 / np.sqrt(2 * n))
    step = 2 * 0.4 * 0.0113  # of the ADC
    io = IOParameters(**OFF | {"mv_type": mv_type, "inp_res": 1 / 126, "out_bound": 0.4, "out_res": 0.0113})  # type: ignore[arg-type]
    y = Product([io], [1], False, (4, 4))(W, APART)[0].double()
    k, parts = torch.round(APART * 63).double(), torch.zeros(1, 2, 4, dtype=torch.float64)
    for c, upper in zip(phases, [*phases[1:], 1024.0], strict=True):
        digit = torch.sign(k) * (torch.floor(k.abs() / c) % (upper / c))
        parts += c * (torch.round(digit / 63 @ W.double().transpose(1, 2) / step) * step).clamp(-0.4, 0.4)
    torch.testing.assert_close(y, parts, atol=1e-5, rtol=0)


# Slices of the weights


def test_slices_hold_every_weight_of_the_grid() -> None:
    significance = (1.0, 4.0, 16.0)
    grid = torch.arange(-63, 64).reshape(1, 1, -1) / 63
    held = weight_slices(grid, [significance], 2)
    assert held.shape == (1, 3, 1, 127)
    assert bool((torch.round(held * 3) == held * 3).all())
    share = torch.tensor(significances(significance)).reshape(1, 3, 1, 1)
    torch.testing.assert_close((share * held).sum(1), grid, atol=1e-7, rtol=0)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("order", [(1.0, 4.0, 16.0), (16.0, 1.0, 4.0)])
@pytest.mark.parametrize("width", [0, 1, 2, 4])
def test_sliced_products_are_exact_without_noise(transposed: bool, order: tuple[float, ...], width: int) -> None:
    rng = np.random.default_rng(0)
    k, u = rng.integers(-63, 64, (1, 20, 30)), rng.integers(-63, 64, (1, 7, 20 if transposed else 30))
    weight, x = torch.tensor(k / 63).float(), torch.tensor(u / 63).float()
    io = BitSlicedIOParameters(
        **OFF | {"weight_significance": order, "weight_bits": 2, "input_slice_bits": width, "inp_res": 1 / 126}
    )  # type: ignore[arg-type]
    y = Product([io], [1], transposed, (20, 30))(weight, x)[0]
    matrix = weight if transposed else weight.transpose(1, 2)
    torch.testing.assert_close(y, x @ matrix, atol=1e-5, rtol=0)


def test_every_slice_has_its_own_converter() -> None:
    levels, full, step, bound = 3, 3, 2 * 1.5 * 0.05, 1.5
    converters = {"inp_res": 1 / 30, "out_bound": bound, "out_res": 0.05}
    slices = {"weight_significance": torch.tensor([1.0, 4.0]), "weight_bits": 2, "input_slice_bits": 2}
    weight, x = (torch.round(W * 15 + 0.1) + 0.2) / 15 * 0.98, (torch.round(X * 15 + 0.1) + 0.2) / 15
    y = Product([BitSlicedIOParameters(**OFF | converters | slices)], [1], False, (4, 4))(weight, x)[0].double()  # type: ignore[arg-type]
    k, expected = torch.round(x.double() * 15).clamp(-15, 15), torch.zeros(1, 2, 4, dtype=torch.float64)
    whole = torch.round(weight.double().abs().clamp(max=1) * 15)
    for p in range(2):
        u = torch.sign(k) * (torch.floor(k.abs() / 4**p) % 4) / full
        for s in range(2):
            slice_ = torch.sign(weight) * (torch.floor(whole / 4**s) % 4) / levels
            q = (torch.round(u @ slice_.transpose(1, 2) / step) * step).clamp(-bound, bound)
            expected += q * 4**p * full / 15 * 4**s / 5
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)


def test_noise_of_slices_adds_with_their_significance() -> None:
    n = 20_000
    io = BitSlicedIOParameters(**OFF | {"weight_significance": (1, 4, 16), "weight_bits": 2, "out_noise": 0.1})  # type: ignore[arg-type]
    y = Product([io], [1], False, (4, 4))(W, X[:, :1].expand(1, n, 4).contiguous())[0].double()
    expected = 0.1 * np.sqrt(1 + 16 + 256) / 21
    np.testing.assert_allclose(y.std(1)[0], expected, rtol=4.5 / np.sqrt(2 * n))


def test_slices_with_signs_apart() -> None:
    setting = {"weight_significance": (1, 4, 16), "weight_bits": 2, "w_read_asymmetry_dtod": 0.3, "inp_res": -1}
    results = []
    for mv_type in ("POS_NEG_SEPARATE", "POS_NEG_SEPARATE_DIGITAL_SUM"):
        module = Product([BitSlicedIOParameters(**OFF | setting | {"mv_type": mv_type})], [1], False, (4, 4))  # type: ignore[arg-type]
        weight = torch.round(W * 63) / 63
        seen = module.parameters_by_name()["w_asymmetry"]
        expected = X.clamp(min=0) @ weight.transpose(1, 2) + X.clamp(max=0) @ (weight * seen).transpose(1, 2)
        torch.testing.assert_close(module(weight, X)[0], expected, atol=2e-6, rtol=0)
        results.append(expected)
    assert not torch.allclose(results[0], X @ W.transpose(1, 2), atol=1e-2)


def test_replicas_of_slices_and_columns_stand_alone() -> None:
    rng = np.random.default_rng(0)
    weight, x = (torch.tensor(rng.standard_normal(s)).float() * 0.3 for s in ((3, 8, 16), (3, 5, 16)))
    groups = [
        [
            BitSlicedIOParameters(weight_significance=(1, f), weight_bits=3, input_slice_bits=2, out_noise=f / 100)
            for f in (2, 4, 8)
        ],
        [
            IOParametersIRDropT(ir_drop=f, ir_drop_rs=50.0, mv_type="SPLIT_MODE", apply_xdep_pcm_read_noise=True)
            for f in (0, 1, 2)
        ],
        [IOParametersIRDropT(ir_drop=f, ir_drop_rs=50.0) for f in (0, 1, 2)],
    ]
    for io in groups:
        together = Product(io, [5, 6, 7], False, (8, 16), 32).eval()(weight, x)[0]
        for r in range(3):
            alone = Product(io[r : r + 1], [5 + r], False, (8, 16), 32).eval()(weight[r : r + 1], x[r : r + 1])[0]
            assert torch.equal(alone[0], together[r])


REFUSED = [
    (lambda: IOParameters(mv_type="SPLIT_MODE", inp_res=1 / 100), "inp_res"),
    (lambda: IOParameters(mv_type="SPLIT_MODE", split_mode_bit_shift=7), "split_mode_bit_shift"),
    (lambda: IOParameters(mv_type="BIT_WISE", inp_res=-1), "inp_res"),
    (lambda: IOParametersIRDropT(inp_res=0), "inp_res"),
    (lambda: IOParametersIRDropT(mv_type="POS_NEG_SEPARATE"), "mv_type"),
    (lambda: BitSlicedIOParameters(weight_significance=(1, 2)), "weight_bits"),
    (lambda: BitSlicedIOParameters(weight_significance=()), "weight_bits"),
    (lambda: BitSlicedIOParameters(mv_type="BIT_WISE"), "mv_type"),
    (lambda: BitSlicedIOParameters(input_slice_bits=1, inp_res=0), "inp_res"),
    (lambda: Product([IOParametersIRDropT()], [1], False, (4, 12)), "ir_drop_segments"),
    (lambda: Product([IOParameters(mv_type="BIT_WISE", inp_res=r) for r in (0.01, 0.002)], [1, 2], False, (4, 4)), "inp_res"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "field"), REFUSED)
def test_what_does_not_go_together_is_refused(make: object, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.field == field


def test_an_inference_tile_has_the_conductances_of_its_noise_model() -> None:
    from sim.configs import TorchInferenceRPUConfigIRDropT
    from sim.inference import SinglePairConductanceConverter
    from sim.tiles.grid import make_tile

    results = []
    for g_max in (25.0, 5.0):
        config = TorchInferenceRPUConfigIRDropT()
        config.noise_model.g_converter = SinglePairConductanceConverter(g_max=g_max)
        config.forward = IOParametersIRDropT(**OFF | TIMED)  # type: ignore[arg-type]
        config.mapping.max_input_size = 8
        tile = make_tile(4, 4, config).eval()
        tile.set_weights(W[0])
        results.append(tile(X[0]).detach() - torch.round(X[0] * 31) / 31 @ W[0].T)
    assert float(results[1].abs().max()) < 0.5 * float(results[0].abs().max())  # smaller currents, smaller drop
