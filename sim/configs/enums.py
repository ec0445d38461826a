"""The choices that a configuration offers; a field takes the member or its name."""

from __future__ import annotations

from enum import Enum

__all__ = [
    "AnalogMVType",
    "BoundManagementType",
    "NoiseManagementType",
    "PulseType",
    "VectorUnitCellUpdatePolicy",
    "WeightClipType",
    "WeightModifierType",
    "WeightNoiseType",
    "WeightRemapType",
]


class PulseType(Enum):
    """How an update is turned into pulses."""

    NONE = "None"
    """No pulses: exact rank update, and the tile has no pulsed devices."""
    NONE_WITH_DEVICE = "NoneWithDevice"
    """Exact rank update, then the bounds of the devices."""
    STOCHASTIC_COMPRESSED = "StochasticCompressed"
    """Random pulse trains on rows and columns; both signs in one pass."""
    STOCHASTIC = "Stochastic"
    """The same distribution as STOCHASTIC_COMPRESSED."""
    MEAN_COUNT = "MeanCount"
    """Deterministic numbers of pulses for each row and column."""
    DETERMINISTIC_IMPLICIT = "DeterministicImplicit"
    """Deterministic number of pulses for each crosspoint."""


class AnalogMVType(Enum):
    """How the analog product is measured."""

    IDEAL = "Ideal"
    ONE_PASS = "OnePass"
    POS_NEG_SEPARATE = "PosNegSeparate"
    POS_NEG_SEPARATE_DIGITAL_SUM = "PosNegSeparateDigitalSum"
    SPLIT_MODE = "SplitMode"
    BIT_WISE = "BitWise"


class NoiseManagementType(Enum):
    """How the input of a product is scaled into the range of the DAC."""

    NONE = "None"
    ABS_MAX = "AbsMax"
    ABS_MAX_NP_SUM = "AbsMaxNPSum"
    MAX = "Max"
    CONSTANT = "Constant"
    AVERAGE_ABS_MAX = "AverageAbsMax"


class BoundManagementType(Enum):
    """What is done when an output exceeds the range of the ADC."""

    NONE = "None"
    ITERATIVE = "Iterative"
    ITERATIVE_WORST_CASE = "IterativeWorstCase"
    SHIFT = "Shift"


class WeightNoiseType(Enum):
    """Noise of the weights during one product, referred to the output."""

    NONE = "None"
    ADDITIVE_CONSTANT = "AdditiveConstant"
    PCM_READ = "PCMRead"


class VectorUnitCellUpdatePolicy(Enum):
    """Which devices of a cell get the pulses of a mini-batch."""

    ALL = "All"
    """Every device, each with its own steps and noise."""
    SINGLE_FIXED = "SingleFixed"
    """The device that was chosen by its index."""
    SINGLE_SEQUENTIAL = "SingleSequential"
    """One after the other."""
    SINGLE_RANDOM = "SingleRandom"
    """One drawn at random."""


class WeightModifierType(Enum):
    """What changes the weights that products see during hardware-aware training."""

    NONE = "None"
    """Nothing but dropped weights."""
    COPY = "Copy"
    """The same as NONE."""
    DISCRETIZE = "Discretize"
    """Rounded to a grid."""
    MULT_NORMAL = "MultNormal"
    """Noise in proportion to the weight."""
    ADD_NORMAL = "AddNormal"
    """The same noise for every weight."""
    DISCRETIZE_ADD_NORMAL = "DiscretizeAddNormal"
    """Rounded to a grid, then noise."""
    DOREFA = "DoReFa"
    """Squashed by tanh, then rounded."""
    POLY = "Poly"
    """Noise whose spread is a polynomial of the magnitude."""
    PCM_NOISE = "PCMNoise"
    """Programming noise, read noise and the variability of drift of phase-change memory."""
    PROG_NOISE = "ProgNoise"
    """As POLY, but a weight keeps its sign."""
    DROP_CONNECT = "DropConnect"
    """The same as NONE: weights are dropped with probability pdrop."""


class WeightClipType(Enum):
    """How the weights of an inference tile are clipped after each step of training."""

    NONE = "None"
    FIXED_VALUE = "FixedValue"
    """To a number."""
    LAYER_GAUSSIAN = "LayerGaussian"
    """To a multiple of their standard deviation."""
    AVERAGE_CHANNEL_MAX = "AverageChannelMax"
    """To the mean over the outputs of the largest weight of each."""


class WeightRemapType(Enum):
    """How weights are brought to the full range after each step of training, with digital scales that undo it."""

    NONE = "None"
    LAYERWISE_SYMMETRIC = "LayerwiseSymmetric"
    """One factor for the matrix."""
    CHANNELWISE_SYMMETRIC = "ChannelwiseSymmetric"
    """One factor for each output."""
