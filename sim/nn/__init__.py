"""Torch layers on analog tiles."""

from sim.nn.activation import Sigmoid
from sim.nn.attention import AnalogMultiheadAttention
from sim.nn.calibration import InputRangeCalibrationType, calibrate_input_ranges
from sim.nn.container import AnalogContainer, AnalogSequential, AnalogWrapper, analog_tiles
from sim.nn.conv import (
    AnalogConv1d,
    AnalogConv1dMapped,
    AnalogConv2d,
    AnalogConv2dMapped,
    AnalogConv3d,
    AnalogConv3dMapped,
)
from sim.nn.conversion import CONVERSION_MAP, CONVERSION_MAP_MAPPED, convert_to_analog, convert_to_digital
from sim.nn.linear import AnalogLinear, AnalogLinearMapped
from sim.nn.module import AnalogLayer, AnalogModule
from sim.nn.quantized import LayerQuantization, QuantizationMap, convert_to_quantized
from sim.nn.recurrent import (
    AnalogGRU,
    AnalogGRUCell,
    AnalogLSTM,
    AnalogLSTMCell,
    AnalogLSTMCellCombinedWeight,
    AnalogRNN,
    AnalogVanillaRNN,
    AnalogVanillaRNNCell,
)

__all__ = [
    "CONVERSION_MAP",
    "CONVERSION_MAP_MAPPED",
    "AnalogContainer",
    "AnalogConv1d",
    "AnalogConv1dMapped",
    "AnalogConv2d",
    "AnalogConv2dMapped",
    "AnalogConv3d",
    "AnalogConv3dMapped",
    "AnalogGRU",
    "AnalogGRUCell",
    "AnalogLSTM",
    "AnalogLSTMCell",
    "AnalogLSTMCellCombinedWeight",
    "AnalogLayer",
    "AnalogLinear",
    "AnalogLinearMapped",
    "AnalogModule",
    "AnalogMultiheadAttention",
    "AnalogRNN",
    "AnalogSequential",
    "AnalogVanillaRNN",
    "AnalogVanillaRNNCell",
    "AnalogWrapper",
    "InputRangeCalibrationType",
    "LayerQuantization",
    "QuantizationMap",
    "Sigmoid",
    "analog_tiles",
    "calibrate_input_ranges",
    "convert_to_analog",
    "convert_to_digital",
    "convert_to_quantized",
]
