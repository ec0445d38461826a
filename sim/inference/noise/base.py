"""What a noise model is: three maps on conductances, and the operations on weights that follow from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from sim.errors import ConfigError
from sim.inference.converters import BaseConductanceConverter, SinglePairConductanceConverter
from sim.settings import Config, NonNegative, config

if TYPE_CHECKING:
    from torch import Tensor

    from sim.inference.programming import DeviceLaws

__all__ = ["BaseNoiseModel", "Programmed", "RelativeNoiseModel"]


@dataclass
class Programmed:
    """Devices of one matrix after programming: what drifts, and the way back to weights.

    Attributes
    ----------
    conductances : list of (out, in), µS
    coefficients : what each one drifts by, or None
    params : of the converter
    """

    conductances: list[Tensor]
    coefficients: list[Tensor | None]
    params: dict[str, Any]


@config
class BaseNoiseModel(Config):
    """Programming noise, drift and read noise of a memory device.

    A model of your own is a subclass that overrides the three methods on conductances (µS, element by element):
    `apply_programming_noise_to_conductance`, `generate_drift_coefficients` and `apply_drift_noise_to_conductance`. Random
    numbers come from `sim.inference.normal_like`, or from torch's functions, which are seeded by the tile; both are
    repeatable. Fields are declared as in any configuration: ``@config class MyModel(BaseNoiseModel)``.
    """

    abstract = True

    g_converter: Annotated[BaseConductanceConverter, "from weights to conductances"] = field(
        default_factory=SinglePairConductanceConverter
    )

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """As of every configuration; a converter is copied."""
        super().assign(name, copy.deepcopy(value) if name == "g_converter" else value, path)

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        """Conductances right after programming, µS."""
        raise NotImplementedError(f"{type(self).__name__}.apply_programming_noise_to_conductance")

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor | None:
        """What the drift of each device depends on, drawn once a programming; None if on nothing."""
        return None

    def apply_drift_noise_to_conductance(self, g_prog: Tensor, drift_noise_param: Tensor | None, t_inference: float) -> Tensor:
        """Conductances ``t_inference`` seconds after programming, µS."""
        return g_prog

    def device_laws(self) -> DeviceLaws | None:
        """Numbers of the laws, where they are those of `sim.inference.programming`; else None.

        A subclass that changes a law says its own, or has none.
        """
        return None

    # On weights

    def program(self, weights: Tensor) -> Programmed:
        """Program weights (out, in)."""
        targets, params = self.g_converter.convert_to_conductances(weights)
        programmed, coefficients = [], []
        for g in targets:
            programmed.append(self.apply_programming_noise_to_conductance(g))
            coefficients.append(self.generate_drift_coefficients(g))
        return Programmed(programmed, coefficients, params)

    def weights_of(self, programmed: Programmed) -> Tensor:
        """Weights (out, in) of programmed devices."""
        return self.g_converter.convert_back_to_weights(programmed.conductances, programmed.params)

    def drift(self, programmed: Programmed, t_inference: float) -> Tensor:
        """Weights (out, in) at a time after programming.

        The conductances that were programmed drift; they are not made anew from programmed weights, which would change the
        scale and lose what both devices of a pair have in common.

        Raises
        ------
        ConfigError
            for a time that is negative or not finite
        """
        self.check_time(t_inference)
        drifted = [
            self.apply_drift_noise_to_conductance(g, nu, float(t_inference))
            for g, nu in zip(programmed.conductances, programmed.coefficients, strict=True)
        ]
        return self.g_converter.convert_back_to_weights(drifted, programmed.params)

    def check_time(self, t_inference: float) -> None:
        """Refuse a time after programming that is none."""
        if not (math.isfinite(t_inference) and t_inference >= 0):
            raise ConfigError(
                f"t_inference = {t_inference} is not allowed: give a time of at least 0 s after programming",
                field="t_inference",
                value=t_inference,
                allowed="at least 0 s",
            )

    def apply_programming_noise(self, weights: Tensor) -> tuple[Tensor, Programmed]:
        """Weights (out, in) after programming, and the devices, for `apply_drift_noise`."""
        programmed = self.program(weights)
        return self.weights_of(programmed), programmed

    def apply_drift_noise(self, weights: Tensor, drift_noise_parameters: Programmed, t_inference: float = 0.0) -> Tensor:
        """Weights at a time; ``drift_noise_parameters`` is what `apply_programming_noise` gave beside ``weights``."""
        return self.drift(drift_noise_parameters, t_inference)

    def apply_noise(self, weights: Tensor, t_inference: float) -> Tensor:
        """Program weights (out, in) and let them drift; at t = 0 there is read noise only."""
        return self.drift(self.program(weights), t_inference)


@config
class RelativeNoiseModel(BaseNoiseModel):
    """A model whose laws depend on the relative conductance r = g / g_max."""

    abstract = True

    g_max: Annotated[NonNegative, "largest conductance, µS, of the converter too; 0 = that of the converter"] = 0.0

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """The largest conductance is one number, here and in the converter, whichever is set."""
        super().assign(name, value, path)
        if name == "g_max" and hasattr(self, "g_converter") and hasattr(self.g_converter, "g_max"):
            if self.g_max > 0:
                self.g_converter.g_max = self.g_max
            object.__setattr__(self, "g_max", float(self.g_converter.g_max))
        elif name == "g_converter" and hasattr(self, "g_max"):
            object.__setattr__(self, "g_max", float(getattr(self.g_converter, "g_max", self.g_max)))

    def rules(self) -> None:
        """There is a largest conductance, and it is that of the converter."""
        super().rules()
        converter = getattr(self.g_converter, "g_max", self.g_max)
        if self.g_max <= 0 or self.g_max != converter:
            raise ConfigError(
                f"g_max = {self.g_max:g} does not go with g_converter.g_max = {converter:g}: set g_max of the noise model, "
                "which sets both",
                field="g_max",
                value=self.g_max,
            )


def rows_of(kind: type[Config], key: str, values: str, given: Any) -> Any:
    """Configurations of a kind from a mapping of a number (field ``key``) to a list (field ``values``)."""
    if isinstance(given, Mapping):
        return [kind(**{key: number, values: numbers}) for number, numbers in given.items()]
    if isinstance(given, Sequence):
        return [kind.from_dict(row) if isinstance(row, Mapping) else row for row in given]
    return given
