"""`fitlab doctor`: versions, backends, threads, and what is missing with the way to get it."""

from __future__ import annotations

import importlib
import os
import platform
import sys

from fitlab.terminal import say

_NEEDED = (
    "numpy",
    "scipy",
    "lmfit",
    "pandas",
    "xarray",
    "zarr",
    "dask",
    "distributed",
    "pydantic",
    "pint",
    "typer",
    "rich",
    "matplotlib",
    "torch",
)


def examine() -> list[str]:
    """Print the state of the installation; returns what is missing."""
    from importlib.metadata import PackageNotFoundError, version

    missing: list[str] = []
    say(f"python {platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})")
    for name in ("fitlab", *_NEEDED):
        try:
            say(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(f"{name}: install it with pip install {name}")
    try:
        core = importlib.import_module("sim._core")
        say("compiled core: present" + (f", {core.isa()}" if hasattr(core, "isa") else ""))
    except ImportError as error:
        missing.append(f"the compiled core of the simulator ({error}): install the package with pip install .")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    say(f"processors: {threads}")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            say(f"{name} = {os.environ[name]}")
    try:
        torch = importlib.import_module("torch")
        say(
            f"torch threads: {torch.get_num_threads()}; GPU: "
            f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}"
        )
        from sim.cuda.launch import reason_why_not

        say(f"CUDA kernels: {reason_why_not() or 'ready'}")
    except ImportError:
        pass
    for line in missing:
        say(f"missing: {line}")
    say("nothing is missing" if not missing else f"{len(missing)} missing")
    return missing
