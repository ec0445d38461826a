"""Fit device models to pulse responses.

`fit(response)` takes the PulseResponse of `fitlab.io.read` and returns a `Fit`: every model on every device, the
choice among them, noise, symmetry points and device-to-device spreads; `parameter_set(fit)` makes the file of it. The
device responses are the simulator's own compiled kernels. Method: output error for the mean, then the likelihood of the
state-space model.
"""

from __future__ import annotations

from .export import parameter_set
from .run import Fit, fit

__all__ = ["Fit", "fit", "parameter_set"]
