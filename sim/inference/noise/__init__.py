"""Noise models of memory devices: programming, drift, read."""

from sim.inference.noise.base import BaseNoiseModel, Programmed, RelativeNoiseModel
from sim.inference.noise.hermes import HermesNoiseModel
from sim.inference.noise.measured import DriftLaw, MeasuredNoiseModel
from sim.inference.noise.pcm import CustomDriftPCMLikeNoiseModel, DriftTable, PCMLikeNoiseModel, PowerLawNoiseModel
from sim.inference.noise.reram import AcceptanceRange, RelaxationTable, ReRamCMONoiseModel, ReRamWan2022NoiseModel, Snapshot
from sim.inference.noise.state_independent import StateIndependentNoiseModel

__all__ = [
    "AcceptanceRange",
    "BaseNoiseModel",
    "CustomDriftPCMLikeNoiseModel",
    "DriftLaw",
    "DriftTable",
    "HermesNoiseModel",
    "MeasuredNoiseModel",
    "PCMLikeNoiseModel",
    "PowerLawNoiseModel",
    "Programmed",
    "ReRamCMONoiseModel",
    "ReRamWan2022NoiseModel",
    "RelativeNoiseModel",
    "RelaxationTable",
    "Snapshot",
    "StateIndependentNoiseModel",
]
