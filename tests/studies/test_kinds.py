"""Every network through the engine, in every kind of study: in-memory training, inference over time, hardware-aware training."""

from __future__ import annotations

import numpy as np
import pytest
from test_data import write_mnist

from studies.dataset import open_study
from studies.design import load_study
from studies.errors import StudyFileError
from studies.prepare import prepare
from studies.resolve import resolve
from studies.run import run_study

NETWORKS = {
    "mnist-vgg8": "{ width = 2 }",
    "mnist-resnet32": "{ width = 2 }",
    "mnist-lenet5": "{}",
    "text-lstm": "{ hidden = 6, context = 8 }",
    "text-transformer": "{ hidden = 8, heads = 2, context = 8 }",
}
KINDS = {
    "training": ('device = "EcRamPresetDevice"', 'step = { fields = ["device.dw_min"], multiply = [1, 4] }'),
    "inference": ('device = "PCMLikeNoiseModel"', '"inference.time" = { values = ["25 s", "1 day"] }'),
    "hardware-aware": ("", 'noise = { fields = ["modifier.std_dev"], values = [0.0, 0.2] }'),
}
STUDY = """
schema = "studies.study/1"
name = "{task}, {kind}"
[base]
kind = "{kind}"
{device}
task = "{task}"
data = "{data}"
network = {network}
train = {{ epochs = 1, batch = 4, lr = 0.05 }}
[factors]
{factor}
[replicates]
count = 2
[target]
factor = "{name}"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six images and four to test with; some words."""
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder)
    (folder / "text.txt").write_text("a rose is a rose is a rose. " * 12)
    return folder


def text_of(task, kind, data):
    device, factor = KINDS[kind]
    where = data / "text.txt" if task.startswith("text") else data
    name = factor.partition(" =")[0].strip('"')
    return STUDY.format(task=task, kind=kind, device=device, data=where, network=NETWORKS[task], factor=factor, name=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", NETWORKS)
def test_network_runs_through_the_engine(study_file, tmp_path, client, data, task, kind):
    resolved, folder = prepare(study_file(text_of(task, kind, data)), tmp_path / "a")
    ended = run_study(resolved, folder, client, quiet=True)
    assert ended.outcome == "done", folder.read_failures()
    found = open_study(folder.path)
    assert found["accuracy"].shape == (2, 2)
    assert np.isfinite(found["loss"]).all()
    assert np.isfinite(found["baseline_accuracy"]).all()
    if kind != "inference":
        # The factor has a say: the same seeds learn something else. (Times share one training.)
        losses = found["loss"].values
        assert (losses[0] != losses[1]).all()


def test_hardware_aware_training_sees_noise_unless_told_otherwise(study_file, data):
    text = text_of("text-lstm", "hardware-aware", data)
    modifier = resolve(load_study(study_file(text))).config.modifier
    assert (modifier.type.name, modifier.std_dev) == ("ADD_NORMAL", 0.1)
    changed = text.replace("[factors]", '[base.set]\n"modifier.type" = "MULT_NORMAL"\n[factors]')
    assert resolve(load_study(study_file(changed))).config.modifier.type.name == "MULT_NORMAL"
    plain = resolve(load_study(study_file(text_of("text-lstm", "inference", data)))).config.modifier
    assert plain.type.name != "ADD_NORMAL"
    with pytest.raises(StudyFileError, match='goes with kind = "inference" or "hardware-aware"'):
        load_study(study_file(text.replace('kind = "hardware-aware"', "inference = { repeats = 2 }")))
