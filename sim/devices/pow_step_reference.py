"""Power-step device with a subtracted reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from sim.devices.base import PulsedDevice
from sim.devices.pow_step import draw_exponents
from sim.devices.spread import Value
from sim.random import Draws
from sim.settings import NonNegative, Range, Real, config

if TYPE_CHECKING:
    import torch

__all__ = ["PowStepReferenceDevice"]

BISECTIONS = 60  # halves the range down to the rounding of a double


@config
class PowStepReferenceDevice(PulsedDevice):
    r"""Power steps around a subtracted, static reference conductance: the weight is w = g - ref.

    .. math:: step_\uparrow = s_\uparrow ((b_{max} - g) / R)^{\gamma_\uparrow}, \quad
        step_\downarrow = s_\downarrow ((g - b_{min}) / R)^{\gamma_\downarrow}, \quad R = b_{max} - b_{min}

    g : state of the device [weight]; ref : hidden ``reference`` [weight];
    s : step of the crosspoint at the far bound, hidden ``dwmin_up``, ``dwmin_down`` [weight];
    b : bounds of g, hidden ``max_bound``, ``min_bound`` [weight]; :math:`\gamma` : hidden ``gamma_up``, ``gamma_down`` [1].
    Noise: multiplicative, step (1 + :math:`\sigma \xi`). With ``subtract_symmetry_point`` the state at which both steps are
    equal is added to the reference, so that w = 0 there; a device without one (a step or an exponent that is not positive,
    bounds that do not enclose 0) keeps its reference.

    All operators (set, decay, diffusion, drift, clip, reset) act on g as pulses do; the reset target and the fixed
    point of the decay are ``reset`` in weight, whatever the reference.

    Source: as ``PowStepDevice``; M. J. Rasch et al., Nat. Commun. 15, 7133 (2024), for the reference.
    """

    kernel: ClassVar[str] = "pow_step_reference"
    own_hidden: ClassVar[tuple[str, ...]] = ("gamma_up", "gamma_down", "reference")

    pow_gamma: Annotated[Real, "mean exponent"] = 1.0
    pow_gamma_dtod: Annotated[NonNegative, "device-to-device spread of the exponent, relative to pow_gamma"] = 0.1
    pow_up_down: Annotated[Real, "asymmetry: below 0 lowers the up exponent, above 0 the down exponent"] = 0.0
    pow_up_down_dtod: Annotated[NonNegative, "device-to-device spread of that asymmetry, relative to pow_gamma"] = 0.0
    subtract_symmetry_point: Annotated[bool, "add each device's symmetry point to its reference"] = False
    n_estimation_steps: Annotated[
        int, Range(high=10**5), "up-down pulse pairs from 0 that estimate the symmetry point; up to 0: its exact value"
    ] = -1
    reference_mean: Annotated[Real, "mean of the reference, in weight"] = 0.0
    reference_std: Annotated[NonNegative, "device-to-device spread of the reference, in weight"] = 0.0

    def granularity(self) -> float:
        """Step at g = 0 with symmetric bounds."""
        return self.dw_min * 0.5**self.pow_gamma

    def draw_model(self, values: dict[str, Value], draws: Draws) -> dict[str, Value]:
        """Exponents of both directions and the reference."""
        own = draw_exponents(
            self, self.pow_gamma, self.pow_gamma_dtod, self.pow_up_down, self.pow_up_down_dtod, draws
        )  # fmt: skip
        reference: Value = self.reference_mean
        if self.reference_std > 0:
            reference = reference + self.reference_std * draws.normal("reference")
        if self.subtract_symmetry_point:
            point = _symmetry_point(values | own, self.n_estimation_steps)
            reference = reference + (float(point) if point.dim() == 0 else point.float())
        return own | {"reference": reference}


def _symmetry_point(values: dict[str, Value], pairs: int) -> torch.Tensor:
    """State at which the mean steps up and down are equal, 0 where there is none; by pulse pairs, or exactly."""
    import torch

    names = ("max_bound", "min_bound", "dwmin_up", "dwmin_down", "gamma_up", "gamma_down")
    high, low, up, down, gamma_up, gamma_down = (torch.as_tensor(values[n], dtype=torch.float64) for n in names)
    defined = (high > 0) & (low < 0) & (up > 0) & (down > 0) & (gamma_up > 0) & (gamma_down > 0)
    width = torch.where(defined, high - low, 1.0)

    def drift(g: torch.Tensor) -> torch.Tensor:
        rising, falling = ((high - g) / width).clamp(0, 1), ((g - low) / width).clamp(0, 1)
        return up * rising**gamma_up - down * falling**gamma_down

    if pairs > 0:
        point = torch.zeros_like(width)
        for _ in range(pairs):
            point = torch.where(defined, point + drift(point), 0.0)
        return point
    # The drift falls from a positive value at the lower bound to a negative one at the upper bound: one root.
    left, right = torch.where(defined, low, 0.0), torch.where(defined, high, 0.0)
    for _ in range(BISECTIONS):
        middle = (left + right) / 2
        rises = drift(middle) > 0
        left, right = torch.where(rises, middle, left), torch.where(rises, right, middle)
    return (left + right) / 2
