"""The images of the benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["images"]

PIXELS = 784
SHARED = Path(os.environ.get("FITLAB_SHARED", Path(__file__).parents[2] / "shared"))


def images(count: int) -> tuple[Tensor, Tensor, str]:
    """MNIST where it lies beside the repository; else as many images of noise, a fifth of whose pixels are lit."""
    folder = SHARED / "data" / "mnist"
    if folder.is_dir():
        from studies.data import load

        data = load("mnist", str(folder))
        return torch.from_numpy(data.train_x[:count]), torch.from_numpy(data.train_y[:count]), "MNIST"
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, PIXELS, generator=generator)
    lit = torch.rand(count, PIXELS, generator=generator) < 0.2
    return x * lit, torch.randint(0, 10, (count,), generator=generator), "noise with MNIST's share of lit pixels"
