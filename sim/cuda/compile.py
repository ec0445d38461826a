"""From CUDA sources to machine code of one architecture (NVRTC through cuda.core), with a cache on disk.

No GPU is needed to compile.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from sim.cuda.modules import CORE, SOURCES, Module
from sim.errors import FitlabError

__all__ = ["CACHE", "CudaError", "Use", "cached", "compiled", "cuda_core", "use_of"]

CACHE = "FITLAB_CUDA_CACHE"
"""Environment variable that names the folder of compiled kernels; empty: none is kept."""
CACHE_BYTES = 256 * 2**20


class CudaError(FitlabError):
    """CUDA cannot be used, or a kernel could not be compiled."""


@dataclass(frozen=True)
class Use:
    """What a kernel uses of the chip."""

    registers: int
    stack: int
    spills: int


def compiled(module: Module, arch: str) -> tuple[bytes, str]:
    """Machine code (cubin) and the compiler's log.

    Parameters
    ----------
    module : what to compile
    arch : architecture, such as ``sm_90``

    Raises
    ------
    CudaError
        If cuda.core or NVRTC is not installed, or the source does not compile.
    """
    core = cuda_core()
    log = StringIO()
    options = _options(core, module, arch)
    try:
        code = core.Program(_source(module), "c++", options).compile("cubin", logs=log).code
    except Exception as error:
        if type(error).__name__ == "DynamicLibNotFoundError":
            why = str(error).splitlines()[0]
            raise CudaError(f"the compiler of kernels (NVRTC) was not found: pip install 'fitlab[cuda]' ({why})") from error
        raise CudaError(f"{module.name} does not compile for {arch}: {error}") from error
    return bytes(code), log.getvalue()


def cached(module: Module, arch: str) -> bytes:
    """Machine code from the cache on disk, or compiled and put there.

    A cache that cannot be written is left out with a warning.
    """
    store = _store()
    if store is None:
        return compiled(module, arch)[0]
    core = cuda_core()
    from cuda.core.utils import make_program_cache_key

    key = make_program_cache_key(
        code=_source(module), code_type="c++", options=_options(core, module, arch), target_type="cubin", extra_digest=_headers()
    )
    found = store.get(key)
    if found is None:
        found = compiled(module, arch)[0]
        try:
            store[key] = found
        except OSError as error:
            warnings.warn(f"compiled kernels cannot be kept ({error}); {CACHE} names another folder", stacklevel=2)
    return bytes(found)


def use_of(log: str) -> dict[str, Use]:
    """What each kernel uses, from the log of a compilation."""
    uses, name, stack, spills = {}, "", 0, 0
    for line in log.splitlines():
        if found := re.search(r"(?:Compiling entry function|Function properties for) '?(\w+)'?", line):
            name = found[1]
        if found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spills = int(found[1]), int(found[2]) + int(found[3])
        if found := re.search(r"Used (\d+) registers", line):
            uses[name] = Use(int(found[1]), stack, spills)
    return uses


def cuda_core() -> Any:
    """The package cuda.core.

    Raises
    ------
    CudaError
        If it is not installed, or too old.
    """
    try:
        import cuda.core as core
    except ImportError as error:
        raise CudaError(f"CUDA kernels need the packages of the extra 'cuda': pip install 'fitlab[cuda]' ({error})") from error
    if not hasattr(core, "ProgramOptions"):
        raise CudaError(f"cuda-core {core.__version__} is too old: pip install 'fitlab[cuda]' brings one that is not")
    return core


def _options(core: Any, module: Module, arch: str) -> Any:
    # No contraction, correct rounding, denormal numbers: the same bits as on the CPU.
    return core.ProgramOptions(
        name=f"sim/cuda/{module.source}", arch=arch, std="c++17", include_path=[str(CORE)], fma=False, ftz=False, prec_div=True,
        prec_sqrt=True,
        define_macro=list(module.macros) or None, ptxas_options=["-v", "-warn-spills"],
    )  # fmt: skip


def _source(module: Module) -> str:
    return (SOURCES / module.source).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _headers() -> bytes:
    """Digest of all headers: a change of any makes a new key."""
    digest = hashlib.sha256()
    for header in sorted(CORE.rglob("*.h")):
        digest.update(header.relative_to(CORE).as_posix().encode() + b"\0" + header.read_bytes())
    return digest.digest()


@lru_cache(maxsize=1)
def _store() -> Any:
    folder = os.environ.get(CACHE, str(user_cache_path("fitlab") / "cuda"))
    if not folder:
        return None
    from cuda.core.utils import FileStreamProgramCache

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return FileStreamProgramCache(folder, max_size_bytes=CACHE_BYTES)
    except OSError as error:
        warnings.warn(f"compiled kernels cannot be kept in {folder} ({error}); {CACHE} names another folder", stacklevel=3)
        return None
