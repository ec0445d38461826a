"""Inference tiles: what is programmed when, compensation, training, state."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch

from sim.configs import (
    FloatingPointRPUConfig,
    InferenceRPUConfig,
    InputRangeParameter,
    IOParameters,
    IOParametersIRDropT,
    MappingParameter,
    PrePostProcessingParameter,
    TorchInferenceRPUConfig,
    WeightRemapParameter,
)
from sim.errors import ConfigError, ModuleError
from sim.inference import (
    BaseDriftCompensation,
    GlobalDriftCompensation,
    GlobalDriftCompensationWithExactReference,
    HermesNoiseModel,
    NoDriftCompensation,
    PCMLikeNoiseModel,
    PerColumnDriftCompensation,
    drift_analog_weights,
    program_analog_weights,
    remap_analog_weights,
)
from sim.nn import AnalogLinear, AnalogSequential, calibrate_input_ranges, convert_to_analog
from sim.optim import AnalogSGD
from sim.tiles import InferenceTile
from sim.tiles.grid import TileGrid, make_tile

PERFECT = IOParameters(is_perfect=True)
QUIET = PCMLikeNoiseModel(prog_noise_scale=0.0, read_noise_scale=0.0)
YEAR = 365 * 86400.0


def weights(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32))


def tile(out: int = 6, n_in: int = 9, **fields: Any) -> InferenceTile:
    fields = {"forward": PERFECT, **fields}
    made = InferenceTile(out, n_in, InferenceRPUConfig(**fields), seeds=[7], stream="t")
    made.set_weights(weights(out, n_in))
    return made


def now(made: InferenceTile) -> torch.Tensor:
    """Logical weights of products in the present mode, without compensation."""
    return made.array.read()[0].clone()


def test_programming_again_starts_from_the_same_weights() -> None:
    made = tile().eval()
    w = weights(6, 9)
    seen = []
    for _ in range(3):
        made.program_weights()
        seen.append(now(made))
        assert torch.equal(made.array.weight[0], w)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    many = tile(50, 60).eval()
    errors = []
    for _ in range(20):
        many.program_weights()
        errors.append(float((now(many) - weights(50, 60)).std()))
    assert max(errors) < 1.3 * min(errors)  # noise does not pile up


def test_drift_is_not_cumulative_and_goes_back() -> None:
    made = tile(noise_model=PCMLikeNoiseModel(read_noise_scale=0.0)).eval()
    made.drift_weights(3600.0)  # programs first
    first = now(made)
    made.drift_weights(YEAR)
    later = now(made)
    made.drift_weights(3600.0)
    assert torch.equal(now(made), first)
    assert float(later.abs().sum()) < float(first.abs().sum())
    made.program_weights()
    made.drift_weights(3600.0)
    assert not torch.equal(now(made), first)  # new exponents


def test_read_noise_is_drawn_at_each_call() -> None:
    made = tile().eval()
    made.drift_weights(60.0)
    first = now(made)
    made.drift_weights(60.0)
    assert not torch.equal(now(made), first)
    made.drift_weights(0.0)
    second = now(made)
    made.drift_weights(0.0)
    assert not torch.equal(now(made), second)


@pytest.mark.parametrize("change", ["set", "optimizer", "by hand", "torch"])
def test_weights_that_change_drop_what_was_programmed(change: str) -> None:
    # FIX 2
    made = tile().eval()
    made.program_weights()
    made.drift_weights(60.0)
    assert made.array.is_programmed()
    assert made.drift_baseline is not None
    if change == "set":
        made.set_weights(weights(6, 9, seed=1))
    elif change == "optimizer":
        optimizer = AnalogSGD(made.parameters(), lr=0.1)
        made.train()
        made(torch.ones(2, 9)).sum().backward()
        optimizer.step()
        made.eval()
    elif change == "torch":
        with torch.no_grad():
            made.array.weight.add_(0.1)
    else:
        made.update(torch.ones(2, 9), torch.ones(2, 6))
    x = torch.ones(1, 9)
    torch.testing.assert_close(made(x), x @ made.get_weights()[0].T)
    assert not made.array.is_programmed()
    assert made.drift_baseline is None
    made.drift_weights(0.0)  # programs the new weights
    assert torch.equal(made.array.target, made.array.weight)  # type: ignore[arg-type]


def test_training_goes_on_from_the_weights_without_noise() -> None:
    # FIX 2
    made = tile().eval()
    made.drift_weights(YEAR)
    x = torch.ones(1, 9)
    assert not torch.allclose(made(x), x @ weights(6, 9).T, atol=1e-3)
    made.train()
    torch.testing.assert_close(made(x), x @ weights(6, 9).T)
    made.eval()
    assert made.array.is_programmed()  # nothing was trained


def test_the_weights_that_are_shown() -> None:
    made = tile(mapping=MappingParameter(weight_scaling_omega=1.0))
    made.inference_configs[0].modifier.std_dev = 1.0
    torch.testing.assert_close(made.get_weights()[0], weights(6, 9))
    made.eval()
    torch.testing.assert_close(made.get_weights()[0], weights(6, 9))
    made.drift_weights(YEAR)
    assert float((made.get_weights()[0] - weights(6, 9)).abs().max()) > 0.1
    assert torch.equal(made.get_weights(apply_weight_scaling=False)[0], made.array.programmed_weight()[0])
    made.train()
    torch.testing.assert_close(made.get_weights()[0], weights(6, 9))


def test_noise_from_the_present_weights_can_be_asked_for() -> None:
    made = tile().eval()
    made.program_weights()
    noisy = now(made)
    made.program_weights(from_reference=False)
    assert torch.equal(made.array.weight[0], noisy)
    assert not torch.equal(now(made), noisy)


def test_a_noise_model_given_stays() -> None:
    made = tile().eval()
    made.program_weights(noise_model=HermesNoiseModel())
    assert isinstance(made.inference_configs[0].noise_model, HermesNoiseModel)
    made.drift_weights(60.0)
    with pytest.raises(ConfigError, match="noise_model is a str"):
        made.program_weights(noise_model="pcm")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="t_inference"):
        made.drift_weights(float("nan"))


# Compensation


def uniform_drift(**fields: Any) -> PCMLikeNoiseModel:
    """Every device drifts alike."""
    from sim.inference import CustomDriftPCMLikeNoiseModel

    table = {"g_lst": [0.0, 25.0], "nu_mean_lst": [0.06, 0.06], "nu_std_lst": [0.0, 0.0]}
    return CustomDriftPCMLikeNoiseModel(custom_drift_model=table, prog_noise_scale=0.0, read_noise_scale=0.0, **fields)


@pytest.mark.parametrize(
    "scheme", [GlobalDriftCompensation(), GlobalDriftCompensationWithExactReference(), PerColumnDriftCompensation()]
)
def test_a_drift_that_is_the_same_everywhere_is_undone(scheme: BaseDriftCompensation) -> None:
    made = tile(noise_model=uniform_drift(), drift_compensation=scheme).eval()
    made.drift_weights(YEAR)
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made(x), x @ weights(6, 9).T, atol=1e-5, rtol=1e-4)
    factor = ((YEAR + 20) / 20) ** 0.06
    torch.testing.assert_close(made.alpha, torch.full((1, 6 if isinstance(scheme, PerColumnDriftCompensation) else 1), factor))
    made.train()
    torch.testing.assert_close(made(x), x @ weights(6, 9).T)  # no factor in training


def test_no_compensation() -> None:
    made = tile(noise_model=uniform_drift(), drift_compensation=None).eval()
    assert made.inference_configs[0].drift_compensation == NoDriftCompensation()
    made.drift_weights(YEAR)
    x = torch.ones(1, 9)
    torch.testing.assert_close(made(x), x @ weights(6, 9).T * ((YEAR + 20) / 20) ** -0.06)


def test_per_column_factors_belong_to_the_outputs() -> None:
    # FIX 4
    made = tile(noise_model=PCMLikeNoiseModel(read_noise_scale=0.0), drift_compensation=PerColumnDriftCompensation()).eval()
    made.program_weights()
    before = now(made).abs().mean(dim=1)
    made.drift_weights(YEAR)
    after = now(made).abs().mean(dim=1)
    torch.testing.assert_close(made.alpha, (before / after).reshape(1, 6))
    x = torch.randn(3, 2, 9)
    torch.testing.assert_close(made(x), (x @ now(made).T) * made.alpha)


def test_the_exact_reference_corrects_the_mean_error_of_programming() -> None:
    # Noise that is cut at 0 conductance makes a mean error.
    made = tile(
        40, 50, noise_model=PCMLikeNoiseModel(prog_coeff=[20.0], read_noise_scale=0.0, drift_scale=0.0),
        drift_compensation=GlobalDriftCompensationWithExactReference(),
    ).eval()  # fmt: skip
    made.drift_weights(0.0)
    expected = weights(40, 50).abs().mean() / now(made).abs().mean()
    assert made.alpha is not None
    torch.testing.assert_close(made.alpha, expected.reshape(1, 1))
    assert float(made.alpha) < 0.9


class Strongest(BaseDriftCompensation):
    """A scheme of a user's own: the largest output of all inputs at once."""

    def get_readout_tensor(self, in_size: int) -> torch.Tensor:
        return torch.ones(1, in_size)

    def readout(self, out_tensor: torch.Tensor) -> torch.Tensor:
        return out_tensor.abs().max()


def test_own_compensation() -> None:
    made = tile(noise_model=uniform_drift(), drift_compensation=Strongest()).eval()
    made.drift_weights(YEAR)
    x = torch.ones(1, 9)
    torch.testing.assert_close(made(x), x @ weights(6, 9).T)


def test_the_read_out_sees_the_periphery() -> None:
    # An analog bias counts as an input; the noise of the product enters.
    config = InferenceRPUConfig(noise_model=uniform_drift(), mapping=MappingParameter(digital_bias=False))
    made = InferenceTile(6, 9, config, bias=True, seeds=[7], stream="t").eval()
    made.set_weights(weights(6, 9), torch.linspace(-0.5, 0.5, 6))
    made.drift_weights(YEAR)
    exact = ((YEAR + 20) / 20) ** 0.06
    assert made.alpha is not None
    assert float(made.alpha) != pytest.approx(exact, rel=1e-6)
    assert float(made.alpha) == pytest.approx(exact, rel=0.05)
    assert made.drift_baseline is not None
    full = torch.cat([weights(6, 9), torch.linspace(-0.5, 0.5, 6).reshape(6, 1)], dim=1)
    assert float(made.drift_baseline) == pytest.approx(float(full.abs().mean()), rel=0.05)


# Models


def model(config: Any = None, replicas: int | None = None) -> AnalogSequential:
    config = InferenceRPUConfig(forward=PERFECT) if config is None else config
    seeds = None if replicas is None else list(range(replicas))
    how = {"replicas": replicas, "seeds": seeds}
    layers = [
        AnalogLinear(5, 4, True, config, **how, stream="a"),
        AnalogLinear(4, 3, True, config, **how, stream="b"),
    ]
    return AnalogSequential(layers[0], torch.nn.ReLU(), layers[1])


def test_calls_on_models_reach_every_tile_once() -> None:
    # FIX 6
    made = AnalogSequential(model(), AnalogSequential(AnalogLinear(3, 2, rpu_config=InferenceRPUConfig())))
    with pytest.raises(ModuleError, match="eval"):
        program_analog_weights(made)
    with pytest.raises(ModuleError, match="eval"):
        drift_analog_weights(made, 1.0)
    made.eval()
    program_analog_weights(made)
    drift_analog_weights(made, 60.0)
    drift_analog_weights(made, 3600.0)
    for part in made.analog_tiles():
        assert part.array.counts.tolist()[:2] == [1, 2]  # type: ignore[union-attr]


def test_tiles_of_training_are_skipped_by_drift_and_written_by_programming() -> None:
    # FIX 3
    digital = AnalogLinear(5, 5, rpu_config=FloatingPointRPUConfig())
    made = AnalogSequential(digital, model()).eval()
    before = digital.get_weights()[0]
    drift_analog_weights(made, 60.0)
    assert torch.equal(digital.get_weights()[0], before)
    program_analog_weights(made)
    torch.testing.assert_close(digital.get_weights()[0], before, atol=0.02, rtol=0)


def test_remapping_a_model_keeps_its_function() -> None:
    made = model()
    x = torch.randn(3, 5)
    before = made(x).detach()
    remap_analog_weights(made, 0.8)
    torch.testing.assert_close(made(x).detach(), before)
    for part in made.analog_tiles():
        assert float(part.array.weight.detach().abs().max()) == pytest.approx(0.8)


def test_large_layers_and_conversion() -> None:
    config = InferenceRPUConfig(forward=PERFECT, mapping=MappingParameter(max_input_size=4, max_output_size=3))
    assert isinstance(make_tile(7, 10, config), TileGrid)
    digital = torch.nn.Sequential(torch.nn.Linear(10, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    made = convert_to_analog(digital, config)
    x = torch.randn(4, 10)
    torch.testing.assert_close(made(x), digital(x))
    made.eval()
    program_analog_weights(made)
    drift_analog_weights(made, YEAR)
    assert not torch.allclose(made(x), digital(x), atol=1e-3)


def test_the_torch_configuration_is_the_same_tile() -> None:
    made = make_tile(3, 4, TorchInferenceRPUConfig())
    assert isinstance(made, InferenceTile)


# Replicas, threads, state


def run(seeds: list[int]) -> list[torch.Tensor]:
    config = InferenceRPUConfig()
    config.modifier.type, config.modifier.std_dev, config.modifier.pdrop = "ADD_NORMAL", 0.1, 0.1  # type: ignore[assignment]
    config.clip.type, config.remap.type = "LAYER_GAUSSIAN", "CHANNELWISE_SYMMETRIC"  # type: ignore[assignment]
    made = InferenceTile(40, 70, config, bias=True, replicas=len(seeds), seeds=seeds, stream="t")
    made.set_weights(weights(40, 70), torch.linspace(-1, 1, 40))
    optimizer = AnalogSGD(made.parameters(), lr=0.05)
    for k in range(3):
        x = torch.randn(8, 70, generator=torch.Generator().manual_seed(k))
        optimizer.zero_grad()
        made(x.repeat(len(seeds), 1)).pow(2).sum().backward()
        optimizer.step()
    made.eval()
    made.program_weights()
    made.drift_weights(3600.0)
    y = made(x.repeat(len(seeds), 1)).detach().reshape(len(seeds), 8, 40)
    assert made.alpha is not None
    assert made.mapping_scales is not None
    return [y, made.array.weight.detach(), made.array.programmed_weight(), made.alpha, made.mapping_scales]


def test_a_replica_is_what_it_would_be_alone() -> None:
    together = run([1, 2, 3])
    for k, seed in enumerate((1, 2, 3)):
        for ours, alone in zip(together, run([seed]), strict=True):
            assert torch.equal(ours[k], alone[0])
    assert not torch.equal(together[0][0], together[0][1])


def test_threads_do_not_change_bits() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = large()
        torch.set_num_threads(3)
        three = large()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def large() -> list[torch.Tensor]:
    config = InferenceRPUConfig(noise_model=HermesNoiseModel())
    config.clip.type = "LAYER_GAUSSIAN"  # type: ignore[assignment]
    made = InferenceTile(300, 301, config, seeds=[1], stream="t")
    made.set_weights(weights(300, 301))
    made.end_step()
    made.eval()
    made.drift_weights(3600.0)
    assert made.alpha is not None
    return [made.array.weight.detach(), made.array.programmed_weight(), made.alpha]


def test_replicas_may_differ_in_numbers_of_the_noise() -> None:
    configs = [InferenceRPUConfig(noise_model=PCMLikeNoiseModel(prog_noise_scale=s, read_noise_scale=0.0)) for s in (0.0, 1.0)]
    made = InferenceTile(5, 6, configs, seeds=[1, 1], stream="t").eval()
    made.program_weights()
    assert torch.allclose(made.array.programmed_weight()[0], made.array.weight[0], atol=1e-6)
    assert not torch.allclose(made.array.programmed_weight()[1], made.array.weight[1], atol=1e-3)
    with pytest.raises(ConfigError, match="structure"):
        InferenceTile(5, 6, [InferenceRPUConfig(), InferenceRPUConfig(noise_model=HermesNoiseModel())])


@pytest.mark.parametrize("how", ["copy", "pickle", "state dict", "file"])
@pytest.mark.parametrize("scheme", [GlobalDriftCompensation(), PerColumnDriftCompensation()])
def test_what_is_loaded_goes_on_as_what_was_saved(how: str, scheme: BaseDriftCompensation) -> None:
    # FIX 5
    config = InferenceRPUConfig(drift_compensation=scheme)
    config.modifier.type, config.modifier.std_dev = "ADD_NORMAL", 0.1  # type: ignore[assignment]
    made = model(config)

    def step(net: AnalogSequential, optimizer: AnalogSGD, k: int) -> None:
        net.train()
        optimizer.zero_grad()
        net(torch.randn(6, 5, generator=torch.Generator().manual_seed(k))).pow(2).sum().backward()
        optimizer.step()

    optimizer = AnalogSGD(made.parameters(), lr=0.05)
    for k in range(3):
        step(made, optimizer, k)
    made.eval()
    program_analog_weights(made)
    drift_analog_weights(made, 60.0)
    if how == "copy":
        other = copy.deepcopy(made)
    elif how == "state dict":
        other = model(config).eval()
        other.load_state_dict(made.state_dict())
    else:
        buffer = io.BytesIO()
        torch.save(made if how == "pickle" else made.state_dict(), buffer)
        buffer.seek(0)
        if how == "pickle":
            other = torch.load(buffer, weights_only=False)
        else:
            other = model(config).eval()
            other.load_state_dict(torch.load(buffer, weights_only=True))
    x = torch.randn(6, 5)
    assert torch.equal(made(x), other(x))
    for part in (made, other):
        drift_analog_weights(part, YEAR)
    assert torch.equal(made(x), other(x))
    other_optimizer = AnalogSGD(other.parameters(), lr=0.05)
    for k in range(3, 5):
        step(made, optimizer, k)
        step(other, other_optimizer, k)
    for ours, theirs in zip(made.analog_tiles(), other.analog_tiles(), strict=True):
        assert torch.equal(ours.array.weight, theirs.array.weight)
        assert torch.equal(ours.array.read(), theirs.array.read())


def test_a_fresh_model_loads_one_that_was_not_programmed() -> None:
    made, other = model(), model()
    other.load_state_dict(made.state_dict())
    x = torch.randn(2, 5)
    torch.testing.assert_close(made(x), other(x))


def test_a_noise_model_given_is_saved_too() -> None:
    made, other = model().eval(), model().eval()
    program_analog_weights(made, HermesNoiseModel())
    drift_analog_weights(made, 60.0)
    optimizer = AnalogSGD(other.parameters(), lr=0.1)
    other.load_state_dict(made.state_dict())
    drift_analog_weights(made, YEAR)
    drift_analog_weights(other, YEAR)
    x = torch.randn(2, 5)
    assert torch.equal(made(x), other(x))
    before = next(iter(other.analog_tiles())).array.weight.detach().clone()
    other.train()
    other(x).sum().backward()
    optimizer.step()  # it still knows the weights
    assert not torch.equal(next(iter(other.analog_tiles())).array.weight, before)


@pytest.mark.parametrize("programmed", [False, True])
def test_another_configuration_keeps_weights_and_devices(programmed: bool) -> None:
    made = tile().eval()
    parameter = made.array.weight
    if programmed:
        made.drift_weights(60.0)
    before = now(made)
    made.replace_rpu_config(InferenceRPUConfig(forward=IOParameters(inp_res=-1, out_res=-1, out_noise=0.0)))
    assert made.array.weight is parameter
    assert torch.equal(made.array.weight[0], weights(6, 9))
    assert torch.equal(now(made), before)
    assert made.array.is_programmed() is programmed


def test_calibrated_ranges_keep_what_a_model_computes() -> None:
    digital = torch.nn.Sequential(torch.nn.Linear(9, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    config = InferenceRPUConfig(forward=PERFECT, mapping=MappingParameter(weight_scaling_omega=1.0))
    made = convert_to_analog(digital, config)
    x = torch.randn(20, 9)
    calibrate_input_ranges(made, "MAX", [x])
    torch.testing.assert_close(made(x), digital(x), atol=1e-5, rtol=1e-4)


def test_input_range_and_gradients() -> None:
    # mapping_and_hwa.md, section 17; M10: the weight gradient has the factor of the range.
    ranged = InputRangeParameter(enable=True, init_value=1.2, init_from_data=0, decay=0.01, input_min_percentage=0.5)
    config = InferenceRPUConfig(forward=PERFECT, pre_post=PrePostProcessingParameter(input_range=ranged))
    made = InferenceTile(3, 4, config)
    made.set_weights(torch.tensor([[0.5, -0.25, 0.75, -1.0], [0.1, 0.9, -0.6, 0.3], [-0.8, 0.4, 0.2, 0.65]]))
    x = torch.tensor([[0.2, -0.7, 1.0, 0.45], [-3.0, 0.5, 1.5, -0.2]], requires_grad=True)
    y = made(x)
    y.backward(torch.tensor([[1, -2, 0.5], [-1, 0.3, 0.7]]))
    np.testing.assert_allclose(y.detach(), [[0.575, -1.075, 0.0525], [0.375, -0.45, 1.27]], atol=1e-6)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, [[-0.1, -1.85, 2.05, -1.275], [-1.03, 0.8, -0.79, 1.545]], atol=1e-6)
    assert made.input_range is not None
    assert made.input_range.grad is not None
    np.testing.assert_allclose(made.input_range.grad, [-0.936], atol=1e-6)
    expected = np.array(
        [
            [1.166667, -1, -0.166667, 0.541667], [-0.633333, 1.291667, -1.366667, -0.8],
            [-0.616667, 0, 1.116667, 0.070833],
        ]
    )  # fmt: skip
    assert made.array.weight.grad is not None
    np.testing.assert_allclose(made.array.weight.grad[0], 1.2 * expected, atol=2e-6)


def test_compensation_of_the_learning_rate_has_no_part_here() -> None:
    # M6
    for compensated in (False, True):
        mapping = MappingParameter(weight_scaling_omega=0.25, weight_scaling_lr_compensation=compensated)
        made = tile(mapping=mapping)
        x, d = torch.ones(2, 9), torch.ones(2, 6)
        made(x).backward(d)
        optimizer = torch.optim.SGD([made.array.weight], lr=0.1)
        optimizer.step()
        torch.testing.assert_close(made.get_weights()[0], weights(6, 9) - 0.2)


def test_trained_scales_fold_into_remapped_ones() -> None:
    mapping = MappingParameter(weight_scaling_omega=1.0, learn_out_scaling=True, out_scaling_columnwise=True)
    made = tile(mapping=mapping, remap=WeightRemapParameter(type="CHANNELWISE_SYMMETRIC"))  # type: ignore[arg-type]
    assert made.out_scaling_alpha is not None
    with torch.no_grad():
        made.out_scaling_alpha.copy_(torch.linspace(0.5, 2.0, 6))
        made.array.weight.mul_(0.5)
    before = made.get_weights()[0]
    made.end_step()
    torch.testing.assert_close(made.get_weights()[0], before)
    assert torch.equal(made.out_scaling_alpha.detach(), torch.ones(6))
    np.testing.assert_allclose(made.array.weight.detach().abs().amax(dim=2), np.ones((1, 6)), rtol=1e-6)


def test_gradients_of_inputs_in_evaluation_have_the_factor() -> None:
    made = tile(noise_model=uniform_drift()).eval()
    made.drift_weights(YEAR)
    x = torch.randn(3, 9, requires_grad=True)
    made(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weights(6, 9).sum(dim=0).expand(3, -1), atol=1e-4, rtol=1e-4)


def test_read_noise_that_depends_on_the_input_lets_the_gradient_pass() -> None:
    # D21
    off: Any = {"noise_management": "NONE", "bound_management": "NONE", "out_noise": 0.0}
    made = tile(4, 6, forward=IOParametersIRDropT(inp_res=1 / 62, apply_xdep_pcm_read_noise=True, **off))
    x, d = torch.rand(3, 6), torch.randn(3, 4)
    y = made(x)
    assert not torch.allclose(y, made(x))  # there is noise
    y.backward(d)
    assert made.array.weight.grad is not None
    torch.testing.assert_close(made.array.weight.grad[0], d.T @ x)


def test_scales_of_the_gradient_are_the_present_ones() -> None:
    # M12: also after scales were set, copied, pickled and loaded
    mapping = MappingParameter(weight_scaling_omega=0.25)
    made = tile(mapping=mapping)
    x, d = torch.ones(2, 9), torch.ones(2, 6)

    def gradient(one: InferenceTile) -> float:
        one.zero_grad()
        one(x).backward(d)
        assert one.array.weight.grad is not None
        return float(one.array.weight.grad[0, 0, 0])

    scale = float(made.get_scales())  # type: ignore[arg-type]
    assert gradient(made) == pytest.approx(2.0 / scale)
    made.set_mapping_scales(3.0)
    assert gradient(made) == pytest.approx(2.0 / 3.0)
    other = tile(mapping=mapping)
    other.load_state_dict(made.state_dict())
    buffer = io.BytesIO()
    torch.save(made, buffer)
    buffer.seek(0)
    for one in (copy.deepcopy(made), other, torch.load(buffer, weights_only=False)):
        assert gradient(one) == pytest.approx(2.0 / 3.0)


def test_seeds_govern_programming_and_drift() -> None:
    # FIX 15
    found = []
    for k in range(2):
        torch.manual_seed(k)
        made = tile().eval()
        made.drift_weights(60.0)
        found.append(now(made))
    assert torch.equal(*found)
    other = InferenceTile(6, 9, InferenceRPUConfig(forward=PERFECT), seeds=[8], stream="t").eval()
    other.set_weights(weights(6, 9))
    other.drift_weights(60.0)
    assert not torch.equal(now(other), found[0])
