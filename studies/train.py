"""Training in memory: a group of replicas, each with its own device, seed, learning rate and order of the data.

A replica's result equals, bit for bit, that of the replica alone: analog layers and the sigmoid promise so, and the
log-softmax of torch works row by row.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.configure import configured
from studies.data import Images, load
from studies.errors import StudyError
from studies.models import network
from studies.records import Job, Pair
from studies.task import NETWORKS

if TYPE_CHECKING:
    import torch

    from studies.task import Control

__all__ = ["classify", "part_of", "train_replicas"]

_TEST_ROWS = 500


@functools.lru_cache(maxsize=2)
def _images(name: str, folder: str | None, context: int | None) -> Images:
    """A data set, kept on the worker between tasks."""
    return load(name, folder, context)


def classify(job: Job, control: Control, each: Callable[[list[float]], None] | None = None) -> list[dict[str, float]]:
    """Train a network of :mod:`studies.models`, in memory or digitally, and test it (for inference, after programming).

    ``each`` gets the accuracy of every replica after each epoch.
    """
    data, _, name = job.task.partition("-")
    where = _device(job.device)
    settings = job.pairs[0].settings
    options = NETWORKS[name][0] | job.network
    options |= {p.removeprefix("network."): int(v) for p, v in settings.items() if p.startswith("network.")}
    images = part_of(_images(data, job.data, options.get("context")), job.train)

    def trained(pairs: Sequence[Pair], configs: Any) -> tuple[torch.nn.Module, list[dict[str, float]]]:
        train = job.train | {p.removeprefix("train."): v for p, v in settings.items() if p.startswith("train.")}
        model = network(name, images, configs, [pair.seeds["simulator"] for pair in pairs], options).to(where)
        rates = [float(pair.settings.get("train.lr", job.train["lr"])) for pair in pairs]
        orders = [pair.seeds["data-order"] for pair in pairs]
        results = train_replicas(
            model, images, rates, orders, epochs=int(train["epochs"]), batch=int(train["batch"]), control=control, each=each
        )
        return model, results

    if job.pairs[0].digital:
        from sim.configs import FloatingPointRPUConfig

        return trained(job.pairs, FloatingPointRPUConfig())[1]
    if job.kind == "training":
        return trained(job.pairs, [configured(job.config, pair.settings) for pair in job.pairs])[1]
    return _infer(job, images, trained, control)


def part_of(images: Images, train: dict[str, Any]) -> Images:
    """The first ``train["images"]`` training and ``train["test"]`` test images.

    With a share ``train["validation"]``, the last of the training images are the test instead.

    Raises
    ------
    StudyError
        When there are fewer images.
    """
    x, y = images.train_x, images.train_y
    wanted, share = train.get("images"), train.get("validation", 0.0)
    test_x, test_y = images.test_x, images.test_y
    if share:
        cut = min(max(1, round(len(x) * (1.0 - share))), len(x) - 1)
        x, y, test_x, test_y = x[:cut], y[:cut], x[cut:], y[cut:]
    if wanted is not None:
        if wanted > len(x):
            raise StudyError(f"train.images = {wanted}: there are {len(x)} images to train with; ask for at most these")
        x, y = x[:wanted], y[:wanted]
    if (tested := train.get("test")) is not None:
        if tested > len(test_x):
            raise StudyError(f"train.test = {tested}: there are {len(test_x)} images to test with; ask for at most these")
        test_x, test_y = test_x[:tested], test_y[:tested]
    return dataclasses.replace(images, train_x=x, train_y=y, test_x=test_x, test_y=test_y)


def _device(name: str) -> torch.device:
    """Where to compute.

    Raises
    ------
    StudyError
        When the worker sees no GPU, or more than one.
    """
    import torch

    if name == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count != 1:
            seen = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
            raise StudyError(
                f'run.device = "cuda", and this worker sees {count} GPUs instead of one (CUDA_VISIBLE_DEVICES: {seen}); '
                "start workers with: fitlab study worker ADDRESS --gpus all"
            )
    return torch.device(name)


def _infer(job: Job, images: Images, trained: Any, control: Control) -> list[dict[str, float]]:
    """Train what differs in more than the time of inference once, program it, and test it at every time asked for."""
    from sim.inference import drift_analog_weights, program_analog_weights

    def own(pair: Pair) -> tuple[Any, ...]:
        settings = sorted((p, v) for p, v in pair.settings.items() if p != "inference.time")
        return tuple(settings), tuple(sorted(pair.seeds.items()))

    def time(pair: Pair) -> float:
        return float(pair.settings.get("inference.time", job.inference["time"]))

    first: dict[tuple[Any, ...], Pair] = {}
    for pair in job.pairs:
        first.setdefault(own(pair), pair)
    replica = {key: r for r, key in enumerate(first)}
    model, learnt = trained(list(first.values()), [configured(job.config, pair.settings) for pair in first.values()])
    repeats = int(job.inference["repeats"])
    times = sorted({time(pair) for pair in job.pairs})
    found = {t: np.zeros(len(first)) for t in times}
    model.eval()
    for _ in range(repeats):
        program_analog_weights(model)
        for t in times:
            # A copy for each time: what is read at one time is the same whether others were asked for or not.
            later = copy.deepcopy(model)
            drift_analog_weights(later, t)
            found[t] += np.array(_accuracy(later, images, len(first), control)) / repeats
    out = []
    for pair in job.pairs:
        r = replica[own(pair)]
        loss = learnt[r]["loss"]
        out.append({"accuracy": float(found[time(pair)][r]) if np.isfinite(loss) else np.nan, "loss": loss})
    return out


def train_replicas(
    model: torch.nn.Module,
    images: Images,
    rates: Sequence[float],
    order_seeds: Sequence[int],
    *,
    epochs: int,
    batch: int,
    control: Control,
    each: Callable[[list[float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train replicas together and test each.

    Parameters
    ----------
    model : Module
        Maps (R B, pixels) to logits (R B, ..., classes), replica after replica.
    images : Images
    rates : sequence of float, (R,)
        Learning rates.
    order_seeds : sequence of int, (R,)
        Seeds of the orders in which each replica sees the data.
    epochs, batch : int
    control : Control
        Asked between batches.
    each : callable, optional
        Gets the accuracy of every replica after each epoch.

    Returns
    -------
    list of dict
        ``accuracy`` on the test set and ``loss``, the mean negative log-likelihood of the last epoch's training
        batches; both NaN for a replica that diverged.
    """
    import torch

    from sim.optim import AnalogSGD

    count = len(rates)
    where = next(model.parameters()).device
    x, y = torch.from_numpy(images.train_x).to(where), torch.from_numpy(images.train_y).to(where)
    orders = [np.random.default_rng(seed) for seed in order_seeds]
    optimizer = AnalogSGD(model.parameters(), lr=list(rates))
    total = np.zeros(count)
    accuracy: list[float] = []
    for epoch in range(epochs):
        model.train()
        order = torch.from_numpy(np.stack([generator.permutation(len(y)) for generator in orders])).to(where)
        total[:] = 0.0
        for start in range(0, len(y), batch):
            control.check()
            chosen = order[:, start : start + batch].reshape(-1)
            optimizer.zero_grad()
            logits = model(x[chosen])
            logits = logits.reshape(-1, logits.shape[-1])
            likelihood = torch.log_softmax(logits, 1).gather(1, y[chosen].reshape(-1, 1)).view(count, -1)
            # The sum over replicas of each one's mean: every replica has the gradient it would have alone.
            (-likelihood.sum() / likelihood.shape[1]).backward()
            optimizer.step()
            total -= likelihood.detach().double().cpu().numpy().sum(1)
        if each is not None or epoch == epochs - 1:
            model.eval()
            accuracy = _accuracy(model, images, count, control)
        if each is not None:
            each(accuracy)
    finite = np.isfinite(total)
    return [{"accuracy": accuracy[r] if finite[r] else np.nan, "loss": float(total[r]) / y.numel()} for r in range(count)]


def _accuracy(model: torch.nn.Module, images: Images, count: int, control: Control) -> list[float]:
    """Share of the test set that each replica gets right."""
    import torch

    right = np.zeros(count, dtype=int)
    where = next(model.parameters()).device
    with torch.no_grad():
        for start in range(0, len(images.test_y), _TEST_ROWS):
            control.check()
            x = torch.from_numpy(images.test_x[start : start + _TEST_ROWS]).to(where)
            y = images.test_y[start : start + _TEST_ROWS]
            found = model(x.repeat(count, 1)).argmax(-1).view(count, -1).cpu().numpy()
            right += (found == y.reshape(-1)).sum(1)
    return [float(n) / images.test_y.size for n in right]
