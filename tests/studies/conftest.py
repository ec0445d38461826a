"""Fixtures of the study tests: one local cluster for all, and the task functions on every path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SMOOTH = """
schema = "studies.study/1"
name = "smooth"
[base]
task = "study_tasks:smooth"
[factors]
noise = { values = [0.5, 1, 2, 4] }
other = { values = [0.0, 0.5] }
[replicates]
count = 3
[target]
factor = "noise"
"""


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """Two worker processes."""
    from studies.cluster import connect

    with connect(2) as connected:
        yield connected


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a study file; pairs of text are replaced in it."""

    def write(text: str | None = None, *changes: tuple[str, str], name: str = "test.toml") -> Path:
        text = SMOOTH if text is None else text
        for old, new in changes:
            assert old in text, f"{old!r} is not in the study"
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
