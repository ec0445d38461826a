"""Every kernel compiles for every architecture, within its limits; none of it needs a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

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
