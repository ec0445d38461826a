"""One epoch of the three-layer network of the field, alone and as 16 replicas, beside plain torch."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.images import SHARED, images
from benchmarks.table import Table, verdict
from benchmarks.timing import Times, threads
from sim.configs import RPUConfig, build_config
from sim.nn import AnalogLinear, AnalogSequential
from sim.nn.activation import Sigmoid
from sim.optim import AnalogSGD

__all__ = ["run"]

SIZES = (784, 256, 128, 10)
IMAGES, BATCH, PARTS = 10_000, 10, 10
SWEEP = """
schema = "studies.study/1"
name = "sweep"
[base]
device = "ConstantStepDevice"
algorithm = "c-ttv2"
task = "mnist-mlp3"
data = "{data}"
train = {{ epochs = 1, batch = {batch}, lr = 0.05, images = {images} }}
[factors]
noise = {{ fields = ["device.dw_min_std"], geomspace = [0.1, 3.0, {points}] }}
[replicates]
count = 1
[target]
baseline = {{ noise = 0.1 }}
factor = "noise"
"""
SWEEP_BAR = 15.0
"""Seconds of a sweep of 16 points on two processes; the peer needs 65."""
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
            f"An epoch is timed in {PARTS} parts, in turn with the others; minimum and median are those of a part, times {PARTS}."
            + (f" Quick: {parts} parts were run." if quick else ""),
        ],
    )
    for count in sorted({1, os.cpu_count() or 1}):
        threads(count)
        steps: dict[str, tuple[int, Step]] = {"plain torch": (1, _plain())}
        for algorithm in ALGORITHMS if count == 1 else ALGORITHMS[:1]:
            for replicas in (1, 16):
                steps[f"{algorithm}, R = {replicas}"] = (replicas, _analog(build_config(algorithm), replicas))
        times = _epochs(steps, x, y, parts)
        plain = times["plain torch"]
        for name, (replicas, _) in steps.items():
            t = times[name]
            one = t.minimum / replicas
            table.add(name, count, t.minimum, t.median, one, f"{one / plain.minimum:.2f} x")
    threads(1)
    return [table, *_sweep(quick)]


def _sweep(quick: bool) -> list[Table]:
    """A study of one epoch at 16 points, c-ttv2, two worker processes; nothing where MNIST does not lie beside the repository."""
    from benchmarks.study import timed_study
    from studies.cluster import connect

    folder = SHARED / "data" / "mnist"
    if not folder.is_dir():
        return []
    points, count = (4, 1000) if quick else (16, IMAGES)
    table = Table(
        f"a study: one epoch of {count} images at {points} points, c-ttv2, two processes [s]",
        ["points", "seconds", "CPU seconds of the workers", "bar"],
        notes=["Through the study engine, the store and the test on all 10,000 test images included; the workers are up."],
    )
    with connect(2) as client, tempfile.TemporaryDirectory() as made:
        for name, size, trained in (("warm", 2, 100), ("sweep", points, count)):
            before = sum(client.run(time.process_time).values())
            text = SWEEP.format(data=folder, batch=BATCH, images=trained, points=size)
            runs, seconds = timed_study(client, Path(made) / name, text, None)
            used = sum(client.run(time.process_time).values()) - before
        table.add(runs, seconds, used, "-" if quick else verdict(seconds, SWEEP_BAR))
    return [table]


Step = Callable[[Tensor, Tensor], object]


def _epochs(steps: Mapping[str, tuple[int, Step]], x: Tensor, y: Tensor, parts: int) -> dict[str, Times]:
    """An epoch of each, a part of one after a part of the other: a slow minute of the machine is one of all."""

    def train(replicas: int, step: Step, at: int) -> None:
        images, labels = x[at : at + BATCH], y[at : at + BATCH]
        step(images if replicas == 1 else images.repeat(replicas, 1), labels if replicas == 1 else labels.repeat(replicas))

    taken: dict[str, list[float]] = {name: [] for name in steps}
    for replicas, step in steps.values():
        train(replicas, step, 0)
    size = IMAGES // PARTS
    for part in range(parts):
        for name, (replicas, step) in steps.items():
            train(replicas, step, part * size)  # what the one before left in the caches
            start = time.perf_counter()
            for at in range(part * size, (part + 1) * size, BATCH):
                train(replicas, step, at)
            taken[name].append((time.perf_counter() - start) * PARTS)
    return {name: Times(tuple(t)) for name, t in taken.items()}


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
