"""How a gradient becomes pulses."""

from __future__ import annotations

from typing import Annotated

from sim.configs.enums import PulseType
from sim.settings import Config, Positive, Range, Real, config

__all__ = ["UpdateParameters"]


@config
class UpdateParameters(Config):
    r"""Pulse trains of the update :math:`\Delta W = -\eta\, d x^T`.

    With granularity :math:`\delta` of the device and train length BL, a column pulses with probability
    :math:`p_j = B |x_j|` and a row with :math:`q_i = A |d_i|` in every slot; a device gets a pulse where both do:

    .. math:: A = B = \sqrt{\eta / (\delta\, BL)}

    Update management multiplies A by :math:`\sqrt{x_m / D}` and B by its inverse, :math:`x_m = \max |x|`,
    :math:`D` = um_grad_scale :math:`\max |d|`; update-BL management takes
    :math:`BL = \min(\lceil \eta x_m D / \delta \rceil, desired\_bl)` for every sample.

    Source: T. Gokmen and Y. Vlasov, Front. Neurosci. 10, 333 (2016); T. Gokmen, M. Onen and W. Haensch,
    Front. Neurosci. 11, 538 (2017).
    """

    desired_bl: Annotated[int, Range(low=1), "length of the pulse train; its upper limit with update_bl_management"] = 31
    fixed_bl: Annotated[bool, "false: the train may be longer than desired_bl; ignored if update_bl_management"] = True
    pulse_type: Annotated[PulseType, "how pulses are made"] = PulseType.STOCHASTIC_COMPRESSED
    res: Annotated[Real, "bin width of the pulse probabilities; > 1 = number of bins, <= 0 = continuous"] = 0.0
    x_res_implicit: Annotated[Real, "the same for x with DETERMINISTIC_IMPLICIT"] = 0.0
    d_res_implicit: Annotated[Real, "the same for d with DETERMINISTIC_IMPLICIT"] = 0.0
    d_sparsity: Annotated[bool, "measure the fraction of zero errors (used by transfer compounds)"] = False
    sto_round: Annotated[bool, "stochastic rounding of the pulse probabilities"] = False
    update_bl_management: Annotated[bool, "choose the train length for every sample; implies update_management"] = True
    update_management: Annotated[bool, "balance the two probabilities for every sample"] = True
    um_grad_scale: Annotated[Positive, "relative weight of d in the balance"] = 1.0
