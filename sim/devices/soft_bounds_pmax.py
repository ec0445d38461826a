"""Soft-bounds device given by a pulse experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

from sim.devices.soft_bounds import SoftBoundsDevice
from sim.errors import ConfigError
from sim.settings import Positive, Real, config

__all__ = ["SoftBoundsPmaxDevice"]

_GIVEN = "p_max, alpha, range_min and range_max"


@config
class SoftBoundsPmaxDevice(SoftBoundsDevice):
    r"""Soft bounds whose bounds and steps follow from the response to ``p_max`` pulses.

    .. math:: w_\uparrow(p) = r_{min} + B (1 - e^{-\alpha p}), \quad w_\downarrow(p) = r_{max} - B (1 - e^{-\alpha p}), \quad
        B = (r_{max} - r_{min}) / (1 - e^{-\alpha p_{max}})

    p : pulses from ``range_min`` up, or from ``range_max`` down; r : that range [weight]. It is ``SoftBoundsDevice`` with
    :math:`w_{max} = r_{min} + B`, :math:`w_{min} = r_{max} - B` and steps :math:`(1 - e^{-\alpha}) w_{max}` up and
    :math:`-(1 - e^{-\alpha}) w_{min}` down [weight]; spreads are relative to these. ``dw_min``, ``up_down``, ``w_max``,
    ``w_min`` can be read, not given.

    Source: J. Frascaroli et al., Sci. Rep. 8, 7178 (2018), eq. 1.
    """

    derived: ClassVar[Mapping[str, str]] = dict.fromkeys(("dw_min", "up_down", "w_max", "w_min"), _GIVEN)

    # No fields here, although they are ones of the base class.
    dw_min: ClassVar[float]  # type: ignore[misc]
    up_down: ClassVar[float]  # type: ignore[misc]
    w_max: ClassVar[float]  # type: ignore[misc]
    w_min: ClassVar[float]  # type: ignore[misc]

    p_max: Annotated[Positive, "pulses from one end of the range to the other"] = 1000.0
    alpha: Annotated[Positive, "relative change of the step per pulse"] = 0.0005
    range_min: Annotated[Real, "weight at the start of the pulses up"] = -1.0
    range_max: Annotated[Real, "weight after p_max pulses up, and at the start of those down"] = 1.0
    exact_range: Annotated[bool, "the curve meets the range; false: the conversion of aihwkit, whose curve misses it"] = True

    def rules(self) -> None:
        """The range is not empty and both asymptotes enclose 0."""
        super().rules()
        if self.range_max <= self.range_min:
            raise ConfigError(
                f"range_max = {self.range_max:g} is not allowed: give more than range_min = {self.range_min:g}",
                field="range_max",
                value=self.range_max,
                allowed=f"above {self.range_min:g}",
            )
        if not self.w_min < 0 < self.w_max:
            raise ConfigError(
                f"range_min = {self.range_min:g} and range_max = {self.range_max:g} give bounds {self.w_min:g} and "
                f"{self.w_max:g}: choose a range around 0, whose bounds enclose it",
                field="range_min" if self.w_max <= 0 else "range_max",
                value=(self.range_min, self.range_max),
                allowed="bounds that enclose 0",
            )

    @property
    def _span(self) -> float:
        """B, the distance of an asymptote from the start."""
        return (self.range_max - self.range_min) / -math.expm1(-self.p_max * self.alpha)

    @property  # type: ignore[no-redef]
    def w_max(self) -> float:  # type: ignore[override]
        """Mean upper bound: the asymptote of the pulses up."""
        return self.range_min + self._span

    @property  # type: ignore[no-redef]
    def w_min(self) -> float:  # type: ignore[override]
        """Mean lower bound: the asymptote of the pulses down."""
        return self.range_max - self._span if self.exact_range else self.range_min

    @property  # type: ignore[no-redef]
    def dw_min(self) -> float:  # type: ignore[override]
        """The larger of the mean steps at w = 0."""
        return max(self._steps) if self.exact_range else self._span * self.alpha

    @property  # type: ignore[no-redef]
    def up_down(self) -> float:  # type: ignore[override]
        """Asymmetry of the mean steps at w = 0."""
        if not self.exact_range:
            return 1.0 + 2.0 * self.range_min / self._span
        up, down = self._steps
        return 1.0 - down / up if up >= down else up / down - 1.0

    @property
    def _steps(self) -> tuple[float, float]:
        """Mean steps up and down at w = 0; each pulse leaves exp(-alpha) of the distance to its asymptote."""
        contraction = -math.expm1(-self.alpha)
        return contraction * self.w_max, -contraction * self.w_min
