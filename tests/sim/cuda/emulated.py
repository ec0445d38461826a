"""The kernels of ``sim/cuda`` compiled by the C++ compiler and run on the CPU, thread after thread."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sim.cuda.modules import CORE, SOURCES, Module, modules
from tests.sim.cuda.pretended import noted

HERE = Path(__file__).parent
TYPES = {
    np.int32: ctypes.c_int32, np.uint32: ctypes.c_uint32, np.int64: ctypes.c_int64,
    np.uint64: ctypes.c_uint64, np.float32: ctypes.c_float,
}  # fmt: skip


def symbol(module: Module, kernel: str) -> str:
    return re.sub(r"\W", "_", f"{module.name}_{kernel}")


def source() -> str:
    """One file with every module, each in a namespace of its own, and a function that runs each kernel over a grid."""
    lines = ['#include "emulation.h"']
    lines += [f'#include "devices/{header.name}"' for header in sorted((CORE / "devices").glob("*.h"))]
    lines += [f'#include "{header.name}"' for header in sorted(CORE.glob("*.h"))]
    lines += ["using sim::u32;", "using sim::u64;"]
    for module in modules():
        text = (SOURCES / module.source).read_text()
        defines = [f"#define {name} {value}" for name, value in module.macros]
        renamed = [f"#define {kernel} {symbol(module, kernel)}" for kernel in module.threads]
        undefined = [f"#undef {name}" for name, _ in module.macros] + [f"#undef {kernel}" for kernel in module.threads]
        space = symbol(module, "module")
        lines += [*defines, *renamed, f"namespace {space} {{", f'#include "{SOURCES / module.source}"', "}", *undefined]
        for kernel in module.threads:
            found = re.search(rf'extern "C" __global__ void {kernel}\(([^)]*)\)', text)
            assert found is not None
            names = ", ".join(part.split()[-1].lstrip("*") for part in found[1].split(","))
            run = symbol(module, kernel)
            lines.append(
                f'extern "C" void run_{run}(unsigned gx, unsigned gy, unsigned gz, unsigned threads, {found[1]}) '
                f"{{ using namespace sim; emulate(gx, gy, gz, threads, [&] {{ {space}::{run}({names}); }}); }}"
            )
    return "\n".join(lines)


@lru_cache(maxsize=1)
def library(folder: str) -> ctypes.CDLL:
    compiler = os.environ.get("CXX") or next(c for c in ("c++", "g++", "clang++") if shutil.which(c))
    path = Path(folder)
    (path / "kernels.cpp").write_text(source())
    command = [
        compiler, "-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wno-unused-function",
        "-Wno-unused-variable",
        f"-I{CORE}", f"-I{HERE}", str(path / "kernels.cpp"), "-o", str(path / "kernels.so"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return ctypes.CDLL(str(path / "kernels.so"))


def launcher(folder: str) -> Any:
    """Takes the place of `sim.cuda.launch.launch`."""

    def launch(module: Module, kernel: str, grid: tuple[int, int, int], device: torch.device, *args: Any) -> None:
        run = getattr(library(folder), f"run_{symbol(module, kernel)}")
        given = [ctypes.c_void_p(a) if isinstance(a, int) else TYPES[type(a)](a.item()) for a in args]
        sizes = [ctypes.c_uint(n) for n in (*grid, module.threads[kernel])]
        noted(lambda: run(*sizes, *given))

    return launch
