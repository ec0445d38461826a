"""One crossbar's state: weights and what varies from crosspoint to crosspoint, for all replicas at once."""

from sim.arrays.array import Array, Event
from sim.arrays.cells import CellArray, VectorArray
from sim.arrays.ideal import IdealArray
from sim.arrays.inference import InferenceArray
from sim.arrays.mixed import MixedPrecisionArray
from sim.arrays.one_sided import OneSidedArray
from sim.arrays.pulsed import PulsedArray
from sim.arrays.transfer import TransferArray

__all__ = [
    "Array",
    "CellArray",
    "Event",
    "IdealArray",
    "InferenceArray",
    "MixedPrecisionArray",
    "OneSidedArray",
    "PulsedArray",
    "TransferArray",
    "VectorArray",
]
