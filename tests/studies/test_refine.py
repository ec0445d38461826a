"""Refinement: bisection around the threshold, decided from the store alone."""

from __future__ import annotations

import numpy as np

from studies.dataset import open_study
from studies.prepare import open_folder, prepare
from studies.refine import refinement
from studies.run import anything_left, run_study
from studies.store import Store
from studies.targets import targets

TEXT = """
schema = "studies.study/1"
name = "refined"
[base]
task = "study_tasks:smooth"
[factors]
noise = { geomspace = [0.01, 10, 4] }
[replicates]
count = 3
[refine]
resolution = "10 %"
max_points = 8
"""


def test_bracket_is_halved_until_it_is_narrow(study_file, tmp_path, client):
    resolved, folder = prepare(study_file(TEXT), tmp_path / "a")
    assert run_study(resolved, folder, client, quiet=True).outcome == "done"
    data = open_study(folder.path)
    (row,) = targets(data)
    levels = data["noise"].values
    after = int(np.searchsorted(levels, row.threshold.value))
    assert levels[after] / levels[after - 1] <= 1.1
    assert 4 < len(levels) <= 12
    # Without scatter between replicates the model's own crossing is known.
    truth = np.exp(-np.log(0.8 / (0.0098) - 1) / 4)
    assert abs(np.log(row.threshold.value / truth)) < 0.1
    resolved, folder = open_folder(folder.path)
    assert not anything_left(resolved, folder)
    assert refinement(resolved, Store(folder.results)) == []


def test_proposal_is_a_function_of_the_store_and_bounded(study_file, tmp_path, client):
    path = study_file(TEXT, ("max_points = 8", "max_points = 2"))
    resolved, folder = prepare(path, tmp_path / "a")
    run_study(resolved, folder, client, quiet=True)
    store = Store(folder.results)
    assert int(np.count_nonzero(store.columns["stage"])) == 2
    assert store.columns["stage"].max() == 2
    assert refinement(resolved, store) == []
