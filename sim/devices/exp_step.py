"""Exponential-step device."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from sim.devices.base import WriteNoiseDevice
from sim.settings import NonNegative, Real, config

__all__ = ["ExpStepDevice"]


@config
class ExpStepDevice(WriteNoiseDevice):
    r"""The change of a pulse falls off exponentially towards the bound that it moves to.

    .. math:: step_\uparrow = s_\uparrow \max(1 - A_\uparrow e^{\gamma_\uparrow z}, 0), \quad
        step_\downarrow = s_\downarrow \max(1 - A_\downarrow e^{-\gamma_\downarrow z}, 0), \quad
        z = 2 a w / (b_{max} - b_{min}) + b

    s : step of the crosspoint, hidden ``dwmin_up``, ``dwmin_down`` [weight];
    :math:`b_{max}, b_{min}` : bounds of the crosspoint, hidden ``max_bound``, ``min_bound`` [weight]; a crosspoint whose
    bounds coincide does not move; A, :math:`\gamma`, a, b : shape, the same for all crosspoints [1].
    Noise: step + :math:`\sigma` (abs(step) + ``dw_min_std_add`` + ``dw_min_std_slope`` abs(w)) :math:`\xi`, also where
    the step is 0. The exponent is limited to 87 in magnitude.

    Source: N. Gong et al., Nat. Commun. 9, 2102 (2018); for noise that depends on the state, S. R. Nandakumar et al.,
    Front. Neurosci. 14, 406 (2020).
    """

    kernel: ClassVar[str] = "exp_step"
    kernel_scalars: ClassVar[tuple[str, ...]] = (
        "A_up", "A_down", "gamma_up", "gamma_down", "a", "b", "dw_min_std_add", "dw_min_std_slope",
    )  # fmt: skip

    A_up: Annotated[Real, "amplitude of the decrease of up steps"] = 0.00081
    A_down: Annotated[Real, "amplitude of the decrease of down steps"] = 0.36833
    gamma_up: Annotated[Real, "exponent of up steps"] = 12.44625
    gamma_down: Annotated[Real, "exponent of down steps"] = 12.78785
    a: Annotated[Real, "slope of the exponents with the weight, relative to the range"] = 0.244
    b: Annotated[Real, "offset of the exponents"] = 0.2425
    dw_min_std_add: Annotated[NonNegative, "additive noise of one pulse, in weight; dw_min_std multiplies it"] = 0.0
    dw_min_std_slope: Annotated[NonNegative, "noise of one pulse per abs(w); dw_min_std multiplies it"] = 0.0

    def granularity(self) -> float:
        """Average of the mean steps up and down at w = 0; ``dw_min`` where both are 0."""
        return 0.5 * sum(self._steps_at_0()) or self.dw_min

    def granularity_up(self) -> float:
        """The mean step up at w = 0; ``dw_min`` where it is 0."""
        return self._steps_at_0()[0] or self.dw_min

    def _steps_at_0(self) -> tuple[float, float]:
        up, down = self.mean_steps()
        up *= max(1.0 - self.A_up * _exp(self.gamma_up * self.b), 0.0)
        down *= max(1.0 - self.A_down * _exp(-self.gamma_down * self.b), 0.0)
        return up, down


def _exp(x: float) -> float:
    return math.exp(min(max(x, -87.0), 87.0))
