"""A row of simulated crosspoints that takes one pulse at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sim.arrays import PulsedArray
from sim.configs import UpdateParameters
from sim.devices.base import PulsedDevice
from sim.random import derive_key

Floats = NDArray[np.float64]

FAR = 1e6
"""Beyond any bound: a set weight is clipped to the bounds."""


class Row:
    """n crosspoints of a device; hidden parameters and noise follow from the seed.

    Parameters
    ----------
    device : device of every crosspoint
    n : number of crosspoints
    seed, *purpose : what the random numbers follow from
    """

    def __init__(self, device: PulsedDevice, n: int, seed: int, *purpose: str | int) -> None:
        one = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
        self.array = PulsedArray([device], [one], (1, n), [derive_key(seed, *purpose)])
        # the probability of the one pulse is 1 where the rate is above the granularity
        self._rate = torch.tensor([4.0 * device.granularity()])

    def weights(self) -> Floats:
        """Weights (n,) as a product sees them."""
        return self.array.read()[0, 0].double().numpy().copy()

    def set(self, weight: float | Floats) -> None:
        """Set the weights, as far as the bounds of each crosspoint allow."""
        values = np.broadcast_to(weight, self.array.shape[1:]).astype(np.float32)
        with torch.no_grad():
            self.array.set(torch.from_numpy(values).reshape(1, 1, -1))

    def pulse(self, signs: NDArray[np.int64]) -> None:
        """Pulses one after the other, each on every crosspoint: 1 up, -1 down."""
        x = torch.from_numpy(-signs.astype(np.float32)).reshape(1, -1, 1).expand(1, len(signs), self.array.shape[1])
        with torch.no_grad():
            self.array.update(x.contiguous(), torch.ones(1, len(signs), 1), self._rate)

    def bounds(self) -> tuple[Floats, Floats]:
        """Lowest and highest weight (n,) that can be set."""
        self.set(-FAR)
        low = self.weights()
        self.set(FAR)
        return low, self.weights()

    def step(self, weight: float | Floats, sign: int) -> Floats:
        """Change (n,) by one pulse from given weights, positive in the direction of the pulse."""
        self.set(weight)
        before = self.weights()
        self.pulse(np.array([sign]))
        return sign * (self.weights() - before)
