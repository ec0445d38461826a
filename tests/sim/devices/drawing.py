"""Helpers of the tests of device-to-device spread."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from sim.random import Draws

SHAPE = (400, 500)


def draw(device, shape=SHAPE, key=1):
    """Hidden parameters of a device as an object with tensors of the given shape, in float64."""
    values = device.hidden(device.draw(shape, Draws(key, shape)))
    return SimpleNamespace(**{k: torch.as_tensor(v, dtype=torch.float64).expand(shape) for k, v in values.items()})


def assert_mean(sample, expected, n_reference=math.inf, sigmas=5.0):
    """The mean agrees within the given number of standard errors; ``n_reference`` where the other side is a sample."""
    std = float(sample.std())
    error = std * math.sqrt(1 / sample.numel() + 1 / n_reference)
    assert abs(float(sample.mean()) - expected) <= sigmas * error + 1e-6 * abs(expected), (
        float(sample.mean()),
        expected,
    )


def assert_std(sample, expected, n_reference=math.inf, sigmas=5.0):
    """The standard deviation agrees; its standard error follows from the fourth moment of the sample."""
    std = float(sample.std())
    if std == 0:
        assert expected == 0
        return
    fourth = float(((sample - sample.mean()) ** 4).mean())
    error = math.sqrt(max(fourth - std**4, 0.0) / (4 * std**2) * (1 / sample.numel() + 1 / n_reference))
    assert abs(std - expected) <= sigmas * error + 1e-6 * abs(expected), (std, expected, error)


def correlation(a, b):
    """Pearson's correlation of two tensors."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
