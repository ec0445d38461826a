"""Devices without pulses."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from sim.devices.base import Device, SimpleDriftParameter
from sim.settings import Config, NonNegative, config

__all__ = ["FloatingPointDevice", "IdealDevice"]


@config
class IdealDevice(Device):
    """Exact floating-point update W <- W - lr d x^T: no bounds, no pulses, nothing that varies between crosspoints."""

    diffusion: Annotated[NonNegative, "std of one diffusion step, in weight"] = 0.0
    lifetime: Annotated[NonNegative, "decay calls until 1/e, towards 0; 0 = no decay"] = 0.0
    reset_std: Annotated[NonNegative, "std of the weight after a reset"] = 0.01


@config
class FloatingPointDevice(Config):
    """The weights of a digital tile; exact update, no reset."""

    diffusion: Annotated[NonNegative, "std of one diffusion step, in weight"] = 0.0
    lifetime: Annotated[NonNegative, "decay calls until 1/e, towards 0; 0 = no decay"] = 0.0
    drift: Annotated[SimpleDriftParameter, "power-law drift, the same for all weights"] = field(
        default_factory=SimpleDriftParameter
    )
