"""Tiles in double precision: the same devices, pulses and noise as in single precision, without its rounding."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sim import inference, ops, presets
from sim.configs import (
    AnalogMVType,
    BoundManagementType,
    InferenceRPUConfig,
    InputRangeParameter,
    IOParameters,
    MappingParameter,
    NoiseManagementType,
    OneSidedUnitCell,
    PrePostProcessingParameter,
    PulseType,
    QuantizedTorchInferenceRPUConfig,
    RPUConfig,
    RPUDataType,
    RuntimeParameter,
    SingleRPUConfig,
    TransferCompound,
    UnitCellRPUConfig,
    UpdateParameters,
    VectorUnitCell,
    WeightModifierParameter,
    WeightModifierType,
    WeightNoiseType,
    build_config,
)
from sim.devices import DriftParameter, IdealDevice, PowStepDevice, SoftBoundsDevice, SoftBoundsReferenceDevice
from sim.nn import AnalogConv2d, AnalogLinear, AnalogLSTM, AnalogSequential, Sigmoid, convert_to_analog, convert_to_digital
from sim.ops import ShapeError
from sim.optim import AnalogSGD
from sim.settings import config as as_config
from sim.tiles import AnalogTile
from sim.tiles.grid import TileGrid, make_tile
from tests.sim.isas import on_every_isa

OUT, IN, REPLICAS = 6, 9, 2
PERFECT = IOParameters(is_perfect=True)
IDEAL = SingleRPUConfig(device=IdealDevice(), forward=PERFECT, backward=PERFECT)
ROUNDING = 2e-6
"""What single precision may be off by after some steps, of weights and outputs around 1."""
ONE_STEP = 0.03
"""The same where converters round: a value next to a tie may come out one level apart."""


NOISE_MODELS = sorted(name for name in inference.BaseNoiseModel.kinds() if name in inference.__all__)


def tile(config: Any, double: bool, **how: Any) -> Any:
    made = make_tile(OUT, IN, config, bias=True, seeds=[5, 6], stream="tile", replicas=REPLICAS, **how)
    return made.double() if double else made


def used(made: Any, steps: int = 6) -> list[Tensor]:
    """Outputs, gradients and weights of a tile in training."""
    generator = torch.Generator().manual_seed(1)
    made.set_weights((torch.rand(OUT, IN, generator=generator) - 0.5) * 0.6, torch.rand(OUT, generator=generator) * 0.1)
    made.set_learning_rate(0.047)
    found = []
    for _ in range(steps):
        x = (torch.rand(8, IN, generator=generator) - 0.3).to(made.dtype).requires_grad_()
        y = made(x)
        y.backward((torch.randn(8, OUT, generator=generator) * 0.2).to(made.dtype))
        with torch.no_grad():
            made.apply_uses()
            made.end_step()
        found += [y.detach(), x.grad]
    return [*found, *made.get_weights()]


def programmed(made: Any) -> list[Tensor]:
    """Outputs and weights of an inference tile that drifts."""
    generator = torch.Generator().manual_seed(1)
    made.set_weights((torch.rand(OUT, IN, generator=generator) - 0.5) * 0.6, torch.rand(OUT, generator=generator) * 0.1)
    made.eval()
    made.program_weights()
    found = []
    for time in (0.0, 3600.0, 86400.0):
        made.drift_weights(time)
        with torch.no_grad():
            found.append(made(torch.rand(8, IN, generator=generator).to(made.dtype)))
        found.append(made.get_weights()[0])
    return found


def assert_close(config: RPUConfig, work: Callable[[Any], list[Tensor]], tolerance: float) -> None:
    """Both precisions come to the same, and double precision is not single precision in another type."""
    single, double = (work(tile(copy.deepcopy(config), wide)) for wide in (False, True))
    rounded = False
    for a, b in zip(single, double, strict=True):
        assert a.dtype is torch.float32
        assert b.dtype is torch.float64
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=tolerance)
        rounded |= not torch.equal(b, b.float().double())
    assert rounded


@pytest.mark.parametrize("pulses", PulseType)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"update_bl_management": False, "update_management": False},
        {"update_bl_management": False, "desired_bl": 100},
        {"update_bl_management": False, "fixed_bl": False, "desired_bl": 4},
        {"res": 0.013},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "device",
    [
        SoftBoundsReferenceDevice(dw_min=0.01, reference_std=0.1, lifetime=50.0, diffusion=1e-3),
        PowStepDevice(dw_min=0.002, write_noise_std=1.0, count_pulses=True),
    ],
    ids=lambda d: type(d).__name__,
)
def test_pulses(device: Any, how: dict[str, Any], pulses: PulseType) -> None:
    update = UpdateParameters(pulse_type=pulses, **how)
    assert_close(SingleRPUConfig(device=device, update=update, forward=PERFECT, backward=PERFECT), used, ROUNDING)


SOFT = SoftBoundsDevice(dw_min=0.01)


@pytest.mark.parametrize(
    "cell",
    [
        VectorUnitCell(unit_cell_devices=[SOFT, PowStepDevice(dw_min=0.01)]),
        OneSidedUnitCell(unit_cell_devices=[SOFT], refresh_every=10, refresh_upper_thres=0.1, refresh_lower_thres=0.05),
        TransferCompound(unit_cell_devices=[SOFT, SOFT], with_reset_prob=0.3),
        TransferCompound(unit_cell_devices=[SOFT, SOFT], transfer_forward=IOParameters(inp_noise=0.1)),
        TransferCompound(unit_cell_devices=[SOFT, SOFT], transfer_columns=False, units_in_mbatch=False, transfer_every=3),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_cells(cell: Any) -> None:
    config = UnitCellRPUConfig(device=cell, forward=PERFECT, backward=PERFECT)
    assert_close(config, lambda made: used(made, 4), ONE_STEP)


def test_what_happens_beside_pulses() -> None:
    def work(made: Any) -> list[Tensor]:
        used(made, 2)
        found = []
        for elapsed in (100.0, 1000.0):
            made.drift_weights(elapsed)
            found.append(made.get_weights()[0])
        made.reset_columns(1, 2, 0.5)
        made.clip_weights(0.2)
        return [*found, made.get_weights()[0]]

    device = SoftBoundsDevice(
        dw_min=0.01, drift=DriftParameter(nu=0.1, nu_dtod=0.2, nu_std=0.1, w_noise_std=0.01), reset_std=0.05
    )
    assert_close(SingleRPUConfig(device=device, forward=PERFECT, backward=PERFECT), work, 1e-5)


@pytest.mark.parametrize(
    "io",
    [
        *(IOParameters(mv_type=kind, inp_noise=0.01, out_bound=2.0) for kind in AnalogMVType),
        *(IOParameters(noise_management=kind, inp_noise=0.01) for kind in NoiseManagementType),
        # Steps that both precisions hold exactly: a shift puts the largest output onto the bound, to the bit.
        *(IOParameters(bound_management=kind, out_bound=0.5, out_res=2**-8) for kind in BoundManagementType),
        *(IOParameters(w_noise_type=kind, w_noise=0.1) for kind in WeightNoiseType),
        IOParameters(ir_drop=1.0),
        IOParameters(v_offset_std=0.1, r_series=0.1),
        IOParameters(out_nonlinearity=0.1, out_nonlinearity_std=0.2, slope_calibration=0.5),
        IOParameters(inp_sto_round=True, out_sto_round=True),
        IOParameters(inp_asymmetry=0.1, out_asymmetry=0.1),
        IOParameters(w_read_asymmetry_dtod=0.1, out_noise_std=0.3),
    ],
    ids=str,
)
def test_converters(io: IOParameters) -> None:
    assert_close(SingleRPUConfig(device=IdealDevice(), forward=io), lambda made: used(made, 2), ONE_STEP)


@as_config
class OfAUser(inference.PCMLikeNoiseModel):
    """A class of its own may have changed a law, so that it is worked in torch."""


@pytest.mark.parametrize("kind", [OfAUser, *(getattr(inference, n) for n in NOISE_MODELS)])
def test_programming_and_drift(kind: Any) -> None:
    assert_close(InferenceRPUConfig(noise_model=kind()), programmed, ONE_STEP)


@pytest.mark.parametrize("kind", WeightModifierType)
def test_modifiers(kind: WeightModifierType) -> None:
    modifier = WeightModifierParameter(type=kind, std_dev=0.1, pdrop=0.1, res=0.1)
    assert_close(InferenceRPUConfig(modifier=modifier, forward=PERFECT), used, 5e-6)


def trained(config: Any, double: bool, steps: int = 12) -> tuple[Tensor, Any]:
    """Weights of a small network, and the network."""
    layers = [
        AnalogLinear(n_in, out, rpu_config=copy.deepcopy(config), seeds=[k], stream=f"layer {k}")
        for k, (n_in, out) in enumerate([(7, 6), (6, 3)])
    ]
    model = AnalogSequential(layers[0], Sigmoid(), layers[1])
    dtype = torch.float64 if double else torch.float32
    model.to(dtype)
    generator = torch.Generator().manual_seed(1)
    for layer in layers:  # those of a layer are torch's
        start = torch.rand(layer.out_features, layer.in_features, generator=generator) - 0.5
        layer.set_weights(start * 0.6, torch.zeros(layer.out_features))
    optimizer = AnalogSGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        x, y = torch.rand(5, 7, generator=generator).to(dtype), torch.rand(5, 3, generator=generator).to(dtype)
        optimizer.zero_grad()
        ((model(x) - y) ** 2).sum().backward()
        optimizer.step()
    return torch.cat([layer.get_weights()[0].flatten() for layer in layers]), model


WHOLE_STEPS = ("TTv2", "ChoppedTTv2", "AGAD")
CONFIGS = presets.names("config")
MIXED = [name for name in CONFIGS if name.startswith("MixedPrecision")]


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in MIXED])
def test_presets_train_alike(name: str) -> None:
    """A buffer gives whole steps: now and then a truncation stands next to a tie, and some crosspoints get other pulses."""
    config = presets.get(name)()
    (single, _), (double, model) = (trained(config, wide) for wide in (False, True))
    assert double.dtype is torch.float64
    assert all(p.dtype is torch.float64 for p in model.parameters())
    difference = (single - double).abs()
    assert float(difference.median() if name.startswith(WHOLE_STEPS) else difference.max()) < ROUNDING


@pytest.mark.parametrize("name", MIXED)
def test_mixed_precision_gathers_alike(name: str) -> None:
    """It writes whole steps, each a whole number of pulses up to rounding: the length of a train is a ceiling of that, always
    next to a tie. So the devices get other pulses; the digital matrix, from which what is written is taken, does not."""
    single, double = (
        [tile.array.chi for tile in trained(presets.get(name)(), wide, steps=1)[1].analog_tiles()] for wide in (False, True)
    )
    for a, b in zip(single, double, strict=True):
        assert float(b.abs().max()) > 0.001
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=ROUNDING)


def test_an_exact_update_has_the_rounding_of_double_precision() -> None:
    generator = torch.Generator().manual_seed(2)
    x, d = (torch.randn(2, 50, n, generator=generator, dtype=torch.float64) for n in (70, 40))
    weight, rate = torch.randn(2, 40, 70, generator=generator, dtype=torch.float64), torch.tensor([0.1, 0.2], dtype=torch.float64)
    expected = weight - rate.reshape(2, 1, 1) * torch.einsum("rbo,rbi->roi", d, x)
    ops.exact_update_(weight, x, d, rate)
    np.testing.assert_allclose(weight.numpy(), expected.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("batch", [1, 5, 40])
def test_a_product_has_the_rounding_of_double_precision(batch: int, transposed: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    made = tile(IDEAL, True)
    weight = torch.randn(REPLICAS, OUT, IN, generator=generator, dtype=torch.float64)
    made.set_weights(weight, torch.zeros(OUT))
    v = torch.randn(REPLICAS * batch, OUT if transposed else IN, generator=generator, dtype=torch.float64)
    y = made.backward(v) if transposed else made(v).detach()
    expected = v.reshape(REPLICAS, batch, -1) @ (weight if transposed else weight.transpose(1, 2))
    np.testing.assert_allclose(y.numpy(), expected.reshape(y.shape).numpy(), rtol=0, atol=1e-13)


def test_a_converted_product_against_its_formula() -> None:
    io = IOParameters(
        out_noise=0.0, noise_management="NONE", bound_management="NONE", inp_res=2**-6, out_res=2**-7, out_bound=8.0
    )
    generator = torch.Generator().manual_seed(2)
    made = tile(SingleRPUConfig(device=IdealDevice(), forward=io), True)
    weight = torch.randn(OUT, IN, generator=generator, dtype=torch.float64) * 2
    made.set_weights(weight, torch.zeros(OUT))
    x = torch.randn(REPLICAS * 30, IN, generator=generator, dtype=torch.float64)
    step_in, step_out = io.inp_step, float(made.forward_product.settings[0, ops.IO_SETTINGS.index("out_step")])
    u = (torch.round(x / step_in) * step_in).clamp(-1.0, 1.0)
    expected = (torch.round(u @ weight.T / step_out) * step_out).clamp(-8.0, 8.0)
    np.testing.assert_allclose(made(x).detach().numpy(), expected.numpy(), rtol=0, atol=1e-12)
    assert float(expected.abs().max()) == 8.0


# Types


def test_a_configuration_asks_for_double_precision() -> None:
    runtime = RuntimeParameter(data_type=RPUDataType.DOUBLE)
    made = AnalogTile(3, 4, SingleRPUConfig(device=SoftBoundsDevice(), runtime=runtime), bias=True)
    assert made.dtype is torch.float64
    assert {v.dtype for v in made.state_dict().values() if v.is_floating_point()} == {torch.float64}
    grid = make_tile(
        3, 4, SingleRPUConfig(device=IdealDevice(), runtime=runtime, mapping=MappingParameter(max_input_size=2)), bias=True
    )
    assert isinstance(grid, TileGrid)
    assert grid.bias is not None
    assert grid.bias.dtype is torch.float64
    quantized = make_tile(3, 4, QuantizedTorchInferenceRPUConfig(runtime=runtime), bias=True)
    assert {p.dtype for p in quantized.parameters()} == {torch.float64}


def test_a_tile_goes_to_double_precision_and_back() -> None:
    made = tile(build_config("c-ttv2", SoftBoundsDevice()), False)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    assert made.rpu_config.runtime.data_type is RPUDataType.FLOAT
    made.double()
    assert made.rpu_config.runtime.data_type is RPUDataType.DOUBLE
    made.float()
    assert made.rpu_config.runtime.data_type is RPUDataType.FLOAT
    after = made.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name].dtype is value.dtype, name
        if "extra" not in name:
            assert torch.equal(after[name], value), name
    made.double().half()
    assert made.dtype is torch.float64


def test_lower_precisions_are_converted_and_higher_ones_refused() -> None:
    made = tile(IDEAL, True)
    x = torch.rand(REPLICAS, IN)
    exact = made(x.double())
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        given = x.clone().to(kind).detach().requires_grad_()
        y = made(given)
        assert y.dtype is kind
        y.sum().backward()
        assert given.grad is not None
        assert given.grad.dtype is kind
        assert float((y - exact).detach().abs().max()) < {torch.float32: 1e-6}.get(kind, 2e-2)
    with pytest.raises(
        ShapeError, match=r"float64; this tile computes in torch.float32: .* \.float\(\), or the tile with \.double\(\)"
    ):
        tile(IDEAL, False)(x.double())
    with pytest.raises(ShapeError, match="int64"):
        made(torch.ones(REPLICAS, IN, dtype=torch.int64))


def test_kernels_refuse_a_mix_of_precisions() -> None:
    weight, x, d, rate = torch.zeros(1, 3, 4, dtype=torch.float64), torch.zeros(1, 2, 4), torch.zeros(1, 2, 3), torch.zeros(1)
    with pytest.raises(ShapeError, match=r"x is torch.float32; this needs torch.float64"):
        ops.exact_update_(weight, x, d, rate)
    with pytest.raises(ShapeError, match=r"weight is torch.float16; this needs torch.float32 or float64"):
        ops.exact_update_(weight.half(), x, d, rate)
    with pytest.raises(ShapeError, match="computed on the CPU"):
        ops.exact_update_(weight.to("meta"), x, d, rate)


def test_layers_of_all_kinds() -> None:
    config = SingleRPUConfig(device=SoftBoundsDevice())
    for layer, shape in (
        (AnalogConv2d(2, 3, 3, rpu_config=config), (4, 2, 6, 6)),
        (AnalogLSTM(5, 4, rpu_config=config), (3, 2, 5)),
        (AnalogLinear(5, 4, rpu_config=config), (3, 5)),
    ):
        layer.double()
        y = layer(torch.rand(shape, dtype=torch.float64))
        y = y[0] if isinstance(y, tuple) else y
        assert y.dtype is torch.float64
        y.sum().backward()
        AnalogSGD(layer.parameters(), lr=0.1).step()


def test_a_model_in_double_precision_is_converted_as_one() -> None:
    x = torch.rand(3, 4, 5, dtype=torch.float64)
    for digital in (torch.nn.Linear(5, 4), torch.nn.LSTM(5, 4), torch.nn.MultiheadAttention(5, 1, batch_first=True)):
        digital.double()
        given = (x,) * (3 if isinstance(digital, torch.nn.MultiheadAttention) else 1)
        expected = digital(*given)
        analog = convert_to_analog(digital, IDEAL)
        twin = convert_to_digital(analog)
        loaded = convert_to_analog(copy.deepcopy(digital).requires_grad_(), IDEAL)
        loaded.load_state_dict(digital.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(digital.state_dict().values(), twin.state_dict().values(), strict=True))
        for model in (analog, twin, loaded):
            y = model(*given)
            a, b = (v if isinstance(v, Tensor) else v[0] for v in (expected, y))
            assert b.dtype is torch.float64
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-12)


def test_scales_ranges_and_closed_loops() -> None:
    pre_post = PrePostProcessingParameter(input_range=InputRangeParameter(enable=True))
    mapping = MappingParameter(
        learn_out_scaling=True, weight_scaling_omega=0.6, weight_scaling_columnwise=True, digital_bias=False
    )
    config = SingleRPUConfig(
        device=SoftBoundsDevice(dw_min=0.005), pre_post=pre_post, mapping=mapping, forward=PERFECT, backward=PERFECT
    )
    assert_close(config, used, 1e-5)
    made = tile(config, True)
    used(made, 2)
    made.set_input_range(20.0)
    made.set_mapping_scales(torch.rand(OUT))
    weight, _ = made.read_weights(apply_weight_scaling=True)
    np.testing.assert_allclose(weight.numpy(), made.get_weights()[0].numpy(), rtol=0, atol=1e-10)
    made.program_weights()
    assert made.get_weights()[0].dtype is torch.float64


# State


@pytest.mark.parametrize("name", ["sgd", "c-ttv2", "agad", "mp"])
def test_a_continued_run_is_the_uninterrupted_one(name: str) -> None:
    config = build_config(name, SoftBoundsReferenceDevice(dw_min=0.005))
    made = tile(config, True)
    used(made)
    buffer = io.BytesIO()
    torch.save(made.state_dict(), buffer)
    buffer.seek(0)
    other = tile(config, False)  # the state says that it is one of double precision
    other.load_state_dict(torch.load(buffer, weights_only=True))
    copies = [other, copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    expected = used(made)
    for continued in copies:
        assert continued.dtype is torch.float64
        for a, b in zip(expected, used(continued), strict=True):
            assert torch.equal(a, b)


KINDS = {
    "inference": InferenceRPUConfig(forward=PERFECT),
    "quantized": QuantizedTorchInferenceRPUConfig(),
    "a grid": InferenceRPUConfig(forward=PERFECT, mapping=MappingParameter(max_input_size=4)),
    "a quantized grid": QuantizedTorchInferenceRPUConfig(mapping=MappingParameter(max_input_size=4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_brings_its_precision(kind: str) -> None:
    saved, other = tile(KINDS[kind], True), tile(KINDS[kind], False)
    saved.set_weights(torch.rand(OUT, IN, dtype=torch.float64) * 0.3, torch.rand(OUT, dtype=torch.float64))
    saved(torch.rand(REPLICAS * 3, IN, dtype=torch.float64))  # ranges of the outputs are estimated
    parameters = list(other.parameters())
    other.load_state_dict(saved.state_dict())
    assert all(a is b for a, b in zip(parameters, other.parameters(), strict=True))  # those that an optimizer knows
    assert {p.dtype for p in parameters} == {torch.float64}
    x = torch.rand(REPLICAS * 3, IN, dtype=torch.float64)
    assert torch.equal(saved.eval()(x), other.eval()(x))


@pytest.mark.parametrize("max_input_size", [0, 4])
def test_another_configuration_brings_its_precision(max_input_size: int) -> None:
    mapping = MappingParameter(max_input_size=max_input_size)
    layer = AnalogLinear(IN, OUT, rpu_config=InferenceRPUConfig(forward=PERFECT, mapping=mapping))
    double = RuntimeParameter(data_type=RPUDataType.DOUBLE)
    for runtime, dtype, tolerance in ((double, torch.float64, 1e-13), (RuntimeParameter(), torch.float32, 1e-6)):
        layer.replace_rpu_config(InferenceRPUConfig(forward=PERFECT, mapping=mapping, runtime=runtime))
        assert {p.dtype for p in layer.parameters()} == {dtype}
        weight, bias = layer.get_weights()
        x = torch.rand(3, IN, dtype=dtype)
        assert bias is not None
        np.testing.assert_allclose(layer(x).detach().numpy(), (x @ weight.T + bias).numpy(), rtol=0, atol=tolerance)


def test_a_part_in_another_precision_is_refused() -> None:
    grid = tile(SingleRPUConfig(device=IdealDevice(), mapping=MappingParameter(max_input_size=4)), False)
    for part in grid.tiles:
        part.double()
    with pytest.raises(ShapeError, match=r"not torch.float64 as the outputs are"):
        grid(torch.rand(REPLICAS, IN, dtype=torch.float64))


@pytest.mark.parametrize("name", ["sgd", "ttv2"])
def test_replicas_and_threads_change_no_bit(name: str) -> None:
    config = build_config(name, SoftBoundsReferenceDevice(dw_min=0.005))
    generator = torch.Generator().manual_seed(4)
    x, d = (torch.randn(3, 20, n, generator=generator, dtype=torch.float64) for n in (150, 70))

    def run(seeds: list[int], threads: int) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            made = AnalogTile(70, 150, config, seeds=seeds, stream="tile", replicas=len(seeds)).double()
            made.set_learning_rate(0.05)
            for k in range(3):
                made.update(x[k].repeat(len(seeds), 1), d[k].repeat(len(seeds), 1))
            return torch.cat(
                [made.get_weights()[0], made(x[0].repeat(len(seeds), 1)).detach().reshape(len(seeds), 20, 70).mT], dim=2
            )
        finally:
            torch.set_num_threads(before)

    together = run([7, 8, 9], 1)
    assert torch.equal(together, run([7, 8, 9], 2))
    assert torch.equal(together[1:2], run([8], 1))


def test_updates_have_the_same_bits_on_every_instruction_set() -> None:
    from sim import _core64

    def weights() -> Tensor:
        made = tile(build_config("ttv2", PowStepDevice(dw_min=0.005)), True)
        generator = torch.Generator().manual_seed(1)
        for _ in range(4):
            x, d = (torch.randn(2 * 30, n, generator=generator, dtype=torch.float64) for n in (IN, OUT))
            made.update(x, d)
        return made.get_weights()[0]

    found = list(on_every_isa(weights, _core64).values())
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_memory_is_shown_as_it_is() -> None:
    made = AnalogTile(64, 128, SingleRPUConfig(device=SoftBoundsDevice()))
    single = made.array.memory()
    assert made.double().array.memory() == 2 * single
