"""Torch layers on analog tiles."""

from sim.nn.activation import Sigmoid
from sim.nn.container import AnalogContainer, AnalogSequential, analog_tiles
from sim.nn.conversion import convert_to_analog
from sim.nn.linear import AnalogLinear

__all__ = ["AnalogContainer", "AnalogLinear", "AnalogSequential", "Sigmoid", "analog_tiles", "convert_to_analog"]
