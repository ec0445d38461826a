"""How a tile computes, beside what it computes."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from sim.settings import Config, config

__all__ = ["RPUDataType", "RuntimeParameter"]


class RPUDataType(Enum):
    """Precision of a tile. Inputs of a lower one are converted on the way in and out."""

    FLOAT = "float"
    HALF = "half"
    """As FLOAT: every tile takes activations in float16 and bfloat16; its arrays and products are in single precision."""
    DOUBLE = "double"
    """Arrays, pulses and products in double precision, on the CPU: a reference for what rounding does. Devices and random
    numbers are those of single precision."""


@config
class RuntimeParameter(Config):
    """Fields of the same name decide elsewhere what is built and kept where; here they mostly need no deciding."""

    data_type: Annotated[RPUDataType, "precision that the tile computes in"] = RPUDataType.FLOAT
    on_the_fly_bindings: Annotated[bool, "changes of a tile's `modifier` act at the next step"] = False
    offload_input: Annotated[bool, "no effect: inputs wait for the update where they were computed"] = False
    offload_gradient: Annotated[bool, "no effect: errors wait for the update where they were computed"] = False
