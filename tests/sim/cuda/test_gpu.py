"""What only a GPU can show: `pytest -m gpu`."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
import torch

from sim import _core, ops, presets
from sim.arrays.product import Product
from sim.configs import IOParameters, SingleRPUConfig, UnitCellRPUConfig, WeightModifierType, build_config
from sim.cuda.graph import CapturedStep
from sim.cuda.launch import reason_why_not
from sim.nn import AnalogLinear, AnalogSequential, Sigmoid
from sim.ops import TrainFlags
from sim.optim import AnalogSGD
from tests.sim.cuda.test_emulated import (
    EVENT_KINDS,
    EVENT_NAMES,
    MODIFIER_FIELDS,
    PAIRS,
    assert_events,
    assert_modified,
    assert_programmed,
    operands,
)
from tests.sim.cuda.test_graph import CONFIGS as GRAPHS
from tests.sim.cuda.test_graph import assert_same as assert_replays
from tests.sim.cuda.test_models import CONFIGS, ES, OTHERS, assert_close, stepped, trained

STEPS = 10_000
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(reason_why_not()), reason=f"no CUDA: {reason_why_not()}")]


def moved(arguments: list[object]) -> list[object]:
    return [a.cuda() if isinstance(a, torch.Tensor) else a for a in arguments]


def assert_same_bits(arguments: list[object], flags: TrainFlags) -> None:
    on_gpu = moved(arguments)
    on_cpu = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    torch.ops.sim.pulsed_update_(*on_cpu, flags.ints)
    torch.ops.sim.pulsed_update_(*on_gpu, flags.ints)
    for k in range(3):
        assert torch.equal(on_cpu[k], on_gpu[k].cpu())  # type: ignore[arg-type, attr-defined]


@pytest.mark.parametrize("device", _core.devices())
def test_update_has_the_bits_of_the_cpu(device: str) -> None:
    assert_same_bits(operands(device, 16, 300, 130, 31, counting=True, writing=True), TrainFlags(longest=31))


@pytest.mark.parametrize("pulses", [0, 1, 2, 3])
@pytest.mark.parametrize("side", [0, 1, -1])
def test_trains_have_the_bits_of_the_cpu(pulses: int, side: int) -> None:
    for rounding, length in itertools.product([False, True], [31, 100]):
        flags = TrainFlags(stochastic_rounding=rounding, pulses=pulses, side=side, longest=length)
        assert_same_bits(operands("soft_bounds", 8, 129, 65, length, counting=True, writing=False), flags)


def test_fields_and_exact_updates_have_the_bits_of_the_cpu() -> None:
    keys, step = ops.key_tensor_of([1, 2**64 - 3]), torch.tensor(5)
    for normal in (False, True):
        field = torch.ops.sim.random_field(keys, 70, step, 100_003, normal)
        assert torch.equal(field, torch.ops.sim.random_field(keys.cuda(), 70, step.cuda(), 100_003, normal).cpu())
    weight, x, d, rate = torch.randn(2, 50, 90), torch.randn(2, 40, 90), torch.randn(2, 40, 50), torch.tensor([0.1, 0.3])
    twin = weight.cuda()
    ops.exact_update_(weight, x, d, rate)
    ops.exact_update_(twin, x.cuda(), d.cuda(), rate.cuda())
    assert torch.equal(weight, twin.cpu())
    v = torch.linspace(-100, 100, 100_001)
    assert torch.equal(ops.sigmoid(v), ops.sigmoid(v.cuda()).cpu())


def test_a_captured_graph_goes_on_with_new_numbers() -> None:
    """The step lies on the GPU: a replay draws what the next call would have drawn."""
    arguments = operands("soft_bounds", 8, 200, 100, 31, counting=False, writing=False)
    flags = TrainFlags(longest=31)
    by_calls, by_graph = moved(arguments), moved(arguments)
    for _ in range(4):
        torch.ops.sim.pulsed_update_(*by_calls, flags.ints)
        by_calls[15].add_(1)  # type: ignore[attr-defined]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.ops.sim.pulsed_update_(*by_graph, flags.ints)
        by_graph[15].add_(1)  # type: ignore[attr-defined]
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.ops.sim.pulsed_update_(*by_graph, flags.ints)
        by_graph[15].add_(1)  # type: ignore[attr-defined]
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(by_calls[0], by_graph[0])  # type: ignore[arg-type]


def test_two_streams_do_not_disturb_each_other() -> None:
    arguments = operands("exp_step", 8, 300, 200, 31, counting=False, writing=False)
    flags = TrainFlags(longest=31)
    alone, both = moved(arguments), [moved(arguments), moved(arguments)]
    torch.ops.sim.pulsed_update_(*alone, flags.ints)
    torch.cuda.synchronize()
    for given, stream in zip(both, (torch.cuda.Stream(), torch.cuda.Stream()), strict=True):
        with torch.cuda.stream(stream):
            torch.ops.sim.pulsed_update_(*given, flags.ints)
    torch.cuda.synchronize()
    for given in both:
        assert torch.equal(alone[0], given[0])  # type: ignore[arg-type]


def assert_same_state(config: object, steps: int = 6, batch: int = 7) -> None:
    shape = 70, 90
    here = stepped(config, torch.device("cpu"), steps, batch, shape)
    there = stepped(config, torch.device("cuda"), steps, batch, shape)
    for name, value in here.items():
        assert torch.equal(value, there[name]), name


@pytest.mark.parametrize("algorithm", ["ttv1", "ttv2", "c-ttv2", "agad", "mp"])
def test_algorithms_have_the_bits_of_the_cpu(algorithm: str) -> None:
    for device in ("ReRamESPresetDevice", "ReRamSBPresetDevice", "EcRamMOPresetDevice"):
        assert_same_state(build_config(algorithm, device=presets.get(device)()))


@pytest.mark.parametrize("name", OTHERS)
def test_transfers_have_the_bits_of_the_cpu(name: str) -> None:
    kind, fields = OTHERS[name]
    config = UnitCellRPUConfig(device=kind(**{"unit_cell_devices": [ES(), ES()], "units_in_mbatch": False, **fields}))
    if name == "a read that is a product":  # a library multiplies: last bits differ
        stepped(config, torch.device("cuda"), 6, 7, (70, 90))
    else:
        assert_same_state(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_training_is_that_of_the_cpu(name: str) -> None:
    assert_close(trained(presets.get(name), torch.device("cpu")), trained(presets.get(name), torch.device("cuda")))


def network(algorithm: str) -> AnalogSequential:
    torch.manual_seed(0)
    model = AnalogSequential(
        AnalogLinear(20, 12, rpu_config=build_config(algorithm), seeds=[1], replicas=1, stream="first"),
        Sigmoid(),
        AnalogLinear(12, 3, rpu_config=build_config(algorithm), seeds=[1], replicas=1, stream="second"),
    )
    moved_model: AnalogSequential = model.cuda()
    return moved_model


def stepping(model: torch.nn.Module) -> Any:
    optimizer = AnalogSGD(model.parameters(), lr=0.1)

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


@pytest.mark.parametrize("algorithm", ["sgd", "ttv1", "c-ttv2", "agad", "mp"])
def test_a_training_step_is_captured_as_a_graph(algorithm: str) -> None:
    """A replayed step leaves what a called one leaves, on the stream that replays it."""
    x, y = torch.randn(6, 16, 20, device="cuda"), torch.randint(3, (6, 16), device="cuda")
    models = [network(algorithm), network(algorithm)]
    called, step = (stepping(model) for model in models)
    replayed = CapturedStep(step, models[1], x[0], y[0])
    for k in range(6):
        called(x[k], y[k])
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for k in range(6):
            replayed(x[k], y[k])
    torch.cuda.synchronize()
    for here, there in zip(models[0].analog_tiles(), models[1].analog_tiles(), strict=True):
        assert torch.equal(here.get_weights()[0], there.get_weights()[0])


@pytest.mark.parametrize("name", GRAPHS)
def test_what_else_is_captured_as_a_graph(name: str) -> None:
    assert_replays(GRAPHS[name])


@pytest.mark.parametrize("kinds", EVENT_KINDS, ids=EVENT_NAMES)
def test_events_have_the_bits_of_the_cpu(kinds: list[Any]) -> None:
    assert_events(kinds, (60, 130))


@pytest.mark.parametrize("kind", WeightModifierType)
def test_modified_weights_have_the_bits_of_the_cpu(kind: WeightModifierType) -> None:
    for fields in MODIFIER_FIELDS:
        assert_modified(kind, fields, (60, 130))


@pytest.mark.parametrize("models", PAIRS)
def test_programmed_devices_have_the_bits_of_the_cpu(models: list[Any]) -> None:
    assert_programmed(models, (60, 130))


def test_threads_of_their_own_find_the_context() -> None:
    """The way back runs in a thread of torch's; a user's may be the first to start a kernel."""
    keys, step = ops.key_tensor_of([1]).cuda(), torch.tensor(5).cuda()
    expected = torch.ops.sim.random_field(keys, 70, step, 1000, True)
    found: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: found.append(torch.ops.sim.random_field(keys, 70, step, 1000, True)))
    thread.start()
    thread.join()
    assert torch.equal(expected, found[0])


def test_every_gpu_does_the_same() -> None:
    models = [network("c-ttv2").to(torch.device("cuda", k)) for k in range(torch.cuda.device_count())]
    x, y = torch.randn(8, 20), torch.randint(3, (8,))
    for k, model in enumerate(models):
        stepping(model)(x.cuda(k), y.cuda(k))
    for model in models[1:]:
        for here, there in zip(models[0].analog_tiles(), model.analog_tiles(), strict=True):
            assert torch.equal(here.get_weights()[0].cpu(), there.get_weights()[0].cpu())


@pytest.mark.parametrize("captured", [False, True])
def test_memory_stays_over_10_000_steps(captured: bool) -> None:
    model = network("c-ttv2")
    x, y = torch.randn(8, 20, device="cuda"), torch.randint(3, (8,), device="cuda")
    step = stepping(model)
    run = CapturedStep(step, model, x, y) if captured else step
    for _ in range(10):
        run(x, y)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(STEPS):
        run(x, y)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("transposed", [False, True])
def test_products_agree_to_float32(transposed: bool) -> None:
    torch.manual_seed(2)
    out, n_in = (300, 130) if transposed else (130, 300)
    weight, x = torch.rand(2, out, n_in) - 0.5, torch.rand(2, 16, 300) * 2 - 1
    io = IOParameters(
        inp_res=-1, out_res=-1, w_noise=0.02, w_noise_type="ADDITIVE_CONSTANT", ir_drop=1.0, bound_management="NONE"
    )
    product = Product([io, io], [3, 4], transposed, (out, n_in))
    on_gpu = Product([io, io], [3, 4], transposed, (out, n_in)).cuda()
    for _ in range(3):
        torch.testing.assert_close(on_gpu(weight.cuda(), x.cuda())[0].cpu(), product(weight, x)[0], rtol=1e-4, atol=1e-4)


def test_a_model_trains_on_the_gpu() -> None:
    torch.manual_seed(0)
    model = AnalogSequential(
        AnalogLinear(20, 12, rpu_config=SingleRPUConfig()), Sigmoid(), AnalogLinear(12, 3, rpu_config=SingleRPUConfig())
    )
    model = model.cuda()
    optimizer = AnalogSGD(model.parameters(), lr=0.5)
    x = torch.randn(100, 20).cuda()
    y = x[:, :3].argmax(1)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    state = {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in model.state_dict().items()}
    back = AnalogSequential(
        AnalogLinear(20, 12, rpu_config=SingleRPUConfig()), Sigmoid(), AnalogLinear(12, 3, rpu_config=SingleRPUConfig())
    )
    back.load_state_dict(state)
    for here, there in zip(back.analog_tiles(), model.analog_tiles(), strict=True):
        assert torch.equal(here.get_weights()[0], there.get_weights()[0].cpu())
