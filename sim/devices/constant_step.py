"""Constant-step device."""

from __future__ import annotations

from typing import ClassVar

from sim.devices.base import PulsedDevice
from sim.settings import config

__all__ = ["ConstantStepDevice"]


@config
class ConstantStepDevice(PulsedDevice):
    r"""The change of a pulse does not depend on the state.

    .. math:: w \leftarrow \mathrm{clip}(w + s_\uparrow (1 + \sigma \xi)), \quad
        w \leftarrow \mathrm{clip}(w - s_\downarrow (1 + \sigma \xi))

    s : step of the crosspoint, hidden ``dwmin_up`` and ``dwmin_down`` [weight];
    :math:`\sigma` : ``dw_min_std`` [1]; clip : to ``min_bound`` ... ``max_bound`` [weight].

    Source: T. Gokmen and Y. Vlasov, Front. Neurosci. 10, 333 (2016). Leaves out saturation other than the bounds.
    """

    kernel: ClassVar[str] = "constant_step"
