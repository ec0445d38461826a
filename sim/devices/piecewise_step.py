"""Piecewise linear step device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from sim.devices.base import WriteNoiseDevice
from sim.errors import ConfigError
from sim.settings import config

__all__ = ["PiecewiseStepDevice"]


@config
class PiecewiseStepDevice(WriteNoiseDevice):
    r"""The change of a pulse interpolates given nodes, which are spread evenly over the range of the crosspoint.

    .. math:: step_\uparrow = s_\uparrow v_\uparrow(q), \quad step_\downarrow = s_\downarrow v_\downarrow(q), \quad
        q = n (w - b_{min}) / (b_{max} - b_{min})

    s : step of the crosspoint at a node of 1, hidden ``dwmin_up``, ``dwmin_down`` [weight];
    b : bounds of the crosspoint, hidden ``max_bound``, ``min_bound`` [weight]; v : linear between n + 1 nodes, from the
    lower to the upper bound [1]; outside of them the node there, and the first node where they coincide.
    Noise: multiplicative, step (1 + :math:`\sigma \xi`).

    Source: M. J. Rasch et al., A flexible and fast PyTorch toolkit for simulating training and inference on analog
    crossbar arrays, IEEE AICAS (2021).
    """

    kernel: ClassVar[str] = "piecewise_step"

    piecewise_up: Annotated[Sequence[float], "relative up step at each node, lower to upper bound"] = (1.0,)
    piecewise_down: Annotated[Sequence[float], "relative down step at each node, lower to upper bound"] = (1.0,)

    def rules(self) -> None:
        """Both directions have the same number of nodes, at least one."""
        up, down = len(self.piecewise_up), len(self.piecewise_down)
        for name, count in (("piecewise_up", up), ("piecewise_down", down)):
            if count == 0:
                raise ConfigError(
                    f"{name} = () is not allowed: give at least one node", field=name, value=(), allowed="1 or more"
                )
        if up != down:
            raise ConfigError(
                f"piecewise_down has {down} nodes and piecewise_up {up}: give the same number of both",
                field="piecewise_down",
                value=self.piecewise_down,
                allowed=f"{up} nodes",
            )

    def granularity(self) -> float:
        """Up step at the middle node; ``dw_min`` where that is not positive."""
        middle = self.piecewise_up[len(self.piecewise_up) // 2]
        return self.dw_min * (middle if middle > 0 else 1.0)

    def shared(self) -> list[float]:
        """Nodes up, then nodes down; a single node stands for two equal ones."""
        twice = 2 if len(self.piecewise_up) == 1 else 1
        return [*self.piecewise_up] * twice + [*self.piecewise_down] * twice
