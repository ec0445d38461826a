"""The study commands: what they print, what they write, how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from studies.cli import app
from studies.prepare import prepare
from studies.run import run_study


def call(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def finished(study_file, tmp_path, client):
    resolved, folder = prepare(study_file(None, ("[0.5, 1, 2, 4]", "[0.05, 0.2, 0.5, 2]")), tmp_path / "done")
    assert run_study(resolved, folder, client, quiet=True).outcome == "done"
    return folder.path


def test_plan_counts_and_runs_nothing(study_file, tmp_path):
    result = call("plan", study_file())
    assert result.exit_code == 0
    assert "9 points (1 digital) x 3 replicates = 27 runs" in result.output
    assert "tasks, memory and time: --measure" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["test.toml"]


def test_status_spec_and_plot_read_a_finished_study(finished):
    assert "27 of 27 runs finished, 27 done" in call("status", finished).output
    result = call("spec", finished, "--csv", finished / "t.csv", "--markdown", finished / "t.md")
    assert result.exit_code == 0, result.output
    assert "its noise must be at most" in result.output
    assert (finished / "t.csv").read_text().startswith("factor,")
    assert (finished / "t.md").read_text().startswith("| factor |")
    result = call("plot", finished, "--format", "svg")
    assert result.exit_code == 0, result.output
    assert {p.name for p in (finished / "figures").iterdir()} == {"target.svg", "map.svg", "ratios.csv"}


def test_nothing_left_needs_no_cluster(finished, study_file):
    result = call("resume", finished)
    assert result.exit_code == 0
    assert "Nothing left to run" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "missing.toml"), "missing.toml: cannot be read"),
        (("run", "missing.toml"), "give the path of a study file"),
        (("status", "{tmp}"), "is not the folder of a study"),
        (("resume", "{tmp}"), "fitlab study run FILE -o DIR"),
        (("spec", "{tmp}/nowhere"), "is not the folder of a study"),
        (("plot", "{done}", "--format", "gif"), "write svg, png or pdf"),
        (("run", "{file}", "-o", "{tmp}/a/b"), "is not a folder; make it"),
        (("run", "{file}", "-o", "{tmp}"), "exists and is not the folder of a study"),
        (("run", "{file}", "--scheduler", "tcp://127.0.0.1:1", "-o", "{tmp}/new"), "no dask scheduler answers"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, finished, study_file, arguments, words):
    known = {"tmp": tmp_path, "done": finished, "file": tmp_path / "test.toml"}
    result = call(*(a.format(**known) for a in arguments))
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
    assert result.output.startswith("Error: ")


def test_broken_file_leaves_nothing(study_file, tmp_path):
    result = call("run", study_file("schema = 1"), "-o", tmp_path / "new")
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_help_has_examples_and_loads_nothing_heavy():
    for command in ("plan", "run", "resume", "status", "spec", "plot"):
        assert "Example" in call(command, "--help").output
    code = (
        "import sys, studies.cli; "
        "print([m for m in ('torch','numpy','xarray','zarr','dask','distributed','matplotlib','pint','pydantic') "
        "if m in sys.modules])"
    )
    root = str(Path(__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": root}
    )
    heavy = set(json.loads(found.stdout.replace("'", '"')))
    # typer itself may bring pydantic.
    assert heavy <= {"pydantic"}


def test_run_on_a_given_scheduler_ends_with_code_3_where_points_failed(study_file, tmp_path, client):
    from test_run import FAULTY

    path = study_file(FAULTY, ("MODE", "error"))
    result = call("run", path, "-o", tmp_path / "new", "--scheduler", client.scheduler.address, "--quiet")
    assert result.exit_code == 3, result.output
    assert "1 failed: ValueError: a bad point" in result.output
    assert "failures.jsonl" in result.output
