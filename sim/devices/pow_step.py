"""Power-step device."""

from __future__ import annotations

from typing import Annotated, ClassVar

from sim.devices.base import PulsedDevice, WriteNoiseDevice
from sim.devices.spread import Value, magnitude
from sim.random import Draws
from sim.settings import NonNegative, Real, config

__all__ = ["PowStepDevice", "draw_exponents"]


def draw_exponents(
    device: PulsedDevice, gamma: float, spread: float, up_down: float, up_down_spread: float, draws: Draws
) -> dict[str, Value]:
    """Exponents up and down of each crosspoint, by the one-sided rule of the steps (devices.md, 5.8)."""
    gain: Value = 1.0 + spread * draws.normal("pow_gamma") if spread > 0 else 1.0
    ratio: Value = up_down_spread * draws.normal("pow_up_down") if up_down_spread > 0 else 0.0
    up = (gain + min(up_down, 0.0) + ratio) * gamma
    down = (gain - max(up_down, 0.0) - ratio) * gamma
    if device.enforce_consistency:
        up, down = magnitude(up), magnitude(down)
    return {"gamma_up": up, "gamma_down": down}


@config
class PowStepDevice(WriteNoiseDevice):
    r"""The change of a pulse is a power of the distance to the bound that it moves to.

    .. math:: step_\uparrow = s_\uparrow ((b_{max} - w) / R)^{\gamma_\uparrow}, \quad
        step_\downarrow = s_\downarrow ((w - b_{min}) / R)^{\gamma_\downarrow}, \quad R = b_{max} - b_{min}

    s : step of the crosspoint at the far bound, hidden ``dwmin_up``, ``dwmin_down`` [weight];
    b : bounds of the crosspoint, hidden ``max_bound``, ``min_bound`` [weight]; a crosspoint whose bounds coincide does not
    move; :math:`\gamma` : hidden ``gamma_up``, ``gamma_down`` [1]. The base is clamped to 0 ... 1.
    Noise: multiplicative, step (1 + :math:`\sigma \xi`).

    Source: the response of filamentary and ferroelectric devices as collected by P.-Y. Chen, X. Peng and S. Yu,
    IEEE TCAD 37, 3067 (2018), with a power in place of the exponential.
    """

    kernel: ClassVar[str] = "pow_step"
    own_hidden: ClassVar[tuple[str, ...]] = ("gamma_up", "gamma_down")

    pow_gamma: Annotated[Real, "mean exponent"] = 1.0
    pow_gamma_dtod: Annotated[NonNegative, "device-to-device spread of the exponent, relative to pow_gamma"] = 0.1
    pow_up_down: Annotated[Real, "asymmetry: below 0 lowers the up exponent, above 0 the down exponent"] = 0.0
    pow_up_down_dtod: Annotated[NonNegative, "device-to-device spread of that asymmetry, relative to pow_gamma"] = 0.0

    def granularity(self) -> float:
        """Step at w = 0 with symmetric bounds."""
        return self.dw_min * 0.5**self.pow_gamma

    def draw_model(self, values: dict[str, Value], draws: Draws) -> dict[str, Value]:
        """Exponents of both directions."""
        return draw_exponents(
            self, self.pow_gamma, self.pow_gamma_dtod, self.pow_up_down, self.pow_up_down_dtod, draws
        )  # fmt: skip
