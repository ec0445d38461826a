"""Everything that a user sets on a tile, the devices included."""

from typing import Any

from sim import devices as _devices
from sim.configs.build import build_config
from sim.configs.compounds import (
    BufferedTransferCompound,
    ChoppedTransferCompound,
    DigitalRankUpdateCell,
    DynamicTransferCompound,
    MixedPrecisionCompound,
    TransferCompound,
)
from sim.configs.enums import (
    AnalogMVType,
    BoundManagementType,
    NoiseManagementType,
    PulseType,
    VectorUnitCellUpdatePolicy,
    WeightClipType,
    WeightModifierType,
    WeightNoiseType,
    WeightRemapType,
)
from sim.configs.inference import (
    InferenceRPUConfig,
    TorchInferenceRPUConfig,
    TorchInferenceRPUConfigIRDropT,
    WeightClipParameter,
    WeightModifierParameter,
    WeightRemapParameter,
)
from sim.configs.io import BitSlicedIOParameters, IOParameters, IOParametersIRDropT
from sim.configs.mapping import MappingParameter
from sim.configs.pre_post import InputRangeParameter, PrePostProcessingParameter
from sim.configs.quantization import (
    ActivationQuantParameter,
    PeripheryQuantParameter,
    QuantizedPrePostProcessingParameter,
    QuantizedTorchInferenceRPUConfig,
    RangeEstimator,
)
from sim.configs.rpu import (
    DigitalRankUpdateRPUConfig,
    FloatingPointRPUConfig,
    RPUConfig,
    SingleRPUConfig,
    UnitCellRPUConfig,
)
from sim.configs.runtime import RPUDataType, RuntimeParameter
from sim.configs.supported import check_supported
from sim.configs.unit_cells import OneSidedUnitCell, ReferenceUnitCell, UnitCell, VectorUnitCell
from sim.configs.update import UpdateParameters
from sim.settings import (
    Config,
    from_json,
    from_toml,
    get_path,
    has_path,
    numeric_paths,
    set_path,
    setting_at,
    structure,
    to_json,
    to_toml,
)

__all__ = [
    "ActivationQuantParameter",
    "AnalogMVType",
    "BitSlicedIOParameters",
    "BoundManagementType",
    "BufferedTransferCompound",
    "ChoppedTransferCompound",
    "Config",
    "DigitalRankUpdateCell",
    "DigitalRankUpdateRPUConfig",
    "DynamicTransferCompound",
    "FloatingPointRPUConfig",
    "IOParameters",
    "IOParametersIRDropT",
    "InferenceRPUConfig",
    "InputRangeParameter",
    "MappingParameter",
    "MixedPrecisionCompound",
    "NoiseManagementType",
    "OneSidedUnitCell",
    "PeripheryQuantParameter",
    "PrePostProcessingParameter",
    "PulseType",
    "QuantizedPrePostProcessingParameter",
    "QuantizedTorchInferenceRPUConfig",
    "RPUConfig",
    "RPUDataType",
    "RangeEstimator",
    "ReferenceUnitCell",
    "RuntimeParameter",
    "SingleRPUConfig",
    "TorchInferenceRPUConfig",
    "TorchInferenceRPUConfigIRDropT",
    "TransferCompound",
    "UnitCell",
    "UnitCellRPUConfig",
    "UpdateParameters",
    "VectorUnitCell",
    "VectorUnitCellUpdatePolicy",
    "WeightClipParameter",
    "WeightClipType",
    "WeightModifierParameter",
    "WeightModifierType",
    "WeightNoiseType",
    "WeightRemapParameter",
    "WeightRemapType",
    "build_config",
    "check_supported",
    "from_json",
    "from_toml",
    "get_path",
    "has_path",
    "numeric_paths",
    "set_path",
    "setting_at",
    "structure",
    "to_json",
    "to_toml",
]
__all__ += _devices.__all__


def __getattr__(name: str) -> Any:
    return getattr(_devices, name)
