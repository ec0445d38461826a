"""`fitlab spec`: from a parameter set to a report of what must improve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fitlab.cli import app
from fitlab.parameters import load
from studies.dataset import open_study
from studies.demo import EXAMPLE
from studies.design import load_study
from studies.errors import StudyFileError
from studies.prepare import prepare
from studies.resolve import resolve
from studies.run import run_study
from studies.targets import targets
from studies.words import markdown_table


@pytest.fixture(scope="module")
def device(tmp_path_factory) -> Path:
    from fitlab.fit import fit, parameter_set
    from fitlab.io import read

    path = tmp_path_factory.mktemp("device") / "cell.toml"
    parameter_set(fit(read([EXAMPLE]), "SoftBoundsReference"), None).save(path)
    return path


def test_every_property_gets_a_target_and_a_report(device, client, tmp_path):
    out = tmp_path / "cell.study"
    arguments = ["spec", device, "-o", out, "--replicates", "2", "--quiet", "--scheduler", client.scheduler.address]
    changes = ["--set", "train.epochs=1", "--set", "train.batch=50", "--set", "network.hidden=4"]
    result = CliRunner().invoke(app, [str(a) for a in [*arguments, *changes]])
    assert result.exit_code == 0, result.output
    assert "has not learnt" in result.output
    assert "step size" in result.output
    data = open_study(out)
    assert data.attrs["design"] == "one-at-a-time"
    assert (data["status"] == 1).all()
    assert {"device.dw_min", "device.dw_min_std", "device.write_noise_std", "read_noise"} <= set(map(str, data.coords))
    parameters = load(device)
    assert json.loads(data["read_noise"].attrs["start"]) == dict.fromkeys(
        ("forward.w_noise", "backward.w_noise"), pytest.approx(parameters.parameters["read_noise"].value)
    )
    joint = json.loads(data["imperfections_together"].attrs["start"])
    assert {"device.dw_min", "forward.w_noise", "device.w_max_dtod"} <= set(joint)
    unit = (parameters.weight.high - parameters.weight.low) / 2
    assert json.loads(data["device.dw_min"].attrs["measured"]) == {"device.dw_min": [pytest.approx(unit), "S"]}
    assert "device.w_max_dtod" in json.loads(data["device.w_max_dtod"].attrs["interval"])
    assert "This device reaches" in result.output
    page = (out / "report.html").read_text()
    assert "step noise" in page
    assert "<svg" in page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cell-spec.toml", "cell.study"]


def test_bad_input_makes_nothing(device, tmp_path):
    for arguments, words in (
        ([device, "--task", "digitz", "-o", tmp_path / "a"], "is not known"),
        ([tmp_path / "none.toml", "-o", tmp_path / "a"], "none.toml"),
        ([device, "-o", tmp_path / "a" / "b"], "is not a folder"),
    ):
        result = CliRunner().invoke(app, ["spec", *map(str, arguments)])
        assert result.exit_code == 2, result.output
        assert words in result.output
        assert not (tmp_path / "a").exists()


SIEMENS = """
schema = "studies.study/1"
name = "siemens"
[base]
device = "cell.toml"
train = { epochs = 1, images = 50, test = 50 }
[factors]
"device.dw_min" = { geomspace = ["50 nS", "2 uS", 3] }
[replicates]
count = 2
[target]
"""


def test_steps_in_siemens(device, tmp_path, client):
    path = device.with_name("siemens.toml")
    path.write_text(SIEMENS)
    resolved, folder = prepare(path, tmp_path / "a")
    parameters = load(device)
    unit = (parameters.weight.high - parameters.weight.low) / 2
    steps = [resolved.settings(p)["device.dw_min"] for p in resolved.study.grid_points()]
    np.testing.assert_allclose(steps, np.array([5e-8, 10**-6.5, 2e-6]) / unit, rtol=1e-6)
    assert run_study(resolved, folder, client, quiet=True).outcome == "done"
    data = open_study(folder.path)
    assert data["device.dw_min"].attrs["units"] == "S"
    (row,) = targets(data)
    own = parameters.parameters["dw_min"]
    assert row.device == pytest.approx(own.value * unit)
    assert row.device_high == pytest.approx((own.value + 1.96 * own.error) * unit)
    assert " nS" in markdown_table([row])
    plain = SIEMENS.replace('["50 nS", "2 uS", 3]', "[5e-8, 2e-6, 3]")
    path.write_text(plain)
    assert not {p.id for p in load_study(path).grid_points()} & {p.id for p in resolved.study.grid_points()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"50 nS", "2 uS"', '"50 nA", "2 uA"'), "was measured in S; use that"),
        (('"50 nS", "2 uS"', '"50 nm", "2 um"'), "has another unit"),
        (("device.dw_min", "device.dw_min_std"), "device.dw_min_std is no such quantity; write numbers without unit"),
        (('geomspace = ["50 nS", "2 uS", 3]', 'values = [1, "2 uS"]'), "units and none"),
        (('{ geomspace = ["50 nS", "2 uS", 3] }', '{ zip = { "device.dw_min" = ["1 uS", "2 uS"] } }'), "zip takes plain numbers"),
        (('"cell.toml"', '"ReRamSBPresetDevice"'), "belongs to no fitted device"),
        (("[factors]", 'set = { "device.w_max" = "1 uS" }\n[factors]'), "write the number without unit"),
        (("[factors]", '[factors]\ndevice = { values = ["cell.toml", "EcRamPresetDevice"] }'), "differs with the device"),
        (("[factors]", 'kind = "inference"\ninference = { time = "1 uS" }\n[factors]'), 'wanted is a time such as "1 day"'),
    ],
)
def test_units_that_do_not_fit(device, change, words):
    path = device.with_name("wrong.toml")
    assert change[0] in SIEMENS
    path.write_text(SIEMENS.replace(*change))
    with pytest.raises(StudyFileError, match=words):
        resolve(load_study(path))
