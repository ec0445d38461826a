"""How a tile computes, beside what it computes."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from sim.settings import Config, config

__all__ = ["RPUDataType", "RuntimeParameter"]


class RPUDataType(Enum):
    """Precision of activations. Arrays and products are in single precision, whatever the activations are."""

    FLOAT = "float"
    HALF = "half"
    """float16 and bfloat16 are converted on the way in and out, of every tile."""
    DOUBLE = "double"
    """Not simulated."""


@config
class RuntimeParameter(Config):
    """Fields of the same name decide elsewhere what is built and kept where; here they mostly need no deciding."""

    data_type: Annotated[RPUDataType, "precision of activations: FLOAT and HALF, which every tile takes as it comes"] = (
        RPUDataType.FLOAT
    )
    on_the_fly_bindings: Annotated[bool, "changes of a tile's `modifier` act at the next step"] = False
    offload_input: Annotated[bool, "no effect: inputs wait for the update where they were computed"] = False
    offload_gradient: Annotated[bool, "no effect: errors wait for the update where they were computed"] = False
