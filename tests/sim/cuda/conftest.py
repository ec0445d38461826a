"""Kernels on the CPU, compiled once for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sim.cuda import launch as launching
from tests.sim.cuda.emulated import launcher
from tests.sim.cuda.pretended import pretended_gpu


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the compiled kernels."""
    return str(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def emulated(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is launched runs on the CPU, thread after thread."""
    monkeypatch.setattr(launching, "launch", launcher(kernels))


@pytest.fixture
def gpu(emulated: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pretended GPU: ``cuda`` is a device that models can be moved to."""
    with pretended_gpu(monkeypatch.setattr):
        yield
