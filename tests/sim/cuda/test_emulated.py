"""The kernels, run on the CPU thread after thread, give the bits of the C++ path."""

from __future__ import annotations

import itertools

import pytest
import torch

from sim import _core, ops
from sim.configs import ExpressionDevice, PiecewiseStepDevice, TableDevice
from sim.cuda import backend
from sim.ops import TrainFlags

pytestmark = pytest.mark.usefixtures("emulated")


def operands(device: str, batch: int, n_in: int, out: int, length: float, counting: bool, writing: bool) -> list[object]:
    """Arguments of an update on two replicas, with spread in every second parameter."""
    generator = torch.Generator().manual_seed(len(device) + batch)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    replicas, names = 2, ops.device_parameters(device)
    planes = [k for k in range(len(names)) if k % 2 == 0 or names[k].endswith("bound")]
    nominal = {"max_bound": 0.6, "min_bound": -0.6, "reverse_up": 0.0, "reverse_down": 0.0, "reference": 0.05}
    values = torch.tensor([[nominal.get(name, 0.01) for name in names]] * replicas)
    fields = torch.stack(
        [torch.stack([values[r, k] * (0.7 + 0.6 * uniform(out, n_in)) for k in planes]) for r in range(replicas)]
    )
    field_of = [planes.index(k) if k in planes else -1 for k in range(len(names))]
    shared = _shared(device).repeat(replicas, 1)
    apparent = torch.zeros(replicas, out, n_in) if writing else torch.empty(0)
    counts = torch.zeros((replicas, 2, out, n_in) if counting else (0,), dtype=torch.int64)
    x, d = uniform(replicas, batch, n_in) * 2 - 1, uniform(replicas, batch, out) * 2 - 1
    x[0, 0, 0] = float("nan")
    d[-1, -1, -1] = float("inf")
    settings = torch.tensor([[length, 1.0, 0.0, 0.0, 0.0], [length, 0.8, 0.05, 0.04, 0.03]])
    noise = torch.tensor([[0.3, 0.02], [0.5, 0.04]])
    return [
        uniform(replicas, out, n_in) * 0.4 - 0.2, apparent, counts, fields, field_of, values, shared, x, d,
        torch.tensor([0.1, -0.2]), torch.tensor([0.01, 0.008]), settings, noise, ops.key_tensor_of([11, 2**63 + 5]),
        ops.key_tensor_of([7, 8]), torch.tensor(3), ops.device_index(device),
    ]  # fmt: skip


def _shared(device: str) -> torch.Tensor:
    made = {
        "piecewise_step": lambda: PiecewiseStepDevice(piecewise_up=[1.0, 0.7, 0.5], piecewise_down=[0.5, 0.7, 1.0]),
        "expression": lambda: ExpressionDevice(up="dw_min*(1 - w*w)", down="dw_min*exp(0.5*w)", dw_min=0.01),
        "table": _table,
    }
    return torch.tensor([made[device]().shared()]) if device in made else torch.zeros(1, 0)


def _table() -> TableDevice:
    generator = torch.Generator().manual_seed(3)
    state = torch.rand(400, generator=generator) * 2 - 1
    direction = torch.tensor([1.0, -1.0]).repeat(200)
    change = direction * 0.01 * (1 + 0.3 * torch.randn(400, generator=generator))
    return TableDevice.from_data(state.numpy(), change.numpy(), direction.numpy())


def both(arguments: list[object], flags: TrainFlags) -> tuple[list[object], list[object]]:
    on_cpu = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    torch.ops.sim.pulsed_update_(*on_cpu, flags.ints)
    emulated = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    backend.pulsed_update_(*emulated, flags.ints)  # type: ignore[arg-type]
    return on_cpu, emulated


def assert_same(arguments: list[object], flags: TrainFlags) -> None:
    on_cpu, emulated = both(arguments, flags)
    assert not torch.equal(on_cpu[0], arguments[0])  # type: ignore[arg-type]
    for k in range(3):
        assert torch.equal(on_cpu[k], emulated[k])  # type: ignore[arg-type]


@pytest.mark.parametrize("device", _core.devices())
def test_devices(device: str) -> None:
    assert_same(operands(device, 3, 21, 18, 31, counting=True, writing=True), TrainFlags(longest=31))


@pytest.mark.parametrize("pulses", [0, 1, 2, 3])
@pytest.mark.parametrize("side", [0, 1, -1])
@pytest.mark.parametrize("rounding", [False, True])
def test_trains(pulses: int, side: int, rounding: bool) -> None:
    flags = TrainFlags(stochastic_rounding=rounding, pulses=pulses, side=side, longest=31)
    assert_same(operands("soft_bounds", 4, 19, 7, 31, counting=True, writing=False), flags)


@pytest.mark.parametrize("managed", [False, True])
@pytest.mark.parametrize("length", [5, 64, 100])
def test_lengths_of_trains(length: int, managed: bool) -> None:
    arguments = operands("constant_step", 6, 40, 5, length, counting=False, writing=False)
    for fixed, known in itertools.product([True, False], [True, False]):
        assert_same(arguments, TrainFlags(fixed, managed, managed, longest=length if known else 0))


def test_more_pulses_than_wait_at_once() -> None:
    arguments = operands("exp_step", 30, 9, 9, 31, counting=True, writing=False)
    arguments[9] = torch.tensor([2.0, 3.0])
    assert_same(arguments, TrainFlags(longest=31))


@pytest.mark.parametrize("normal", [False, True])
def test_fields(normal: bool) -> None:
    keys, step = ops.key_tensor_of([1, 2**64 - 3]), torch.tensor(5)
    assert torch.equal(
        backend.random_field(keys, 70, step, 1003, normal), torch.ops.sim.random_field(keys, 70, step, 1003, normal)
    )


def test_exact_update() -> None:
    torch.manual_seed(1)
    weight, x, d = torch.randn(2, 5, 9), torch.randn(2, 4, 9), torch.randn(2, 4, 5)
    twin = weight.clone()
    ops.exact_update_(weight, x, d, torch.tensor([0.1, 0.3]))
    backend.exact_update_(twin, x, d, torch.tensor([0.1, 0.3]))
    assert torch.equal(weight, twin)


def test_sigmoid() -> None:
    x = torch.linspace(-100, 100, 1001)
    assert torch.equal(backend.sigmoid(x), ops.sigmoid(x))
