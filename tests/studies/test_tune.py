"""`fitlab tune`: what is asked, what is stored, what a killed search does."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner

from fitlab.cli import app
from sim.configs import build_config, from_toml, get_path, set_path
from sim.presets import ReRamArrayOMPresetDevice
from studies.design import load_study
from studies.errors import StudyError
from studies.resolve import resolve
from studies.tune import SPACES, Found, make_plan, parse_varied, search
from studies.tune.trials import scores_of

DEVICE = "ReRamArrayOMPresetDevice"
VARIED = ["device.fast_lr=0.1:1:log", "device.auto_granularity=1:1000:log"]
SMALL = ["train.epochs=1", "train.batch=50", "network.hidden=4"]


def small(batch: int = 2, **more: Any) -> Any:
    return make_plan(DEVICE, "ttv2", varied=VARIED, changes=SMALL, batch=batch, seeds=2, **more)


def quiet(_: str) -> None:
    pass


@pytest.mark.parametrize("algorithm", SPACES)
def test_every_default_space_belongs_to_its_algorithm(algorithm: str) -> None:
    # make_plan tries both ends of every range
    plan = make_plan(DEVICE, algorithm)
    assert [v.path for v in plan.space] == [parse_varied(text).path for text in SPACES[algorithm]]
    assert {v.path for v in plan.space} == set(plan.resolved.fields)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A search that nothing disturbs; its last trials follow from the others."""
    return search(small(batch=4), tmp_path_factory.mktemp("whole") / "a", 12, say=quiet)


def test_a_killed_search_ends_as_one_that_was_not(whole: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell, calls = optuna.Study.tell, []

    def dies(*given: Any) -> Any:
        calls.append(given)
        if len(calls) in (3, 13):  # in the middle of the first batch, and of one that follows from others
            raise KeyboardInterrupt
        return tell(*given)

    monkeypatch.setattr(optuna.Study, "tell", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(small(batch=4), tmp_path / "killed", 12, say=quiet)
    assert search(small(batch=4), tmp_path / "killed", 12, say=quiet) == whole
    assert len({t.settings["device.fast_lr"] for t in whole.trials}) == 12
    # fewer trials first, more later: the same ones
    monkeypatch.undo()
    search(small(batch=4), tmp_path / "later", 3, say=quiet)
    assert search(small(batch=4), tmp_path / "later", 12, say=quiet) == whole


@pytest.mark.parametrize("at", [6, 36])
def test_a_search_killed_while_it_asks(whole: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    plan = small(batch=4)
    assert [v.scale for v in plan.space].count("log") == 3
    suggest, calls = optuna.trial.Trial.suggest_float, []

    def dies(*given: Any, **more: Any) -> Any:
        calls.append(given)
        if len(calls) == at:  # some of the trial's settings are stored, others are not
            raise KeyboardInterrupt
        return suggest(*given, **more)

    monkeypatch.setattr(optuna.trial.Trial, "suggest_float", dies)
    with pytest.raises(KeyboardInterrupt):
        search(plan, tmp_path / "killed", 12, say=quiet)
    monkeypatch.undo()
    assert search(plan, tmp_path / "killed", 12, say=quiet) == whole


def test_seeds_and_trials_are_as_they_would_be_alone() -> None:
    plan = small()
    points = [plan.point({"device.fast_lr": rate}) for rate in (0.2, 0.7)]
    together = scores_of(plan, points, [0, 1], held_out=True)
    assert together == [scores_of(plan, [point], [0, 1], held_out=True)[0] for point in points]
    assert together != scores_of(plan, points, [0, 1], held_out=False)
    assert together[0] != together[1]


def test_another_search_is_refused(tmp_path: Path) -> None:
    search(small(), tmp_path / "a", 2, say=quiet)
    with pytest.raises(StudyError, match=r"tune\.search\.seed was 0, is 1"):
        search(small(seed=1), tmp_path / "a", 2, say=quiet)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("")
    with pytest.raises(StudyError, match="is not the folder of a search"):
        search(small(), tmp_path / "b", 2, say=quiet)
    with pytest.raises(StudyError, match="is not a folder"):
        search(small(), tmp_path / "none" / "b", 2, say=quiet)


def test_the_command(tmp_path: Path) -> None:
    arguments = ["tune", DEVICE, "--algorithm", "ttv2", "--trials", "2", "--batch", "2", "--seeds", "2", "--workers", "1"]
    sets = [text for change in SMALL for text in ("--set", change)]
    out = tmp_path / "om.tune"
    result = CliRunner().invoke(app, [*arguments, *sets, "--vary", "device.fast_lr=0.1:1:log", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "2 of 2 trials" in result.output
    record = json.loads((out / "result.json").read_text())
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["0", "1"]
    # what was found, applied to what build_config gives, is the configuration that was written
    config = build_config("ttv2", ReRamArrayOMPresetDevice())
    for path, value in record["settings"].items():
        if not path.startswith("train."):
            set_path(config, path, value)
    assert from_toml((out / "config.toml").read_text()) == config
    found = resolve(load_study(out / "study.toml"))
    assert get_path(found.config, "device.fast_lr") == get_path(config, "device.fast_lr")
    assert found.study.document.base.train.lr == record["settings"].get("train.lr", 0.1)
    assert (out / "history.svg").read_text().startswith("<?xml")
    again = CliRunner().invoke(app, [*arguments, *sets, "--vary", "device.fast_lr=0.1:1:log", "-o", str(out), "--quiet"])
    assert json.loads((out / "result.json").read_text()) == record, again.output


def test_a_parameter_set_and_a_study_are_devices_too(tmp_path: Path) -> None:
    from fitlab.fit import fit, parameter_set
    from fitlab.io import read
    from studies.demo import EXAMPLE
    from studies.tune import conclude

    parameter_set(fit(read([EXAMPLE]), "SoftBoundsReference"), None).save(tmp_path / "cell.toml")
    study = tmp_path / "mine.toml"
    study.write_text(
        'schema = "studies.study/1"\nname = "a"\n[base]\ndevice = "cell.toml"\nalgorithm = "mp"\ntask = "digits-mlp"\n'
        '[base.set]\n"forward.is_perfect" = true\n[base.train]\nepochs = 1\nbatch = 100\n[factors]\n"device.dw_min" = [1, 2]\n'
    )
    plan = make_plan(str(study), varied=["device.granularity=0.001,0.01"], changes=["train.lr=0.2"], batch=1, seeds=1)
    assert [v.path for v in plan.space] == ["device.granularity", "device.transfer_every"]
    assert plan.resolved.config.forward.is_perfect
    conclude(plan, tmp_path / "b", search(plan, tmp_path / "b", 1, say=quiet), test_seeds=1)
    assert resolve(load_study(tmp_path / "b" / "study.toml")).config.forward.is_perfect
    assert make_plan(str(tmp_path / "cell.toml"), "sgd").resolved.study.document.base.device == "cell.toml"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vary", "device.fast_lr"], "write PATH=LOW:HIGH"),
        (["--vary", "device.fast_lr=a:b"], "no numbers"),
        (["--vary", "device.fast_lr=2:1"], "LOW below HIGH"),
        (["--vary", "device.fast_lr=0:1:log"], "starts above 0"),
        (["--vary", "device.fast_lr=1:2:3:4"], "range"),
        (["--vary", "device.fast_lr=1,1"], "twice"),
        (["--vary", "device.fast_lr=1"], "nothing to vary"),
        (["--vary", "device.fast_lr=1:2", "--set", "device.fast_lr=1"], "given twice"),
        (["--vary", "device.fast_rl=1:2"], "fast_lr"),
        (["--vary", "device.in_chop_prob=0.1:2"], "in_chop_prob"),
        (["--algorithm", "adam"], "tiki-taka"),
        (["--task", "digitz"], "is not known"),
        (["--task", "mnist", "--data", "nowhere"], "is not a folder"),
        (["--validation", "1"], "below 1"),
        (["--algorithm", "sgd", "--set", "train.lr=0.1"], "nothing is varied"),
        (["--set", "train.images=5000"], "1120 images"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: list[str], words: str) -> None:
    out = ["-o", str(tmp_path / "out"), "--workers", "1"]
    result = CliRunner().invoke(app, ["tune", DEVICE, *arguments, *out])
    assert result.exit_code == 2, result.output
    assert words in result.output


def test_files_that_are_no_device(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        make_plan(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(StudyError, match="not TOML"):
        make_plan(str(tmp_path / "bad.toml"))
    (tmp_path / "inference.toml").write_text('schema = "studies.study/1"\n[base]\nkind = "inference"\n')
    with pytest.raises(StudyError, match="no training algorithm"):
        make_plan(str(tmp_path / "inference.toml"))
