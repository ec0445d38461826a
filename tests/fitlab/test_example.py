"""The example measurement is what its generator makes."""

import runpy
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize("name", ["reram_8cells.csv", "reram_8cells_truth.csv"])
def test_the_generator_makes_the_files(tmp_path, name):
    runpy.run_path(str(DATA / "make_example.py"))["main"](tmp_path)
    assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()
