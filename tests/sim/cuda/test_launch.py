"""How kernels are started: on which GPU, in which thread, and what is said where they cannot be."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import cuda.core
import numpy as np
import pytest
import torch
from torch import nn

from fitlab import doctor
from sim.configs import build_config
from sim.cuda import compile as compiling
from sim.cuda import launch as launching
from sim.cuda.modules import elementwise
from sim.nn import AnalogLinear, AnalogSequential, Sigmoid
from sim.ops import ShapeError
from sim.optim import AnalogSGD
from tests.sim.cuda.pretended import GPU, SECOND, pretended_gpu


@pytest.fixture
def empty() -> Iterator[None]:
    """Nothing is kept from before."""
    kept = launching._kernel, launching._module, launching._config
    for made in kept:
        made.cache_clear()
    launching._entered.__dict__.clear()
    yield
    for made in kept:
        made.cache_clear()
    launching._entered.__dict__.clear()


class FakeCore(ModuleType):
    """What `launch` uses of cuda.core, noted down."""

    def __init__(self, fails: Exception | None = None) -> None:
        super().__init__("cuda.core")
        self.entered: list[tuple[int, int]] = []
        self.loaded: list[bytes] = []
        self.started: list[tuple[Any, ...]] = []
        self.Device = lambda index: SimpleNamespace(set_current=lambda: self.entered.append((threading.get_ident(), index)))
        self.LaunchConfig = lambda grid, block: (grid, block)
        self.ObjectCode = SimpleNamespace(from_cubin=self._load)
        self.fails = fails
        self.ProgramOptions = None

    def _load(self, code: bytes) -> Any:
        if self.fails is not None:
            raise self.fails
        self.loaded.append(code)
        return SimpleNamespace(get_kernel=lambda name: (len(self.loaded), name))

    def launch(self, stream: Any, config: Any, kernel: Any, *args: Any) -> None:
        assert stream.__cuda_stream__() == (0, 7)
        self.started.append((config, kernel, args))


@pytest.fixture
def core(empty: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCore]:
    fake = FakeCore()
    monkeypatch.setitem(sys.modules, "cuda.core", fake)
    monkeypatch.setattr(cuda, "core", fake)
    monkeypatch.setattr(launching, "cached", lambda module, arch: f"{module.name} {arch}".encode())
    with pretended_gpu(monkeypatch.setattr):
        yield fake


def test_each_gpu_has_its_module_and_each_thread_its_context(core: FakeCore) -> None:
    tensors = [torch.zeros(300, device=place) for place in (GPU, SECOND)]

    def start_all() -> None:
        for x in tensors:
            launching.start(elementwise(), "logistic", 300, x, x, x, np.int64(300))

    start_all()
    start_all()
    thread = threading.Thread(target=start_all)
    thread.start()
    thread.join()
    assert core.loaded == [b"elementwise.cu sm_90"] * 2
    assert sorted(index for _, index in core.entered) == [0, 0, 1, 1]
    assert len(set(core.entered)) == 4
    assert [kernel for _, kernel, _ in core.started] == [(1, "logistic"), (2, "logistic")] * 3
    config, _, args = core.started[1]
    assert config == ((2, 1, 1), 256)
    assert args == (tensors[1].data_ptr(), tensors[1].data_ptr(), np.int64(300))


def test_no_work_starts_nothing(core: FakeCore) -> None:
    x = torch.zeros(0, device=GPU)
    launching.start(elementwise(), "logistic", 0, x, x, x, np.int64(0))
    assert not core.started


def trained(place: torch.device) -> AnalogSequential:
    torch.manual_seed(0)
    layers = [AnalogLinear(*size, rpu_config=build_config("c-ttv2"), seeds=[1], replicas=1, stream=str(size))
              for size in ((7, 5), (5, 3))]  # fmt: skip
    model = AnalogSequential(layers[0], Sigmoid(), layers[1]).to(place)
    optimizer = AnalogSGD(model.parameters(), lr=0.1)
    x, y = torch.randn(6, 7).to(place), torch.randint(3, (6,)).to(place)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


@pytest.mark.usefixtures("gpu")
def test_a_second_gpu_does_the_same_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    first = trained(GPU)
    run, used = launching.launch, []

    def watched(module: Any, kernel: str, grid: Any, device: torch.device, *args: Any) -> None:
        used.append(device)
        run(module, kernel, grid, device, *args)

    monkeypatch.setattr(launching, "launch", watched)
    second = trained(SECOND)
    assert set(used) == {SECOND}
    assert all(t.device == SECOND for t in (*second.parameters(), *second.buffers()))
    for here, there in zip(first.analog_tiles(), second.analog_tiles(), strict=True):
        assert torch.equal(here.get_weights()[0].cpu(), there.get_weights()[0].cpu())
    with pytest.raises(ShapeError, match="x is on cuda:0; the others are on cuda:1"):
        second(torch.randn(6, 7).to(GPU))
    second.to(GPU)
    second(torch.randn(6, 7).to(GPU))


class Sees:
    """A torch with a driver and a card, as far as is asked."""

    def __init__(self, patch: pytest.MonkeyPatch, cuda: str | None = "13.0", says: str = "", card: bool = True) -> None:
        self.says, self.card = says, card
        patch.setattr(torch.version, "cuda", cuda)
        patch.setattr(torch.cuda, "is_available", self.look)

    def look(self) -> bool:
        if self.says:
            warnings.warn(self.says, stacklevel=1)
        return self.card


def test_torch_without_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Sees(monkeypatch, cuda=None)
    assert "built without CUDA" in launching.reason_why_not()


def test_a_driver_that_is_too_old_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Sees(monkeypatch, says="CUDA initialization: The NVIDIA driver on your system is too old (found version 12020)", card=False)
    assert launching.reason_why_not() == (
        "torch sees no GPU; CUDA initialization: The NVIDIA driver on your system is too old (found version 12020)"
    )
    Sees(monkeypatch, card=False)
    assert launching.reason_why_not() == "torch sees no GPU"


@pytest.fixture
def card(empty: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A card that torch sees, and no kernel that was compiled before."""
    monkeypatch.setenv(compiling.CACHE, "")
    compiling._store.cache_clear()
    with pretended_gpu(monkeypatch.setattr):
        Sees(monkeypatch)
        yield
    compiling._store.cache_clear()


@pytest.mark.usefixtures("card")
def test_missing_packages_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert "pip install 'fitlab[cuda]'" in launching.reason_why_not()
    old = ModuleType("cuda.core")
    old.__version__ = "0.3.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda.core", old)
    monkeypatch.setattr(cuda, "core", old)
    assert "cuda-core 0.3.1 is too old" in launching.reason_why_not()


@pytest.mark.usefixtures("card")
def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class DynamicLibNotFoundError(RuntimeError):
        pass

    def missing(*_: object) -> None:
        raise DynamicLibNotFoundError('Failure finding "libnvrtc.so"\nlooked there')

    monkeypatch.setattr(cuda.core, "Program", missing)
    assert launching.reason_why_not() == (
        "the compiler of kernels (NVRTC) was not found: pip install 'fitlab[cuda]' (Failure finding \"libnvrtc.so\")"
    )


def test_what_a_driver_says_is_passed_on(
    core: FakeCore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Sees(monkeypatch)
    core.fails = RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU")
    assert "could not be started: RuntimeError: CUDA_ERROR_NO_BINARY_FOR_GPU" in launching.reason_why_not()
    doctor.examine()
    assert "CUDA kernels: a kernel could not be started" in " ".join(capsys.readouterr().out.split())


def test_a_kernel_that_gives_wrong_numbers_is_said(core: FakeCore, monkeypatch: pytest.MonkeyPatch) -> None:
    Sees(monkeypatch)
    monkeypatch.setattr(core, "launch", lambda *_: None)
    assert launching.reason_why_not() == "a kernel gave a wrong number"


@pytest.mark.usefixtures("gpu")
def test_nothing_is_said_where_a_kernel_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    Sees(monkeypatch)
    assert launching.reason_why_not() == ""
