"""The examples of docs/studies.md work."""

from __future__ import annotations

import re
from pathlib import Path

from studies.design import parse_study
from studies.records import Job, Pair
from studies.task import TASKS, Control

TEXT = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_study_file_is_one(tmp_path):
    (text,) = blocks("toml")
    study = parse_study(text, tmp_path / "noise.toml")
    assert len(study.points()) == 1 + 6 * 3
    assert study.target_factor.name == "device.dw_min"


def test_forms_of_factors_are_forms(study_file):
    from conftest import SMOOTH

    forms = re.findall(r"`((?:values|linspace|geomspace|multiply|zip) = .*?)`(?=[,; |])", TEXT)
    assert len(forms) == 5
    for form in forms:
        study = parse_study(SMOOTH.replace("other = { values = [0.0, 0.5] }", f"other = {{ {form} }}"), Path("x.toml"))
        assert len(study.factor("other").levels) > 1


def test_function_is_a_task():
    (code,) = blocks("python")
    space: dict = {}
    exec(code, space)  # noqa: S102  the example of the document
    pairs = (Pair("a", 0, True, {}, {}), Pair("b", 0, False, {"noise": 0.5}, {}))
    job = Job("x:measure", None, {}, None, 1, pairs)
    assert [r["accuracy"] for r in space["measure"](job, Control())] == [0.9, 0.6]


def test_every_task_is_named():
    for task in TASKS:
        data, _, network = task.partition("-")
        assert f"{data}-" in TEXT
        assert network in TEXT
