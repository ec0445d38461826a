"""The parameter-set file: round trip, what the simulator gets, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from fitlab.errors import ParameterFileError
from fitlab.fit import fit, parameter_set
from fitlab.io import read
from fitlab.parameters import Estimate, ParameterSet, load

EXAMPLE = Path(__file__).parents[2] / "data" / "reram_8cells.csv"


@pytest.fixture(scope="module")
def one():
    return fit(read(EXAMPLE).isel(device=slice(1)), "SoftBoundsReference")


@pytest.fixture(scope="module")
def document(one):
    return parameter_set(one, "cell")


@pytest.fixture
def path(document, tmp_path):
    document.save(tmp_path / "cell.toml")
    return tmp_path / "cell.toml"


def test_what_is_written_is_what_is_read(document, path):
    assert load(path) == document
    assert load(path).to_toml() == path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["cell.toml"]


def test_the_simulator_gets_the_fitted_device(one, document, path):
    from sim.devices import SoftBoundsReferenceDevice

    device = load(path).to_device()
    assert isinstance(device, SoftBoundsReferenceDevice)
    stored = one.chosen[0].stored
    assert device.dw_min == pytest.approx(max(stored["step_up"], stored["step_down"]), rel=1e-6)
    assert device.dw_min * (1 - max(device.up_down, 0)) == pytest.approx(stored["step_down"], rel=1e-5)
    assert device.dw_min * (1 + min(device.up_down, 0)) == pytest.approx(stored["step_up"], rel=1e-5)
    assert device.w_max == pytest.approx(stored["w_max"], rel=1e-6)
    assert device.write_noise_std * device.dw_min == pytest.approx(stored["read_noise"], rel=1e-5)
    assert device.mult_noise is False
    # no spread was measured on one device: none is made up, and one may be given
    assert device.dw_min_dtod == device.w_max_dtod == device.up_down_dtod == 0
    assert load(path).to_device(dw_min_dtod=0.3).dw_min_dtod == 0.3
    assert load(path).to_rpu_config().device == device


def test_the_stored_device_answers_as_the_fit(one, document):
    from fitlab.fit.models import MODELS
    from fitlab.fit.response import trajectory

    device = document.to_device()
    values = {
        "step_up": device.dw_min * (1 + min(device.up_down, 0)),
        "step_down": device.dw_min * (1 - max(device.up_down, 0)),
        "w_max": device.w_max,
        "w_min": device.w_min,
    }
    model = MODELS["SoftBoundsReference"]
    mean = trajectory(model.kernel, model.kernel_values(values, False)[0], one.devices[0].trace, one.chosen[0].starts)
    np.testing.assert_allclose(mean, one.chosen[0].mean, atol=1e-6)


def test_weights_and_conductances_map_to_each_other(document):
    low = document.weight.to_value(-1)
    assert low == document.weight.low
    assert document.weight.to_weight(document.weight.high) == pytest.approx(1)
    assert document.weight.unit == "S"


def test_every_number_has_an_error_or_a_reason(document):
    for section in (document.parameters, document.dtod):
        for name, estimate in section.items():
            assert estimate.error is not None or estimate.reason, name
    with pytest.raises(ValueError, match="reason"):
        Estimate(value=1.0)


def test_the_correlation_matrix_is_one(document):
    matrix = np.array(document.correlation.matrix)
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1)
    assert np.linalg.eigvalsh(matrix).min() > -1e-3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema_version = 1", "schema_version = 7", "schema_version: 7 given, 1 expected"),
        ("schema_version = 1\n", "", "schema_version: None given"),
        ('name = "cell"', 'name = "cell"\ncolour = "red"', "colour: there is no such key; remove it"),
        ("[device.fields]", "[device.felds]", "device.fields: is missing"),
        ("SoftBoundsReferenceDevice", "HardBoundsDevice", "'HardBoundsDevice' is no device model; choose from"),
        ("dw_min = ", "dw_minimum = ", "dw_minimum"),
        ("dw_min = ", "dw_min = -", "dw_min"),
        ('unit = "S"', "unit = 3", "unit: Input should be a valid string, given 3"),
        ("[device]", "[device", "this is not TOML"),
    ],
)
def test_faults_are_named_with_their_key(path, old, new, message):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ParameterFileError, match=message) as caught:
        load(path)
    assert "cell.toml" in str(caught.value)


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(ParameterFileError, match=r"fitlab fit DATA\.csv -o none\.toml"):
        load(tmp_path / "none.toml")


def test_a_file_is_written_whole_or_not_at_all(document, tmp_path):
    with pytest.raises(ParameterFileError, match="cannot be written"):
        document.save(tmp_path / "nowhere" / "cell.toml")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ParameterFileError, match="cannot be written"):
        document.save(tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_the_schema_can_be_given_to_an_editor():
    assert "parameters" in ParameterSet.model_json_schema()["properties"]
