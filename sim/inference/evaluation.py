"""How good a model is over the time after programming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sim.errors import ConfigError
from sim.inference.model import drift_analog_weights, program_analog_weights
from sim.inference.noise import BaseNoiseModel
from sim.tiles.inference import InferenceTile

__all__ = ["TIMES", "Accuracy", "Evaluation", "evaluate"]

TIMES = (60.0, 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0)
"""A minute, an hour, a day, a month, a year after programming, s."""


class Accuracy:
    """Fraction of samples whose largest output is that of their label, for each replica of a model.

    Parameters
    ----------
    inputs : (n, ...) samples
    labels : (n,) classes
    batch : samples at a time
    """

    def __init__(self, inputs: Tensor, labels: Tensor, batch: int = 1000) -> None:
        if len(inputs) != len(labels) or not len(inputs):
            raise ConfigError(f"{len(inputs)} inputs do not go with {len(labels)} labels: give one label for each input")
        self.inputs, self.labels, self.batch = inputs, labels, batch

    def __call__(self, model: nn.Module) -> Tensor:
        """(R,) fractions."""
        replicas = _replicas(model)
        right = torch.zeros(replicas)
        with torch.no_grad():
            for x, labels in zip(self.inputs.split(self.batch), self.labels.split(self.batch), strict=True):
                given = x.repeat(replicas, *[1] * (x.dim() - 1)) if replicas > 1 else x
                chosen = model(given).argmax(dim=-1).reshape(replicas, -1)
                right += (chosen == labels).sum(dim=1)
        return right / len(self.labels)


@dataclass(frozen=True)
class Evaluation:
    """A metric over repeated programming and over time.

    Attributes
    ----------
    t_inference : (T,) seconds after programming
    values : (T, n), one for each programming
    """

    t_inference: Tensor
    values: Tensor

    @property
    def mean(self) -> Tensor:
        """(T,) means over programmings."""
        return self.values.mean(dim=1)

    @property
    def std(self) -> Tensor:
        """(T,) standard deviations over programmings; 0 for one."""
        return self.values.std(dim=1) if self.values.shape[1] > 1 else torch.zeros(len(self.values))

    def __str__(self) -> str:
        rows = [f"{'t [s]':>12} {'mean':>10} {'std':>10}"]
        rows += [f"{t:12g} {m:10.4g} {s:10.2g}" for t, m, s in zip(*map(Tensor.tolist, (self.t_inference, self.mean, self.std)),
                                                                     strict=True)]  # fmt: skip
        return "\n".join(rows)


def evaluate(
    model: nn.Module, metric: Callable[[nn.Module], float | Tensor | Sequence[float]],
    t_inference: Sequence[float] = TIMES, n_repeats: int = 10, noise_model: BaseNoiseModel | None = None,
) -> Evaluation:  # fmt: skip
    """Program a model again and again, let it drift, and measure it.

    Parameters
    ----------
    model : a model with inference tiles; its mode is put back afterwards, and its trained weights stay
    metric : called with the model in evaluation mode; gives a number, or R numbers for a model of R replicas, such as `Accuracy`.
        The replicas of a model are repeats of their own: a small model is evaluated faster so
    t_inference : times after programming, s
    n_repeats : programmings
    noise_model : replaces the noise models of the tiles

    Returns
    -------
    Evaluation

    Raises
    ------
    ConfigError
        for no times, less than one repeat, a model without inference tiles, or a metric that gives another number of values
    """
    if not len(t_inference) or n_repeats < 1:
        raise ConfigError("give at least one time in t_inference and at least one repeat in n_repeats", field="n_repeats")
    replicas = _replicas(model)
    columns = []
    was = model.training
    model.eval()
    try:
        for _ in range(-(-n_repeats // replicas)):
            program_analog_weights(model, noise_model)
            column = []
            for t in t_inference:
                drift_analog_weights(model, float(t))
                value = torch.as_tensor(metric(model), dtype=torch.float64).reshape(-1)
                if len(value) != replicas:
                    raise ConfigError(f"the metric gives {len(value)} values for {replicas} replicas: give one each")
                column.append(value)
            columns.append(torch.stack(column))
    finally:
        model.train(was)
    values = torch.cat(columns, dim=1)[:, :n_repeats]
    return Evaluation(torch.tensor([float(t) for t in t_inference], dtype=torch.float64), values)


def _replicas(model: nn.Module) -> int:
    counts = {tile.replicas for tile in model.modules() if isinstance(tile, InferenceTile)}
    if len(counts) != 1:
        raise ConfigError(
            "the model has no inference tile: convert it with an InferenceRPUConfig"
            if not counts
            else f"the tiles of the model have different numbers of replicas ({sorted(counts)}): make them equal"
        )
    return counts.pop()
