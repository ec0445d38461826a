"""The modules that the kernels are compiled into: source, macros, and what of the chip they may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from sim import _core

__all__ = [
    "ARCHITECTURES", "CORE", "SOURCES", "Module", "elementwise", "events", "modifier", "modules", "mvm", "programming",
    "pulsed_update", "transfer", "transfer_plan",
]  # fmt: skip

SOURCES = Path(__file__).parent
CORE = SOURCES.parent / "core"
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
"""What the tests compile for; at run time it is the GPU that is there."""


@dataclass(frozen=True)
class Module:
    """One compiled file.

    Parameters
    ----------
    source : name of the file in this folder
    macros : (name, value) pairs
    registers : most registers that a thread of each kernel may use
    threads : threads of a block, for each kernel
    stack : bytes of local memory that a thread may use (arrays that are indexed at run time); spills are never allowed
    """

    source: str
    macros: tuple[tuple[str, str], ...] = ()
    registers: dict[str, int] = field(default_factory=dict, hash=False)
    threads: dict[str, int] = field(default_factory=dict, hash=False)
    stack: int = 0

    @property
    def name(self) -> str:
        """The source with the values of its macros."""
        return "-".join([self.source, *(value for name, value in self.macros if not name.endswith("_HEADER"))])


@lru_cache(maxsize=None)
def pulsed_update(device: str) -> Module:
    """The pulsed update of a device model, by the stem of its header."""
    return _of_device(
        "pulsed_update.cu",
        device,
        registers={"largest_magnitudes": 32, "draw_trains": 64, "pulsed_update": 64, "watched_update": 96},
        threads={"largest_magnitudes": 256, "draw_trains": 256, "pulsed_update": 128, "watched_update": 128},
        wide=("pulsed_update", "watched_update"),
    )


@lru_cache(maxsize=None)
def transfer(device: str) -> Module:
    """Transfers to an array of a device model, by the stem of its header."""
    kernels = ("read_slices", "write_slices", "digital_steps", "digital_write")
    return _of_device(
        "transfer.cu",
        device,
        registers={"read_slices": 64, "write_slices": 200, "digital_steps": 32, "digital_write": 96},
        threads=dict.fromkeys(kernels, 128),
        wide=(),
    )


@lru_cache(maxsize=None)
def transfer_plan() -> Module:
    """When what is transferred, and the choppers on the inputs."""
    return Module(
        "transfer_plan.cu",
        registers={"plan_transfers": 128, "chop_inputs": 64},
        threads={"plan_transfers": 32, "chop_inputs": 128},
    )


def _of_device(source: str, device: str, registers: dict[str, int], threads: dict[str, int], wide: tuple[str, ...]) -> Module:
    # The expression device holds the values of its formula in an array.
    expression = device == "expression"
    macros = (("SIM_DEVICE", device), ("SIM_DEVICE_HEADER", f'"devices/{device}.h"'))
    if expression:
        registers = {**registers, **dict.fromkeys(wide, 96)}
    return Module(source, macros, registers, threads, stack=256 if expression else 0)


@lru_cache(maxsize=None)
def elementwise() -> Module:
    """Fields of random numbers, the exact update, the logistic function."""
    kernels = ("random_field", "exact_update", "logistic", "natural_log")
    return Module("elementwise.cu", registers=dict.fromkeys(kernels, 48), threads=dict.fromkeys(kernels, 256))


@lru_cache(maxsize=None)
def events() -> Module:
    """What happens to crosspoints beside pulses."""
    kernels = ("age", "change", "drift")
    return Module("events.cu", registers=dict.fromkeys(kernels, 96), threads=dict.fromkeys(kernels, 128))


@lru_cache(maxsize=None)
def modifier() -> Module:
    """Modified weights of hardware-aware training."""
    return Module("modifier.cu", registers={"modify": 128}, threads={"modify": 128})


@lru_cache(maxsize=None)
def programming() -> Module:
    """Programming and drift of devices."""
    kernels = ("program_devices", "drift_devices")
    return Module("programming.cu", registers=dict.fromkeys(kernels, 96), threads=dict.fromkeys(kernels, 128))


@lru_cache(maxsize=None)
def mvm() -> Module:
    """The stages around a matrix product."""
    kernels = ("prepare_inputs", "analog_outputs", "convert_outputs", "few_products", "next_round")
    return Module("mvm.cu", registers=dict.fromkeys(kernels, 80), threads=dict.fromkeys(kernels, 128))


def modules() -> list[Module]:
    """Every module there is."""
    devices = _core.devices()
    alone = [elementwise(), events(), modifier(), programming(), mvm(), transfer_plan()]
    return [*alone, *map(pulsed_update, devices), *map(transfer, devices)]
