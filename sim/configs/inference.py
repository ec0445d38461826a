"""Configurations of tiles that are programmed once: inference, and training that prepares for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any, ClassVar

from sim.configs.enums import PulseType, WeightClipType, WeightModifierType, WeightRemapType
from sim.configs.io import IOParameters, IOParametersIRDropT
from sim.configs.rpu import RPUConfig
from sim.configs.update import UpdateParameters
from sim.devices.ideal import IdealDevice
from sim.errors import ConfigError
from sim.inference.compensation import BaseDriftCompensation, GlobalDriftCompensation, NoDriftCompensation
from sim.inference.noise import BaseNoiseModel, PCMLikeNoiseModel
from sim.settings import Config, NonNegative, Positive, Probability, Real, config

__all__ = [
    "InferenceRPUConfig",
    "TorchInferenceRPUConfig",
    "TorchInferenceRPUConfigIRDropT",
    "WeightClipParameter",
    "WeightModifierParameter",
    "WeightRemapParameter",
]


@config
class WeightModifierParameter(Config):
    r"""Weights that products see in training instead of the trained ones, drawn anew for every mini-batch.

    With M the largest magnitude of the matrix (or `assumed_wmax`), :math:`\xi` normal, and D(v) = v rounded to multiples of
    `res` (halves away from 0; unchanged for `res` <= 0):

    ======================  =============================================================================
    ``DISCRETIZE``          M D(W / M)
    ``MULT_NORMAL``         W (1 + std_dev M ξ)
    ``ADD_NORMAL``          W + std_dev M ξ
    ``DISCRETIZE_ADD_NORMAL``  M D(W / M) + std_dev M ξ
    ``DOREFA``              D(tanh(W) dorefa_clip / tanh(M))
    ``POLY``                W + std_dev M p(\|W\| / M) ξ, with p(a) = Σ coeffs[k] a^k
    ``PROG_NOISE``          as ``POLY``, reflected at 0 so that the sign stays
    ``PCM_NOISE``           conductances up to g_max with programming and read noise, drift variability, and stuck devices
    ======================  =============================================================================

    Then every weight is set to 0 with probability `pdrop`, whatever the type. The gradient passes straight through. Source:
    M. J. Rasch et al., Nat. Commun. 14, 5282 (2023); DOREFA: S. Zhou et al., arXiv:1606.06160.
    """

    type: Annotated[WeightModifierType, "what changes the weights"] = WeightModifierType.NONE
    std_dev: Annotated[NonNegative, "relative strength of the noise"] = 0.0
    res: Annotated[Real, "bin width of the rounding, of M (absolute for DOREFA); <= 0 = none"] = 0.0
    sto_round: Annotated[bool, "stochastic rounding"] = False
    dorefa_clip: Annotated[Positive, "largest weight after DOREFA"] = 0.6
    pdrop: Annotated[Probability, "probability that a weight is dropped"] = 0.0
    enable_during_test: Annotated[bool, "also in evaluation"] = False
    rel_to_actual_wmax: Annotated[bool, "M is the largest magnitude of the matrix; false: assumed_wmax"] = True
    assumed_wmax: Annotated[Positive, "M, unless it is measured"] = 1.0
    copy_last_column: Annotated[bool, "the last column (an analog bias) is left alone"] = False
    per_batch_sample: Annotated[bool, "draw for every sample of the mini-batch, not once for all"] = False
    coeffs: Annotated[Sequence[float], "polynomial of POLY and PROG_NOISE, of the largest conductance"] = (
        0.0105392, 0.0768, -0.046925,
    )  # fmt: skip
    g_max: Annotated[Positive, "conductance of M for PCM_NOISE, µS"] = 25.0
    pcm_zero_thres: Annotated[NonNegative, "conductances up to this many spreads of programming at 0 are 0"] = 0.0
    pcm_t_inference: Annotated[NonNegative, "time after programming for PCM_NOISE, s"] = 0.0
    pcm_prob_at_reset: Annotated[Probability, "probability of a device stuck at 0"] = 0.0
    pcm_prob_at_gmax: Annotated[Probability, "probability of a device stuck at g_max"] = 0.0
    pcm_prob_at_random: Annotated[Probability, "probability of a device stuck anywhere"] = 0.0
    pcm_t0: Annotated[Positive, "time between programming and t = 0 for PCM_NOISE, s"] = 20.0

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        plain = (WeightModifierType.NONE, WeightModifierType.COPY, WeightModifierType.DROP_CONNECT)
        return self.type not in plain or self.pdrop > 0

    def rules(self) -> None:
        """A polynomial has a coefficient."""
        if not self.coeffs:
            raise ConfigError("coeffs = [] is not allowed: give at least one number", field="coeffs", value=[])


@config
class WeightClipParameter(Config):
    """Clipping of the weights (normalised units) to +-c after each step of training.

    c is `fixed_value`; or sigma times the standard deviation of the matrix; or the mean over outputs of their largest weight. The
    last two are limited by `fixed_value` where that is above 0.
    """

    type: Annotated[WeightClipType, "what the weights are clipped to"] = WeightClipType.NONE
    fixed_value: Annotated[Real, "the bound, or its upper limit; below 0 (and as a limit at 0) off"] = -1.0
    sigma: Annotated[Positive, "standard deviations for LAYER_GAUSSIAN"] = 2.5


@config
class WeightRemapParameter(Config):
    """After each step of training the weights are divided so that the largest is `remapped_wmax`, and the digital scales are
    multiplied: the logical weights stay."""

    type: Annotated[WeightRemapType, "one factor for the matrix, or for each output"] = WeightRemapType.NONE
    remapped_wmax: Annotated[Positive, "largest weight afterwards"] = 1.0
    max_scale_range: Annotated[NonNegative, "limit of a scale, of the smallest one; 0 = none (CHANNELWISE_SYMMETRIC)"] = 0.0
    max_scale_ref: Annotated[NonNegative, "least value of the smallest scale in that limit; 0 = as it is"] = 0.0

    def rules(self) -> None:
        """A limited range of scales is that of weights remapped to 1."""
        if self.max_scale_range > 0 and self.remapped_wmax != 1.0:
            raise ConfigError(
                f"remapped_wmax = {self.remapped_wmax:g} does not go with max_scale_range: set it to 1, or max_scale_range to 0",
                field="remapped_wmax",
                value=self.remapped_wmax,
                allowed="1",
            )


@config
class InferenceRPUConfig(RPUConfig):
    """A tile whose weights are trained digitally and then programmed onto memory devices.

    Training sees the non-ideal product and the modified weights; the backward product and the update are exact.
    """

    device: ClassVar[IdealDevice] = IdealDevice()
    backward: ClassVar[IOParameters] = IOParameters(is_perfect=True)
    update: ClassVar[UpdateParameters] = UpdateParameters(pulse_type=PulseType.NONE)

    forward: Annotated[IOParameters, "product y = W x"] = field(default_factory=IOParameters)
    noise_model: Annotated[BaseNoiseModel, "programming noise, drift and read noise of the devices"] = field(
        default_factory=PCMLikeNoiseModel
    )
    drift_compensation: Annotated[BaseDriftCompensation, "factors that undo the mean drift; None is NoDriftCompensation()"] = (
        field(default_factory=GlobalDriftCompensation)
    )
    clip: Annotated[WeightClipParameter, "clipping of the weights in training"] = field(default_factory=WeightClipParameter)
    remap: Annotated[WeightRemapParameter, "remapping of the weights in training"] = field(default_factory=WeightRemapParameter)
    modifier: Annotated[WeightModifierParameter, "modified weights in training"] = field(default_factory=WeightModifierParameter)

    def assign(self, name: str, value: Any, path: str | None = None) -> None:
        """As of every configuration; None is no compensation."""
        if name == "drift_compensation" and value is None:
            value = NoDriftCompensation()
        super().assign(name, value, path)


@config
class TorchInferenceRPUConfig(InferenceRPUConfig):
    """The same tile under the name that scripts know: there is one implementation of inference here."""


@config
class TorchInferenceRPUConfigIRDropT(TorchInferenceRPUConfig):
    """An inference tile whose columns have wires while the inputs last (mvm.md, section 14)."""

    forward: Annotated[IOParameters, "product y = W x"] = field(default_factory=IOParametersIRDropT)
