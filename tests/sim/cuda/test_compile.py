"""Every kernel compiles for every architecture, within its limits; none of it needs a GPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cuda.bindings import nvrtc

from sim import _core
from sim.cuda import compile as compiling
from sim.cuda.compile import CudaError, cached, compiled, use_of
from sim.cuda.modules import ARCHITECTURES, Module, elementwise, modules


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_kernels_compile_within_their_limits(module: Module, arch: str) -> None:
    code, log = compiled(module, arch)
    assert code[:4] == b"\x7fELF"
    assert "warning" not in log
    uses = use_of(log)
    assert set(uses) == set(module.threads) == set(module.registers)
    for kernel, use in uses.items():
        assert use.spills == 0, kernel
        assert use.stack <= module.stack, kernel
        assert use.registers <= module.registers[kernel], kernel


def test_every_device_has_its_update() -> None:
    assert {dict(m.macros).get("SIM_DEVICE") for m in modules()} - {None} == set(_core.devices())


def test_a_source_that_does_not_compile_is_named() -> None:
    wrong = Module("elementwise.cu", (("replicas", "7"),))
    with pytest.raises(CudaError, match=r"elementwise\.cu-7 does not compile for sm_90"):
        compiled(wrong, "sm_90")


def test_compiled_code_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiling.CACHE, str(tmp_path))
    compiling._store.cache_clear()
    first = cached(elementwise(), "sm_90")
    assert any(tmp_path.rglob("*"))
    monkeypatch.setattr(compiling, "compiled", lambda *_: pytest.fail("compiled again"))
    assert cached(elementwise(), "sm_90") == first
    compiling._store.cache_clear()


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "file" / "below"))
    compiling._store.cache_clear()
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert cached(elementwise(), "sm_90")[:4] == b"\x7fELF"
    compiling._store.cache_clear()


def assembly(module: Module, **options: bool) -> str:
    """What the compiler makes of a module before the assembler: PTX, with the options of the kernels."""
    core = compiling.cuda_core()
    chosen = compiling._options(core, module, "sm_90")
    for name, value in options.items():
        setattr(chosen, name, value)
    given = [o for o in chosen.as_bytes("nvrtc") if not o.startswith((b"-arch", b"--ptxas"))] + [b"--gpu-architecture=compute_90"]
    _, program = nvrtc.nvrtcCreateProgram(compiling._source(module).encode(), b"kernel.cu", 0, [], [])
    assert nvrtc.nvrtcCompileProgram(program, len(given), given)[0] == nvrtc.nvrtcResult.NVRTC_SUCCESS
    _, size = nvrtc.nvrtcGetPTXSize(program)
    text = b" " * size
    nvrtc.nvrtcGetPTX(program, text)
    nvrtc.nvrtcDestroyProgram(program)
    return text.decode(errors="replace")


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_nothing_is_fused_or_approximated(module: Module) -> None:
    """Bits as on the CPU: every operation is rounded by itself, correctly, and denormal numbers stay."""
    kinds = "fma|mul|add|sub|div|rcp|sqrt|rsqrt|ex2|lg2|sin|cos|tanh"
    found = set(re.findall(rf"\b(?:{kinds})\.[\w.]*f(?:32|64)\b", assembly(module)))
    assert found
    # Rounded to nearest: "mul.rn.f32"; the assembler may not fuse what says so. The other is a step of round().
    assert not {name for name in found - {"add.rz.f64"} if name.startswith("fma") or not re.fullmatch(r"\w+\.rn\.f(32|64)", name)}


def test_fusing_would_be_seen() -> None:
    assert "fma.rn.f32" in assembly(elementwise(), fma=True)
