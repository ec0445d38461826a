"""A parameter set for other programs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fitlab import neurosim
from fitlab.errors import FitlabError
from fitlab.export import EXPORTS, aihwkit_arguments
from fitlab.fit import fit, parameter_set
from fitlab.io import read_record
from fitlab.parameters import ParameterSet
from sim import devices
from tests.fitlab.simulate import ramps, traces

TRUTH = {
    "step_up": 0.02, "step_down": 0.015, "w_max": 1.0, "w_min": -1.0, "gamma_up": 0.5, "gamma_down": 0.3, "dw_min_std": 0.3,
    "read_noise": 0.005,
}  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> ParameterSet:
    pulses = ramps(80, 80, 2)
    values = traces("LinearStep", TRUTH, pulses, 1, np.random.default_rng(3), -0.9)[0]
    path = tmp_path_factory.mktemp("export") / "cell.csv"
    rows = [f"{k},{p if k else 0},{v + 2:.6f}" for k, (p, v) in enumerate(zip(pulses, values, strict=True))]
    path.write_text("\n".join(["pulse,direction,G (uS)", *rows]))
    return parameter_set(fit(read_record(path), "LinearStep"))


def test_python_source_makes_the_device(document):
    space: dict[str, object] = {}
    exec(EXPORTS["python"](document), space)
    assert space["device"] == document.to_device()


def test_json_holds_the_whole_set(document):
    assert ParameterSet.model_validate_json(EXPORTS["json"](document)) == document


def test_arguments_of_aihwkit_are_the_fields_of_the_device(document):
    name, fields = aihwkit_arguments(document)
    assert name == "LinearStepDevice"
    assert getattr(devices, name)(**fields) == document.to_device()
    assert fields["dw_min_dtod"] == 0.0, "what was not measured is no spread, whatever the default"
    source = EXPORTS["aihwkit"](document)
    assert source.count("from aihwkit.simulator.configs.devices import LinearStepDevice") == 1
    compile(source, "aihwkit", "exec")
    assert document.source.sha256[:12] in source


def test_the_command_prints_and_writes_but_never_replaces(document, tmp_path, capsys):
    from fitlab.cli import export

    path, target = tmp_path / "cell.toml", tmp_path / "cell.py"
    document.save(path)
    export(path, "python", None)
    assert "device = LinearStepDevice(" in capsys.readouterr().out
    export(path, "python", target)
    with pytest.raises(FitlabError, match="exists; choose another name"):
        export(path, "python", target)
    with pytest.raises(FitlabError, match="--to xml: use python, json, aihwkit"):
        export(path, "xml", None)


def test_a_fitted_set_is_written_for_neurosim(document):
    text = EXPORTS["neurosim"](document)
    numbers = dict(line.split("#")[0].split(" = ") for line in text.splitlines() if " = " in line)
    # of a step linear in the weight, between the weights -1 and 1: 1 / A = 2 artanh(gamma / bound)
    fields = document.device.fields
    assert float(numbers["A_LTP"]) == pytest.approx(0.5 / math.atanh(fields["gamma_up"] / fields["w_max"]), rel=0.05)
    assert float(numbers["A_LTD"]) == pytest.approx(0.5 / math.atanh(fields["gamma_down"] / fields["w_min"]), rel=0.05)
    assert neurosim.label_of_a(float(numbers["A_LTP"])) == pytest.approx(float(numbers["NL_LTP"]), rel=0.01)
    assert float(numbers["minConductance"].strip()) == pytest.approx(document.weight.low, rel=1e-5)


def test_devices_that_the_peer_lacks_are_refused(document):
    device = document.device.model_copy(update={"model": "TableDevice", "fields": {}})
    with pytest.raises(FitlabError, match="aihwkit has no TableDevice"):
        EXPORTS["aihwkit"](document.model_copy(update={"device": device}))
