"""A cluster of separate scheduler and worker processes over TCP, whose workers are killed at random."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_run import same

from studies.cluster import connect
from studies.dataset import open_study
from studies.prepare import prepare
from studies.run import run_study

START = "from distributed.cli.dask_{0} import main; main()"


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """A scheduler and two workers with nannies."""
    environment = os.environ | {
        "PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parent}",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "PYTHONWARNINGS": "ignore",
    }
    with contextlib.ExitStack() as stack:

        def start(kind: str, *arguments: str) -> None:
            log = stack.enter_context((tmp_path / f"{kind}.log").open("ab"))
            command = [sys.executable, "-c", START.format(kind), *arguments]
            process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)

        file = tmp_path / "scheduler.json"
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        for _ in range(2):
            start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        from distributed import Client

        with Client(scheduler_file=str(file), timeout="60 s") as client:
            client.wait_for_workers(2, timeout=60)
            found = client.scheduler.address
        yield found


def test_workers_killed_at_random_lose_nothing(study_file, tmp_path, client, address):
    resolved, whole = prepare(study_file(), tmp_path / "whole")
    run_study(resolved, whole, client, quiet=True)
    path = study_file(None, (":smooth", ":slow"), name="slow.toml")
    resolved, folder = prepare(path, tmp_path / "killed")
    rng = random.Random(0)
    done = threading.Event()
    killed = []
    with connect(scheduler=address) as remote:

        def kill() -> None:
            # Three kills, then peace: a pair that dies with its worker again and again would be given up.
            while len(killed) < 3 and not done.wait(rng.uniform(0.4, 0.9)):
                with contextlib.suppress(Exception):  # a worker may be gone before it is asked
                    pids = list(remote.run(os.getpid).values())
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    killed.append(1)

        killer = threading.Thread(target=kill)
        killer.start()
        ended = run_study(resolved, folder, remote, group=2, quiet=True)
        done.set()
        killer.join()
    assert killed
    assert ended.outcome == "done"
    same(open_study(whole.path), open_study(folder.path))
