"""How the weights of a layer are laid onto tiles."""

from __future__ import annotations

from typing import Annotated

from sim.settings import Config, NonNegative, Structural, config, settings_of

__all__ = ["MappingParameter"]


@config
class MappingParameter(Config):
    """Bias, scales and tile sizes of a layer.

    A layer larger than a limit is split evenly over several tiles: an axis of s inputs with limit L has
    ceil(s / L) parts whose sizes differ by one at most.
    """

    def compatible(self, other: MappingParameter) -> bool:
        """Whether weights laid out by one can be taken over by the other: they agree but for the weight scaling."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in settings_of(type(self))
            if not name.startswith("weight_scaling_")
        )

    digital_bias: Annotated[bool, "the bias is digital; false: an extra column of the array"] = True
    weight_scaling_omega: Annotated[NonNegative, "weights are scaled so that their largest is this; 0 = not"] = 0.0
    weight_scaling_columnwise: Annotated[bool, "scale every output by itself instead of the whole matrix"] = False
    weight_scaling_lr_compensation: Annotated[bool, "the mean scale goes into the learning rate of the tile, not its errors"] = (
        False
    )
    learn_out_scaling: Annotated[bool, "trainable output scale"] = False
    out_scaling_columnwise: Annotated[bool, "a trainable scale for every output instead of one"] = False
    max_input_size: Annotated[int, Structural(), "largest number of inputs of a tile; <= 0 = unlimited"] = 512
    max_output_size: Annotated[int, Structural(), "largest number of outputs of a tile; <= 0 = unlimited"] = 512
