"""The simulator through the engine: the same bits for any grouping and number of workers; and the demo's study."""

from __future__ import annotations

import numpy as np

from studies.cluster import connect
from studies.dataset import open_study
from studies.demo import EXAMPLE, study_text
from studies.design import load_study
from studies.prepare import prepare
from studies.resolve import resolve
from studies.run import run_study

TEXT = """
schema = "studies.study/1"
name = "bits"
[base]
device = "ReRamSBPresetDevice"
train = { epochs = 1, batch = 50, lr = 0.2 }
[factors]
"device.dw_min" = { multiply = [0.5, 1] }
"forward.out_noise" = { values = [0.0, 0.1] }
[replicates]
count = 2
"""


def test_same_bits_for_any_grouping_and_number_of_workers(study_file, tmp_path, client):
    path = study_file(TEXT)
    found = []
    for name, group in (("together", 8), ("alone", 1)):
        resolved, folder = prepare(path, tmp_path / name)
        assert run_study(resolved, folder, client, group=group, quiet=True).outcome == "done"
        found.append(open_study(folder.path))
    resolved, folder = prepare(path, tmp_path / "one")
    with connect(1) as one:
        assert run_study(resolved, folder, one, group=3, quiet=True).outcome == "done"
    found.append(open_study(folder.path))
    for other in found[1:]:
        for name in ("accuracy", "loss", "baseline_accuracy", "baseline_loss", "seed", "status"):
            assert found[0][name].values.tobytes() == other[name].values.tobytes(), name
    # Every point and replicate is a training of its own.
    assert len(np.unique(found[0]["loss"])) == 8


def test_demo_study_of_the_example_is_complete(tmp_path):
    from fitlab.fit import fit, parameter_set
    from fitlab.io import read

    parameters = parameter_set(fit(read([EXAMPLE]), "SoftBoundsReference"), None)
    parameters.save(tmp_path / "device.toml")
    (tmp_path / "demo.toml").write_text(study_text(parameters))
    resolved = resolve(load_study(tmp_path / "demo.toml"))
    assert len(resolved.study.points()) == 25
    assert resolved.fields["noise"] == ("device.dw_min_std", "device.write_noise_std")
    assert resolved.uncertainty["device.dw_min"] == parameters.parameters["dw_min"].error > 0
    assert resolved.inputs == [tmp_path / "device.toml"]
