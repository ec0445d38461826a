"""A study on a TCP cluster in which everything fails in turn, compared bit for bit with the same study left in peace.

``python -m benchmarks.faults [--seconds 120] [--seed 0]``. As root on Linux every worker has a network namespace of its own,
whose link goes down and comes back, and the folder of the study is a small file system that fills up.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.records import Job
    from studies.task import Control

__all__ = ["Machines", "as_root", "network", "small_disk", "work"]

ROOT = Path(__file__).parents[1]
STUDY = """
schema = "studies.study/1"
name = "faults"
[base]
task = "benchmarks.faults:work"
[factors]
noise = {{ geomspace = [0.1, 10, {points}] }}
bits = {{ values = [4, 8] }}
[replicates]
count = 3
[target]
factor = "noise"
[run]
timeout = "5 s"
"""
# What takes minutes on a real cluster, in seconds here.
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "4s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10",
}


def work(job: Job, control: Control) -> list[dict[str, float]]:
    """A twentieth of a second a pair, and a number that depends on all of it."""
    import numpy as np

    results = []
    for pair in job.pairs:
        for _ in range(5):
            time.sleep(0.01)
            control.check()
        chance = np.random.default_rng(pair.seeds["simulator"]).normal()
        level = 0.0 if pair.digital else float(pair.settings["noise"]) / float(pair.settings["bits"])
        results.append({"accuracy": 0.97 / (1 + level) + 0.003 * chance})
    return results


work.metrics = ("accuracy",)  # type: ignore[attr-defined]


class Machines:
    """Scheduler and workers as processes of their own, to be killed, stopped and started again.

    Parameters
    ----------
    folder : Path
        For logs.
    python_path : tuple of Path
        Further folders for the workers to import from.
    environment : dict
        Further variables of their environment.
    """

    def __init__(self, folder: Path, python_path: tuple[Path, ...] = (), environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": ":".join(map(str, (ROOT, *python_path))),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = _free_port()

    def start(self, name: str, *command: str) -> None:
        """Start a process."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self.processes[name] = process

    def scheduler(self, host: str = "127.0.0.1") -> str:
        """Start the scheduler (again, at the same port); returns its address."""
        words = ("--host", host, "--port", str(self.port), "--no-dashboard")
        self.start("scheduler", sys.executable, "-m", "distributed.cli.dask_scheduler", *words)
        return f"tcp://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}"

    def worker(self, number: int, host: str = "127.0.0.1", within: tuple[str, ...] = ()) -> None:
        """Start what keeps one worker; ``within`` is a command to run it in."""
        address = f"tcp://{host}:{self.port}"
        self.start(f"worker-{number}", *within, sys.executable, "-m", "fitlab.cli", "study", "worker", address, "-n", "1")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal a process and, if that ends it, wait for it."""
        process = self.processes[name]
        if process.poll() is None:
            process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()

    def children(self, name: str) -> list[int]:
        """Processes below one."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.processes[name].pid).children(recursive=True)]
        return []

    def workers_of(self, name: str) -> list[int]:
        """The processes below a nanny that compute, without the helpers of multiprocessing."""
        return [pid for pid in self.children(name) if "spawn_main" in _command_line(pid)]

    def close(self) -> None:
        """End everything that was started."""
        for name, process in self.processes.items():
            below = self.children(name) if process.poll() is None else []
            for pid in [process.pid, *below]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def _command_line(pid: int) -> str:
    import psutil

    with contextlib.suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def _free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def as_root() -> bool:
    """Whether file systems can be mounted and network namespaces made."""
    tools = sys.platform == "linux" and shutil.which("ip") and shutil.which("mount")
    return bool(tools) and os.geteuid() == 0 and subprocess.run(["unshare", "-n", "-m", "true"], check=False).returncode == 0


@contextlib.contextmanager
def network(number: int) -> Iterator[tuple[str, str, Callable[[bool], None]]]:
    """A network namespace joined to this one by a link: its name, the address of this side, and a switch for the link."""
    name, here, there = f"fitlab{os.getpid() % 1000}-{number}", f"10.199.{number}.1", f"10.199.{number}.2"
    outer, inner = f"flo{os.getpid() % 1000}-{number}", f"fli{os.getpid() % 1000}-{number}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        ip("addr", "add", f"{here}/24", "dev", outer)
        ip("link", "set", outer, "up")
        ip("-n", name, "addr", "add", f"{there}/24", "dev", inner)
        ip("-n", name, "link", "set", inner, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name, here, lambda up: ip("link", "set", outer, "up" if up else "down")
    finally:
        # The link goes with the namespace.
        ip("netns", "del", name)


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "2m") -> Iterator[None]:
    """A file system of that size at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description="Run a study while everything fails in turn."
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="about how long")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        return _run(Path(folder), options.seconds, random.Random(options.seed), stack)


def _run(folder: Path, seconds: float, rng: random.Random, stack: contextlib.ExitStack) -> int:
    import zarr

    from studies.dataset import open_study

    own_networks = as_root()
    count = 3
    file = folder / "study.toml"
    # Three workers, half of whose time is lost.
    file.write_text(STUDY.format(points=max(2, int(seconds * count / 2 / 0.05 / 6))))
    disk = folder / "disk"
    disk.mkdir()
    if own_networks:
        stack.enter_context(small_disk(disk))
    machines = Machines(folder, environment=QUICK)
    stack.callback(machines.close)
    address = machines.scheduler("0.0.0.0" if own_networks else "127.0.0.1")
    starts: dict[int, Callable[[], None]] = {}
    links: dict[int, Callable[[bool], None]] = {}
    for n in range(1, count + 1):
        if own_networks:
            name, here, links[n] = stack.enter_context(network(n))
            within = ("ip", "netns", "exec", name)
            starts[n] = functools.partial(machines.worker, n, here, within)
        else:
            starts[n] = functools.partial(machines.worker, n)
        starts[n]()
    out = disk / "disturbed"
    run = [sys.executable, "-m", "fitlab.cli", "study"]
    told: Counter[str] = Counter()

    def drive() -> subprocess.Popen[bytes]:
        known = out.exists()
        words = ["resume", str(out)] if known else ["run", str(file), "-o", str(out)]
        log = stack.enter_context((folder / "driver.log").open("ab"))
        return subprocess.Popen(
            [*run, *words, "--scheduler", address, "--group", "4"], env=machines.environment, stdout=log, stderr=log
        )

    def kill_worker() -> None:
        for pid in machines.workers_of(f"worker-{rng.randint(1, count)}"):
            os.kill(pid, signal.SIGKILL)

    def kill_machine() -> None:
        n = rng.randint(1, count)
        for pid in [*machines.children(f"worker-{n}")]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        machines.kill(f"worker-{n}")
        starts[n]()

    def hang_worker() -> None:
        for pid in machines.workers_of(f"worker-{rng.randint(1, count)}"):
            os.kill(pid, signal.SIGSTOP)

    def restart_scheduler() -> None:
        machines.kill("scheduler")
        time.sleep(rng.uniform(0, 2))
        machines.scheduler("0.0.0.0" if own_networks else "127.0.0.1")

    def kill_driver() -> None:
        drivers[-1].kill()
        drivers[-1].wait()
        drivers.append(drive())

    def drop_link() -> None:
        switch = links[rng.randint(1, count)]
        switch(False)
        time.sleep(rng.uniform(1, 15))
        switch(True)

    def fill_disk() -> None:
        with contextlib.suppress(OSError), (disk / "fill").open("wb") as filler:
            while True:
                filler.write(bytes(4096))
                filler.flush()
        time.sleep(rng.uniform(2, 4))
        (disk / "fill").unlink()

    faults: list[Callable[[], None]] = [kill_worker, kill_machine, hang_worker, restart_scheduler, kill_driver]
    faults += [drop_link, fill_disk] if own_networks else []
    start = time.monotonic()
    drivers = [drive()]
    hand: list[Callable[[], None]] = []
    while drivers[-1].poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            drivers[-1].wait(rng.uniform(1.5, 4))
            break
        if time.monotonic() - start < 2 * seconds:
            hand = hand or rng.sample(faults, len(faults))
            fault = hand.pop()
            told[fault.__name__] += 1
            fault()
    took = time.monotonic() - start
    print(
        f"the disturbed study ended with exit code {drivers[-1].returncode} after {took:.0f} s: "
        + ", ".join(f"{n} {k}" for k, n in told.items())
    )
    if drivers[-1].returncode != 0:
        print((folder / "driver.log").read_text()[-3000:])
        return 1
    peaceful = folder / "peaceful"
    subprocess.run(
        [*run, "run", str(file), "-o", str(peaceful), "--quiet", "-n", "4"],
        env=machines.environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    a, b = open_study(out), open_study(peaceful)
    differ = [n for n in a.data_vars if n != "wall_time" and a[n].values.tobytes() != b[n].values.tobytes()]
    ids = list(zarr.open_group(store=str(out / "results.zarr"), mode="r")["point_id"][:])  # type: ignore[index,arg-type]
    twice = len(ids) - len(set(ids))
    print(f"{a['accuracy'].size} results of {len(ids)} points, {twice} of them twice; "
          f"different from the undisturbed study: {', '.join(map(str, differ)) or 'none'}")  # fmt: skip
    print(f"{'with' if own_networks else 'without'} network namespaces and a disk that fills up, which need root")
    return 1 if differ or twice else 0


if __name__ == "__main__":
    sys.exit(main())
