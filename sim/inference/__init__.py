"""Inference on programmed arrays: programming noise, drift, read noise, compensation, evaluation over time.

config = InferenceRPUConfig(noise_model=PCMLikeNoiseModel(g_max=25.0), drift_compensation=GlobalDriftCompensation())
model = convert_to_analog(model, config).eval()
program_analog_weights(model)
drift_analog_weights(model, t_inference=86400.0)
"""

from __future__ import annotations

import importlib
from typing import Any

from sim.inference import compensation, converters, noise
from sim.inference.compensation import *  # noqa: F403
from sim.inference.converters import *  # noqa: F403
from sim.inference.draws import normal_like
from sim.inference.noise import *  # noqa: F403

# These need torch, which configurations do not.
_LAZY = {
    "drift_analog_weights": "sim.inference.model",
    "program_analog_weights": "sim.inference.model",
    "remap_analog_weights": "sim.inference.model",
    "Accuracy": "sim.inference.evaluation",
    "Evaluation": "sim.inference.evaluation",
    "evaluate": "sim.inference.evaluation",
    "ExportError": "sim.inference.conductance_file",
    "export_conductances": "sim.inference.conductance_file",
    "import_conductances": "sim.inference.conductance_file",
    "OptimizedConverter": "sim.inference.optimization",
    "WeightProgrammingOptimizer": "sim.inference.optimization",
}

__all__ = ["normal_like", *compensation.__all__, *converters.__all__, *noise.__all__, *_LAZY]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"sim.inference has no {name!r}")
