"""Phase-change memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from sim.errors import ConfigError
from sim.inference.draws import normal_like
from sim.inference.noise.base import RelativeNoiseModel
from sim.inference.noise.laws import logarithm, piece, polynomial, power_law, power_law_numbers, read_factor
from sim.inference.programming import ALWAYS, NO_TABLE, DeviceLaws, DriftKind, Piece, Table
from sim.settings import Config, NonNegative, Positive, Range, config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CustomDriftPCMLikeNoiseModel", "DriftTable", "PCMLikeNoiseModel", "PowerLawNoiseModel"]

PUBLISHED = (0.26348, 1.9650, -1.1731)  # µS, at g_max = 25 µS
NU_MEAN: Piece = (-0.0155, 0.0244, 0.049, 0.1, *ALWAYS)
NU_SPREAD: Piece = (-0.0125, -0.0059, 0.008, 0.045, *ALWAYS)
READ_POWER = 0.0088, 0.044 ** (1 / 0.65), -0.65  # min(0.0088 / max(r^0.65, 1e-3), 0.2) is 0.0088 max(r, ...)^-0.65
NOTHING: Piece = (0.0, 0.0, 0.0, 0.0, *ALWAYS)


@config
class PowerLawNoiseModel(RelativeNoiseModel):
    r"""Programming noise that is a polynomial of r = g / g_max, power-law drift, and 1/f read noise.

    .. math::

        g_{prog} &= \max(0, g + a_{prog} P(r) \tfrac{g_{max}}{g_{ref}} \xi), \quad P(r) = c_0 + c_1 r + c_2 r^2 + \dots \\
        g_d &= g_{prog} ((t + t_0) / t_0)^{-\nu}, \quad \nu = a_{drift} |\mu_\nu(r) + \sigma_\nu(r) \xi| \\
        g(t) &= \max(0, g_d + |g_d| a_{read} q(r_{prog}) \sqrt{\ln((t + t_0 + t_{read}) / 2 t_{read})}\, \xi)

    A subclass gives the mean and spread of :math:`\nu` and the read noise q.
    """

    abstract = True

    prog_coeff: Annotated[Sequence[float], "coefficients c_0, c_1 ... of the programming noise, µS"] = PUBLISHED
    t_read: Annotated[Positive, "duration of a read, s"] = 250e-9
    t_0: Annotated[Positive, "time between programming and t = 0, s"] = 20.0
    prog_noise_scale: Annotated[NonNegative, "factor of the programming noise"] = 1.0
    read_noise_scale: Annotated[NonNegative, "factor of the read noise"] = 1.0
    drift_scale: Annotated[NonNegative, "factor of the drift exponents"] = 1.0
    prog_coeff_g_max_reference: Annotated[
        NonNegative, "g_max at which prog_coeff holds, µS; 0 = 25 for the published coefficients, else g_max"
    ] = 0.0

    def reference(self) -> float:
        """The g_max at which the coefficients hold, µS."""
        published = 25.0 if tuple(self.prog_coeff) == PUBLISHED else self.g_max
        return self.prog_coeff_g_max_reference or published

    def drift_statistics(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread of the drift exponent at relative target conductances of at least 1e-7."""
        raise NotImplementedError(f"{type(self).__name__}.drift_statistics")

    def read_strength(self, r: Tensor) -> Tensor:
        """Relative read noise q at relative programmed conductances."""
        raise NotImplementedError(f"{type(self).__name__}.read_strength")

    def spread_coefficients(self) -> list[float]:
        """Coefficients of the spread after programming over r, µS."""
        scale = self.prog_noise_scale * self.g_max / self.reference()
        return [c * scale for c in self.prog_coeff]

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        sigma = polynomial(self.spread_coefficients(), g_target * (1.0 / self.g_max))
        return sigma.mul_(normal_like(g_target)).add_(g_target).clamp_(min=0.0)

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor | None:
        mean, spread = self.drift_statistics((g_target * (1.0 / self.g_max)).abs_().clamp_(min=1e-7))
        return spread.mul_(normal_like(g_target)).add_(mean).abs_().mul_(self.drift_scale)

    def apply_drift_noise_to_conductance(self, g_prog: Tensor, drift_noise_param: Tensor | None, t_inference: float) -> Tensor:
        drifted = power_law(g_prog, drift_noise_param, t_inference, self.t_0)
        strength = self.read_noise_scale * read_factor(t_inference + self.t_0, self.t_read)
        if strength == 0.0:
            return drifted
        # Conductances are not negative, so g_d + |g_d| q xi is g_d (1 + q xi).
        relative = self.read_strength((g_prog * (1.0 / self.g_max)).abs_())
        return relative.mul_(normal_like(g_prog)).mul_(strength).add_(1.0).mul_(drifted).clamp_(min=0.0)


@config
class PCMLikeNoiseModel(PowerLawNoiseModel):
    r"""Mushroom-type doped Ge-Sb-Te phase-change memory.

    .. math::

        \mu_\nu &= \mathrm{clip}(-0.0155 \ln r + 0.0244, 0.049, 0.1), \quad
        \sigma_\nu = \mathrm{clip}(-0.0125 \ln r - 0.0059, 0.008, 0.045) \\
        q &= \min(0.0088 / \max(r^{0.65}, 10^{-3}), 0.2)

    Source: S. R. Nandakumar et al., IEEE ICECS (2019).
    """

    def drift_statistics(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return piece(NU_MEAN, r), piece(NU_SPREAD, r)

    def device_laws(self) -> DeviceLaws:
        return self._laws(NO_TABLE)

    def _laws(self, table: Table) -> DeviceLaws:
        def at(t: float) -> list[float]:
            return power_law_numbers(self, t, NU_MEAN, NU_SPREAD, NOTHING, READ_POWER)

        return DeviceLaws(DriftKind.POWER_LAW, self.g_max, self.spread_coefficients(), at, table)

    def read_strength(self, r: Tensor) -> Tensor:
        factor, least, power = READ_POWER
        return logarithm(r.clamp_(min=least)).mul_(power).exp_().mul_(factor)


@config
class DriftTable(Config):
    """Mean and spread of the drift exponent over the target conductance."""

    g_lst: Annotated[Sequence[float], Range(low=0.0), "conductances, µS, rising"] = (0.0, 25.0)
    nu_mean_lst: Annotated[Sequence[float], "mean of the drift exponent at each"] = (0.1, 0.049)
    nu_std_lst: Annotated[Sequence[float], Range(low=0.0), "spread of the drift exponent at each"] = (0.045, 0.008)

    def rules(self) -> None:
        """Rising conductances, and as many exponents."""
        g = self.g_lst
        if len(g) < 2 or len({len(g), len(self.nu_mean_lst), len(self.nu_std_lst)}) > 1 or sorted(set(g)) != list(g):
            raise ConfigError(
                f"g_lst = {list(g)} is not allowed: give at least two rising conductances, and as many entries in nu_mean_lst "
                "and nu_std_lst",
                field="g_lst",
                value=g,
            )


@config
class CustomDriftPCMLikeNoiseModel(PCMLikeNoiseModel):
    """`PCMLikeNoiseModel` with the drift exponents of a table, interpolated over the target conductance."""

    custom_drift_model: Annotated[DriftTable, "drift exponents; a mapping of g_lst, nu_mean_lst and nu_std_lst is one"] = field(
        default_factory=DriftTable
    )

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """A table may be given as a mapping of its three lists."""
        if name == "custom_drift_model" and isinstance(value, Mapping):
            missing = [key for key in ("g_lst", "nu_mean_lst", "nu_std_lst") if key not in value]
            if missing:
                raise ConfigError(f"custom_drift_model has no {', '.join(missing)}: give all three lists", field=path or name)
            value = DriftTable(**value)
        super().assign(name, value, path)

    def rules(self) -> None:
        """The table covers what the converter makes."""
        super().rules()
        table = self.custom_drift_model.g_lst
        low = getattr(self.g_converter, "g_min", 0.0)
        if low < table[0] or self.g_max > table[-1]:
            raise ConfigError(
                f"custom_drift_model covers {table[0]:g} to {table[-1]:g} µS, and the converter makes {low:g} to {self.g_max:g}: "
                "give a table that covers it",
                field="custom_drift_model.g_lst",
                value=table,
            )

    def drift_statistics(self, r: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        table = self.custom_drift_model
        grid = r.new_tensor(table.g_lst)
        g = (r * self.g_max).clamp(grid[0].item(), grid[-1].item())
        right = torch.searchsorted(grid, g).clamp(1, len(grid) - 1)
        part = (g - grid[right - 1]) / (grid[right] - grid[right - 1])

        def at(values: Sequence[float]) -> Tensor:
            v = r.new_tensor(values)
            return v[right - 1] + part * (v[right] - v[right - 1])

        return at(table.nu_mean_lst), at(table.nu_std_lst)

    def device_laws(self) -> DeviceLaws:
        t = self.custom_drift_model
        rows = zip(t.g_lst, t.nu_mean_lst, t.nu_std_lst, strict=True)
        return self._laws([(g, 0.0, mean, spread, 0.0) for g, mean, spread in rows])
