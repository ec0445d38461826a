"""A captured training step does what a called one does: on a pretended GPU that forbids waiting while it captures, and replays
what was done without the Python around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sim import presets
from sim.configs import (
    BoundManagementType,
    InferenceRPUConfig,
    OneSidedUnitCell,
    SingleRPUConfig,
    SoftBoundsDevice,
    TransferCompound,
    UnitCellRPUConfig,
    UpdateParameters,
    VectorUnitCell,
    VectorUnitCellUpdatePolicy,
    WeightClipType,
    WeightModifierType,
    WeightRemapType,
    build_config,
)
from sim.cuda.compile import CudaError
from sim.cuda.graph import CapturedStep
from sim.gpu import CaptureError
from sim.nn import AnalogLinear, AnalogSequential, Sigmoid
from sim.optim import AnalogAdam, AnalogSGD
from tests.sim.cuda.pretended import GPU

pytestmark = pytest.mark.usefixtures("gpu")

STEPS, BATCH = 4, 6


def trained(make: Callable[[], Any], captured: bool, replicas: int | None = None, **optimizer: Any) -> dict[str, Tensor]:
    """State of a small network after some steps, called one by one or replayed."""
    torch.manual_seed(0)
    n = replicas or 1
    seeds = list(range(n))
    layers = [
        AnalogLinear(*size, rpu_config=make(), replicas=replicas, seeds=seeds, stream=str(size)) for size in ((11, 7), (7, 3))
    ]
    model = AnalogSequential(layers[0], Sigmoid(), layers[1])
    x, y = torch.randn(STEPS, n * BATCH, 11).to(GPU), torch.randint(3, (STEPS, n * BATCH)).to(GPU)
    model = model.to(GPU)
    steps = AnalogSGD(model.parameters(), **{"lr": 0.2} | optimizer)

    def step(inputs: Tensor, labels: Tensor) -> Tensor:
        steps.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        steps.step()
        return loss.detach()

    run = CapturedStep(step, model, x[0], y[0], optimizer=steps) if captured else step
    for k in range(STEPS):
        run(x[k], y[k])
    return {name: value.cpu() for name, value in (*model.named_parameters(), *model.named_buffers())}


def assert_same(make: Callable[[], Any], replicas: int | None = None, **optimizer: Any) -> None:
    called, replayed = (trained(make, captured, replicas, **optimizer) for captured in (False, True))
    for name, value in called.items():
        assert torch.equal(value, replayed[name]), name


def vector(policy: VectorUnitCellUpdatePolicy) -> UnitCellRPUConfig:
    devices = [SoftBoundsDevice(), SoftBoundsDevice(write_noise_std=10.0)]
    return UnitCellRPUConfig(device=VectorUnitCell(unit_cell_devices=devices, update_policy=policy))


def inference() -> InferenceRPUConfig:
    config = InferenceRPUConfig()
    config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, 0.1
    config.clip.type, config.clip.sigma = WeightClipType.LAYER_GAUSSIAN, 2.0
    config.remap.type = WeightRemapType.CHANNELWISE_SYMMETRIC
    config.mapping.weight_scaling_omega, config.mapping.weight_scaling_columnwise = 1.0, True
    config.mapping.learn_out_scaling = True
    config.pre_post.input_range.enable = True
    config.pre_post.input_range.init_from_data = 2
    return config


def ageing() -> SingleRPUConfig:
    return SingleRPUConfig(device=SoftBoundsDevice(lifetime=50.0, diffusion=0.01, write_noise_std=20.0))


def exceeding(bounds: BoundManagementType) -> SingleRPUConfig:
    config = SingleRPUConfig(device=SoftBoundsDevice())
    config.forward.bound_management, config.forward.out_bound = bounds, 0.05
    return config


def reset_reads() -> UnitCellRPUConfig:
    devices = [presets.get("ReRamESPresetDevice")() for _ in range(2)]
    return UnitCellRPUConfig(
        device=TransferCompound(unit_cell_devices=devices, with_reset_prob=0.5, transfer_every=2.0, units_in_mbatch=False)
    )


CONFIGS: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: build_config(name) for name in ("sgd", "ttv1", "ttv2", "c-ttv2", "agad", "mp")},
    **{policy.name: lambda policy=policy: vector(policy) for policy in VectorUnitCellUpdatePolicy},
    "one-sided": lambda: UnitCellRPUConfig(device=OneSidedUnitCell(unit_cell_devices=[SoftBoundsDevice()])),
    "hardware-aware": inference,
    "ageing": ageing,
    "iterative": lambda: exceeding(BoundManagementType.ITERATIVE),
    "worst case": lambda: exceeding(BoundManagementType.ITERATIVE_WORST_CASE),
    "resets after reads": reset_reads,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_replay_leaves_what_a_call_leaves(name: str) -> None:
    assert_same(CONFIGS[name])


def test_replicas_with_rates_of_their_own() -> None:
    assert_same(CONFIGS["sgd"], 3, lr=[0.1, 0.2, 0.0], momentum=0.5)


def test_momentum_goes_on() -> None:
    assert_same(inference, momentum=0.9, nesterov=True)


def one_step(make: Callable[[], Any], optimizer: Any = AnalogSGD) -> None:
    model = AnalogSequential(AnalogLinear(5, 4, rpu_config=make())).to(GPU)
    steps = optimizer(model.parameters(), lr=0.1)
    steps.set_learning_rate(0.1)
    before = [t.clone().cpu() for t in (*model.parameters(), *model.buffers())]

    def step(x: Tensor) -> None:
        steps.zero_grad()
        model(x).square().sum().backward()
        steps.step()

    try:
        CapturedStep(step, model, torch.randn(3, 5).to(GPU))
    finally:
        for tensor, value in zip((*model.parameters(), *model.buffers()), before, strict=True):
            assert torch.equal(tensor.cpu(), value)


def test_capturing_leaves_the_state_as_it_is() -> None:
    one_step(CONFIGS["c-ttv2"])


REFUSED: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "a refresh": (
        lambda: UnitCellRPUConfig(device=OneSidedUnitCell(unit_cell_devices=[SoftBoundsDevice()], refresh_every=2)),
        AnalogSGD, "refresh_every",
    ),
    "Adam": (CONFIGS["sgd"], AnalogAdam, "AnalogSGD"),
    "trains that grow": (
        lambda: SingleRPUConfig(
            device=SoftBoundsDevice(),
            update=UpdateParameters(fixed_bl=False, update_bl_management=False, update_management=False),
        ),
        AnalogSGD, "fixed_bl",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_captured_says_why_and_leaves_the_state(name: str) -> None:
    make, optimizer, word = REFUSED[name]
    with pytest.raises(CaptureError, match=word):
        one_step(make, optimizer)


def test_a_step_that_waits_is_refused() -> None:
    model = AnalogSequential(AnalogLinear(5, 4, rpu_config=SingleRPUConfig())).to(GPU)
    with pytest.raises(CudaError, match="capturing"):
        CapturedStep(lambda x: model(x) * float(x.sum()), model, torch.randn(3, 5).to(GPU))


def test_inputs_are_on_one_gpu_and_keep_their_shapes() -> None:
    model = AnalogSequential(AnalogLinear(5, 4, rpu_config=SingleRPUConfig())).to(GPU)
    x = torch.randn(3, 5)
    with pytest.raises(CudaError, match="on one GPU"):
        CapturedStep(model, model, x)
    run = CapturedStep(model, model, x.to(GPU))
    with pytest.raises(CudaError, match=r"\(3, 5\) torch.float32, not \(4, 5\)"):
        run(torch.randn(4, 5).to(GPU))
    with pytest.raises(CudaError, match=r"not \(3, 5\) torch.float64"):
        run(torch.randn(3, 5).double().to(GPU))


def test_programmed_weights_are_dropped_when_a_replay_moves_them() -> None:
    model = AnalogSequential(AnalogLinear(5, 4, bias=False, rpu_config=InferenceRPUConfig())).to(GPU)
    tile: Any = next(iter(model.analog_tiles()))
    steps = AnalogSGD(model.parameters(), lr=0.1)

    def step(x: Tensor) -> None:
        steps.zero_grad()
        model(x).square().sum().backward()
        steps.step()

    x = torch.randn(3, 5).to(GPU)
    run = CapturedStep(step, model, x)
    tile.program_weights()
    assert tile.array.is_programmed()
    run(x)
    assert not tile.array.is_programmed()
