"""Noise of measured devices: tables over the conductance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated

from sim.errors import ConfigError
from sim.inference.draws import normal_like
from sim.inference.noise.base import RelativeNoiseModel
from sim.inference.programming import DeviceLaws, DriftKind
from sim.settings import NonNegative, Positive, Range, config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DriftLaw", "MeasuredNoiseModel"]


class DriftLaw(Enum):
    """How a conductance moves with the time after programming."""

    LOGARITHM = "Logarithm"
    """Additive, with a variance in proportion to the logarithm of time: relaxation of resistive memory."""
    POWER = "Power"
    """In proportion to a power of time, with an exponent for each device: phase-change memory, charge traps."""


@config
class MeasuredNoiseModel(RelativeNoiseModel):
    r"""Spread of programming, drift and read noise from tables over the conductance g, interpolated.

    .. math::

        g_{prog} &= \max(0, g + \sigma_{prog}(g) \xi), \qquad \ell = \ln(1 + t / t_0) \\
        g_d &= g_{prog} + m \ell + s \sqrt{\ell}\, \xi_1 \quad \text{(LOGARITHM, m and s in µS)} \\
        g_d &= g_{prog} e^{-(m + s \xi_1) \ell} \quad \text{(POWER)} \\
        g(t) &= \max(0, g_d + \sigma_{read}(g_{prog}) \xi_2)

    with m, s at the programmed conductance; exponents m may be negative. :math:`\xi_1` is drawn once a programming, for each
    device. Outside the tables their end values hold. `fitlab fit --kind retention` fits these tables to measurements.
    """

    law: Annotated[DriftLaw, "how a conductance moves"] = DriftLaw.LOGARITHM
    t_0: Annotated[Positive, "time from which drift counts, s"] = 1.0
    g_lst: Annotated[Sequence[float], Range(low=0.0), "conductances of the tables, µS, rising"] = (0.0, 25.0)
    prog_std_lst: Annotated[Sequence[float], Range(low=0.0), "spread of programming at each, µS"] = (0.0, 0.0)
    drift_mean_lst: Annotated[Sequence[float], "mean m of the drift at each"] = (0.0, 0.0)
    drift_std_lst: Annotated[Sequence[float], Range(low=0.0), "spread s of the drift at each"] = (0.0, 0.0)
    read_std_lst: Annotated[Sequence[float], Range(low=0.0), "read noise at each, µS"] = (0.0, 0.0)
    prog_noise_scale: Annotated[NonNegative, "factor of the spread of programming"] = 1.0
    read_noise_scale: Annotated[NonNegative, "factor of the read noise"] = 1.0
    drift_scale: Annotated[NonNegative, "factor of the drift"] = 1.0

    def rules(self) -> None:
        """Rising conductances, and tables of their length."""
        super().rules()
        n = len(self.g_lst)
        if n < 1 or sorted(set(self.g_lst)) != list(self.g_lst):
            raise ConfigError("g_lst: give rising conductances", field="g_lst", value=self.g_lst)
        for name in ("prog_std_lst", "drift_mean_lst", "drift_std_lst", "read_std_lst"):
            if len(getattr(self, name)) != n:
                given = len(getattr(self, name))
                raise ConfigError(f"{name} has {given} entries: give {n}, one for each of g_lst", field=name)

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        sigma = self._at(self.prog_std_lst, g_target) * self.prog_noise_scale
        return (sigma * normal_like(g_target)).add_(g_target).clamp_(min=0.0)

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor | None:
        return normal_like(g_target)

    def apply_drift_noise_to_conductance(self, g_prog: Tensor, drift_noise_param: Tensor | None, t_inference: float) -> Tensor:
        assert drift_noise_param is not None
        log_t = math.log1p(t_inference / self.t_0)
        mean, std = self._at(self.drift_mean_lst, g_prog), self._at(self.drift_std_lst, g_prog)
        if self.law is DriftLaw.LOGARITHM:
            moved = g_prog + (mean * log_t + std * math.sqrt(log_t) * drift_noise_param) * self.drift_scale
        else:
            moved = g_prog * ((mean + std * drift_noise_param) * (-log_t * self.drift_scale)).exp()
        read = self._at(self.read_std_lst, g_prog) * self.read_noise_scale
        return (read * normal_like(g_prog)).add_(moved).clamp_(min=0.0)

    def device_laws(self) -> DeviceLaws:
        def at(t: float) -> list[float]:
            log_t, power = math.log1p(t / self.t_0), self.law is DriftLaw.POWER
            return [float(power), self.drift_scale * log_t, self.drift_scale * (log_t if power else math.sqrt(log_t))]

        prog, read = ([v * scale for v in values] for values, scale in (
            (self.prog_std_lst, self.prog_noise_scale), (self.read_std_lst, self.read_noise_scale),
        ))  # fmt: skip
        table = list(zip(self.g_lst, prog, self.drift_mean_lst, self.drift_std_lst, read, strict=True))
        return DeviceLaws(DriftKind.TABLES, self.g_max, (), at, table)

    def _at(self, values: Sequence[float], g: Tensor) -> Tensor:
        import torch

        if len(values) == 1 or len(set(values)) == 1:
            return torch.full_like(g, values[0])
        grid, table = g.new_tensor(self.g_lst), g.new_tensor(values)
        inside = g.clamp(grid[0].item(), grid[-1].item())
        right = torch.searchsorted(grid, inside).clamp(1, len(grid) - 1)
        part = (inside - grid[right - 1]) / (grid[right] - grid[right - 1])
        return table[right - 1] + part * (table[right] - table[right - 1])
