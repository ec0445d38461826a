"""Digital periphery of few bits (mapping_and_hwa.md, section 16)."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Annotated, Any

from sim.configs.inference import TorchInferenceRPUConfig
from sim.configs.pre_post import PrePostProcessingParameter
from sim.settings import Config, Range, Structural, config

__all__ = [
    "ActivationQuantParameter",
    "PeripheryQuantParameter",
    "QuantizedPrePostProcessingParameter",
    "QuantizedTorchInferenceRPUConfig",
    "RangeEstimator",
]

Bits = Annotated[int, Range(low=0, high=16)]


class RangeEstimator(Enum):
    """How the range of a quantiser follows from values."""

    CURRENT_MINMAX = "current_minmax"
    """Smallest and largest value of the present batch."""
    ALL_MINMAX = "allminmax"
    """Of all batches so far."""
    RUNNING_MINMAX = "running_minmax"
    """Running means of both over batches."""
    MSE = "MSE"
    """The share of the range of the present batch whose quantised values have the smallest squared error."""
    CROSS_ENTROPY = "cross_entropy"
    """The share whose softmax over the last axis is nearest, by its cross entropy."""


@config
class PeripheryQuantParameter(Config):
    """Precision of scales and bias behind a tile; a symmetric quantiser has no offset."""

    n_bits: Annotated[Bits, Structural(), "bits; 0 = not quantised"] = 0
    symmetric: Annotated[bool, "levels are symmetric around 0"] = True
    learn_quant_params: Annotated[bool, "steps and offsets of bias and outputs are trained"] = False
    init_learning_after: Annotated[int, Range(low=0), "batches of training that they are estimated from before"] = 100


@config
class ActivationQuantParameter(Config):
    """Precision of the outputs of a layer."""

    n_bits: Annotated[Bits, Structural(), "bits; 0 = not quantised"] = 0
    symmetric: Annotated[bool, "levels are symmetric around 0"] = True
    range_estimator: Annotated[RangeEstimator, "how the range follows from the outputs"] = RangeEstimator.RUNNING_MINMAX
    momentum: Annotated[float, Range(low=0.0, below=1.0), "share of the past in running means"] = 0.9
    percentile: Annotated[float, Range(above=50.0, high=100.0), "of the batch, in the place of its largest value, and 100 - this "
                          "in that of its smallest, %"] = 100.0  # fmt: skip
    num_candidates: Annotated[int, Range(low=2), "shares of the range that MSE and CROSS_ENTROPY try"] = 100
    range_margin: Annotated[float, Range(low=0.0), "by how much they go beyond the range, of it"] = 0.5


@config
class QuantizedPrePostProcessingParameter(PrePostProcessingParameter):
    """Digital work around a tile, with few bits."""

    periph_quant: Annotated[PeripheryQuantParameter, "precision of scales and bias"] = field(
        default_factory=PeripheryQuantParameter
    )


@config
class QuantizedTorchInferenceRPUConfig(TorchInferenceRPUConfig):
    """An inference tile whose scales, bias and outputs have few bits.

    ``y = Q_out(z Q(rho s_m s_o) + Q(bias))``; None as `act_quant_config` is the default, without quantised outputs.
    """

    pre_post: Annotated[PrePostProcessingParameter, "digital work around the tile"] = field(
        default_factory=QuantizedPrePostProcessingParameter
    )
    act_quant_config: Annotated[ActivationQuantParameter, "precision of the outputs"] = field(
        default_factory=ActivationQuantParameter
    )

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """As of every configuration; None is the default of `act_quant_config`."""
        super().assign(name, ActivationQuantParameter() if name == "act_quant_config" and value is None else value, path)
