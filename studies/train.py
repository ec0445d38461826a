"""Training in memory: a group of replicas, each with its own device, seed, learning rate and order of the data.

A replica's result equals, bit for bit, that of the replica alone: analog layers and the sigmoid promise so, and the
log-softmax of torch works row by row.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.data import Images, load
from studies.models import DIGITS_MLP, MNIST_MLP3, fully_connected
from studies.records import Job
from studies.resolve import configured

if TYPE_CHECKING:
    import torch

    from studies.task import Control

__all__ = ["digits_mlp", "mnist_mlp3", "train_replicas"]

_TEST_ROWS = 500


def digits_mlp(job: Job, control: Control) -> list[dict[str, float]]:
    """64-48-10 sigmoid network on the embedded 8 x 8 digits."""
    return _classify(job, control, "digits", DIGITS_MLP)


def mnist_mlp3(job: Job, control: Control) -> list[dict[str, float]]:
    """784-256-128-10 sigmoid network on MNIST from ``job.data``."""
    return _classify(job, control, "mnist", MNIST_MLP3)


@functools.lru_cache(maxsize=2)
def _images(name: str, folder: str | None) -> Images:
    """A data set, kept on the worker between tasks."""
    return load(name, folder)


def _classify(job: Job, control: Control, data: str, sizes: Sequence[int]) -> list[dict[str, float]]:
    from sim.configs import FloatingPointRPUConfig

    train = job.train | {
        p.removeprefix("train."): v for p, v in job.pairs[0].settings.items() if p in ("train.epochs", "train.batch")
    }
    rates = [float(pair.settings.get("train.lr", job.train["lr"])) for pair in job.pairs]
    configs: Any = FloatingPointRPUConfig()
    if not job.pairs[0].digital:
        configs = [configured(job.config, pair.settings) for pair in job.pairs]
    model = fully_connected(sizes, configs, [pair.seeds["simulator"] for pair in job.pairs])
    return train_replicas(
        model,
        _images(data, job.data),
        rates,
        [pair.seeds["data-order"] for pair in job.pairs],
        epochs=int(train["epochs"]),
        batch=int(train["batch"]),
        control=control,
    )


def train_replicas(
    model: torch.nn.Module,
    images: Images,
    rates: Sequence[float],
    order_seeds: Sequence[int],
    *,
    epochs: int,
    batch: int,
    control: Control,
) -> list[dict[str, float]]:
    """Train replicas together and test each.

    Parameters
    ----------
    model : Module
        Maps (R B, pixels) to logits (R B, classes), replica after replica.
    images : Images
    rates : sequence of float, (R,)
        Learning rates.
    order_seeds : sequence of int, (R,)
        Seeds of the orders in which each replica sees the data.
    epochs, batch : int
    control : Control
        Asked between batches.

    Returns
    -------
    list of dict
        ``accuracy`` on the test set and ``loss``, the mean negative log-likelihood of the last epoch's training
        batches; both NaN for a replica that diverged.
    """
    import torch

    from sim.optim import AnalogSGD

    count = len(rates)
    x, y = torch.from_numpy(images.train_x), torch.from_numpy(images.train_y)
    orders = [np.random.default_rng(seed) for seed in order_seeds]
    optimizer = AnalogSGD(model.parameters(), lr=list(rates))
    total = np.zeros(count)
    model.train()
    for _ in range(epochs):
        order = torch.from_numpy(np.stack([generator.permutation(len(y)) for generator in orders]))
        total[:] = 0.0
        for start in range(0, len(y), batch):
            control.check()
            chosen = order[:, start : start + batch].reshape(-1)
            rows = len(chosen) // count
            optimizer.zero_grad()
            likelihood = torch.log_softmax(model(x[chosen]), 1).gather(1, y[chosen, None]).view(count, rows)
            # The sum over replicas of each one's mean: every replica has the gradient it would have alone.
            (-likelihood.sum() / rows).backward()
            optimizer.step()
            total -= likelihood.detach().double().numpy().sum(1)
    model.eval()
    accuracy = _accuracy(model, images, count, control)
    finite = np.isfinite(total)
    return [{"accuracy": accuracy[r] if finite[r] else np.nan, "loss": float(total[r]) / len(y)} for r in range(count)]


def _accuracy(model: torch.nn.Module, images: Images, count: int, control: Control) -> list[float]:
    """Share of the test set that each replica gets right."""
    import torch

    right = np.zeros(count, dtype=int)
    with torch.no_grad():
        for start in range(0, len(images.test_y), _TEST_ROWS):
            control.check()
            x = torch.from_numpy(images.test_x[start : start + _TEST_ROWS])
            y = images.test_y[start : start + _TEST_ROWS]
            found = model(x.repeat(count, 1)).argmax(1).view(count, -1).numpy()
            right += (found == y).sum(1)
    return [float(n) / len(images.test_y) for n in right]
