"""Kernels on the CPU, compiled once for all tests here."""

from __future__ import annotations

import pytest

from sim.cuda import launch as launching
from tests.sim.cuda.emulated import launcher


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the compiled kernels."""
    return str(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def emulated(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is launched runs on the CPU, thread after thread."""
    monkeypatch.setattr(launching, "launch", launcher(kernels))
