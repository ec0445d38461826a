"""Training on a GPU: epochs of three networks with many replicas, and a study of 256 points on one card."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.table import Table
from sim.configs import build_config
from sim.cuda.compile import CudaError
from sim.cuda.graph import CapturedStep
from sim.gpu import CaptureError
from sim.nn import AnalogLinear, AnalogSequential, Sigmoid
from sim.optim import AnalogSGD
from studies.data import Images
from studies.models import network

__all__ = ["epochs", "study"]

BATCH, STEPS = 10, 50
IMAGES = 10_000
REPLICAS = (1, 16, 64, 256)
COST_OF_64 = 1 / 30
"""Largest cost of a replica of 64 in units of that of one alone."""
POINTS, EPOCHS, TRAINING_IMAGES = 256, 5, 60_000
SIZES = (784, 256, 128, 10)
"""Of 3FC."""
WIDTH = 16
"""Of VGG-8."""
TOGETHER = (64, 256)
"""Replicas of the study that are trained at once."""

Step = Callable[[Tensor, Tensor], Tensor]


def epochs(quick: bool = False) -> Table:
    """Seconds of an epoch of 10,000 images, batch 10, from the time of some steps; as one graph where that can be captured."""
    table = Table(
        f"one epoch of {IMAGES} images, batch {BATCH}, SGD on ConstantStepDevice [s]",
        ["network", "replicas", "step by step", "as a graph", "a replica", "against R = 1", "bar"],
        notes=[f"{STEPS} steps on random images are timed and scaled. VGG-8 has width {WIDTH} on 32 x 32 x 3."],
    )
    made: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
        "3FC": functools.partial(_mlp, "sgd"), "LeNet-5": functools.partial(_network, "lenet5", (1, 28, 28), {}),
        "VGG-8": functools.partial(_network, "vgg8", (3, 32, 32), {"width": WIDTH}),
    }  # fmt: skip
    for name, make in made.items():
        alone = None
        for replicas in REPLICAS[:2] if quick else REPLICAS:
            try:
                plain, graph, why = _timed(make, replicas)
            except torch.cuda.OutOfMemoryError:
                table.add(name, replicas, "no room", "", "", "", "")
                continue
            one = min(plain, graph or plain) / replicas
            alone = one if alone is None else alone
            bar = ""
            if name == "3FC" and replicas == 64:
                bar = f"{'met' if one <= alone * COST_OF_64 else 'not met'} (<= 1/30)"
            table.add(name, replicas, plain, why or graph, one, f"{one / alone:.4f} x", bar)
    return table


def study(quick: bool = False) -> Table:
    """Minutes of a study of 256 points: 3FC, c-ttv2, five epochs of 60,000 images, every point a replica."""
    table = Table(
        f"a study of {POINTS} points: 3FC, c-ttv2, {EPOCHS} epochs of {TRAINING_IMAGES} images, batch {BATCH}",
        ["replicas together", "a step [ms]", "the study [min]"],
        notes=[f"From the time of {STEPS} steps."],
    )
    for replicas in TOGETHER[:1] if quick else TOGETHER:
        plain, graph, _ = _timed(functools.partial(_mlp, "c-ttv2"), replicas)
        step = min(plain, graph or plain) * BATCH / IMAGES
        table.add(replicas, step * 1e3, step * EPOCHS * TRAINING_IMAGES / BATCH * POINTS / replicas / 60)
    return table


def _mlp(algorithm: str, replicas: int) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for k, (n_in, out) in enumerate(itertools.pairwise(SIZES)):
        seeds = list(range(replicas))
        layers += [
            AnalogLinear(n_in, out, rpu_config=build_config(algorithm), replicas=replicas, seeds=seeds, stream=f"fc{k}"),
            Sigmoid(),
        ]
    return AnalogSequential(*layers[:-1]), SIZES[0]


def _network(name: str, shape: tuple[int, int, int], options: dict[str, int], replicas: int) -> tuple[nn.Module, int]:
    pixels = int(np.prod(shape))
    none = np.zeros((10, pixels), dtype=np.float32)
    labels = np.arange(10)
    images = Images(none, labels, none, labels, 10, shape)
    configs = [build_config("sgd") for _ in range(replicas)]
    return network(name, images, configs, list(range(replicas)), options), pixels


def _timed(make: Callable[[int], tuple[nn.Module, int]], replicas: int) -> tuple[float, float | None, str]:
    """Seconds of an epoch, step by step and as a graph, or why it cannot be captured."""
    model, pixels = make(replicas)
    model = model.cuda()
    x = torch.rand(STEPS, replicas * BATCH, pixels, device="cuda")
    y = torch.randint(10, (STEPS, replicas * BATCH), device="cuda")
    optimizer = AnalogSGD(model.parameters(), lr=0.05)

    def step(inputs: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels) * replicas
        loss.backward()
        optimizer.step()
        return loss.detach()

    plain = _seconds(step, x, y)
    try:
        captured = CapturedStep(step, model, x[0], y[0], optimizer=optimizer)
    except (CaptureError, CudaError) as error:
        return plain, None, f"no: {error}"
    return plain, _seconds(captured, x, y), ""


def _seconds(step: Callable[[Tensor, Tensor], object], x: Tensor, y: Tensor) -> float:
    step(x[0], y[0])
    torch.cuda.synchronize()
    start = time.perf_counter()
    for k in range(STEPS):
        step(x[k], y[k])
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / STEPS * IMAGES / BATCH
