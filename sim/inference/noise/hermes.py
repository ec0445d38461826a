"""Phase-change memory of a chip with 64 cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from sim.errors import ConfigError
from sim.inference.converters import BaseConductanceConverter, SinglePairConductanceConverter
from sim.inference.noise.laws import piece, power_law_numbers
from sim.inference.noise.pcm import PowerLawNoiseModel
from sim.inference.programming import DeviceLaws, DriftKind, Piece
from sim.settings import NonNegative, Positive, Range, Structural, config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HermesNoiseModel"]

COEFFICIENTS = {
    1: (0.15781817, 2.32443916, -2.16310839, 0.68841818),
    2: (0.16603222, 4.71806468, -8.48101252, 4.68961419),
}
G_MAX = {1: 10.35, 2: 20.7}
T_0 = {1: 200.0, 2: 300.0}
# Of the drift exponent and of the relative read noise: logarithmic below a threshold, polynomials above.
NU_MEAN: Piece = (-0.0387, -0.0182, 0.0720, 0.13, 0.0945, 0.0736, -0.0126, -0.0436, 0.0)
NU_SPREAD: dict[int, Piece] = {
    1: (-0.0120, -0.0023, 0.0124, 0.04, 0.3039, 0.0104, 0.0116, -0.0165, 0.0),
    2: (-0.0117, -0.0057, 0.0091, 0.04, 0.3055, 0.0073, 0.0093, -0.0118, 0.0),
}
READ: dict[int, Piece] = {
    1: (-0.0078, 0.0038, 0.0179, 0.04, 0.1591, 0.0088, 0.0768, -0.1352, 0.0664),
    2: (-0.0117, -0.0069, 0.015, 0.04, 0.16, 0.0123, 0.0211, -0.0280, 0.0069),
}


@config
class HermesNoiseModel(PowerLawNoiseModel):
    r"""Phase-change memory of a 64-core chip, with one or two devices a conductance.

    Programming noise is a cubic in r = g / g_max; drift exponents and read noise are logarithmic in r below, and polynomials
    above, a threshold near 0.1 (mean) and 0.3 (spread); the numbers are in the code.

    Source: M. Le Gallo et al., Nat. Electron. (2023); R. Khaddam-Aljameh et al., IEEE JSSC (2022); two devices:
    A. Vasilopoulos et al., IEEE TED (2023).
    """

    g_converter: Annotated[BaseConductanceConverter, "from weights to conductances"] = field(
        default_factory=lambda: SinglePairConductanceConverter(g_max=G_MAX[2])
    )
    num_devices: Annotated[int, Range(low=1, high=2), Structural(), "devices a conductance, programmed as one"] = 2
    g_max: Annotated[NonNegative, "largest conductance, µS, of the converter too; 0 = 10.35 with one device, 20.7 with two"] = 0.0
    t_read: Annotated[Positive, "duration of a read, s"] = 512e-9
    t_0: Annotated[NonNegative, "time between programming and t = 0, s; 0 = 200 with one device, 300 with two"] = 0.0
    prog_coeff: Annotated[Sequence[float], "coefficients of the programming noise, µS; empty = the published ones"] = ()
    prog_coeff_g_max_reference: Annotated[
        NonNegative, "g_max at which prog_coeff holds, µS; 0 = 10.35 or 20.7 for the published ones, else g_max"
    ] = 0.0

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """Zeros and an empty list become what was published for the number of devices, and follow it."""
        made = "num_devices" in vars(self)
        before = self.num_devices
        super().assign(name, value, path)
        if name == "num_devices":
            if self.g_max == G_MAX[before]:
                self.g_max = G_MAX[self.num_devices]
            if made and self.t_0 == T_0[before]:
                self.t_0 = T_0[self.num_devices]
            if made and tuple(self.prog_coeff) == COEFFICIENTS[before]:
                self.prog_coeff = COEFFICIENTS[self.num_devices]

    def rules(self) -> None:
        """Not beyond what was measured."""
        n = self.num_devices
        if not self.prog_coeff:
            self.prog_coeff = COEFFICIENTS[n]
        if self.t_0 == 0.0:
            self.t_0 = T_0[n]
        super().rules()
        if self.g_max > G_MAX[n]:
            raise ConfigError(
                f"g_max = {self.g_max:g} is not allowed: give at most {G_MAX[n]:g} µS with num_devices = {n}",
                field="g_max",
                value=self.g_max,
                allowed=f"at most {G_MAX[n]:g}",
            )

    def reference(self) -> float:
        n = self.num_devices
        return self.prog_coeff_g_max_reference or (G_MAX[n] if tuple(self.prog_coeff) == COEFFICIENTS[n] else self.g_max)

    def drift_statistics(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return piece(NU_MEAN, r), piece(NU_SPREAD[self.num_devices], r)

    def read_strength(self, r: Tensor) -> Tensor:
        return piece(READ[self.num_devices], r)

    def device_laws(self) -> DeviceLaws:
        def at(t: float) -> list[float]:
            return power_law_numbers(self, t, NU_MEAN, NU_SPREAD[self.num_devices], READ[self.num_devices])

        return DeviceLaws(DriftKind.POWER_LAW, self.g_max, self.spread_coefficients(), at)
