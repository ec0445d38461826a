"""Soft-bounds device."""

from __future__ import annotations

from typing import Annotated, ClassVar

from sim.devices.base import WriteNoiseDevice
from sim.devices.linear_step import reversed_needs_mult_noise, slope
from sim.devices.spread import Value
from sim.settings import NonNegative, config

__all__ = ["SoftBoundsDevice"]


@config
class SoftBoundsDevice(WriteNoiseDevice):
    r"""The change of a pulse shrinks linearly and vanishes at the bound that it moves to.

    .. math:: step_\uparrow = s_\uparrow (1 - w / b_{max}), \quad step_\downarrow = s_\downarrow (1 - w / b_{min})

    s : step of the crosspoint at w = 0, hidden ``dwmin_up``, ``dwmin_down`` [weight];
    b : bounds of the crosspoint, hidden ``max_bound``, ``min_bound`` [weight]; a bound of 0 leaves its step constant.
    Noise: multiplicative, step (1 + :math:`\sigma \xi`); additive, step + s :math:`\sigma \xi`. Both steps are equal at
    the symmetry point :math:`w^* = (s_\uparrow - s_\downarrow) / (s_\uparrow / b_{max} - s_\downarrow / b_{min})`.

    Source: J. Frascaroli et al., Sci. Rep. 8, 7178 (2018), eq. 1.
    """

    kernel: ClassVar[str] = "soft_bounds"
    kernel_scalars: ClassVar[tuple[str, ...]] = ("mult_noise", "reverse_up", "reverse_down", "reverse_offset")
    own_hidden: ClassVar[tuple[str, ...]] = ("slope_up", "slope_down")

    mult_noise: Annotated[bool, "noise proportional to the step; false: to the step at w = 0"] = True
    reverse_up: Annotated[bool, "up steps grow with the weight instead of shrinking"] = False
    reverse_down: Annotated[bool, "down steps grow as the weight falls instead of shrinking"] = False
    reverse_offset: Annotated[NonNegative, "distance that keeps a reversed step from reaching 0, in weight"] = 0.01

    def rules(self) -> None:
        """Reversed steps need multiplicative noise."""
        reversed_needs_mult_noise(self.reverse_up, self.reverse_down, self.mult_noise)

    def hidden_model(self, values: dict[str, Value]) -> dict[str, Value]:
        """The slopes, which the kernel derives from bounds and steps."""
        upper, lower = values["max_bound"], values["min_bound"]
        ref_up = lower - self.reverse_offset if self.reverse_up else upper
        ref_down = upper + self.reverse_offset if self.reverse_down else lower
        return {
            "slope_up": slope(1.0, values["dwmin_up"], ref_up),
            "slope_down": slope(1.0, values["dwmin_down"], ref_down),
        }
