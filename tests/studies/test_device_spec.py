"""`fitlab spec`: from a parameter set to a report of what must improve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fitlab.cli import app
from fitlab.parameters import load
from studies.dataset import open_study
from studies.demo import EXAMPLE


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
