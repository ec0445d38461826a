"""Linear-step device."""

from __future__ import annotations

from typing import Annotated, ClassVar

from sim.devices.base import WriteNoiseDevice
from sim.devices.spread import Value, magnitude, where
from sim.errors import ConfigError
from sim.random import Draws
from sim.settings import NonNegative, Real, config

__all__ = ["LinearStepDevice", "reversed_needs_mult_noise", "slope"]


def slope(gamma: Value, step: Value, reference: Value) -> Value:
    """``-gamma step / reference``, and 0 for a reference of 0."""
    at_zero = reference == 0
    return where(at_zero, 0.0, -gamma * step / where(at_zero, 1.0, reference))


def reversed_needs_mult_noise(reverse_up: bool, reverse_down: bool, mult_noise: bool) -> None:
    """ConfigError for a reversed step with additive noise."""
    for name, on in (("reverse_up", reverse_up), ("reverse_down", reverse_down)):
        if on and not mult_noise:
            raise ConfigError(
                f"{name} = True needs mult_noise = True: set mult_noise, or leave {name} off",
                field=name,
                value=True,
                allowed="False while mult_noise is False",
            )


@config
class LinearStepDevice(WriteNoiseDevice):
    r"""The change of a pulse is linear in the state.

    .. math:: step_\uparrow = s_\uparrow (1 - g_\uparrow w / ref_\uparrow), \quad
        step_\downarrow = s_\downarrow (1 - g_\downarrow w / ref_\downarrow)

    s : step of the crosspoint at w = 0, hidden ``dwmin_up``, ``dwmin_down`` [weight];
    g : ``gamma_up``, ``gamma_down`` with spread [1]; ref : upper bound for up, lower bound for down [weight].
    Noise: multiplicative, step (1 + :math:`\sigma \xi`); additive, step + s :math:`\sigma \xi`. The hidden slopes are
    -g s / ref. A step is not floored at 0: beyond its reference it turns round.

    Source: M. J. Rasch, T. Gokmen and W. Haensch, IEEE Design & Test (2019), arXiv:1906.02698.
    """

    kernel: ClassVar[str] = "linear_step"
    kernel_scalars: ClassVar[tuple[str, ...]] = ("mult_noise",)
    own_hidden: ClassVar[tuple[str, ...]] = ("slope_up", "slope_down")

    gamma_up: Annotated[Real, "relative decrease of the up step at the upper reference"] = 0.0
    gamma_down: Annotated[Real, "relative decrease of the down step at the lower reference"] = 0.0
    gamma_up_dtod: Annotated[NonNegative, "device-to-device spread of gamma_up, absolute"] = 0.05
    gamma_down_dtod: Annotated[NonNegative, "device-to-device spread of gamma_down, absolute"] = 0.05
    allow_increasing: Annotated[bool, "keep the sign of a drawn gamma; false: take its magnitude"] = False
    mean_bound_reference: Annotated[bool, "reference = mean bounds; false: the crosspoint's own bounds"] = True
    mult_noise: Annotated[bool, "noise proportional to the step; false: to the step at w = 0"] = True
    reverse_up: Annotated[bool, "up steps grow with the weight instead of shrinking"] = False
    reverse_down: Annotated[bool, "down steps grow as the weight falls instead of shrinking"] = False
    reverse_offset: Annotated[NonNegative, "distance that keeps a reversed step from reaching 0, in weight"] = 0.01

    def rules(self) -> None:
        """Reversed steps need multiplicative noise."""
        reversed_needs_mult_noise(self.reverse_up, self.reverse_down, self.mult_noise)

    def draw_model(self, values: dict[str, Value], draws: Draws) -> dict[str, Value]:
        """Slopes of both directions."""
        up, low = (self.w_max, self.w_min) if self.mean_bound_reference else (values["max_bound"], values["min_bound"])
        ref_up = low - self.reverse_offset if self.reverse_up else up
        ref_down = up + self.reverse_offset if self.reverse_down else low
        gamma_up = self._gamma(self.gamma_up, self.gamma_up_dtod, draws, "gamma_up")
        gamma_down = self._gamma(self.gamma_down, self.gamma_down_dtod, draws, "gamma_down")
        return {
            "slope_up": slope(gamma_up, values["dwmin_up"], ref_up),
            "slope_down": slope(gamma_down, values["dwmin_down"], ref_down),
        }

    def _gamma(self, mean: float, spread: float, draws: Draws, name: str) -> Value:
        gamma: Value = mean + spread * draws.normal(name) if spread > 0 else mean
        return gamma if self.allow_increasing else magnitude(gamma)
