"""One crossbar's state: weights and what varies from crosspoint to crosspoint, for all replicas at once."""

from sim.arrays.array import Array, Event
from sim.arrays.ideal import IdealArray
from sim.arrays.pulsed import PulsedArray

__all__ = ["Array", "Event", "IdealArray", "PulsedArray"]
