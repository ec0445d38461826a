"""Soft-bounds device with a subtracted reference."""

from __future__ import annotations

from typing import Annotated, ClassVar

from sim.devices.base import WriteNoiseDevice
from sim.devices.spread import Value, where
from sim.random import Draws
from sim.settings import NonNegative, Real, config

__all__ = ["SoftBoundsReferenceDevice"]


@config
class SoftBoundsReferenceDevice(WriteNoiseDevice):
    r"""Soft bounds around a subtracted, static reference conductance: the weight is w = g - ref.

    .. math:: step_\uparrow = s_\uparrow (1 - g / b_{max}), \quad step_\downarrow = s_\downarrow (1 - g / b_{min})

    g : state of the device [weight]; ref : hidden ``reference`` [weight];
    s : step of the crosspoint at g = 0, hidden ``dwmin_up``, ``dwmin_down`` [weight];
    b : bounds of g, hidden ``max_bound``, ``min_bound`` [weight]; one on the wrong side of 0 leaves its step constant.
    Noise: multiplicative, step (1 + :math:`\sigma \xi`); additive, step + s :math:`\sigma \xi`. A spread of a slope is
    drawn as one of its bound, b / abs(1 + slope_dtod :math:`\xi`). With ``subtract_symmetry_point`` the state at which
    both steps are equal is added to the reference, so that w = 0 there.

    All operators (set, decay, diffusion, drift, clip, reset) act on g as pulses do; the reset target and the fixed
    point of the decay are ``reset`` in weight, whatever the reference.

    Source: J. Frascaroli et al., Sci. Rep. 8, 7178 (2018), eq. 1, for the soft bounds; M. J. Rasch et al.,
    Nat. Commun. 15, 7133 (2024), for the reference.
    """

    kernel: ClassVar[str] = "soft_bounds_reference"
    kernel_scalars: ClassVar[tuple[str, ...]] = ("mult_noise",)
    own_hidden: ClassVar[tuple[str, ...]] = ("reference",)

    mult_noise: Annotated[bool, "noise proportional to the step; false: to the step at g = 0"] = False
    slope_up_dtod: Annotated[NonNegative, "device-to-device spread of the up slope"] = 0.0
    slope_down_dtod: Annotated[NonNegative, "device-to-device spread of the down slope"] = 0.0
    reference_mean: Annotated[Real, "mean of the reference, in weight"] = 0.0
    reference_std: Annotated[NonNegative, "device-to-device spread of the reference, in weight"] = 0.0
    subtract_symmetry_point: Annotated[bool, "add each device's symmetry point to its reference"] = False

    def draw_model(self, values: dict[str, Value], draws: Draws) -> dict[str, Value]:
        """Bounds with the spread of the slopes, and the reference. A stuck device keeps both."""
        upper, lower = values["max_bound"], values["min_bound"]
        straddles = (upper > 0) & (lower < 0)
        if self.slope_down_dtod > 0:
            factor = abs(1.0 + self.slope_down_dtod * draws.normal("slope_down"))
            lower = where(straddles, lower / factor, lower)
        if self.slope_up_dtod > 0:
            factor = abs(1.0 + self.slope_up_dtod * draws.normal("slope_up"))
            upper = where(straddles, upper / factor, upper)
        reference: Value = self.reference_mean
        if self.reference_std > 0:
            reference = reference + self.reference_std * draws.normal("reference")
        if self.subtract_symmetry_point:
            up, down = values["dwmin_up"], values["dwmin_down"]
            # A device without both bounds, or whose steps are both 0, has no symmetry point.
            fall = up / where(straddles, upper, 1.0) - down / where(straddles, lower, 1.0)
            defined = straddles & (fall != 0)
            reference = reference + where(defined, (up - down) / where(defined, fall, 1.0), 0.0)
        return {"max_bound": upper, "min_bound": lower, "reference": reference}
