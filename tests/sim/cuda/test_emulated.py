"""The kernels, run on the CPU thread after thread, give the bits of the C++ path."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sim import _core, ops
from sim.arrays import IdealArray, PulsedArray
from sim.arrays.inference import InferenceArray
from sim.arrays.modifier import Modifier
from sim.configs import (
    ConstantStepDevice,
    ExpressionDevice,
    FloatingPointDevice,
    InferenceRPUConfig,
    PiecewiseStepDevice,
    SoftBoundsDevice,
    SoftBoundsReferenceDevice,
    TableDevice,
    UpdateParameters,
    WeightModifierParameter,
    WeightModifierType,
)
from sim.cuda import backend
from sim.devices.base import DriftParameter, SimpleDriftParameter
from sim.inference import PCMLikeNoiseModel, StateIndependentNoiseModel
from sim.ops import TrainFlags
from tests.sim.cuda.pretended import CPU, GPU

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
        [torch.stack([values[r, k] * (0.7 + 0.6 * uniform(out, n_in)) for k in planes], 2) for r in range(replicas)]
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


@pytest.mark.parametrize("device", ["exp_step", "constant_step"])
@pytest.mark.parametrize("rates", [(2.0, 3.0), (0.2, 0.3)])
def test_more_pulses_than_wait_at_once(device: str, rates: tuple[float, float]) -> None:
    arguments = operands(device, 30, 9, 9, 31, counting=True, writing=False)
    arguments[9] = torch.tensor(rates)
    assert_same(arguments, TrainFlags(longest=31))


@pytest.mark.usefixtures("gpu")
def test_an_update_that_is_too_large_is_refused() -> None:
    array = PulsedArray([SoftBoundsDevice()], [UpdateParameters()], (1, 1), [1]).to(GPU)
    x = torch.zeros(1, 1, 1).to(GPU).expand(1, 2**30, 1)
    devices = array.packed(array.trains, array.granularity)
    with pytest.raises(ops.ShapeError, match="smaller mini-batches"):
        devices.run(x, x, torch.ones(1), array.steps)  # type: ignore[attr-defined]


@pytest.mark.parametrize("batch", [13, 14, 16, 20])
@pytest.mark.parametrize("device", ["soft_bounds", "constant_step"])
def test_few_pulses_after_more_than_wait_at_once(device: str, batch: int) -> None:
    """The last of a row know how many came before."""
    assert_same(operands(device, batch, 100, 40, 31, counting=True, writing=True), TrainFlags(longest=31))


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


def assert_same_state(work: Callable[[torch.device], list[torch.Tensor]]) -> None:
    here, there = work(CPU), work(GPU)
    for k, (a, b) in enumerate(zip(here, there, strict=True)):
        assert torch.equal(a, b.cpu()), k


DRIFT = DriftParameter(nu=0.1, nu_dtod=0.2, nu_std=0.1, t_0=2.0, w_offset=-0.6, nu_k=0.01, w_noise_std=0.01, reset_tol=1e-5)
AGEING: dict[str, Any] = {"lifetime": 20.0, "lifetime_dtod": 0.2, "diffusion": 0.02, "diffusion_dtod": 0.3, "reset_std": 0.05}


EVENT_KINDS: list[list[Any]] = [
    [SoftBoundsDevice(**AGEING, drift=DRIFT), SoftBoundsDevice(write_noise_std=20.0, diffusion=0.01)],
    [SoftBoundsReferenceDevice(**AGEING, reset_dtod=0.02, drift=DRIFT, write_noise_std=30.0, apply_write_noise_on_set=False)],
    [ConstantStepDevice(lifetime=10.0), ConstantStepDevice(diffusion=0.1)],
    [FloatingPointDevice(lifetime=10.0, diffusion=0.1, drift=SimpleDriftParameter(nu=0.1)), FloatingPointDevice()],
]
EVENT_NAMES = ["soft bounds", "references", "constant steps", "ideal"]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kinds", EVENT_KINDS, ids=EVENT_NAMES)
def test_events_have_the_bits_of_the_cpu(kinds: list[Any]) -> None:
    assert_events(kinds, (9, 23))


def assert_events(kinds: list[Any], shape: tuple[int, int]) -> None:
    replicas = len(kinds)

    def work(device: torch.device) -> list[torch.Tensor]:
        torch.manual_seed(1)
        keys = [5, 2**63 + 1][:replicas]
        if isinstance(kinds[0], FloatingPointDevice):
            array: Any = IdealArray(kinds, shape, ops.key_tensor_of(keys))
        else:
            array = PulsedArray(kinds, [UpdateParameters() for _ in kinds], shape, keys)
        start = torch.rand(replicas, *shape) - 0.5
        chosen, having = torch.rand(replicas, *shape) < 0.2, torch.tensor([0, 1][:replicas], dtype=torch.uint8)
        array = array.to(device)
        seen = []

        def look() -> None:
            seen.append(array.weight.clone())
            seen.append(array.read().clone())

        array.set(start.to(device))
        look()
        for _ in range(3):
            array.end_step()
            look()
        array.reset(20, 5, 0.5)
        look()
        array.reset(3, 2)
        if isinstance(array, PulsedArray):
            array.reset_where(chosen.to(device), having.to(device))
            look()
            array.reset_at(chosen.to(device), torch.tensor(4).to(device))
        look()
        array.clip(0.3)
        look()
        for elapsed in (0.0, 3.0, 10.0):
            array.drift(elapsed)
            look()
        return [*seen, array.steps]

    with torch.no_grad():
        assert_same_state(work)


MODIFIER_FIELDS: list[dict[str, Any]] = [
    {}, {"sto_round": True, "copy_last_column": True, "pdrop": 0.2, "rel_to_actual_wmax": False},
]  # fmt: skip


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kind", WeightModifierType)
@pytest.mark.parametrize("fields", MODIFIER_FIELDS)
def test_modified_weights_have_the_bits_of_the_cpu(kind: WeightModifierType, fields: dict[str, Any]) -> None:
    assert_modified(kind, fields, (7, 37))


def assert_modified(kind: WeightModifierType, fields: dict[str, Any], shape: tuple[int, int]) -> None:
    stuck = {"pcm_prob_at_reset": 0.1, "pcm_prob_at_gmax": 0.1, "pcm_prob_at_random": 0.1, "pcm_t_inference": 1000.0}
    one, other = (WeightModifierParameter(type=kind, std_dev=0.1, res=0.05, **fields, **more) for more in ({}, stuck))

    def work(device: torch.device) -> list[torch.Tensor]:
        torch.manual_seed(1)
        modifier, weight = Modifier([one, other]).to(device), torch.randn(2, *shape).to(device)
        return [modifier(weight, ops.key_tensor_of([3, 2**63 + 9]).to(device), torch.tensor(k).to(device)) for k in range(2)]

    assert_same_state(work)


PAIRS: list[list[Any]] = [
    [PCMLikeNoiseModel(), PCMLikeNoiseModel(t_0=30.0, read_noise_scale=0.0)], [StateIndependentNoiseModel(drift_nu_std=0.1)],
]  # fmt: skip


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("models", PAIRS)
def test_programmed_devices_have_the_bits_of_the_cpu(models: list[Any]) -> None:
    assert_programmed(models, (9, 23))


def assert_programmed(models: list[Any], shape: tuple[int, int]) -> None:
    def work(device: torch.device) -> list[torch.Tensor]:
        torch.manual_seed(1)
        array = InferenceArray([InferenceRPUConfig(noise_model=m) for m in models], shape, [3, 2**63 + 1][: len(models)])
        array.set(torch.randn(len(models), *shape))
        array = array.to(device).eval()
        array.program(array.models)
        seen = [array.programmed_weight().clone()]
        for t in (0.0, 3600.0):
            array.drift_to(t)
            seen.append(array.programmed_weight().clone())
        return seen

    with torch.no_grad():
        assert_same_state(work)
