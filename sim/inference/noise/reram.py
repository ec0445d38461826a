"""Resistive memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from sim.errors import ConfigError
from sim.inference.converters import BaseConductanceConverter, SingleDeviceConductanceConverter
from sim.inference.draws import normal_like
from sim.inference.noise.base import BaseNoiseModel, RelativeNoiseModel, rows_of
from sim.inference.noise.laws import polynomial, read_factor
from sim.inference.programming import MOST_COEFFICIENTS, DeviceLaws, DriftKind, padded
from sim.settings import Config, NonNegative, Positive, config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "AcceptanceRange",
    "ReRamCMONoiseModel",
    "ReRamWan2022NoiseModel",
    "RelaxationTable",
    "Snapshot",
]


@config
class Snapshot(Config):
    """Spread of conductances around their targets at one time."""

    t: Annotated[Positive, "time after programming, s"] = 1.0
    coeff: Annotated[Sequence[float], "coefficients c_0, c_1 ... of the spread over r = g / g_max, µS"] = (0.0,)


PUBLISHED = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
}


@config
class ReRamWan2022NoiseModel(RelativeNoiseModel):
    r"""Snapshots of the spread of conductances after programming, without a law of drift.

    .. math:: g(t) = \max(0, g_{target} + a P_t(g_{target} / g_{max}) \tfrac{g_{max}}{g_{ref}} \xi)

    Between two snapshots the variance is interpolated in ln t; before the first, at t = 0 too, the first holds, and beyond the
    last nothing was measured. The cycle-to-cycle read noise of about 1 % is not part of the model: set ``forward.w_noise``.

    Source: W. Wan et al., Nature 608, 504 (2022).
    """

    coeff_dic: Annotated[Sequence[Snapshot], "spreads; a mapping of times (s) to coefficients is one"] = field(
        default_factory=lambda: tuple(Snapshot(t=t, coeff=c) for t, c in PUBLISHED.items())
    )
    noise_scale: Annotated[NonNegative, "factor of all noise"] = 1.0
    coeff_g_max_reference: Annotated[
        NonNegative, "g_max at which the coefficients hold, µS; 0 = 40 for the published ones, else g_max"
    ] = 0.0

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """Snapshots may be given as a mapping of times to coefficients."""
        super().assign(name, rows_of(Snapshot, "t", "coeff", value) if name == "coeff_dic" else value, path)

    def rules(self) -> None:
        """At least one snapshot, one a time."""
        super().rules()
        times = [s.t for s in self.coeff_dic]
        if not times or len(set(times)) < len(times):
            raise ConfigError("coeff_dic needs one list of coefficients for each time, and one time at least", field="coeff_dic")

    def reference(self) -> float:
        """The g_max at which the coefficients hold, µS."""
        published = {s.t: tuple(s.coeff) for s in self.coeff_dic} == PUBLISHED
        return self.coeff_g_max_reference or (40.0 if published else self.g_max)

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        return self._snapshot(g_target, 0.0)

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor | None:
        return g_target.clone()  # every snapshot spreads around the target

    def apply_drift_noise_to_conductance(self, g_prog: Tensor, drift_noise_param: Tensor | None, t_inference: float) -> Tensor:
        assert drift_noise_param is not None
        return self._snapshot(drift_noise_param, t_inference)

    def device_laws(self) -> DeviceLaws | None:
        if max(len(s.coeff) for s in self.coeff_dic) > MOST_COEFFICIENTS:
            return None
        scale = self._scale()

        def scaled(row: Sequence[float]) -> list[float]:
            return padded([c * scale for c in row], MOST_COEFFICIENTS)

        def at(t: float) -> list[float]:
            later, before, part = self._between(t)
            return [part, *scaled(later), *scaled(before)]

        return DeviceLaws(DriftKind.SNAPSHOTS, self.g_max, scaled(self._between(0.0)[0]), at)

    def _scale(self) -> float:
        return self.noise_scale * self.g_max / self.reference()

    def _snapshot(self, target: Tensor, t: float) -> Tensor:
        spread = self._spread(target * (1.0 / self.g_max), t).mul_(self._scale())
        return spread.mul_(normal_like(target)).add_(target).clamp_(min=0.0)

    def _spread(self, r: Tensor, t: float) -> Tensor:
        later, before, part = self._between(t)
        spread = polynomial(later, r)
        if part == 1.0:
            return spread
        return (part * spread * spread + (1.0 - part) * polynomial(before, r) ** 2).sqrt()

    def _between(self, t: float) -> tuple[Sequence[float], Sequence[float], float]:
        """Coefficients of the snapshots after and before a time, and the part of the former in the variance."""
        rows = sorted(self.coeff_dic, key=lambda s: s.t)
        times = [s.t for s in rows]
        if t > times[-1]:
            raise ConfigError(
                f"t_inference = {t:g} s is beyond the last snapshot of {type(self).__name__}: give at most {times[-1]:g} s, or "
                "further times in coeff_dic",
                field="t_inference",
                value=t,
                allowed=f"at most {times[-1]:g} s",
            )
        later = next(k for k, time in enumerate(times) if t <= time)
        before = max(later - 1, 0)
        part = 1.0
        if t > 0.0 and before < later:
            part = math.log(t / times[before]) / math.log(times[later] / times[before])
        return rows[later].coeff, rows[before].coeff, part


@config
class AcceptanceRange(Config):
    """Spread after programming until a read lies within a range around the target."""

    percent: Annotated[Positive, "half-width of the range, % of the target"] = 0.2
    coeff: Annotated[Sequence[float], "coefficients c_0, c_1 of the spread over g, µS"] = (0.0, 0.0)


@config
class RelaxationTable(Config):
    """Relaxation over the logarithm of time."""

    mean: Annotated[Sequence[float], "mean shift a unit of ln t, µS"] = (-0.08900206,)
    std: Annotated[Sequence[float], "spread: slope over ln t, and constant, µS"] = (0.04201137, 0.41183342)

    def rules(self) -> None:
        """One number for the mean, two for the spread."""
        if len(self.mean) != 1 or len(self.std) != 2:
            raise ConfigError("give one number in mean and two in std", field="mean" if len(self.mean) != 1 else "std")


@config
class ReRamCMONoiseModel(BaseNoiseModel):
    r"""Conductive-metal-oxide/HfOx resistive memory, one bidirectional device a weight.

    .. math::

        g_{prog} &= g + a_{prog} (c_0 + c_1 g) \xi \\
        g_d &= g_{prog} + a_{drift} (m_1 \ln t + (s_1 \ln t + s_0) \xi_1) \\
        g(t) &= \mathrm{clip}(g_d + a_{read} K \log_{10}(g_d) \sqrt{\ln((t + t_{read}) / 2 t_{read})}\, \xi_2, g_{min}, g_{max})

    at t > 0; :math:`\xi_1` is drawn once a programming, for each device. Spreads that the laws make negative (t far below 1 s,
    g below 1 µS) are 0.

    Source: D. F. Falcone et al. (2024); read noise: G. Lombardo et al., IEEE DRC (2024).
    """

    g_converter: Annotated[BaseConductanceConverter, "from weights to conductances"] = field(
        default_factory=SingleDeviceConductanceConverter
    )
    g_max: Annotated[NonNegative, "largest conductance, µS, of the converter too; 0 = that of the converter"] = 0.0
    g_min: Annotated[NonNegative, "smallest conductance, µS, of the converter too; 0 = that of the converter"] = 0.0
    coeff_dict: Annotated[
        Sequence[AcceptanceRange], "spread of each acceptance range; a mapping of ranges (%) to coefficients is one"
    ] = field(
        default_factory=lambda: (
            AcceptanceRange(percent=0.2, coeff=(0.00081107, 0.00106879)),
            AcceptanceRange(percent=2.0, coeff=(0.0112185391, 0.01129027418)),
        )
    )
    acceptance_range: Annotated[Positive, "half-width of the range that is programmed to, %: one of coeff_dict"] = 0.2
    decay_dict: Annotated[RelaxationTable, "relaxation; a mapping of mean and std is one"] = field(
        default_factory=RelaxationTable
    )
    read_dict: Annotated[Mapping[str, float], "read noise: factor K in µS, and t_read in s"] = field(
        default_factory=lambda: {"K": 0.0277316483, "t_read": 1e-6}
    )
    prog_noise_scale: Annotated[NonNegative, "factor of the programming noise"] = 1.0
    read_noise_scale: Annotated[NonNegative, "factor of the read noise"] = 1.0
    drift_scale: Annotated[NonNegative, "factor of the relaxation"] = 1.0

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """Tables may be given as mappings; both ends of the range are one number, here and in the converter."""
        if name == "coeff_dict":
            value = rows_of(AcceptanceRange, "percent", "coeff", value)
        elif name == "decay_dict" and isinstance(value, Mapping):
            value = RelaxationTable.from_dict(value, path or name)
        super().assign(name, value, path)
        if name == "g_converter":
            for end in ("g_max", "g_min"):
                if hasattr(self, end):
                    object.__setattr__(self, end, float(getattr(self.g_converter, end, getattr(self, end))))
        elif name in ("g_max", "g_min") and hasattr(self.g_converter, name):
            if getattr(self, name) > 0:
                setattr(self.g_converter, name, getattr(self, name))
            object.__setattr__(self, name, float(getattr(self.g_converter, name)))

    def rules(self) -> None:
        """A range that there are coefficients for, and both numbers of the read noise."""
        super().rules()
        known = [row.percent for row in self.coeff_dict]
        if self.acceptance_range not in known:
            allowed = "one of " + ", ".join(f"{percent:g}" for percent in known)
            raise ConfigError(
                f"acceptance_range = {self.acceptance_range:g} % is not allowed: give {allowed}",
                field="acceptance_range",
                value=self.acceptance_range,
                allowed=allowed,
            )
        if any(len(row.coeff) != 2 for row in self.coeff_dict):
            raise ConfigError("coeff_dict: give two coefficients for each range", field="coeff_dict")
        if set(self.read_dict) != {"K", "t_read"} or min(self.read_dict.values()) < 0 or self.read_dict["t_read"] == 0:
            raise ConfigError("read_dict: give K of at least 0 and t_read above 0, and nothing else", field="read_dict")
        for end in ("g_max", "g_min"):
            if getattr(self.g_converter, end, getattr(self, end)) != getattr(self, end):
                raise ConfigError(f"{end} differs from that of g_converter: set {end} of the noise model", field=end)

    def device_laws(self) -> DeviceLaws:
        c = self._coefficients()

        def at(t: float) -> list[float]:
            return [float(t > 0.0), *(self._relaxed(t) if t > 0.0 else (0.0, 0.0, 0.0)), self.g_min, self.g_max]

        return DeviceLaws(DriftKind.RELAXATION, self.g_max, [c[0], c[1] * self.g_max], at, lowest=-math.inf)

    def _coefficients(self) -> list[float]:
        (row,) = (row for row in self.coeff_dict if row.percent == self.acceptance_range)
        return [c * self.prog_noise_scale for c in row.coeff]

    def _relaxed(self, t: float) -> tuple[float, float, float]:
        """Spread and shift of the relaxation, and read noise a unit of log10 g, µS."""
        log_t, table = math.log(t), self.decay_dict
        spread = max(table.std[0] * log_t + table.std[1], 0.0)
        read = self.read_noise_scale * self.read_dict["K"] * read_factor(t, self.read_dict["t_read"])
        return spread * self.drift_scale, table.mean[0] * log_t * self.drift_scale, read

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        sigma = polynomial(self._coefficients(), g_target)
        return sigma.mul_(normal_like(g_target)).add_(g_target)

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor | None:
        return normal_like(g_target)

    def apply_drift_noise_to_conductance(self, g_prog: Tensor, drift_noise_param: Tensor | None, t_inference: float) -> Tensor:
        if t_inference == 0.0:
            return g_prog
        assert drift_noise_param is not None
        spread, shift, strength = self._relaxed(t_inference)
        drifted = (drift_noise_param * spread).add_(g_prog).add_(shift)
        read = drifted.clamp(min=1.0).log10_().mul_(strength).mul_(normal_like(g_prog))
        return drifted.add_(read).clamp_(self.g_min, self.g_max)
