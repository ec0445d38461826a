"""Study files: what they may say, what points and seeds follow, and how faults are named."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from studies.design import canonical, parse_study, seed_of
from studies.errors import StudyFileError

GOOD = """
schema = "studies.study/1"
name = "x"
[base]
device = "ReRamSBPresetDevice"
[factors]
"device.dw_min" = { multiply = [0.25, 0.5, 1, 2] }
noise = { fields = ["device.dw_min_std"], multiply = { geomspace = [0.1, "200 %", 5] } }
[replicates]
count = 3
"""


def study(text: str = GOOD, *changes: tuple[str, str]):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_study(text, Path("x.toml"))


def test_points_are_the_baseline_and_every_combination():
    points = study().points()
    assert points[0].digital
    assert points[0].values == {}
    assert len(points) == 1 + 4 * 5
    assert len({p.id for p in points}) == len(points)


@pytest.mark.parametrize(
    ("form", "levels", "scale"),
    [
        ("{ values = [1, 2, 3] }", (1.0, 2.0, 3.0), "linear"),
        ("{ values = [1, 2, 8] }", (1.0, 2.0, 8.0), "log"),
        ("{ values = [0, 1, 8] }", (0.0, 1.0, 8.0), "linear"),
        ('{ values = ["10 %", "0.5"] }', (0.1, 0.5), "log"),
        ("{ linspace = [0, 1, 3] }", (0.0, 0.5, 1.0), "linear"),
        ("{ geomspace = [0.01, 1, 3] }", (0.01, 0.1, 1.0), "log"),
        ("{ multiply = { linspace = [0, 1, 3] } }", (0.0, 0.5, 1.0), "linear"),
        ('{ multiply = { geomspace = [1, 4, 3] }, scale = "linear" }', (1.0, 2.0, 4.0), "linear"),
        ("{ values = [true, false] }", ("true", "false"), "linear"),
        ('{ zip = { a = [1, 2], b = [3, 4] }, labels = ["p", "q"] }', ("p", "q"), "linear"),
    ],
)
def test_forms_of_a_factor(form, levels, scale):
    factor = study(GOOD.replace("{ multiply = [0.25, 0.5, 1, 2] }", form)).factors[0]
    assert factor.levels == levels
    assert factor.scale == scale


def test_identity_does_not_depend_on_names_order_or_other_levels():
    points = {p.id for p in study().grid_points()}
    renamed = study(GOOD, ("noise =", "jitter ="))
    assert {p.id for p in renamed.grid_points()} == points
    more = study(GOOD, ("0.25, 0.5", "0.125, 0.25, 0.5"))
    assert points < {p.id for p in more.grid_points()}
    other_meaning = study(GOOD, ('["device.dw_min_std"]', '["device.write_noise_std"]'))
    assert not points & {p.id for p in other_meaning.grid_points()}


def test_canonical_numbers_and_keys():
    assert canonical({"b": 1, "a": [0.1, True]}) == '{"a":[0.1,true],"b":1.0}'
    assert canonical({"a": 2}) == canonical({"a": 2.0})
    # Identities stay the same from version to version, or stored studies could not be resumed.
    assert study().grid_points()[0].id == "d1813341089eee38"


def test_seeds_follow_replicate_and_stream_only():
    common = study()
    first, second = common.grid_points()[:2]
    assert common.seed(0, "simulator", first.id) == common.seed(0, "simulator", second.id)
    own = study(GOOD, ("count = 3", "count = 3\ncommon = false"))
    assert own.seed(0, "simulator", first.id) != own.seed(0, "simulator", second.id)
    seeds = {seed_of(0, r, s, None) for r in range(50) for s in ("simulator", "data-order")}
    assert len(seeds) == 100
    assert all(0 <= s < 2**63 for s in seeds)
    assert study(GOOD, ("count = 3", "count = 3\nseed = 1")).seed(0, "simulator", "") != common.seed(0, "simulator", "")


def test_digital_baseline_follows_the_training_factors():
    trained = study(GOOD, ("noise = {", '"train.lr" = { values = [0.05, 0.1] }\nnoise = {'))
    assert [p.values for p in trained.baseline_points()] == [{"train.lr": 0.05}, {"train.lr": 0.1}]


def test_named_baseline_on_the_grid_is_one_point():
    text = GOOD + '[target]\nbaseline = { "device.dw_min" = 0.25, noise = 0.1 }\n'
    assert len(study(text).points()) == 20


BROKEN = {
    "unknown key": (("count = 3", "cuont = 3"), "replicates.cuont", "did you mean count"),
    "unknown section": (("[base]", "[bsae]"), "bsae", "did you mean base"),
    "text for a number": (("0.25", '"a"'), 'factors."device.dw_min".multiply[0]', "wanted is a number"),
    "unit where none belongs": (("0.25", '"10 mV"'), 'factors."device.dw_min".multiply[0]', "another unit"),
    "empty factor": (("[0.25, 0.5, 1, 2]", "[]"), 'factors."device.dw_min"', "at least one level"),
    "no factors": (
        (GOOD[GOOD.index("[factors]") : GOOD.index("[replicates]")], "[factors]\n"),
        "factors",
        "varies at least one factor",
    ),
    "unknown form": (("multiply = [", "times = ["), 'factors."device.dw_min".times', "known are"),
    "two forms": (("2] }", "2], values = [1] }"), 'factors."device.dw_min"', "multiply"),
    "replicates 0": (("count = 3", "count = 0"), "replicates.count", "greater than or equal to 1"),
    "replicates as text": (("count = 3", 'count = "three"'), "replicates.count", "whole number"),
    "level over 1": (("count = 3", "count = 3\n[target]\nlevel = 1.5"), "target.level", "less than 1"),
    "target factor unknown": (
        ("count = 3", 'count = 3\n[target]\nfactor = "nose"'),
        "target.factor",
        "did you mean noise",
    ),
    "negative spread": (("0.25", "-0.25"), 'factors."device.dw_min"', "negative"),
    "geomspace through zero": (("geomspace = [0.1", "geomspace = [0"), "factors.noise", "positive values"),
    "count of a space": (("5] }", "1] }"), "factors.noise.multiply.geomspace[2]", "greater than or equal to 2"),
    "level twice": (("0.25,", "0.5,"), 'factors."device.dw_min"', "twice"),
    "factor twice": (("[replicates]", '"device.dw_min" = { values = [1] }\n[replicates]'), "", "TOML"),
    "schema": (("study/1", "study/9"), "schema", "studies.study/1"),
    "name missing": (('name = "x"', ""), "name", "is missing"),
    "time without unit": (("count = 3", "count = 3\n[run]\ntimeout = 30"), "run.timeout", "30 min"),
    "time in kilograms": (("count = 3", 'count = 3\n[run]\ntimeout = "3 kg"'), "run.timeout", "another unit"),
    "learning rate 0": (("count = 3", "count = 3\n[base.train]\nlr = 0"), "base.train.lr", "greater than 0"),
    "baseline misses a factor": (
        ("count = 3", "count = 3\n[target]\nbaseline = { noise = 1 }"),
        "target.baseline",
        "no level for device.dw_min",
    ),
    "baseline unknown": (("count = 3", 'count = 3\n[target]\nbaseline = "anlog"'), "target.baseline", "digital"),
    "reserved name": (("noise =", "replicate ="), "factors.replicate", "reserved"),
    "log scale from zero": (("[0.25, 0.5, 1, 2]", '[0, 1], scale = "log"'), 'factors."device.dw_min"', "positive"),
    "not TOML": (("[base]", "[base"), "", "line"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_name_file_key_and_remedy(case):
    change, key, words = BROKEN[case]
    with pytest.raises(StudyFileError) as caught:
        study(GOOD, change)
    message = str(caught.value)
    assert re.match(r"x\.toml(:\d+)?: " + (re.escape(key) + ": " if key else ""), message)
    assert words in message
    assert "Error" not in message
    assert message.count("\n") == 0


def test_text_factors_cannot_be_the_target():
    text = GOOD.replace("{ multiply = [0.25, 0.5, 1, 2] }", '{ values = ["A", "B"] }')
    with pytest.raises(StudyFileError, match="name a numeric factor"):
        study(text + '[target]\nfactor = "device.dw_min"\n')


def test_several_faults_are_told_at_once():
    with pytest.raises(StudyFileError) as caught:
        study(GOOD, ("count = 3", "count = 0"), ("0.25", '"a"'))
    assert len(caught.value.faults) == 2


def test_values_of_geomspace_read_well():
    levels = study(GOOD, ('[0.1, "200 %", 5]', "[0.001, 1000, 7]")).factors[1].levels
    assert levels == (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    assert all(math.isfinite(v) for v in levels)


def test_names_of_the_stored_table_are_no_factors() -> None:
    from studies import store
    from studies.design import RESERVED

    assert {*store._POINT, *store._PAIR} <= RESERVED
