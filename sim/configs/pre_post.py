"""Digital work in front of a tile and behind it."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from sim.settings import Config, NonNegative, Positive, Probability, Range, Real, config

__all__ = ["InputRangeParameter", "PrePostProcessingParameter"]


@config
class InputRangeParameter(Config):
    r"""Input range :math:`\rho` of a tile: inputs are clipped to :math:`\pm\rho` and divided by it, outputs multiplied.

    It is estimated from the first batches of training, :math:`\rho` = init_std_alpha times their standard deviation, as a
    running mean, and then learned. With x the inputs and dx their gradient,

    .. math:: \gamma = \sum_{x \ge \rho} \min(dx, 0) - \sum_{x \le -\rho} \max(dx, 0)

    is its gradient, to which clipped outputs and the decay add (mapping_and_hwa.md, section 6). The converter behind it is
    meant to have ``inp_bound`` 1, and no noise management.
    """

    enable: Annotated[bool, "whether there is an input range"] = False
    learn_input_range: Annotated[bool, "the range is trained"] = True
    init_value: Annotated[Positive, "the range before anything is known"] = 3.0
    init_from_data: Annotated[int, Range(low=0), "training batches that the range is estimated from; 0 = none"] = 100
    init_std_alpha: Annotated[Positive, "estimate over the standard deviation of the inputs"] = 3.0
    decay: Annotated[NonNegative, "the range shrinks at this rate where few inputs are clipped"] = 0.001
    input_min_percentage: Annotated[Probability, "share of unclipped inputs above which it shrinks"] = 0.95
    manage_output_clipping: Annotated[bool, "enlarge the range where outputs are clipped"] = False
    output_min_percentage: Annotated[Probability, "share of unclipped outputs below which it is enlarged"] = 0.95
    gradient_scale: Annotated[Real, "factor of the gradient; only with gradient_relative"] = 1.0
    gradient_relative: Annotated[bool, "the gradient is multiplied by the range"] = True
    calibration_info: Annotated[str, "how the range was calibrated after training; empty: it was not"] = ""


@config
class PrePostProcessingParameter(Config):
    """Digital work in front of a tile and behind it."""

    input_range: Annotated[InputRangeParameter, "range of the inputs"] = field(default_factory=InputRangeParameter)
