"""Exactly one pulse at every crosspoint, and the response of many devices to it."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.arrays import PulsedArray
from sim.configs import UpdateParameters
from sim.devices.base import PulsedDevice

ONE_PULSE = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)


def array_of(device: PulsedDevice, n: int = 1, key: int = 11, update: UpdateParameters = ONE_PULSE) -> PulsedArray:
    """A row of n crosspoints."""
    return PulsedArray([device], [update], (1, n), [key])


def pulse(array: PulsedArray, up: bool) -> None:
    """One pulse on every crosspoint of a row: probabilities are 1 for a learning rate of 1 and a granularity of at most 1."""
    x = array.weight.new_full((1, 1, array.shape[1]), -1.0 if up else 1.0)
    array.update(x, x.new_ones(1, 1, 1), x.new_ones(1))


def response(array: PulsedArray, directions: list[bool]) -> Tensor:
    """Weights before the first and after each pulse, (1 + pulses, n)."""
    trace = [array.read()[0, 0].clone()]
    for up in directions:
        pulse(array, up)
        trace.append(array.read()[0, 0].clone())
    return torch.stack(trace)
