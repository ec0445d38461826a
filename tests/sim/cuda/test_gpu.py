"""What only a GPU can show: `pytest -m gpu`."""

from __future__ import annotations

import itertools

import pytest
import torch

from sim import _core, ops
from sim.cuda.launch import reason_why_not
from sim.ops import TrainFlags
from tests.sim.cuda.test_emulated import operands

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(reason_why_not()), reason=f"no CUDA: {reason_why_not()}")]


@pytest.fixture(autouse=True)
def emulated() -> None:
    """Nothing is emulated here."""


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


def test_memory_stays() -> None:
    arguments = moved(operands("soft_bounds", 4, 64, 64, 31, counting=False, writing=False))
    torch.ops.sim.pulsed_update_(*arguments, TrainFlags(longest=31).ints)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(10_000):
        torch.ops.sim.pulsed_update_(*arguments, TrainFlags(longest=31).ints)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before
