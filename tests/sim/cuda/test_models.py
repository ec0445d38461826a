"""Models on a GPU do what they do on the CPU: their Python runs on a pretended GPU, the kernels through the emulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sim import presets
from sim.configs import (
    BufferedTransferCompound,
    ChoppedTransferCompound,
    ConstantStepDevice,
    DynamicTransferCompound,
    IOParameters,
    SingleRPUConfig,
    SoftBoundsDevice,
    TransferCompound,
    UnitCellRPUConfig,
    UpdateParameters,
    build_config,
)
from sim.nn import AnalogLinear, AnalogSequential, Sigmoid
from sim.optim import AnalogSGD
from tests.sim.cuda.pretended import GPU

pytestmark = pytest.mark.usefixtures("gpu")

STEPS, BATCH = 3, 8


def trained(make: Callable[[], Any], device: torch.device, replicas: int | None = None) -> AnalogSequential:
    """A small network after a few steps."""
    torch.manual_seed(0)
    layers = [AnalogLinear(*size, rpu_config=make(), replicas=replicas) for size in ((20, 12), (12, 3))]
    model = AnalogSequential(layers[0], Sigmoid(), layers[1])
    n = replicas or 1
    x, y = torch.randn(STEPS, n * BATCH, 20).to(device), torch.randint(3, (STEPS, n * BATCH)).to(device)
    model = model.to(device)
    optimizer = AnalogSGD(model.parameters(), lr=0.2)
    for k in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[k]), y[k]).backward()
        optimizer.step()
    return model


def weights(model: AnalogSequential) -> list[Tensor]:
    return [tile.get_weights()[0].cpu() for tile in model.analog_tiles()]


def assert_close(model: AnalogSequential, other: AnalogSequential) -> None:
    """Where a library multiplies, last bits differ, and now and then a converter or a pulse decides otherwise."""
    for here, there in zip(weights(model), weights(other), strict=True):
        differs = ((here - there).abs() > 1e-6).float().mean()
        assert differs < 0.02


CONFIGS = [
    "FloatingPointPreset", "IdealizedPreset", "GokmenVlasovPreset", "ReRamESPreset", "ReRamSB2Preset", "PCMPreset",
    "StandardHWATrainingPreset", "WebComposerInferenceRPUConfig", "TikiTakaReRamESPreset", "TTv2ReRamSBPreset",
    "ChoppedTTv2EcRamPreset", "AGADReRamESPreset", "MixedPrecisionPCMPreset", "MixedPrecisionReRamSBPreset",
]  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_training(name: str) -> None:
    assert_close(trained(presets.get(name), torch.device("cpu")), trained(presets.get(name), GPU))


def stepped(config: Any, device: torch.device, steps: int, batch: int, shape: tuple[int, int] = (7, 9)) -> dict[str, Tensor]:
    """State of a tile of three replicas after updates with given inputs and errors: no product comes in."""
    torch.manual_seed(1)
    tile = AnalogLinear(shape[1], shape[0], bias=False, rpu_config=config, replicas=3)
    x, d = (torch.rand(steps, 3 * batch, n) * 2 - 1 for n in reversed(shape))
    tile.to(device)
    analog = next(iter(tile.analog_tiles()))
    analog.set_learning_rate([0.1, 0.05, 0.0])
    for k in range(steps):
        analog.update(x[k].to(device), d[k].to(device))
        analog.end_step()
    return {name: value.cpu() for name, value in analog.array.state_dict().items() if isinstance(value, Tensor)}


def assert_same(config: Any, steps: int = 4, batch: int = 5) -> None:
    here, there = stepped(config, torch.device("cpu"), steps, batch), stepped(config, GPU, steps, batch)
    assert here.keys() == there.keys()
    for name, value in here.items():
        assert torch.equal(value, there[name]), name


@pytest.mark.parametrize("algorithm", ["ttv1", "ttv2", "c-ttv2", "agad", "mp"])
@pytest.mark.parametrize("device", ["ReRamESPresetDevice", "ReRamSBPresetDevice", "EcRamMOPresetDevice"])
def test_algorithms_have_the_bits_of_the_cpu(algorithm: str, device: str) -> None:
    assert_same(build_config(algorithm, device=presets.get(device)()))


@pytest.mark.parametrize("algorithm", ["ttv1", "ttv2", "c-ttv2", "agad", "mp"])
@pytest.mark.parametrize("bound", [0.3, 5.0])
def test_groups_of_pulses_that_are_looked_into(algorithm: str, bound: float) -> None:
    device = ConstantStepDevice(dw_min=0.01, w_max=bound, w_min=-bound, count_pulses=True)
    assert_same(build_config(algorithm, device=device), batch=13)


ES = presets.get("ReRamESPresetDevice")
OTHERS = {
    "rows": (TransferCompound, {"transfer_columns": False, "n_reads_per_transfer": 3}),
    "a chain": (TransferCompound, {"unit_cell_devices": [ES(), SoftBoundsDevice(), ES()], "transfer_every": 1.0}),
    "a random start": (BufferedTransferCompound, {"random_selection": True, "transfer_every": 1.0}),
    "exact writes": (BufferedTransferCompound, {"transfer_update": UpdateParameters(pulse_type="NONE_WITH_DEVICE")}),
    "implicit pulses": (TransferCompound, {"transfer_update": UpdateParameters(pulse_type="DETERMINISTIC_IMPLICIT")}),
    "choppers of both sides": (ChoppedTransferCompound, {"in_chop_prob": 0.5, "out_chop_prob": 0.3, "transfer_every": 1.0}),
    "a read that is a product": (
        ChoppedTransferCompound,
        {"transfer_forward": IOParameters(inp_noise=0.1), "transfer_every": 2.0},
    ),
    "resets": (TransferCompound, {"with_reset_prob": 0.5, "transfer_every": 2.0}),
    "moving references": (
        DynamicTransferCompound,
        {"in_chop_prob": 0.3, "transfer_every": 1.0, "experimental_correct_accumulation": True},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_transfers_have_the_bits_of_the_cpu(name: str) -> None:
    kind, fields = OTHERS[name]
    cell = kind(**{"unit_cell_devices": [ES(), ES()], "units_in_mbatch": False, **fields})
    assert_same(UnitCellRPUConfig(device=cell))


def test_more_vectors_than_are_worked_together() -> None:
    assert_same(build_config("agad", device=ES()), steps=1, batch=150)


def test_replicas() -> None:
    assert_close(trained(SingleRPUConfig, torch.device("cpu"), 3), trained(SingleRPUConfig, GPU, 3))


def test_a_tensor_on_the_cpu_is_refused() -> None:
    layer = AnalogLinear(4, 3, rpu_config=SingleRPUConfig()).to(GPU)
    with pytest.raises(Exception, match=r"cpu|cuda"):
        layer(torch.randn(2, 4))
