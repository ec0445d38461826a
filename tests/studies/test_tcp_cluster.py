"""A cluster of separate scheduler and worker processes over TCP, in which everything fails; see also benchmarks.faults."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_run import FAULTY, same

import studies.run
from benchmarks.faults import Machines
from studies.cluster import connect
from studies.dataset import open_study
from studies.folder import Folder
from studies.prepare import open_folder, prepare
from studies.run import anything_left, run_study
from studies.store import Store

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def machines(tmp_path_factory) -> Iterator[Machines]:
    """A scheduler and two workers with nannies."""
    found = Machines(tmp_path_factory.mktemp("cluster"), (HERE,), {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"})
    try:
        found.scheduler()
        for number in (1, 2):
            found.worker(number)
        yield found
    finally:
        found.close()


@pytest.fixture
def address(machines) -> str:
    """Of the scheduler, once both workers are there."""
    from distributed import Client

    address = f"tcp://127.0.0.1:{machines.port}"
    with Client(address, timeout="60 s", set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    return address


@pytest.fixture
def slow(study_file, tmp_path, client):
    """A study of 27 runs of a tenth of a second each, and the folder of the same study left in peace."""
    resolved, whole = prepare(study_file(), tmp_path / "whole")
    assert run_study(resolved, whole, client, quiet=True).outcome == "done"
    return study_file(None, (":smooth", ":slow"), name="slow.toml"), whole


@contextlib.contextmanager
def meanwhile(act) -> Iterator[None]:
    """Something happens while the study runs; it gets an event that says that the study is over."""
    over = threading.Event()
    errors = []

    def go() -> None:
        try:
            act(over)
        except Exception as error:  # noqa: BLE001  told below, in the thread of the test
            errors.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not errors


def some_done(folder: Folder, over: threading.Event) -> None:
    """Wait until a result is stored."""
    while not over.wait(0.05):
        with contextlib.suppress(Exception):  # it is being written
            if Store(folder.results).counts()["done"]:
                return


def test_workers_killed_at_random_lose_nothing(slow, tmp_path, machines, address):
    path, whole = slow
    resolved, folder = prepare(path, tmp_path / "killed")
    rng = random.Random(0)
    killed = []

    def kill(over: threading.Event) -> None:
        # Three kills, then peace: a pair that dies with its worker again and again would be given up.
        while len(killed) < 3 and not over.wait(rng.uniform(0.4, 0.9)):
            for pid in machines.workers_of(f"worker-{rng.randint(1, 2)}"):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with connect(scheduler=address) as remote, meanwhile(kill):
        ended = run_study(resolved, folder, remote, group=2, quiet=True)
    assert killed
    assert ended.outcome == "done"
    same(open_study(whole.path), open_study(folder.path))


def test_scheduler_that_is_killed_and_started_again_is_waited_for(slow, tmp_path, machines, address):
    path, whole = slow
    resolved, folder = prepare(path, tmp_path / "restarted")
    restarted = []

    def restart(over: threading.Event) -> None:
        some_done(folder, over)
        machines.kill("scheduler")
        restarted.append(not over.is_set())
        time.sleep(0.5)
        machines.scheduler()

    with connect(scheduler=address) as remote, meanwhile(restart):
        ended = run_study(resolved, folder, remote, group=2, quiet=True)
    assert restarted == [True]
    assert ended.outcome == "done"
    assert ended.counts["done"] == 27
    same(open_study(whole.path), open_study(folder.path))


def test_scheduler_that_does_not_come_back_ends_the_run_which_can_be_resumed(slow, tmp_path, client):
    path, whole = slow
    resolved, folder = prepare(path, tmp_path / "gone")
    mine = Machines(tmp_path, (HERE,))
    try:
        address = mine.scheduler()
        mine.worker(1)

        def end(over: threading.Event) -> None:
            some_done(folder, over)
            mine.kill("scheduler")

        with connect(scheduler=address) as remote, meanwhile(end):
            ended = run_study(resolved, folder, remote, group=2, quiet=True, patience=0.5)
    finally:
        mine.close()
    assert ended.outcome == "stopped"
    assert ended.reason.startswith("the dask cluster is lost")
    assert 0 < ended.counts["done"] < 27
    assert run_study(*open_folder(folder.path), client, quiet=True).outcome == "done"
    same(open_study(whole.path), open_study(folder.path))


def test_stopped_worker_loses_nothing(study_file, tmp_path, client, machines, address):
    """A process that does not answer at all: what it had is run elsewhere, and it gets no more."""
    path = study_file(FAULTY, (":faulty", ":slow"), ("MODE", "x"), ('"1 s"', '"6 s"'), ("group = 5", "group = 1"))
    resolved, whole = prepare(study_file(path.read_text(), (":slow", ":smooth"), name="smooth.toml"), tmp_path / "whole")
    run_study(resolved, whole, client, quiet=True)
    resolved, folder = prepare(path, tmp_path / "stopped")
    stopped = []

    def stop(over: threading.Event) -> None:
        some_done(folder, over)
        for pid in machines.workers_of("worker-1"):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    with connect(scheduler=address) as remote, meanwhile(stop):
        ended = run_study(resolved, folder, remote, quiet=True)
        # Its nanny has been told to kill it, and starts another: that may take longer than the run, which does not wait for it.
        until = time.monotonic() + 20
        while set(stopped) & set(machines.workers_of("worker-1")):
            assert time.monotonic() < until
            time.sleep(0.1)
    assert stopped
    assert ended.outcome == "done", folder.read_failures()
    same(open_study(whole.path), open_study(folder.path))


def test_cluster_without_workers_ends_the_run(slow, tmp_path):
    path, _ = slow
    resolved, folder = prepare(path, tmp_path / "empty")
    mine = Machines(tmp_path, (HERE,))
    try:
        address = mine.scheduler()
        mine.worker(1)

        def end(over: threading.Event) -> None:
            some_done(folder, over)
            mine.kill("worker-1", signal.SIGTERM)

        with connect(scheduler=address) as remote, meanwhile(end):
            ended = run_study(resolved, folder, remote, group=2, quiet=True, patience=1)
    finally:
        mine.close()
    assert ended.outcome == "stopped"
    assert ended.reason == "the cluster has had no workers for 1 s"


DRIVER = """
import resource, signal, sys
from studies.cluster import connect
from studies.prepare import prepare
from studies.run import run_study
from studies.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resolved, folder = prepare({file!r}, {out!r})
flush, flushed = Store.flush, []
def limited(self):
    if len(flushed) == {full!r}:
        # No file may grow beyond this: the disk is full, as far as the writer can tell.
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
    flush(self)
    flushed.append(1)
Store.flush = limited
with connect(scheduler={address!r}) as client:
    ended = run_study(resolved, folder, client, group=2, quiet=True, patience=1)
print(ended.reason)
sys.exit(ended.exit_code)
"""


def drive(machines, path, out, address, full=-1) -> subprocess.Popen[bytes]:
    """A driver, for which the disk is full after some writes."""
    code = DRIVER.format(file=str(path), out=str(out), address=address, full=full)
    return subprocess.Popen(
        [sys.executable, "-c", code], env=machines.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_driver_killed_while_the_cluster_goes_on(slow, tmp_path, machines, address):
    path, whole = slow
    out = tmp_path / "killed"
    with drive(machines, path, out, address) as driver:
        for _ in range(200):
            time.sleep(0.1)
            if (out / "results.zarr").exists() and Store(out / "results.zarr").counts()["done"]:
                break
        driver.kill()
    half = Store(out / "results.zarr").counts()["done"]
    assert 0 < half < 27
    # The cluster may still work at what the dead driver asked for: it goes nowhere.
    with connect(scheduler=address) as remote:
        assert run_study(*open_folder(out), remote, quiet=True).outcome == "done"
    same(open_study(whole.path), open_study(out))


def test_disk_that_refuses_stops_the_run_and_loses_nothing_stored(slow, tmp_path, machines, address):
    path, whole = slow
    out = tmp_path / "full"
    with drive(machines, path, out, address, full=2) as driver:
        said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 4, said.decode()
    assert b"results cannot be written (File too large)" in said
    assert b"Traceback" not in said
    counts = Store(out / "results.zarr").counts()
    assert counts["failed"] == 0
    assert 0 < counts["done"] < 27
    with connect(scheduler=address) as remote:
        assert run_study(*open_folder(out), remote, quiet=True).outcome == "done"
    same(open_study(whole.path), open_study(out))


def test_disk_that_refuses_for_a_while_is_tried_again(study_file, tmp_path, client, monkeypatch, capsys):
    monkeypatch.setattr(studies.run, "_RETRY_WRITING", 0.2)
    resolved, folder = prepare(study_file(), tmp_path / "a")
    flush = Store.flush
    refusals = []

    def refuse(self) -> None:
        if len(refusals) < 2:
            refusals.append(1)
            raise OSError(28, "No space left on device")
        flush(self)

    monkeypatch.setattr(Store, "flush", refuse)
    ended = run_study(resolved, folder, client, group=1, patience=60)
    monkeypatch.undo()
    assert ended.outcome == "done"
    assert "No space left on device" in capsys.readouterr().err
    assert not anything_left(*open_folder(folder.path))
