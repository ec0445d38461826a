"""Targets, verdicts, tables, sentences and figures, from datasets with known answers."""

from __future__ import annotations

import csv
import io
import json
import math
import struct

import numpy as np
import pytest
import xarray as xr

from fitlab.plot import style
from studies.errors import StudyError
from studies.plot import drawings, figures
from studies.targets import device_ratio, targets
from studies.words import amount, csv_table, interval_text, latex_table, markdown_table, sentence, target_text

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


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_verdict_looks_beside_the_device_where_the_interval_is_open(better):
    """Replicates that disagree far from the device leave the target open, and yet the device fails, or holds, for sure."""
    for at, own, verdict in ((0.5, 2.0, "misses"), (2.0, 0.5, "meets")):
        data = dataset(at=at if better == "lower" else 1 / at, better=better, noise=0.0)
        data["accuracy"][:] = data["accuracy"] + 0.0001 * np.arange(5)
        own = own if better == "lower" else 1 / own
        data["x"].attrs |= {"kind": "set", "start": json.dumps({"device.a": own})}
        far = data["x"].values <= 0.5 if (verdict == "misses") == (better == "lower") else data["x"].values >= 2
        far &= data["x"].values != own
        data["accuracy"][far, 0] *= 0.9 if verdict == "misses" else 1.0
        (row,) = targets(data)
        assert row.verdict == verdict


def test_verdict_does_not_contradict_the_target():
    """Replicates that agree by chance at the device's own value, where the curve is below the level."""
    data = dataset(at=0.01, noise=0.0, replicates=2)
    data["accuracy"].loc[{"x": 1.0}] = data["baseline_accuracy"]
    (row,) = targets(data)
    assert row.threshold.value is None
    assert not row.threshold.passes
    assert row.verdict != "meets"


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
    assert "is not reached even at the x = 25 % of the device's, the best value tried, where it is 5" in sentence(row, None)


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


@pytest.mark.parametrize("slide", [False, True])
def test_figure_has_room_for_many_rows_with_long_names(tmp_path, slide):
    """A warning of matplotlib would be an error here."""
    data = dataset(second=True)
    many = xr.concat([data] * 8, "forward.bound_management").assign_coords(
        {
            "forward.bound_management": (
                "forward.bound_management",
                [f"CHOICE_{n}_OF_A_LONG_NAME" for n in range(8)],
                {"units": "1"},
            )
        }
    )
    many["baseline_accuracy"], many["baseline_status"] = data["baseline_accuracy"], data["baseline_status"]
    many.attrs = data.attrs
    written = figures(many, tmp_path, ("png",), slide=slide)
    assert len(targets(many)) == 24
    width, height = struct.unpack(">II", written[0].read_bytes()[16:24])
    assert (width, height) == (1920, 1080) if slide else height > 1500


def test_slide_has_the_shape_of_a_slide(tmp_path):
    written = figures(dataset(second=True), tmp_path, ("png",), slide=True)
    assert {p.name for p in written} == {"target-slide.png", "map-slide.png", "ratios.csv"}
    for path in written[:2]:
        # Width and height of a PNG stand at byte 16.
        assert struct.unpack(">II", path.read_bytes()[16:24]) == (1920, 1080)


@pytest.mark.parametrize("second", [False, True], ids=["one curve", "several"])
def test_titles_fit_into_their_figures(second):
    with style():
        for _, figure in drawings(dataset(second=second, replicates=12)):
            figure.canvas.draw()
            for text in [ax.title for ax in figure.axes if ax.title.get_text()]:
                box = text.get_window_extent()
                assert box.x0 >= 0, text
                assert box.x1 <= figure.bbox.x1, text


def test_interval_of_the_device_may_be_lopsided():
    data = dataset(at=1.6)
    data["x"].attrs["interval"] = json.dumps({"device.a": [1.9, 3.8]})
    (row,) = targets(data)
    assert (row.device, row.device_low, row.device_high) == (1.0, pytest.approx(0.95), pytest.approx(1.9))
    assert row.verdict == "cannot tell"


def test_words_have_units_and_say_what_the_baseline_is():
    data = dataset(kind="set", start={})
    data["x"].attrs["units"] = "s"
    data["x"] = data["x"] * 86400.0
    data["x"].attrs |= {
        "long_name": "time",
        "units": "s",
        "kind": "set",
        "scale": "log",
        "start": "{}",
        "standard_error": "{}",
        "fields": [],
    }
    (row,) = targets(data)
    assert target_text(row).endswith(" h")
    assert "time must be at most 1" in sentence(row, None)
    (line,) = csv.DictReader(io.StringIO(csv_table([row])))
    assert float(line["target"]) == pytest.approx(row.threshold.value, rel=0.01)
    assert line["unit"] == "s"
    data.attrs["target"] = json.dumps(json.loads(data.attrs["target"]) | {"baseline": {"x": 0.25}})
    assert "99 % of the accuracy of the baseline" in sentence(targets(data)[0], None)
    assert [amount(v, "s") for v in (0.0, 2e-6, 0.5, 90.0, 86400.0, 3.2e8)] == [
        "0 s",
        "2 us",
        "500 ms",
        "1.5 min",
        "1 d",
        "10.1 a",
    ]


def test_steps_are_given_as_they_were_measured():
    data = dataset()
    data["x"].attrs["measured"] = json.dumps({"device.a": [1e-5, "S"]})
    (row,) = targets(data)
    value = 2 * row.threshold.value
    assert f"device.a = {value:.3g} ({10 * value:.3g} uS)" in markdown_table([row])


def test_latex_keeps_what_is_special():
    table = latex_table(targets(dataset(second=True)))
    assert r"95 \%" in table
    assert r"\begin{tabular}{l" in table


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
