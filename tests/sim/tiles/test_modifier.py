"""Weight modifiers, clipping, remapping: recorded statistics, conformance vectors, when they act, gradients."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sim.configs import (
    InferenceRPUConfig,
    IOParameters,
    MappingParameter,
    RuntimeParameter,
    WeightClipParameter,
    WeightModifierParameter,
    WeightModifierType,
    WeightRemapParameter,
)
from sim.errors import ConfigError
from sim.optim import AnalogSGD
from sim.tiles import InferenceTile

RECORDED = json.loads((Path(__file__).parents[1] / "reference" / "modifier.json").read_text())
GRID = np.array(RECORDED["grid"])
PERFECT = IOParameters(is_perfect=True)
W = torch.tensor([[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65]])


def tile(w: Any, seed: int = 5, bias: bool = False, **fields: Any) -> InferenceTile:
    w = w.clone() if isinstance(w, torch.Tensor) else torch.tensor(np.array(w), dtype=torch.float32)
    config = InferenceRPUConfig(forward=PERFECT, **fields)
    made = InferenceTile(w.shape[0], w.shape[1], config, bias=bias, seeds=[seed], stream="t")
    made.set_weights(w, torch.zeros(w.shape[0]) if bias else None)
    return made


def seen(made: InferenceTile) -> torch.Tensor:
    """Weights of a product."""
    with torch.no_grad():
        return made(torch.eye(made.in_size)).T.contiguous()


def modified(w: Any, **modifier: Any) -> torch.Tensor:
    return seen(tile(w, modifier=WeightModifierParameter(**modifier)))


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda c: f"{c['type']} {c['modifier']}")
def test_recorded_statistics(case: dict[str, Any]) -> None:
    fields = ast.literal_eval(case["modifier"])
    n = 12_800
    w = modified(np.broadcast_to(GRID, (n, len(GRID))), type=case["type"], **fields).double().numpy()
    mean, std = np.array(case["mean"]), np.array(case["std"])
    if case["type"] == "PROG_NOISE":
        # M17: the recorded noise is divided by g_max = 25 although the coefficients are, too. Where weights are dropped, the
        # spread of all but the zero is that of dropping.
        zero = np.abs(GRID) < 0.01
        std = np.where(zero | ("pdrop" not in fields), std * 25, std)
        mean = np.where(zero, mean * 25, mean)
    both = 1 / n + 1 / 12_800
    pooled = np.sqrt((w.var(axis=0) + std**2) / 2)
    np.testing.assert_array_less(np.abs(w.mean(axis=0) - mean), 5 * pooled * np.sqrt(both) + 1e-6)
    fourth = ((w - w.mean(axis=0)) ** 4).mean(axis=0) / np.maximum(w.var(axis=0), 1e-30) ** 2
    error = pooled * np.sqrt(np.maximum(fourth - 1, 1) / 4 * both)
    np.testing.assert_array_less(np.abs(w.std(axis=0) - std), 5 * error + 1e-6)
    gone = (w == 0).mean(axis=0)
    dropped = fields.get("pdrop", 0.0)
    np.testing.assert_array_less(np.abs(gone - case["frac_zero"]), 5 * np.sqrt(dropped * both) + 1e-9)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "DISCRETIZE", "res": 0.3}, [[0.6, -0.3, 0.9, -0.9], [0, 0.9, -0.6, 0.3], [-0.9, 0.3, 0.3, 0.6]]),
        (
            {"type": "DISCRETIZE", "res": 0.3, "rel_to_actual_wmax": False, "assumed_wmax": 0.8},
            [[0.48, -0.24, 0.72, -0.96], [0, 0.96, -0.72, 0.24], [-0.72, 0.48, 0.24, 0.72]],
        ),
        ({"type": "DOREFA", "res": 0.15}, [[0.3, -0.15, 0.45, -0.6], [0.15, 0.6, -0.45, 0.3], [-0.45, 0.3, 0.15, 0.45]]),
        ({"type": "DISCRETIZE_ADD_NORMAL", "res": 0.0}, W.tolist()),  # M16: not NaN
    ],
)
def test_conformance_vectors(fields: dict[str, Any], expected: Any) -> None:
    # mapping_and_hwa.md, section 17, rows 1 to 4; M18: row 2 (another step in the torch tile) is as row 1 here.
    np.testing.assert_allclose(modified(W, **fields), expected, atol=2e-6)


def test_pcm_noise_follows_its_equations() -> None:
    # std_dev 1, c = 25: no drift at t_inference = 0; programming noise, then read noise with the amplitude of 20 s.
    n, c = 40_000, 25.0
    w = np.broadcast_to(np.array([-1.0, -0.4, 0.0, 0.01, 0.5]), (n, 5))
    rng = np.random.default_rng(0)

    def equations(w: Any, t_inference: float, k: float) -> Any:
        g = w * c
        a = np.abs(g) / c
        gp = g + k * (0.26348 + 1.9650 * a - 1.1731 * a**2) * rng.standard_normal(g.shape)
        ap = np.abs(gp) / c
        t = t_inference + 20.0
        sv = np.clip(-0.0125 * np.log(np.maximum(ap, 1e-6)) - 0.0059, 0.008, 0.045)
        gd = gp * (t / 20.0) ** (-np.abs(rng.standard_normal(g.shape) * sv)) if t_inference > 0 else gp
        q = np.minimum(0.0088 / np.maximum(ap**0.65, 1e-3), 0.2) * np.sqrt(np.log((t + 250e-9) / (2 * 250e-9)))
        gf = gd + k * np.abs(gd) * q * rng.standard_normal(g.shape)
        return np.where(g == 0, 0.0, np.where(g < 0, -1, 1) * np.abs(gf) / c)

    for t, k in ((0.0, 1.0), (86400.0, 1.0), (86400.0, 0.3)):
        found = modified(w, type="PCM_NOISE", std_dev=k, pcm_t_inference=t).double().numpy()
        wanted = equations(w, t, k)
        std = wanted.std(axis=0)
        np.testing.assert_array_less(np.abs(found.mean(axis=0) - wanted.mean(axis=0)), 5 * std * np.sqrt(2 / n) + 1e-9)
        np.testing.assert_allclose(found.std(axis=0), std, rtol=0.05, atol=1e-9)


def test_stuck_devices_of_pcm_noise() -> None:
    n = 20_000
    w = np.broadcast_to(np.array([-0.5, 0.5, 1.0]), (n, 3))
    quiet = {"type": "PCM_NOISE", "std_dev": 0.0}
    reset = modified(w, **quiet, pcm_prob_at_reset=0.3).numpy()
    assert np.abs((reset == 0).mean(axis=0) - 0.3).max() < 5 * np.sqrt(0.21 / n)
    full = modified(w, **quiet, pcm_prob_at_gmax=0.4).numpy()
    # g +- c is clamped: half of them at c; -0.5 - 1 at -c, -0.5 + 1 = 0.5 (its sign is that of the weight).
    assert np.abs((np.isclose(full[:, 0], -1.0)).mean() - 0.2) < 5 * np.sqrt(0.16 / n)
    assert np.abs((np.isclose(full[:, 1], 1.0)).mean() - 0.2) < 5 * np.sqrt(0.16 / n)
    anywhere = modified(w, **quiet, pcm_prob_at_random=1.0).numpy()
    assert abs(np.abs(anywhere).mean() - 0.5) < 5 * np.sqrt(1 / 12 / (3 * n))
    assert np.array_equal(np.sign(anywhere), np.sign(w))
    small = modified([[0.005, 0.02, 1.0]], type="PCM_NOISE", std_dev=1.0, pcm_zero_thres=1.0).numpy()
    assert small[0, 0] == 0.0
    assert small[0, 1] != 0.0


CHANGES = [
    ({"type": "ADD_NORMAL", "std_dev": 0.1}, {"std_dev": 0.2}),
    ({"type": "ADD_NORMAL", "std_dev": 0.1}, {"type": "MULT_NORMAL"}),
    ({"type": "ADD_NORMAL", "std_dev": 0.1}, {"pdrop": 0.5}),
    ({"type": "ADD_NORMAL", "std_dev": 0.1}, {"rel_to_actual_wmax": False, "assumed_wmax": 0.5}),
    ({"type": "ADD_NORMAL", "std_dev": 0.1}, {"copy_last_column": True}),
    ({"type": "ADD_NORMAL", "std_dev": 0.1}, {"per_batch_sample": True}),
    ({"type": "DISCRETIZE", "res": 0.1}, {"res": 0.2}),
    ({"type": "DISCRETIZE", "res": 0.3}, {"sto_round": True}),
    ({"type": "DOREFA", "res": 0.1}, {"dorefa_clip": 0.9}),
    ({"type": "POLY", "std_dev": 1.0}, {"coeffs": [0.1, 0.2]}),
    ({"type": "PROG_NOISE", "std_dev": 1.0}, {"coeffs": [0.1, 0.2, 0.3, 0.4]}),
    ({"type": "PCM_NOISE", "std_dev": 1.0}, {"g_max": 5.0}),
    ({"type": "PCM_NOISE", "std_dev": 1.0}, {"pcm_zero_thres": 30.0}),
    ({"type": "PCM_NOISE", "std_dev": 1.0}, {"pcm_t_inference": 3600.0}),
    ({"type": "PCM_NOISE", "std_dev": 1.0}, {"pcm_prob_at_reset": 0.5}),
    ({"type": "PCM_NOISE", "std_dev": 1.0}, {"pcm_prob_at_gmax": 0.5}),
    ({"type": "PCM_NOISE", "std_dev": 1.0}, {"pcm_prob_at_random": 0.5}),
    ({"type": "PCM_NOISE", "std_dev": 1.0, "pcm_t_inference": 60.0}, {"pcm_t0": 1.0}),
]


@pytest.mark.parametrize(("fields", "change"), CHANGES)
def test_no_field_is_ignored(fields: dict[str, Any], change: dict[str, Any]) -> None:
    assert not torch.equal(modified(W, **fields), modified(W, **{**fields, **change}))


def test_the_last_column_can_be_left_alone() -> None:
    w = W.clone()
    w[0, 3] = 50.0  # not counted for M either
    found = modified(w, type="ADD_NORMAL", std_dev=0.1, pdrop=0.3, copy_last_column=True)
    assert torch.equal(found[:, -1], w[:, -1])
    assert float((found - w)[:, :-1].abs().max()) < 1.0


def test_evaluation_sees_modified_weights_only_if_asked() -> None:
    for asked in (False, True):
        made = tile(W, modifier=WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1, enable_during_test=asked)).eval()
        assert torch.equal(seen(made), W) != asked
        made.program_weights()
        assert torch.equal(seen(made), made.array.programmed_weight()[0]) != (asked)


def test_one_draw_a_mini_batch() -> None:
    made = tile(W, modifier=WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1))
    first = seen(made)
    assert not torch.equal(first, W)  # also the first mini-batch
    assert torch.equal(seen(made), first)
    made.end_step()
    second = seen(made)
    assert not torch.equal(second, first)
    made.set_weights(2 * W)  # M19
    third = seen(made)
    assert float((third - 2 * W).abs().max()) < 1.0
    assert not torch.allclose(third - 2 * W, (second - W) * 2)
    with torch.no_grad():
        made.array.weight.mul_(0.5)  # any optimizer of torch
    assert float((seen(made) - W).abs().max()) < 0.5
    assert torch.equal(made.get_weights()[0], W)


@pytest.mark.parametrize("live", [False, True])
def test_changes_of_the_modifier_act_at_the_next_step_if_asked(live: bool) -> None:
    modifier = WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1)
    made = tile(W, modifier=modifier, runtime=RuntimeParameter(on_the_fly_bindings=live))
    made.inference_configs[0].modifier.std_dev = 0.0
    made.end_step()
    assert torch.equal(seen(made), W) is live


def test_the_gradient_is_that_of_the_trained_weights() -> None:
    # Straight through for W; the inputs see the modified weights (M9: in evaluation the same matrix as the forward product).
    made = tile(W, modifier=WeightModifierParameter(type="ADD_NORMAL", std_dev=0.3))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    d = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    for mode in (True, False):
        made.train(mode)
        x.grad = made.array.weight.grad = None
        y = made(x)
        y.backward(d)
        matrix = seen(made)
        torch.testing.assert_close(y.detach(), x.detach() @ matrix.T)
        torch.testing.assert_close(x.grad, d @ matrix)
        assert made.array.weight.grad is not None
        torch.testing.assert_close(made.array.weight.grad[0], d.T @ x.detach())


def test_the_gradient_with_scales_moves_the_logical_weight_alike() -> None:
    mapping = MappingParameter(weight_scaling_omega=0.6, weight_scaling_columnwise=True, digital_bias=False)
    config = InferenceRPUConfig(forward=PERFECT, mapping=mapping)
    made = InferenceTile(3, 4, config, bias=True)
    made.set_weights(W, torch.tensor([0.1, 0.2, 0.3]))
    x, d = torch.randn(5, 4), torch.randn(5, 3)
    optimizer = AnalogSGD(made.parameters(), lr=0.1)
    made(x).backward(d)
    optimizer.step()
    weight, bias = made.get_weights()
    torch.testing.assert_close(weight, W - 0.1 * d.T @ x)
    torch.testing.assert_close(bias, torch.tensor([0.1, 0.2, 0.3]) - 0.1 * d.sum(dim=0))


def test_gradients_accumulate_and_any_optimizer_steps() -> None:
    made = tile(W)
    x, d = torch.randn(5, 4), torch.randn(5, 3)
    made(x).backward(d)
    made(x).backward(d)
    assert made.array.weight.grad is not None
    torch.testing.assert_close(made.array.weight.grad[0], 2 * d.T @ x)
    (direct,) = torch.autograd.grad(made(x), [made.array.weight], d)
    torch.testing.assert_close(direct[0], d.T @ x)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    optimizer.step()
    torch.testing.assert_close((made.get_weights()[0] - W).abs(), torch.full((3, 4), 0.01), atol=1e-5, rtol=0)
    made.array.weight.requires_grad_(False)
    made.zero_grad()
    x.requires_grad_(True)
    made(x).backward(d)
    assert made.array.weight.grad is None


def test_a_learning_rate_of_zero_leaves_the_gradient() -> None:
    # M11
    made = tile(W)
    optimizer = AnalogSGD(made.parameters(), lr=0.0)
    made(torch.ones(1, 4)).backward(torch.ones(1, 3))
    optimizer.step()
    assert made.array.weight.grad is not None
    assert torch.equal(made.array.weight.grad[0], torch.ones(3, 4))
    assert torch.equal(made.get_weights()[0], W)


def test_a_draw_for_every_sample() -> None:
    made = tile(W, modifier=WeightModifierParameter(type="ADD_NORMAL", std_dev=0.2, per_batch_sample=True))
    x = torch.eye(4)[:1].repeat(3_000, 1)
    y = made(x)
    noise = (y.detach() - W[:, 0]).double()
    assert float(noise.std()) == pytest.approx(0.2, rel=5 / np.sqrt(2 * noise.numel()))
    assert abs(float(noise.mean())) < 5 * 0.2 / np.sqrt(noise.numel())
    # The error goes back through the matrix of its sample.
    x = torch.randn(3, 4, requires_grad=True)
    matrices = []
    for j in range(4):
        matrices.append(made(torch.eye(4)[j : j + 1].repeat(3, 1)).detach())
    each = torch.stack(matrices, dim=2)  # (samples, out, in)
    d = torch.randn(3, 3)
    made(x).backward(d)
    torch.testing.assert_close(x.grad, torch.einsum("bo,boi->bi", d, each))
    # Samples are along the first axis.
    z = torch.randn(3, 2, 4)
    torch.testing.assert_close(made(z).detach(), torch.einsum("boi,bti->bto", each, z))
    made.eval()
    torch.testing.assert_close(made(z).detach(), z @ W.T)


# Clipping and remapping


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({"type": "FIXED_VALUE", "fixed_value": 0.7}, 0.7),
        ({"type": "FIXED_VALUE"}, 1.0),  # M20: below 0 is off
        ({"type": "LAYER_GAUSSIAN", "sigma": 1.2}, 0.750036),
        ({"type": "LAYER_GAUSSIAN", "sigma": 1.2, "fixed_value": 0.3}, 0.3),
        ({"type": "AVERAGE_CHANNEL_MAX"}, 0.9),
        ({"type": "AVERAGE_CHANNEL_MAX", "fixed_value": 0.5}, 0.5),
        ({"fixed_value": 0.1}, 1.0),
    ],
)
def test_clipping(fields: dict[str, Any], bound: float) -> None:
    made = tile(W, clip=WeightClipParameter(**fields))
    made.end_step()
    torch.testing.assert_close(made.get_weights()[0], W.clamp(-bound, bound), atol=1e-6, rtol=0)


def remapped(w: Any, **fields: Any) -> InferenceTile:
    made = tile(w, remap=WeightRemapParameter(**fields))
    assert made.mapping_scales is not None
    assert torch.equal(made.mapping_scales, torch.ones(1, len(w)))
    made.end_step()
    torch.testing.assert_close(made.get_weights()[0], torch.as_tensor(w))
    return made


def test_remapping() -> None:
    # mapping_and_hwa.md, section 17, rows 7 and 8
    channels = remapped(W, type="CHANNELWISE_SYMMETRIC", remapped_wmax=0.8)
    np.testing.assert_allclose(channels.mapping_scales, [[1.25, 1.125, 1.0]])
    np.testing.assert_allclose(channels.array.weight.detach().abs().amax(dim=2), [[0.8] * 3], rtol=1e-6)
    layer = remapped(W, type="LAYERWISE_SYMMETRIC", remapped_wmax=0.8)
    np.testing.assert_allclose(layer.mapping_scales, [[1.25] * 3])
    zero = remapped(torch.tensor([[0.0, 0.0], [0.5, 2.0]]), type="CHANNELWISE_SYMMETRIC")  # M21
    np.testing.assert_allclose(zero.mapping_scales, [[1.0, 2.0]])
    none = remapped(torch.zeros(2, 2), type="LAYERWISE_SYMMETRIC")
    np.testing.assert_allclose(none.mapping_scales, [[1.0, 1.0]])


def test_remapping_with_a_limited_range_of_scales() -> None:
    w = torch.tensor([[0.5, -0.2], [3.0, 1.0], [1.5, -2.0]])
    made = remapped(w, type="CHANNELWISE_SYMMETRIC", max_scale_range=2.0)
    np.testing.assert_allclose(made.mapping_scales, [[0.5, 2.0, 2.0]])
    np.testing.assert_allclose(made.array.weight.detach()[0], [[1, -0.4], [1.5, 0.5], [0.75, -1]])
    made.end_step()
    np.testing.assert_allclose(made.mapping_scales, [[0.5, 1.0, 1.0]])
    np.testing.assert_allclose(made.array.weight.detach()[0], [[1, -0.4], [3, 1], [1.5, -2]])
    other = remapped(w, type="CHANNELWISE_SYMMETRIC", max_scale_range=2.0, max_scale_ref=1.2)
    np.testing.assert_allclose(other.mapping_scales, [[0.5, 2.4, 2.0]])


def test_clipping_comes_before_remapping() -> None:
    made = tile(
        W, clip=WeightClipParameter(type="FIXED_VALUE", fixed_value=0.5), remap=WeightRemapParameter(type="LAYERWISE_SYMMETRIC")
    )
    made.end_step()
    np.testing.assert_allclose(made.mapping_scales, [[0.5] * 3])
    torch.testing.assert_close(made.get_weights()[0], W.clamp(-0.5, 0.5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WeightModifierParameter(type="NOISE"), "type"),
        (lambda: WeightModifierParameter(pdrop=1.5), "pdrop"),
        (lambda: WeightModifierParameter(coeffs=[]), "coeffs"),
        (lambda: WeightClipParameter(sigma=-1.0), "sigma"),
        (lambda: WeightRemapParameter(type="CHANNELWISE_SYMMETRIC", max_scale_range=2.0, remapped_wmax=0.5), "remapped_wmax"),
    ],
)
def test_bad_parameters_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_every_type_is_tested() -> None:
    recorded = {case["type"] for case in RECORDED["cases"]}
    assert {kind.name for kind in WeightModifierType} == recorded | {"PCM_NOISE"}
