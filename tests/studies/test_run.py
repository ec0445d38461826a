"""The engine on two worker processes: same bits however it runs, and every way that a task can go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import pytest

from studies.cluster import connect
from studies.dataset import open_study
from studies.errors import StudyError
from studies.prepare import open_folder, prepare
from studies.run import anything_left, run_study

FAULTY = """
schema = "studies.study/1"
name = "faulty"
[base]
task = "study_tasks:faulty"
[factors]
noise = { values = [1, 2, 3, 4] }
mode = { values = ["MODE"] }
[replicates]
count = 3
[run]
retries = 1
timeout = "1 s"
group = 5
"""


def same(a, b):
    """Bit for bit, wall times apart."""
    for name in a.data_vars:
        if name != "wall_time":
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)
            assert a[name].values.tobytes() == b[name].values.tobytes(), name


@pytest.fixture
def run(client, tmp_path):
    def go(path: Path, out: str, **options):
        resolved, folder = prepare(path, tmp_path / out)
        return run_study(resolved, folder, client, quiet=True, **options), folder

    return go


def test_results_do_not_depend_on_groups_or_order(run, study_file):
    path = study_file()
    ended, folder = run(path, "a", group=1)
    assert ended.outcome == "done"
    assert ended.exit_code == 0
    reference = open_study(folder.path)
    assert dict(reference.sizes) == {"noise": 4, "other": 2, "replicate": 3}
    assert (reference["status"] == 1).all()
    for group in (5, None):
        _, other = run(path, f"b{group}", group=group)
        same(reference, open_study(other.path))
    assert not anything_left(*open_folder(folder.path))


def test_more_levels_and_replicates_continue_the_same_folder(run, study_file):
    _, folder = run(study_file(), "a")
    before = open_study(folder.path)
    text = folder.study.read_text()
    grown = study_file(text, ("[0.5, 1, 2, 4]", "[0.5, 1, 2, 4, 8]"), ("count = 3", "count = 4"))
    ended, _ = run(grown, "a")
    after = open_study(folder.path)
    assert ended.counts["done"] == 4 * (5 * 2 + 1)
    assert dict(after.sizes) == {"noise": 5, "other": 2, "replicate": 4}
    same(before, after.sel(noise=before.noise, replicate=before.replicate))


def test_another_study_is_not_mixed_in(run, study_file, tmp_path):
    run(study_file(), "a")
    other = study_file(Path(tmp_path / "a" / "study.toml").read_text(), ("count = 3", "count = 3\nseed = 7"))
    with pytest.raises(StudyError, match=r"base\.seed was 0, is 7"):
        prepare(other, tmp_path / "a")
    renamed = study_file(Path(tmp_path / "a" / "study.toml").read_text(), ("other =", "another ="))
    with pytest.raises(StudyError, match="factor 'other' is gone"):
        prepare(renamed, tmp_path / "a")


@pytest.mark.parametrize(
    ("mode", "status", "error", "words"),
    [
        ("error", 2, "ValueError", "a bad point"),
        ("nan", 2, "NotFinite", "accuracy = nan"),
        ("kill", 2, "KilledWorker", "worker process died"),
        ("timeout", 3, "TimeUp", "raise run.timeout"),
    ],
)
def test_one_bad_run_costs_one_run(run, study_file, mode, status, error, words):
    ended, folder = run(study_file(FAULTY, ("MODE", mode)), "a")
    data = open_study(folder.path)
    bad = data["status"].sel(noise=2, replicate=0, mode=mode)
    assert int(bad) == status
    assert int((data["status"] == 1).sum()) == 11
    assert np.isnan(data["accuracy"].sel(noise=2, replicate=0, mode=mode))
    assert (data["baseline_status"] == 1).all()
    assert ended.outcome == "failed"
    assert ended.exit_code == 3
    failures = folder.read_failures()
    assert len(failures) == 1
    assert failures[0]["error"] == error
    assert words in failures[0]["message"]
    assert failures[0]["settings"]["noise"] == 2


def test_transient_error_is_tried_again_and_then_works(run, study_file, tmp_path):
    flag = tmp_path / "flag"
    ended, folder = run(study_file(FAULTY, ("MODE", f"transient:{flag}"), ("group = 5", "group = 1")), "a")
    assert ended.outcome == "done"
    assert [r["error"] for r in folder.read_failures()] == ["OSError"]


def test_hung_task_loses_its_worker_and_nothing_else(run, study_file):
    path = study_file(FAULTY, ("MODE", "hang"), ('"1 s"', '"0.2 s"'), ("group = 5", "group = 1"))
    ended, folder = run(path, "a")
    data = open_study(folder.path)
    assert int(data["status"].sel(noise=2, replicate=0, mode="hang")) == 3
    assert int((data["status"] == 1).sum()) == 11
    assert ended.outcome == "failed"


def test_workers_that_are_ended_again_and_again_stay(study_file, tmp_path):
    """dask gives up a worker that is away some seconds after it left, be it for the second time."""
    path = study_file(FAULTY, ("MODE", "hang"), ('"1 s"', '"0.2 s"'), ("group = 5", "group = 1"))
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10 ms"}), connect(2) as client:
        assert run_study(*prepare(path, tmp_path / "hung"), client, quiet=True).outcome == "failed"
        client.wait_for_workers(2, timeout=60)
        assert len(client.cluster.workers) == 2


def test_failed_runs_run_again_on_request(run, study_file, client, tmp_path):
    flag = tmp_path / "bad"
    flag.touch()
    _, folder = run(study_file(FAULTY, ("MODE", f"error:{flag}")), "a")
    flag.unlink()
    resolved, folder = open_folder(folder.path)
    assert run_study(resolved, folder, client, quiet=True).outcome == "failed"
    assert run_study(resolved, folder, client, again=True, quiet=True).outcome == "done"


def test_same_error_everywhere_stops_the_run(run, study_file):
    ended, _ = run(study_file(FAULTY, (":faulty", ":broken"), ("group = 5", "group = 1")), "a")
    assert ended.outcome == "stopped"
    assert ended.exit_code == 4
    assert "all failed: RuntimeError: nothing works" in ended.reason


def test_second_process_is_refused(run, study_file, client):
    _, folder = run(study_file(), "a")
    resolved, folder = open_folder(folder.path)
    with folder.writing():
        assert folder.busy()
        with pytest.raises(StudyError, match="another process is running this study"):
            run_study(resolved, folder, client, quiet=True)
    assert not folder.busy()


def test_provenance_and_progress_are_kept(run, study_file):
    _, folder = run(study_file(), "a")
    runs = json.loads(folder.provenance.read_text())
    assert runs[0]["outcome"] == "done"
    assert runs[0]["versions"]["numpy"] == np.__version__
    progress = json.loads(folder.progress.read_text())
    assert progress["state"] == "done"
    assert progress["done"] == progress["total"] == 27
    assert not [p for p in folder.path.iterdir() if p.name.startswith(".")]


DRIVER = """
import sys
sys.path.insert(0, {here!r})
from studies.cluster import connect
from studies.prepare import prepare
from studies.run import run_study
if __name__ == "__main__":
    resolved, folder = prepare({file!r}, {out!r})
    with connect(1) as client:
        print("ready", flush=True)
        ended = run_study(resolved, folder, client, group=2, quiet=True)
    sys.exit(ended.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_driver_killed_and_resumed_gives_the_same_bits(run, study_file, client, tmp_path, number):
    path = study_file()
    _, undisturbed = run(path, "undisturbed")
    slow = study_file(undisturbed.study.read_text(), (":smooth", ":slow"), name="slow.toml")
    script = tmp_path / "driver.py"
    out = tmp_path / "killed"
    script.write_text(DRIVER.format(here=str(Path(__file__).parent), file=str(slow), out=str(out)))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        time.sleep(1.2)
        driver.send_signal(number)
        _, errors = driver.communicate()
    assert driver.returncode == (-9 if number == signal.SIGKILL else 4), errors.decode()
    if number == signal.SIGINT:
        assert b"Traceback" not in errors
    half = open_study(out)
    done = int((half["status"] == 1).sum())
    assert 0 < done < 24
    resolved, folder = open_folder(out)
    ended = run_study(resolved, folder, client, quiet=True)
    assert ended.outcome == "done"
    same(open_study(undisturbed.path), open_study(out))
    assert not list(out.rglob("*.partial"))


OWN = """
def measure(job, control):
    return [{"accuracy": 0.5} for _ in job.pairs]
"""


def test_module_beside_the_study_is_found_by_driver_and_workers(study_file, tmp_path):
    """From another folder, in processes that do not have it on their path; also to resume."""
    (tmp_path / "own_measure.py").write_text(OWN)
    path = study_file(None, ("study_tasks:smooth", "own_measure:measure"))
    code = """
import pickle, subprocess, sys
from studies.prepare import open_folder, prepare
resolved, folder = prepare(*sys.argv[1:])
resolved, folder = open_folder(folder.path)
job = resolved.job([(resolved.study.points()[1], 0)])
worker = "import pickle, sys; from studies.task import execute; print(execute(pickle.load(sys.stdin.buffer), 10)[0])"
print(subprocess.run([sys.executable, "-c", worker], input=pickle.dumps(job), capture_output=True, check=True).stdout.decode())
"""
    arguments = [sys.executable, "-c", code, str(path), str(tmp_path / "own.study")]
    found = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert "'accuracy': 0.5" in found.stdout, found.stderr
