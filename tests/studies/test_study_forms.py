"""Designs, conditional factors, times, changes from the command line, algorithms and devices as factors."""

from __future__ import annotations

import numpy as np
import pytest

from studies.data import load
from studies.dataset import open_study
from studies.design import load_study
from studies.errors import StudyError, StudyFileError
from studies.export import export_study
from studies.folder import Folder
from studies.prepare import prepare
from studies.report import report
from studies.resolve import resolve
from studies.run import run_study
from studies.targets import ranking, targets, unranked
from studies.words import latex_table

DESIGN = """
schema = "studies.study/1"
name = "design"
[base]
task = "study_tasks:smooth"
[factors]
noise = { range = [0.01, 10] }
other = { range = [0.0, 0.5] }
[design]
kind = "sobol"
points = 32
[replicates]
count = 2
[target]
factor = "noise"
"""


@pytest.fixture
def run(client, tmp_path):
    def go(path, out="a"):
        resolved, folder = prepare(path, tmp_path / out)
        assert run_study(resolved, folder, client, quiet=True).outcome == "done"
        return folder

    return go


@pytest.mark.parametrize("kind", ["sobol", "latin-hypercube"])
def test_design_fills_the_ranges_on_their_scales_and_ranks(study_file, run, kind, tmp_path):
    path = study_file(DESIGN, ('"sobol"', f'"{kind}"'))
    points = load_study(path).grid_points()
    noise = np.array([p.values["noise"] for p in points])
    assert len(points) == 32
    assert [p.id for p in points] == [p.id for p in load_study(path).grid_points()]
    # One point in each of 32 equal parts of the logarithm: both designs promise it.
    assert sorted(np.floor((np.log10(noise) + 2) / 3 * 32).astype(int)) == list(range(32))
    other = np.array([p.values["other"] for p in points])
    assert sorted(np.floor(other / 0.5 * 32).astype(int)) == list(range(32))
    folder = run(path)
    data = open_study(folder.path)
    assert dict(data.sizes) == {"point": 32, "replicate": 2}
    ranks = ranking(data)
    assert [r.factor for r in ranks] == ["noise", "other"]
    assert ranks[0].low < ranks[0].correlation < -0.9
    assert ranks[1].low < ranks[1].correlation < ranks[1].high
    with pytest.raises(StudyError, match="ranks factors"):
        targets(data)
    assert "Spearman" in report(folder)
    other_seed = load_study(study_file(DESIGN, ("points = 32", "points = 32\nseed = 1"))).grid_points()
    assert other_seed[0].id != load_study(study_file(DESIGN)).grid_points()[0].id


ALONE = """
schema = "studies.study/1"
name = "alone"
[base]
task = "study_tasks:smooth"
set = { noise = 0.05, other = 0.1 }
[factors]
noise = { multiply = [0.2, 0.5, 1, 2, 4, 40] }
other = { multiply = [0.5, 1, 4, 40], label = "the other" }
[design]
kind = "one-at-a-time"
[replicates]
count = 3
"""


def test_every_factor_alone_shares_the_devices_own_point(study_file, run, tmp_path):
    path = study_file(ALONE)
    points = load_study(path).grid_points()
    assert len(points) == 5 + 3 + 1
    assert [p.values for p in points if not p.values] == [{}]
    folder = run(path)
    data = open_study(folder.path)
    rows = targets(data)
    assert [r.factor for r in rows] == ["noise", "other"]
    assert rows[0].threshold.levels.tolist() == [0.2, 0.5, 1, 2, 4, 40]
    assert rows[1].threshold.levels.tolist() == [0.5, 1, 4, 40]
    assert rows[0].threshold.value is not None
    page = report(folder)
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 1
    assert "the other" in page
    text = latex_table(rows)
    assert text.startswith("\\begin{tabular}")
    assert "95 \\%" in text


WHEN = """
schema = "studies.study/1"
name = "when"
[base]
task = "study_tasks:smooth"
[factors]
mode = { values = ["plain", "rich"] }
other = { values = [0.1, 0.2, 0.4], when = { mode = ["rich"] } }
noise = { values = [0.5, 1] }
[target]
factor = "noise"
"""


def test_conditional_factor_adds_points_only_where_it_has_a_say(study_file, run):
    path = study_file(WHEN)
    points = load_study(path).grid_points()
    assert len(points) == 2 + 3 * 2
    assert {tuple(p.values) for p in points} == {("mode", "noise"), ("mode", "other", "noise")}
    data = open_study(run(path).path)
    assert unranked(data) == ["mode"]
    assert {r.factor: r.points for r in ranking(data)} == {"noise": 2 + 3 * 2, "other": 3 * 2}
    plain = data["accuracy"].sel(mode="plain")
    assert (plain == plain.isel(other=0)).all()
    assert not (data["accuracy"].sel(mode="rich") == data["accuracy"].sel(mode="rich").isel(other=0)).all()
    assert (data["status"] == 1).all()


@pytest.mark.parametrize(
    ("text", "change", "words"),
    [
        (WHEN, ("mode = [", "noise = ["), "stands before this one"),
        (WHEN, ('["rich"] }', '["poor"] }'), "'poor' is not a level of mode"),
        (DESIGN, ('[design]\nkind = "sobol"\npoints = 32\n', ""), r"a range needs a \[design\]"),
        (DESIGN, ("points = 32", "points = 33"), "write points = 32 or 64"),
        (DESIGN, ("points = 32\n", ""), "write points"),
        (DESIGN, ("[0.01, 10]", "[10, 1]"), "from a lower to a higher"),
        (DESIGN, ("[replicates]", "[refine]\n[replicates]"), "goes with a grid"),
        (DESIGN, ("[0.01, 10]", '["1 s", "1 day"]'), "does not set a time"),
        (ALONE, ('"one-at-a-time"', '"one-at-a-time"\npoints = 4'), "remove points"),
        (DESIGN, ('"study_tasks:smooth"', '"digits-mlp"\nkind = "inference"\nnetwork = { hiden = 4 }'), "did you mean hidden"),
        (DESIGN, ('"study_tasks:smooth"', '"study_tasks:smooth"\ninference = { time = "2 day" }'), 'kind = "inference"'),
    ],
)
def test_faults_of_forms(study_file, text, change, words):
    with pytest.raises(StudyFileError, match=words):
        resolve(load_study(study_file(text, change)))


def test_fault_names_the_line(study_file):
    path = study_file(DESIGN, ("points = 32", "points = 33"))
    with pytest.raises(StudyFileError) as caught:
        load_study(path)
    assert str(caught.value).startswith(f"{path}:9: design")


def test_changes_from_the_command_line(study_file):
    path = study_file(ALONE)
    changes = ["replicates.count=7", "train.epochs=3", "noise=0.2", "factors.other.multiply=[0.5, 2]", "base.task=digits-mlp"]
    with pytest.raises(StudyFileError, match=r"base\.noise: unknown key"):
        load_study(path, changes)
    study = load_study(path, [c for c in changes if not c.startswith("noise")] + ["base.set.noise=0.2", "device.dw_min=0.01"])
    assert study.replicates == 7
    assert study.document.base.train.epochs == 3
    assert study.document.base.set == {"noise": 0.2, "other": 0.1, "device.dw_min": 0.01}
    assert study.factor("other").levels == (0.5, 2.0)
    assert study.document.base.task == "digits-mlp"
    with pytest.raises(StudyFileError, match="is not KEY=VALUE"):
        load_study(path, ["train.epochs"])


def test_fault_of_a_change_is_not_said_to_be_in_the_file(study_file):
    path = study_file()
    for change, words in (
        ("run.timeout=3", "--set: run.timeout: 3 has no unit"),
        ("replicates.count=0", "--set: replicates.count"),
    ):
        with pytest.raises(StudyFileError, match=words):
            load_study(path, [change])
    broken = study_file(None, ("count = 3", "count = 0"))
    line = broken.read_text().splitlines().index("count = 0") + 1
    with pytest.raises(StudyFileError, match=f":{line}: replicates.count"):
        load_study(broken, ["run.retries=2"])


def test_file_of_a_newer_version_is_told(study_file):
    with pytest.raises(StudyFileError, match=r":2: schema: 'studies.study/2' is of a newer fitlab than this one; update fitlab"):
        load_study(study_file(None, ("study/1", "study/2")))


def test_new_factor_from_the_command_line(study_file):
    path = study_file()
    study = load_study(
        path, ["factors.device.dw_min.values=[0.1, 0.2]", 'factors."a.b".linspace=[0, 1, 3]', "factors.noise.values=[1, 2]"]
    )
    assert study.factor("device.dw_min").levels == (0.1, 0.2)
    assert study.factor("a.b").levels == (0.0, 0.5, 1.0)
    assert study.factor("noise").levels == (1.0, 2.0)


def test_marks_and_line_ends_of_other_systems_are_read(study_file, tmp_path):
    path = study_file(ALONE)
    other = tmp_path / "other.toml"
    other.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", "\r\n").encode())
    assert [p.id for p in load_study(other).points()] == [p.id for p in load_study(path).points()]


def test_changed_study_is_the_one_that_is_kept(study_file, tmp_path):
    _, folder = prepare(study_file(ALONE), tmp_path / "a", ["replicates.count=9"])
    assert load_study(folder.study).replicates == 9


INFERENCE = """
schema = "studies.study/1"
name = "inference"
[base]
kind = "inference"
task = "digits-mlp"
network = { hidden = 24 }
train = { epochs = 2, batch = 10, lr = 0.5 }
[base.set]
"modifier.type" = "ADD_NORMAL"
"modifier.std_dev" = 0.05
[factors]
"noise_model.prog_noise_scale" = { multiply = [1, 8] }
"inference.time" = { values = ["0 s", "1 day", "1 year"] }
[replicates]
count = 1
[target]
factor = "inference.time"
"""


def test_inference_over_time_is_the_same_however_it_is_grouped(study_file, client, tmp_path):
    path = study_file(INFERENCE)
    found = []
    for group in (12, 1):
        resolved, folder = prepare(path, tmp_path / f"g{group}")
        assert run_study(resolved, folder, client, group=group, quiet=True).outcome == "done"
        found.append(open_study(folder.path))
    first, second = found
    assert first["accuracy"].values.tobytes() == second["accuracy"].values.tobytes()
    assert first["inference.time"].attrs["units"] == "s"
    assert first["inference.time"].values.tolist() == [0.0, 86400.0, 365.25 * 86400.0]
    # Trained once for all times; noise of programming costs accuracy.
    assert len(np.unique(first["loss"].values)) == 1
    accuracy = first["accuracy"].mean("replicate")
    assert accuracy.sel({"noise_model.prog_noise_scale": 1.0}).mean() > accuracy.sel({"noise_model.prog_noise_scale": 8.0}).mean()


def test_devices_and_network_sizes_are_factors(study_file):
    text = INFERENCE.replace('kind = "inference"', 'device = "ReRamSBPresetDevice"').split("[base.set]")[0]
    text += """[factors]
device = { values = ["ReRamSBPresetDevice", "ReRamESPresetDevice"] }
"network.hidden" = { values = [4, 8] }
"device.dw_min" = { values = [0.001, 0.01] }
"""
    resolved = resolve(load_study(study_file(text)))
    points = resolved.study.grid_points()
    assert len({resolved.structure(p) for p in points}) == 4
    kinds = {type(resolved.job([(p, 0)]).config.device).__name__ for p in points}
    assert kinds == {"SoftBoundsReferenceDevice", "ExpStepDevice"}
    wrong = study_file(text.replace("[4, 8]", "[4, 8.5]"))
    with pytest.raises(StudyFileError, match="not a positive whole number"):
        resolve(load_study(wrong))
    with pytest.raises(StudyFileError, match="did you mean"):
        resolve(load_study(study_file(text.replace('"ReRamESPresetDevice"', '"ReRamEPresetDevice"'))))


def test_exports_hold_every_result(study_file, run, tmp_path):
    import pandas
    import xarray

    data = open_study(run(study_file(WHEN)).path)
    export_study(data, tmp_path / "a.csv")
    table = pandas.read_csv(tmp_path / "a.csv")
    assert len(table) == data["accuracy"].size
    assert np.isclose(table["accuracy"].sum(), float(data["accuracy"].sum()))
    export_study(data, tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc", engine="scipy") as again:
        np.testing.assert_array_equal(again["accuracy"], data["accuracy"])
        assert [int(s) for s in again["seed"].values.ravel()] == data["seed"].values.ravel().tolist()
    pytest.importorskip("pyarrow", reason="needs the extra fitlab[parquet]")
    export_study(data, tmp_path / "a.parquet")
    columns = pandas.read_parquet(tmp_path / "a.parquet")
    assert list(columns.columns) == list(table.columns)
    assert len(columns) == len(table)
    assert columns["seed"].tolist() == data.to_dataframe().reset_index()["seed"].tolist()
    np.testing.assert_array_equal(columns["accuracy"], data.to_dataframe().reset_index()["accuracy"])
    with pytest.raises(StudyError, match=r"\.nc, \.csv or \.parquet"):
        export_study(data, tmp_path / "a.xls")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_report_names_failures_and_an_untrained_baseline(study_file, run, client, tmp_path):
    from test_run import FAULTY

    resolved, folder = prepare(study_file(FAULTY, ("MODE", "error")), tmp_path / "f")
    run_study(resolved, folder, client, quiet=True)
    assert "a bad point" in report(Folder(folder.path))
    assert "has not learnt" not in report(folder)


def test_text_is_cut_into_pieces(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("abcd" * 100)
    text = load("text", str(path), 8)
    assert text.classes == 4
    assert text.train_x.shape == (45, 8)
    assert text.test_x.shape == (4, 8)
    np.testing.assert_array_equal(text.train_x[0], [0, 1, 2, 3] * 2)
    np.testing.assert_array_equal(text.train_y[:, :-1], text.train_x[:, 1:])
    path.write_text("ab")
    with pytest.raises(StudyError, match="holds 2 characters"):
        load("text", str(path), 8)
