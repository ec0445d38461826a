"""Data-parallel training: two processes end with the weights that one has with their batches together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import nn
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from sim.configs import InferenceRPUConfig, IOParameters, SingleRPUConfig, WeightClipParameter
from sim.errors import ModuleError
from sim.nn import convert_to_analog
from sim.optim import AnalogSGD

STEPS = 3


def made() -> nn.Module:
    torch.manual_seed(0)
    clip = WeightClipParameter(type="FIXED_VALUE", fixed_value=0.3)  # type: ignore[arg-type]
    config = InferenceRPUConfig(forward=IOParameters(is_perfect=True), clip=clip)
    model = convert_to_analog(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), config)
    model.prepare_for_ddp()
    return model


def trained(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    optimizer = AnalogSGD(model.parameters(), lr=0.1)
    for batch in x:
        optimizer.zero_grad()
        model(batch).pow(2).mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def data() -> torch.Tensor:
    return torch.randn(STEPS, 2, 8, 6, generator=torch.Generator().manual_seed(1))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = trained(DistributedDataParallel(made()), data()[:, rank])
    torch.save(found, f"{folder}/{rank}.pt")
    destroy_process_group()


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(work, (str(tmp_path),), nprocs=2, start_method="fork")
    alone = trained(made(), data().flatten(1, 2))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for ours, theirs, one in zip(first, second, alone, strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, one)


def test_tiles_of_in_memory_training_are_refused() -> None:
    with pytest.raises(ModuleError, match="trained in memory"):
        convert_to_analog(nn.Linear(3, 2), SingleRPUConfig()).prepare_for_ddp()
