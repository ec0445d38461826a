"""Designs for indices, and the indices of functions of which they are known."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from studies.cli import app
from studies.dataset import open_study
from studies.design import load_study
from studies.errors import StudyError, StudyFileError
from studies.prepare import prepare
from studies.report import report
from studies.run import run_study
from studies.sensitivity import block_size, indices, morris, saltelli

pytest.importorskip("SALib", reason="needs the extra fitlab[sensitivity]")

STUDY = """
schema = "studies.study/1"
name = "ishigami"
[base]
task = "study_tasks:ishigami"
[factors]
a = { range = [-3.141592653589793, 3.141592653589793] }
b = { range = [-3.141592653589793, 3.141592653589793] }
c = { range = [-3.141592653589793, 3.141592653589793] }
[design]
kind = "saltelli"
points = 512
[replicates]
count = 1
[target]
factor = "a"
"""


def test_saltelli_blocks_change_one_factor_at_a_time():
    sample = saltelli(3, 8, seed=0).reshape(8, 5, 3)
    np.testing.assert_array_equal(sample[:, 1:4][:, [0, 1, 2], [0, 1, 2]], sample[:, -1])
    for f in range(3):
        others = [g for g in range(3) if g != f]
        np.testing.assert_array_equal(sample[:, f + 1][:, others], sample[:, 0][:, others])
    np.testing.assert_array_equal(saltelli(3, 8, seed=0), saltelli(3, 8, seed=0))
    assert (saltelli(3, 8, seed=1) != saltelli(3, 8, seed=0)).any()


def test_morris_trajectories_move_each_factor_once_by_two_levels():
    sample = morris(4, 50, seed=0).reshape(50, 5, 4)
    moves = np.diff(sample, axis=1)
    assert (np.count_nonzero(moves, axis=2) == 1).all()
    assert (np.count_nonzero(moves, axis=1) == 1).all()
    np.testing.assert_allclose(np.abs(moves[moves != 0]), 2 / 3, rtol=1e-9)
    assert set(np.unique(sample)) == {0.0, 0.333333333333, 0.666666666667, 1.0}
    assert (moves > 0).any()
    assert (moves < 0).any()


@pytest.fixture
def run(study_file, tmp_path, client):
    def go(*changes):
        resolved, folder = prepare(study_file(STUDY, *changes), tmp_path / "a")
        assert run_study(resolved, folder, client, quiet=True).outcome == "done"
        return resolved.study, folder

    return go


def test_indices_of_the_ishigami_function(run):
    study, folder = run()
    data = open_study(folder.path)
    assert data.sizes["point"] == 512 * block_size("saltelli", 3)
    found = {row.factor: row for row in indices(study, data)}
    # Ishigami and Homma (1990) with 7 and 0.1: known exactly.
    for name, alone, together in (("a", 0.3139, 0.5576), ("b", 0.4424, 0.4424), ("c", 0.0, 0.2437)):
        row = found[name]
        assert abs(row.alone - alone) < 2.5 * row.alone_half, row
        assert abs(row.together - together) < 2.5 * row.together_half, row
        assert row.together_half < 0.15
    result = CliRunner().invoke(app, ["rank", str(folder.path), "--indices"])
    assert result.exit_code == 0, result.output
    assert [line.split(" | ")[0] for line in result.output.splitlines()] == ["| factor", "| ---", "| a", "| b", "| c"]
    assert "Indices of sensitivity" in report(folder)


def test_effects_of_single_steps_and_blocks_that_are_not_whole(run):
    study, folder = run(('"saltelli"', '"morris"'), ("512", "60"))
    data = open_study(folder.path)
    rows = {row.factor: row for row in indices(study, data)}
    # b enters as a square of a sine, even about 0: single steps by two of four levels do not see it, and see c only with a.
    assert rows["a"].alone > rows["c"].alone > 0
    assert rows["a"].together > 0
    broken = data.copy(deep=True)
    broken["status"][5:9] = 2
    less = {row.factor: row for row in indices(study, broken)}
    assert less["a"] != rows["a"]
    broken["status"][:] = 2
    with pytest.raises(StudyError, match="0 of 60 blocks of the design are complete"):
        indices(study, broken)


def test_what_does_not_fit_is_told(study_file, run):
    with pytest.raises(StudyFileError, match="a saltelli design is balanced for powers of two only; write points = 4 or 8"):
        load_study(study_file(STUDY, ("512", "5")))
    study, folder = run(('"saltelli"', '"sobol"'), ("512", "16"))
    with pytest.raises(StudyError, match='indices need \\[design\\] with kind = "saltelli" or "morris"'):
        indices(study, open_study(folder.path))
