"""The machine and the versions that a result was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["about"]


def about() -> dict[str, Any]:
    """Processor, cores, load before the start, instruction set of the kernels, GPU, versions."""
    from sim import _core

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "kernels": _core.isa(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **_gpu(),
        **_versions("fitlab", "torch", "numpy", "scipy", "dask"),
    }


def _versions(*names: str) -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _gpu() -> dict[str, str]:
    """Name, driver and compiler of the GPU, where there is one."""
    import torch

    if not torch.cuda.is_available():
        return {}
    major, minor = torch.cuda.get_device_capability()
    found = {"gpu": torch.cuda.get_device_name(), "architecture": f"sm_{major}{minor}", "cuda of torch": str(torch.version.cuda)}
    found |= _versions("cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc")
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        found["driver"] = "unknown"
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
