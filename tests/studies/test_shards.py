"""Parts of a study that know nothing of each other, joined; profiles of batch systems."""

from __future__ import annotations

import os
import re
import sys
import time
import types
from pathlib import Path

import dask
import numpy as np
import pytest
from test_cli import call
from test_run import same

import studies.batch
from studies.batch import batch_client, load_profile
from studies.dataset import open_study
from studies.errors import StudyError
from studies.folder import Folder
from studies.plan import share_of, what_next
from studies.prepare import prepare
from studies.run import run_study
from studies.shards import merge_folders, part_of


def test_parts_cover_everything_once(study_file):
    from studies.design import load_study

    study = load_study(study_file())
    units = what_next(study.points(), study.replicates, {})
    shares = [share_of(units, (i, 4)) for i in range(1, 5)]
    assert sorted((p.id, r) for share in shares for p, r in share) == sorted((p.id, r) for p, r in units)


def test_shards_joined_equal_the_whole(study_file, tmp_path, client):
    path = study_file()
    resolved, whole = prepare(path, tmp_path / "whole")
    run_study(resolved, whole, client, quiet=True)
    address = client.scheduler.address
    for i in (1, 2):
        result = call("run", path, "-o", tmp_path / "part", "--shard", f"{i}/2", "--scheduler", address, "--quiet")
        assert result.exit_code == 0, result.output
    parts = sorted(tmp_path.glob("part.shard-*"))
    assert [Folder(p).part() for p in parts] == [(1, 2), (2, 2)]
    half = open_study(parts[0])
    assert 0 < int((half["status"] == 1).sum()) < half["status"].size
    result = call("merge", tmp_path / "joined", *parts)
    assert result.exit_code == 0, result.output
    assert "27 done" in result.output
    same(open_study(whole.path), open_study(tmp_path / "joined"))
    # Again changes nothing; a part goes on only with its own share.
    assert merge_folders(tmp_path / "joined", parts)["done"] == 27
    assert "Nothing left to run" in call("resume", parts[0]).output


def test_parts_that_do_not_belong_together_are_refused(study_file, tmp_path, client):
    resolved, first = prepare(study_file(), tmp_path / "a")
    run_study(resolved, first, client, quiet=True)
    resolved, second = prepare(study_file(None, ("count = 3", "count = 3\nseed = 7")), tmp_path / "b")
    run_study(resolved, second, client, quiet=True)
    with pytest.raises(StudyError, match=r"base\.seed"):
        merge_folders(tmp_path / "j", [first.path, second.path])
    resolved, third = prepare(study_file(), tmp_path / "c")
    run_study(resolved, third, client, quiet=True)
    import zarr

    array = zarr.open_group(str(third.results), mode="r+")["accuracy"]
    array[1] = np.asarray(array[1]) + 0.5
    with pytest.raises(StudyError, match="has different results"):
        merge_folders(tmp_path / "j", [first.path, third.path])
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b"])
def test_bad_shards_are_refused(text):
    with pytest.raises(StudyError, match="write for example 3/16"):
        part_of(text)


def test_refused_scheduler_leaves_no_folder(study_file, tmp_path):
    result = call("run", study_file(), "-o", tmp_path / "new", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


PROFILE = """
system = "slurm"
jobs = 2
wait = "30 s"
gpu = true
[job]
memory = "1 GB"
walltime = "01:00:00"
queue = "short"
"""


def profile(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = PROFILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return path


def test_profile_says_what_the_jobs_are(tmp_path):
    given = load_profile(profile(tmp_path)).arguments()
    assert given["queue"] == "short"
    assert given["worker_extra_args"] == ["--lifetime", "3300s", "--lifetime-stagger", "150s", "--resources", "GPU=1"]
    assert load_profile(profile(tmp_path, ("01:00:00", "2-00:10"))).job.seconds() == 2 * 86400 + 600


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("slurm", "cron"), r":2: system"),
        (('walltime = "01:00:00"', 'walltime = "soon"'), r":8: job\.walltime"),
        (('memory = "1 GB"', ""), r"job\.memory"),
        (("jobs = 2", "jobz = 2"), r":3: jobz"),
        (("[job]", "[job]\nprocesses = 2"), "one worker a job; remove job.processes"),
    ],
)
def test_faults_of_a_profile_name_the_line(tmp_path, change, words):
    with pytest.raises(StudyError, match=words):
        load_profile(profile(tmp_path, change))


def test_batch_cluster_is_made_and_scaled(tmp_path, monkeypatch):
    from distributed import LocalCluster

    seen = []

    class SLURMCluster(LocalCluster):
        def __init__(self, **given):
            seen.append(given)
            super().__init__(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None)

        def scale(self, jobs):
            seen.append(jobs)
            super().scale(jobs)

    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=SLURMCluster))
    with batch_client(profile(tmp_path)) as client:
        assert client.submit(lambda: 7).result() == 7
    assert seen[0]["memory"] == "1 GB"
    assert seen[1] == 2
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(StudyError, match=r"fitlab\[cluster\]"), batch_client(profile(tmp_path)):
        pass


@pytest.mark.parametrize(
    ("system", "cluster", "lines"),
    [
        ("slurm", "SLURMCluster", ["#SBATCH -p short", "#SBATCH -t 01:00:00", "#SBATCH --gres=gpu:1"]),
        ("pbs", "PBSCluster", ["#PBS -q short", "#PBS -l walltime=01:00:00"]),
        ("lsf", "LSFCluster", ["#BSUB -q short", "#BSUB -W 01:00"]),
    ],
)
def test_job_scripts_of_the_real_batch_systems(tmp_path, system, cluster, lines):
    jobqueue = pytest.importorskip("dask_jobqueue", reason="needs the extra fitlab[cluster]")
    changes = [("slurm", system), ('queue = "short"', 'queue = "short"\njob_script_prologue = ["module load python"]')]
    with getattr(jobqueue, cluster)(**load_profile(profile(tmp_path, *changes)).arguments()) as made:
        script = made.job_script()
    for line in [*lines, "module load python"]:
        assert line in script
    assert re.search(r"dask_worker tcp://.* --nthreads 1 .*--lifetime 3300s --lifetime-stagger 150s --resources GPU=1", script)


SBATCH = """#!/bin/sh
cp "$1" "{log}.$$"  # the script is gone as soon as this returns
bash "{log}.$$" >> {log} 2>&1 &
echo "Submitted batch job $!"
"""


def test_jobs_of_a_batch_system_run_a_study_and_are_submitted_again(study_file, tmp_path, client, monkeypatch):
    """The real dask-jobqueue; sbatch and scancel are stand-ins that start and end the job's script here."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra fitlab[cluster]")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("sbatch", SBATCH.format(log=tmp_path / "jobs.log")), ("scancel", '#!/bin/sh\nkill "$@"\n')):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setattr(studies.batch, "_TOP_UP_SECONDS", 0.5)
    resolved, whole = prepare(study_file(), tmp_path / "whole")
    run_study(resolved, whole, client, quiet=True)
    resolved, folder = prepare(study_file(), tmp_path / "jobs")
    where = profile(tmp_path, ("gpu = true", ""), ("jobs = 2", "jobs = 1"), ('"1 GB"', '"1 GB"\ninterface = "lo"'))
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "0.5s"}), batch_client(where) as remote:
        (first,) = remote.nthreads()
        remote.run(os._exit, 1, nanny=True, on_error="ignore")
        deadline = time.monotonic() + 60
        while set(remote.nthreads()) <= {first} and time.monotonic() < deadline:
            time.sleep(0.2)
        assert set(remote.nthreads()) - {first}, "no job took the place of the one that ended"
        assert run_study(resolved, folder, remote, quiet=True).outcome == "done"
    same(open_study(whole.path), open_study(folder.path))
