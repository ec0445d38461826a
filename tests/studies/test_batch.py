"""Workers as jobs of batch systems: profiles, job scripts, and jobs that end before the study does."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
import types
from pathlib import Path

import dask
import pytest
from test_run import same
from test_tcp_cluster import meanwhile, some_done

import studies.batch
from studies.batch import batch_client, load_profile
from studies.dataset import open_study
from studies.errors import StudyError
from studies.prepare import prepare
from studies.run import run_study

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
    assert given["scheduler_options"] == {"dashboard_address": ":0"}
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
            super().__init__(n_workers=0, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0")

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


SUBMIT = """#!/bin/sh
# The script, from a file or as input, is gone as soon as this returns.
if [ $# -gt 0 ]; then cp "$1" {log}.$$; else cat > {log}.$$; fi
setsid bash {log}.$$ >> {log} 2>&1 &
echo $! >> {log}.ids
echo "{say}"
"""
CANCEL = """#!/bin/sh
for job; do kill -- "-$job"; done
"""
SYSTEMS = {
    "slurm": ("sbatch", "scancel", "Submitted batch job $!"),
    "pbs": ("qsub", "qdel", "$!.server"),
    "lsf": ("bsub", "bkill", "Job <$!> is submitted to queue <short>."),
}


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_jobs_of_a_batch_system_run_a_study_beyond_their_walltime(system, study_file, tmp_path, client, monkeypatch):
    """The real dask-jobqueue; the commands of the batch system are stand-ins that start and end the job's script here.

    As at a walltime, all processes of the first job are killed in the midst of its work; another job must take its place.
    """
    pytest.importorskip("dask_jobqueue", reason="needs the extra fitlab[cluster]")
    tools, log = tmp_path / "bin", tmp_path / "jobs.log"
    tools.mkdir()
    submit, cancel, say = SYSTEMS[system]
    for name, text in ((submit, SUBMIT.format(log=log, say=say)), (cancel, CANCEL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setattr(studies.batch, "_TOP_UP_SECONDS", 0.5)
    resolved, whole = prepare(study_file(), tmp_path / "whole")
    run_study(resolved, whole, client, quiet=True)
    resolved, folder = prepare(study_file(None, (":smooth", ":slow"), name="slow.toml"), tmp_path / "jobs")
    changes = [("slurm", system), ("gpu = true", ""), ("jobs = 2", "jobs = 1"), ('"1 GB"', '"1 GB"\ninterface = "lo"')]
    ids = Path(f"{log}.ids")

    def end_the_job(over: threading.Event) -> None:
        some_done(folder, over)
        assert not over.is_set()
        os.killpg(int(ids.read_text().split()[0]), signal.SIGKILL)

    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "0.5s"}),
        batch_client(profile(tmp_path, *changes)) as remote,
        meanwhile(end_the_job),
    ):
        assert run_study(resolved, folder, remote, group=2, quiet=True).outcome == "done"
    assert len(ids.read_text().split()) > 1, "no job took the place of the one that ended"
    same(open_study(whole.path), open_study(folder.path))
    for job in ids.read_text().split():
        for _ in range(100):
            if not Path(f"/proc/{job}").exists():
                break
            time.sleep(0.1)
        assert not Path(f"/proc/{job}").exists(), "a job was left"
