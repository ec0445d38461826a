"""Fit device models to pulse responses.

`fit(response)` takes the PulseResponse of `fitlab.io.read` and returns a `Fit`: every model on every device, the
choice among them, noise, symmetry points and device-to-device spreads. The device responses are the simulator's own
compiled kernels. Method: output error for the mean, then the likelihood of the state-space model.
"""

from __future__ import annotations

from .run import Fit, fit

__all__ = ["Fit", "fit"]
