"""The one door to the compiled kernels: torch ops, one function a kernel.

Every state has a leading replica axis R, activations are (R, B, n). What changes from step to step (the step counter, seeds,
learning rates, device parameters) enters as a tensor, so that ``torch.compile`` sees one graph. The functions here check
what they are given in the user's terms; the ops below them (``torch.ops.sim.*``) are what autograd and the compiler see.
"""

from sim.ops.checks import ShapeError, is_direct
from sim.ops.fields import FIELD_PURPOSE, key_tensor_of, logarithm, normal_field, sigmoid, uniform_field
from sim.ops.product import IO_SETTINGS, MVM_FLAGS, OUTPUT_FIELDS, PASS_VALUES, MvmCall, MvmExtra, MvmFlags, Pass, mvm
from sim.ops.transfer import (
    EVENT_FIELDS,
    STAGE_SETTINGS,
    TRANSFER_SETTINGS,
    TRANSFER_STATE,
    TransferFlags,
    TransferMode,
    TransferPart,
    digital_transfer_,
    event_bytes,
    next_rows,
    transfer_,
    transfer_plan,
    transfer_update_,
)
from sim.ops.updates import (
    NOISE_SETTINGS,
    TRAIN_SETTINGS,
    DeviceArray,
    TrainFlags,
    device_array,
    device_index,
    device_parameters,
    exact_update_,
    pulsed_update_,
)

__all__ = [
    "EVENT_FIELDS",
    "FIELD_PURPOSE",
    "IO_SETTINGS",
    "MVM_FLAGS",
    "NOISE_SETTINGS",
    "OUTPUT_FIELDS",
    "PASS_VALUES",
    "STAGE_SETTINGS",
    "TRAIN_SETTINGS",
    "TRANSFER_SETTINGS",
    "TRANSFER_STATE",
    "DeviceArray",
    "MvmCall",
    "MvmExtra",
    "MvmFlags",
    "Pass",
    "ShapeError",
    "TrainFlags",
    "TransferFlags",
    "TransferMode",
    "TransferPart",
    "device_array",
    "device_index",
    "device_parameters",
    "digital_transfer_",
    "event_bytes",
    "exact_update_",
    "is_direct",
    "key_tensor_of",
    "logarithm",
    "mvm",
    "next_rows",
    "normal_field",
    "pulsed_update_",
    "sigmoid",
    "transfer_",
    "transfer_plan",
    "transfer_update_",
    "uniform_field",
]
