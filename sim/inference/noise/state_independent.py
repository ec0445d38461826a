"""The same noise and drift whatever the conductance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from sim.inference.draws import normal_like
from sim.inference.noise.base import RelativeNoiseModel
from sim.inference.noise.laws import polynomial, power_law, power_law_numbers, read_factor
from sim.inference.programming import ALWAYS, DeviceLaws, DriftKind
from sim.settings import NonNegative, Positive, Real, config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StateIndependentNoiseModel"]


@config
class StateIndependentNoiseModel(RelativeNoiseModel):
    r"""Drift exponents of one law for all devices.

    .. math::

        g_{prog} &= \max(0, g + a_{prog} P(r) \xi), \quad r = g / g_{max} \\
        \nu &= a_{drift} |\nu_{mean} + \nu_{std} \xi|, \quad g_d = g_{prog} ((t + t_0) / t_0)^{-\nu} \\
        g(t) &= \max(0, g_d + a_{read} |g_d / g_{max}| \sqrt{\ln((t + t_0 + t_{read}) / 2 t_{read})}\, \xi)

    The read noise is 1 µS a unit of relative conductance (inference.md, 4.4): it does not scale with g_max.
    """

    prog_coeff: Annotated[Sequence[float], "coefficients c_0, c_1 ... of the programming noise, µS"] = (0.2, 0.0, 0.0)
    prog_noise_scale: Annotated[NonNegative, "factor of the programming noise"] = 1.0
    drift_nu_mean: Annotated[Real, "mean of the drift exponent"] = 0.1
    drift_nu_std: Annotated[NonNegative, "spread of the drift exponent"] = 0.05
    drift_scale: Annotated[NonNegative, "factor of the drift exponents"] = 1.0
    t_0: Annotated[Positive, "time between programming and t = 0, s"] = 20.0
    read_noise_scale: Annotated[NonNegative, "factor of the read noise"] = 1.0
    t_read: Annotated[Positive, "duration of a read, s"] = 250e-9

    def device_laws(self) -> DeviceLaws:
        def at(t: float) -> list[float]:
            mean = (0.0, self.drift_nu_mean, -math.inf, math.inf, *ALWAYS)
            spread = (0.0, self.drift_nu_std, 0.0, math.inf, *ALWAYS)
            read = (0.0, 1.0 / self.g_max, 0.0, math.inf, *ALWAYS)
            return power_law_numbers(self, t, mean, spread, read)

        return DeviceLaws(DriftKind.POWER_LAW, self.g_max, [c * self.prog_noise_scale for c in self.prog_coeff], at)

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        sigma = polynomial([c * self.prog_noise_scale for c in self.prog_coeff], g_target * (1.0 / self.g_max))
        return sigma.mul_(normal_like(g_target)).add_(g_target).clamp_(min=0.0)

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor | None:
        nu = (normal_like(g_target) * self.drift_nu_std).add_(self.drift_nu_mean)
        return nu.abs_().mul_(self.drift_scale)

    def apply_drift_noise_to_conductance(self, g_prog: Tensor, drift_noise_param: Tensor | None, t_inference: float) -> Tensor:
        drifted = power_law(g_prog, drift_noise_param, t_inference, self.t_0)
        strength = self.read_noise_scale * read_factor(t_inference + self.t_0, self.t_read) / self.g_max
        if strength == 0.0:
            return drifted
        return (normal_like(g_prog) * strength).mul_(drifted.abs()).add_(drifted).clamp_(min=0.0)
