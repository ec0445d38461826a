"""Names in a study against the simulator: devices, fields, levels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sim.configs import get_path
from studies.configure import configured
from studies.dataset import open_study
from studies.design import load_study
from studies.errors import StudyFileError
from studies.prepare import prepare
from studies.resolve import resolve
from studies.run import run_study
from studies.targets import targets

DEVICE = """
schema = "studies.study/1"
name = "x"
[base]
device = "ReRamSBPresetDevice"
set = { "forward.out_noise" = 0.02 }
[factors]
"device.dw_min" = { multiply = [0.5, 1] }
spread = { fields = ["device.*_dtod"], multiply = [0, 1] }
[target]
factor = "device.dw_min"
"""


def test_multipliers_act_on_the_devices_own_values(study_file):
    resolved = resolve(load_study(study_file(DEVICE)))
    point = next(p for p in resolved.study.grid_points() if p.values == {"device.dw_min": 0.5, "spread": 0.0})
    settings = resolved.settings(point)
    own = get_path(resolved.config, "device.dw_min")
    assert settings["device.dw_min"] == 0.5 * own
    assert settings["device.w_max_dtod"] == 0.0
    assert len(settings) > 4
    changed = configured(resolved.config, settings)
    assert changed.device.dw_min == 0.5 * own
    assert resolved.config.device.dw_min == own
    assert changed.forward.out_noise == 0.02


def test_numbers_share_a_task_and_switches_do_not(study_file):
    text = DEVICE + "[run]\ngroup = 2\n"
    numbers = resolve(load_study(study_file(text)))
    assert len({numbers.structure(p) for p in numbers.study.grid_points()}) == 1
    assert len({numbers.structure(p) for p in numbers.study.points()}) == 2
    switch = text.replace("[target]", '"forward.is_perfect" = { values = [true, false] }\n[target]')
    switched = resolve(load_study(study_file(switch)))
    assert len({switched.structure(p) for p in switched.study.grid_points()}) == 2
    longer = text.replace("[target]", '"train.epochs" = { values = [1, 2] }\n[target]')
    lengths = resolve(load_study(study_file(longer)))
    assert len({lengths.structure(p) for p in lengths.study.grid_points()}) == 2


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (("ReRamSBPresetDevice", "ReRamSPPresetDevice"), "base.device", "did you mean ReRamSBPresetDevice"),
        (("ReRamSBPresetDevice", "cell.toml"), "base.device", "fitlab fit"),
        (('device = "ReRamSBPresetDevice"', ""), "base.device", "is missing"),
        (('device = "ReR', 'task = "mnist-mlp4"\ndevice = "ReR'), "base.task", "is not known"),
        (('device = "ReR', 'task = "mnist-mlp3"\ndevice = "ReR'), "base.data", "no folder given"),
        (('device = "ReR', 'task = "no_module:f"\ndevice = "ReR'), "base.task", "cannot be imported"),
        (('device = "ReR', 'algorithm = "adam"\ndevice = "ReR'), "base", "sgd"),
        (("forward.out_noise", "forward.out_nose"), 'base.set."forward.out_nose"', "did you mean"),
        (('"forward.out_noise" = 0.02', '"forward.out_noise" = -1'), 'base.set."forward.out_noise"', "at least 0"),
        (('"device.dw_min" = {', '"device.dw_mni" = {'), 'factors."device.dw_mni"', "did you mean"),
        (("device.*_dtod", "device.*_dtodo"), "factors.spread", "no number of the configuration matches"),
        (("device.*_dtod", "device.dw_min"), "factors.spread", "already varied by the factor"),
        (("device.*_dtod", "train.lrr"), "factors.spread", "did you mean train.lr"),
        (("device.*_dtod", "device.lifetime"), "factors.spread", "is 0 in the base"),
        (("device.*_dtod", "forward.is_perfect"), "factors.spread", "only numbers can be"),
        (("{ multiply = [0.5, 1] }", "{ values = [-0.1, 1] }"), 'factors."device.dw_min"', "level -0.1"),
        (('"device.*_dtod"], multiply', '"train.batch"], values'), "factors.spread", "level 0"),
        (("[target]", '[target]\nmetric = "acuracy"'), "target.metric", "did you mean accuracy"),
    ],
)
def test_faults_name_file_key_and_remedy(study_file, change, key, words):
    text = DEVICE
    if '"device.dw_mni"' in change[1]:
        text = text.replace('factor = "device.dw_min"', 'factor = "device.dw_mni"')
    path = study_file(text, change)
    with pytest.raises(StudyFileError) as caught:
        resolve(load_study(path))
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(path))}(:\d+)?: {re.escape(key)}", message), message
    assert words in message
    assert message.count("\n") == 0


CHOICES = """
schema = "studies.study/1"
name = "choices"
[base]
device = "ReRamSBPresetDevice"
train = { epochs = 1, images = 100, test = 50 }
[factors]
"forward.bound_management" = { values = ["NONE", "ITERATIVE"] }
"update.pulse_type" = { values = ["STOCHASTIC_COMPRESSED", "NONE_WITH_DEVICE"] }
"update.update_management" = { values = [true, false] }
"network.hidden" = { values = [2, 3] }
[replicates]
count = 1
[target]
factor = "network.hidden"
better = "higher"
"""


def test_choices_of_the_simulator_are_factors(study_file, client, tmp_path):
    resolved, folder = prepare(study_file(CHOICES), tmp_path / "a")
    assert run_study(resolved, folder, client, quiet=True).outcome == "done"
    data = open_study(folder.path)
    assert dict(data.sizes) == {
        "forward.bound_management": 2, "update.pulse_type": 2, "update.update_management": 2, "network.hidden": 2, "replicate": 1,
    }  # fmt: skip
    assert (data["status"] == 1).all()
    assert len(np.unique(data["loss"])) >= 4
    # Tested with fifty images; the digital network is as large as the one that it is compared with.
    np.testing.assert_allclose(50 * data["accuracy"], np.round(50 * data["accuracy"]))
    assert data["baseline_accuracy"].dims == ("network.hidden", "replicate")
    assert len(np.unique(data["baseline_loss"])) == 2
    assert len(targets(data)) == 8


def test_loss_is_no_target(study_file):
    with pytest.raises(StudyFileError, match=r"target\.metric: 'loss' is better when it is less"):
        resolve(load_study(study_file(DEVICE + 'metric = "loss"\n')))


def test_levels_beyond_number_are_tried_at_their_ends(study_file, monkeypatch):
    tried = []
    monkeypatch.setattr(
        "studies.checks.configured", lambda config, settings: tried.append(settings) or configured(config, settings)
    )
    text = DEVICE.replace("multiply = [0.5, 1]", "linspace = [FIRST, 1, 100000]")
    resolve(load_study(study_file(text.replace("FIRST", "0.001"))))
    assert 500 < len(tried) < 1100
    with pytest.raises(StudyFileError, match=r"level -1\.0: device\.dw_min = -1"):
        resolve(load_study(study_file(text.replace("FIRST", "-1"))))
