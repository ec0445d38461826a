"""Targets, verdicts, tables, sentences and figures, from datasets with known answers."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
import xarray as xr

from studies.errors import StudyError
from studies.plot import figures
from studies.targets import csv_table, device_ratio, interval_text, markdown_table, sentence, target_text, targets

X = np.array([0.25, 0.5, 1.0, 2.0, 4.0])


def dataset(
    *, at=0.7, noise=0.002, replicates=5, better="lower", kind="multiply", start=None, error=None, normalisation="ratio",
    second=False, chance=None,
):  # fmt: skip
    """Accuracy that falls through 99 % near ``at`` (rises, for "higher")."""
    rng = np.random.default_rng(0)
    sign = 1 if better == "lower" else -1
    names = ["x", "y"] if second else ["x"]
    shape = (len(X), 3, replicates) if second else (len(X), replicates)
    shift = np.array([0.0, 0.3, 0.6])[None, :, None] if second else 0.0
    u = sign * (np.log(X) - math.log(at)).reshape(-1, *[1] * (len(shape) - 1)) + shift
    ratio = 1 - 0.5 / (1 + np.exp(-3 * u + math.log(49)))
    baseline = 0.96 + 0.01 * rng.normal(size=replicates)
    accuracy = ratio * baseline + noise * rng.normal(size=shape)
    start = {"device.a": 2.0} if start is None else start
    about = {
        "long_name": "the x", "units": "1", "kind": kind, "scale": "log", "fields": list(start),
        "start": json.dumps(start), "standard_error": json.dumps(error or {}),
    }  # fmt: skip
    coords = {"x": ("x", X, about), "replicate": np.arange(replicates)}
    if second:
        coords["y"] = ("y", [0.5, 1.0, 2.0], about | {"long_name": "the y", "start": json.dumps({"device.b": 1.0})})
    target = {
        "metric": "accuracy", "baseline": "digital", "level": 0.99, "factor": "x", "better": better,
        "normalisation": normalisation, "chance": chance,
    }  # fmt: skip
    return xr.Dataset(
        {
            "accuracy": ((*names, "replicate"), accuracy, {"long_name": "test accuracy"}),
            "status": ((*names, "replicate"), np.ones(shape, np.uint8)),
            "baseline_accuracy": ("replicate", baseline),
            "baseline_status": ("replicate", np.ones(replicates, np.uint8)),
        },
        coords,
        {"name": "t", "target": json.dumps(target), "study_digest": "d"},
    )


def test_device_behind_the_target_misses_and_the_unit_value_is_given():
    (row,) = targets(dataset(at=0.7))
    assert row.threshold.value == pytest.approx(0.7, rel=0.1)
    assert row.threshold.low < row.threshold.value < row.threshold.high
    assert row.verdict == "misses"
    assert row.margin == pytest.approx(row.threshold.value)
    assert row.absolute() == {"device.a": pytest.approx(2 * row.threshold.value)}


def test_device_before_the_target_meets():
    (row,) = targets(dataset(at=1.6))
    assert row.verdict == "meets"
    (row,) = targets(dataset(at=0.6, better="higher"))
    assert row.verdict == "meets"
    assert row.margin > 1


def test_verdict_waits_for_the_interval_of_data_and_device():
    (near,) = targets(dataset(at=1.0))
    assert near.threshold.low < 1 < near.threshold.high
    assert near.verdict == "cannot tell"
    wide = targets(dataset(at=1.6, error={"device.a": 1.0}))[0]
    assert (wide.device_low, wide.device_high) == (pytest.approx(1 - 0.98), pytest.approx(1 + 0.98))
    assert wide.verdict == "cannot tell"


def test_absolute_factor_compares_with_the_fields_own_value():
    (row,) = targets(dataset(at=0.7, kind="set", start={"device.a": 0.3}))
    assert row.device == 0.3
    assert row.verdict == "meets"
    assert row.absolute() == {}
    (row,) = targets(dataset(kind="set", start={"device.a": 0.3, "device.b": 0.4}))
    assert row.verdict == "no device value"


def test_bounds_are_words_and_verdicts():
    (row,) = targets(dataset(at=50))
    assert target_text(row) == "> 4 (largest tried)"
    assert interval_text(row) == "outside the range tried"
    assert row.verdict == "meets"
    assert "is kept over the whole range tried" in sentence(row, None)
    (row,) = targets(dataset(at=0.01))
    assert target_text(row) == "< 0.25 (smallest tried)"
    assert row.verdict == "misses"
    assert "is not reached even at the x = 0.25" in sentence(row, None)


def test_above_chance_is_stricter():
    ratio = targets(dataset())[0].threshold.value
    above = targets(dataset(normalisation="above-chance", chance=0.1))[0].threshold.value
    assert above < ratio


def test_rows_follow_the_other_factor():
    rows = targets(dataset(second=True))
    assert [row.others for row in rows] == [{"y": 0.5}, {"y": 1.0}, {"y": 2.0}]
    values = [row.threshold.value for row in rows]
    assert values == sorted(values, reverse=True)
    np.testing.assert_allclose(values, 0.7 * np.exp([0, -0.3, -0.6]), rtol=0.12)


def test_device_ratio_is_the_mean_at_one():
    mean, low, high = device_ratio(dataset(second=True))
    assert low < mean < high
    data = dataset()
    assert device_ratio(data)[0] == pytest.approx(float((data.accuracy / data.baseline_accuracy).sel(x=1.0).mean()))
    assert device_ratio(dataset(kind="set", start={"device.a": 0.3})) is None


def test_failed_runs_do_not_count():
    data = dataset()
    data["status"][2, 1] = 2
    assert np.isfinite(targets(data)[0].threshold.value)
    data["status"][:] = 0
    with pytest.raises(StudyError, match="fitlab study resume"):
        targets(data)


def test_tables_hold_every_row_and_read_back():
    rows = targets(dataset(second=True))
    lines = list(csv.DictReader(io.StringIO(csv_table(rows))))
    assert len(lines) == 3
    assert lines[1]["other factors"] == "y = 1"
    assert float(lines[0]["target"]) == pytest.approx(rows[0].threshold.value, rel=0.01)
    assert lines[0]["in the device's units"].startswith("device.a = ")
    table = markdown_table(rows).splitlines()
    assert len(table) == 5
    assert all(line.count("|") == table[0].count("|") for line in table)


def test_sentence_says_what_must_improve():
    data = dataset(at=0.7)
    (row,) = targets(data)
    text = sentence(row, device_ratio(data))
    assert text.startswith("This device reaches 9")
    assert f"its the x must be at most {100 * row.threshold.value:.3g} % of the device's" in text
    assert text.endswith("the device misses this.")


@pytest.mark.parametrize("second", [False, True])
def test_figures_are_written_the_same_twice(tmp_path, second):
    data = dataset(second=second)
    first = figures(data, tmp_path / "a", ("svg", "png"))
    again = figures(data, tmp_path / "b", ("svg", "png"))
    assert [p.name for p in first] == [p.name for p in again]
    assert {p.stem for p in first} == ({"target", "map", "ratios"} if second else {"target", "ratios"})
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "the x (× device)" in (tmp_path / "a" / "target.svg").read_text()
    assert not [p for p in (tmp_path / "a").iterdir() if p.name.startswith(".")]
