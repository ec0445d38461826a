"""One epoch of the three-layer network of the field, alone and as 16 replicas, beside plain torch."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.images import images
from benchmarks.table import Table
from benchmarks.timing import Times, threads
from sim.configs import RPUConfig, build_config
from sim.nn import AnalogLinear, AnalogSequential
from sim.nn.activation import Sigmoid
from sim.optim import AnalogSGD

__all__ = ["run"]

SIZES = (784, 256, 128, 10)
IMAGES, BATCH, PARTS = 10_000, 10, 10
ALGORITHMS = ("sgd", "tiki-taka", "ttv2", "c-ttv2", "agad", "mp")


def run(quick: bool = False) -> list[Table]:
    """Seconds of 10,000 images, one thread and all; one replica, sixteen, plain torch."""
    x, y, source = images(IMAGES)
    parts = 2 if quick else PARTS
    table = Table(
        f"3FC 784-256-128-10, sigmoid, batch {BATCH}, one epoch of {IMAGES} images ({source}) [s]",
        ["what", "threads", "minimum", "median", "a replica", "against plain torch"],
        notes=[
            "ConstantStepDevice and build_config as their defaults are, learning rate 0.05; forward, backward, update, loss.",
            f"An epoch is timed in {PARTS} parts; minimum and median are those of a part, times {PARTS}."
            + (f" Quick: {parts} parts were run." if quick else ""),
        ],
    )
    for count in sorted({1, os.cpu_count() or 1}):
        threads(count)
        steps: dict[str, tuple[int, Step]] = {"plain torch": (1, _plain())}
        for algorithm in ALGORITHMS if count == 1 else ALGORITHMS[:1]:
            for replicas in (1, 16):
                steps[f"{algorithm}, R = {replicas}"] = (replicas, _analog(build_config(algorithm), replicas))
        times = {name: _epoch(step, replicas, x, y, parts) for name, (replicas, step) in steps.items()}
        plain = times["plain torch"]
        for name, (replicas, _) in steps.items():
            t = times[name]
            one = t.minimum / replicas
            table.add(name, count, t.minimum, t.median, one, f"{one / plain.minimum:.2f} x")
    threads(1)
    return [table]


Step = Callable[[Tensor, Tensor], object]


def _epoch(step: Step, replicas: int, x: Tensor, y: Tensor, parts: int) -> Times:
    step(x[:BATCH].repeat(replicas, 1), y[:BATCH].repeat(replicas))
    taken = []
    size = IMAGES // PARTS
    for part in range(parts):
        start = time.perf_counter()
        for at in range(part * size, (part + 1) * size, BATCH):
            step(x[at : at + BATCH].repeat(replicas, 1), y[at : at + BATCH].repeat(replicas))
        taken.append(time.perf_counter() - start)
    return Times(min(taken) * PARTS, statistics.median(taken) * PARTS, parts)


def _analog(config: RPUConfig, replicas: int) -> Step:
    layers: list[nn.Module] = []
    for k, (n_in, out) in enumerate(itertools.pairwise(SIZES)):
        seeds = list(range(replicas))
        layers += [AnalogLinear(n_in, out, rpu_config=config, replicas=replicas, seeds=seeds, stream=f"fc{k}"), Sigmoid()]
    model = AnalogSequential(*layers[:-1])
    optimizer = AnalogSGD(model.parameters(), lr=0.05)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        # The sum over replicas of each one's mean.
        (nn.functional.cross_entropy(model(x), y) * replicas).backward()
        optimizer.step()

    return step


def _plain() -> Step:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for n_in, out in itertools.pairwise(SIZES):
        layers += [nn.Linear(n_in, out), nn.Sigmoid()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step
