"""What is run on a card, the tests of `pytest -m gpu` and the benchmark, is walked through on a pretended GPU."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks import gpu, gpu_training
from sim.cuda import launch as launching
from tests.sim.cuda import test_gpu as on_a_card

pytestmark = pytest.mark.usefixtures("gpu")

SCRIPT = Path(gpu.__file__).parent / "gpu.sh"
ELSEWHERE = ("algorithms", "transfers", "training_is", "what_else_is_captured", "every_gpu_does")
"""Tests that are others of this folder with another device."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps, small arrays."""
    monkeypatch.setattr(launching, "reason_why_not", lambda: "")
    small: dict[Any, dict[str, object]] = {
        on_a_card: {"STEPS": 3},
        gpu: {
            "COPIED": 100, "NORMALS": 200, "SIZE": 6, "UPDATES": ((1, 3, 0.2), (2, 2, 0.2)), "PRODUCTS": ((1, 2), (2, 3)),
            "EVENTS": (1, 2),
        },
        gpu_training: {
            "BATCH": 1, "STEPS": 1, "REPLICAS": (1, 2), "SIZES": (9, 6, 5, 10), "WIDTH": 1, "TOGETHER": (2,), "POINTS": 2,
        },
    }  # fmt: skip
    for module, values in small.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


for _name, _test in vars(on_a_card).items():
    if _name.startswith("test_") and not any(word in _name for word in ELSEWHERE):
        globals()[_name] = _test


def test_the_benchmark_writes_its_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmarks, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu", "--save", "--quick"])
    assert benchmarks.main() == 0
    assert "bars met" in capsys.readouterr().out
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert {"machine", "made", "tables"} == set(result)
    titles = [table["title"] for table in result["tables"]]
    assert len(titles) == 6
    epochs = result["tables"][4]
    assert {row[0] for row in epochs["rows"]} == {"3FC", "LeNet-5", "VGG-8"}
    graphs = epochs["columns"].index("as a graph")
    assert all(isinstance(row[graphs], float) for row in epochs["rows"])


def test_what_does_not_fit_into_the_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(gpu_training, "_timed", full)
    assert {row[2] for row in gpu_training.epochs().rows} == {"no room"}


def test_a_step_that_cannot_be_captured_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise gpu_training.CaptureError("it looks")

    monkeypatch.setattr(gpu_training, "CapturedStep", refused)
    assert "no: it looks" in gpu_training.epochs(quick=True).rows[0]


def test_results_name_card_driver_and_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    done = subprocess.CompletedProcess([], 0, stdout="580.1\n")
    monkeypatch.setattr("benchmarks.machine.subprocess.run", lambda *_, **__: done)
    about = importlib.import_module("benchmarks.machine").about()
    assert about["gpu"] == "pretended"
    assert (about["architecture"], about["driver"]) == ("sm_90", "580.1")
    assert about["cuda-core"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True)


def test_the_one_command_says_what_it_would_run() -> None:
    said = run("--dry-run", "--out", "somewhere").stdout
    for word in ("nvidia-smi", "pytest -m gpu", "benchmarks gpu --save", "--tool memcheck", "somewhere/tests.xml"):
        assert word in said
    assert "pytest" not in run("--dry-run", "--only", "benchmark").stdout
    assert "--quick" in run("--dry-run", "--quick").stdout


def test_the_one_command_explains_itself(tmp_path: Path) -> None:
    assert run("--help").stdout.startswith("Everything that only a machine with an NVIDIA GPU can show")
    wrong = run("--fast")
    assert wrong.returncode == 2
    assert "there is no option --fast" in wrong.stderr
    empty = run("--wheels", str(tmp_path))
    assert empty.returncode == 2
    assert "gather" in empty.stderr
