"""Networks of the studies, as replicas."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from sim.configs import RPUConfig
    from sim.nn import AnalogSequential

__all__ = ["DIGITS_MLP", "MNIST_MLP3", "fully_connected"]

DIGITS_MLP = (64, 48, 10)
# The three-layer network of the field's training studies (Gokmen and Vlasov, Front. Neurosci. 10:333, 2016).
MNIST_MLP3 = (784, 256, 128, 10)


def fully_connected(sizes: Sequence[int], configs: RPUConfig | list[RPUConfig], seeds: Sequence[int]) -> AnalogSequential:
    """Fully connected layers with sigmoids between them, one replica a seed.

    Parameters
    ----------
    sizes : sequence of int
        Widths, inputs first.
    configs : configuration, or one for each replica
    seeds : sequence of int
        Seed of each replica; with the layer's name it fixes all that is random in that replica.

    Returns
    -------
    AnalogSequential
        Maps (R B, sizes[0]) to (R B, sizes[-1]), replica after replica; outputs are logits.
    """
    from sim.nn import AnalogLinear, AnalogSequential
    from sim.nn.activation import Sigmoid

    parts: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        if parts:
            parts.append(Sigmoid())
        replicas = None if isinstance(configs, list) else len(seeds)
        layer = AnalogLinear(inputs, outputs, rpu_config=configs, replicas=replicas, seeds=list(seeds), stream=f"fc{number}")
        parts.append(layer)
    return AnalogSequential(*parts)
