"""Devices without pulses."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from sim.devices.base import AnalogDevice, Device, SimpleDriftParameter
from sim.errors import ConfigError
from sim.settings import NonNegative, config

__all__ = ["FloatingPointDevice", "IdealDevice", "lifetime_is_longer_than_a_call"]


def lifetime_is_longer_than_a_call(lifetime: float) -> None:
    """ConfigError for a lifetime in (0, 1]: weights without a device neither forget at once nor keep all."""
    if 0 < lifetime <= 1:
        raise ConfigError(
            f"lifetime = {lifetime:g} is not allowed: give 0 for no decay, or more than 1 decay call",
            field="lifetime",
            value=lifetime,
            allowed="0, or above 1",
        )


@config
class IdealDevice(AnalogDevice):
    """Exact floating-point update W <- W - lr d x^T: no bounds, no pulses, nothing that varies between crosspoints."""

    diffusion: Annotated[NonNegative, "std of one diffusion step, in weight"] = 0.0
    lifetime: Annotated[NonNegative, "decay calls until 1/e, towards 0; 0 = no decay"] = 0.0
    reset_std: Annotated[NonNegative, "std of the weight after a reset"] = 0.01

    def rules(self) -> None:
        """A lifetime of less than one call has no meaning."""
        lifetime_is_longer_than_a_call(self.lifetime)


@config
class FloatingPointDevice(Device):
    """The weights of a digital tile; exact update, no reset."""

    diffusion: Annotated[NonNegative, "std of one diffusion step, in weight"] = 0.0
    lifetime: Annotated[NonNegative, "decay calls until 1/e, towards 0; 0 = no decay"] = 0.0
    drift: Annotated[SimpleDriftParameter, "power-law drift, the same for all weights"] = field(
        default_factory=SimpleDriftParameter
    )

    def rules(self) -> None:
        """A lifetime of less than one call has no meaning."""
        lifetime_is_longer_than_a_call(self.lifetime)
