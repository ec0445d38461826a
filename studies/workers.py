"""Workers kept at a scheduler: one process a processor, or a GPU, started again whenever one ends.

A dask worker whose scheduler goes away, or whose network is down for a while, ends for good. What is to survive a
restart of the scheduler is therefore whoever starts the workers.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from studies.errors import StudyError

__all__ = ["Slot", "keep_workers", "slots", "visible_gpus"]

# Seconds before a worker that ended is started again; doubled each time it ends within the second.
_PAUSE = (0.2, 10.0)


@dataclass
class Slot:
    """The place of one worker.

    Parameters
    ----------
    number : int
    gpu : str or None
        The one device that it sees.
    threads : int
        That a task may use.
    """

    number: int
    gpu: str | None = None
    threads: int = 1
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def environment(self) -> dict[str, str]:
        """Variables of the worker's process."""
        found = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        return found if self.gpu is None else found | {"CUDA_VISIBLE_DEVICES": self.gpu}

    def command(self, address: str, arguments: Sequence[str] = ()) -> list[str]:
        """Command of the worker's process."""
        name = f"{socket.gethostname()}-{self.number}-{secrets.token_hex(3)}"
        words = [address, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--name", name]
        words += [] if self.gpu is None else ["--resources", "GPU=1"]
        return [sys.executable, "-m", "distributed.cli.dask_worker", *words, *arguments]


def visible_gpus() -> list[str]:
    """Devices that a process of this machine may use: those of ``CUDA_VISIBLE_DEVICES``, else all that nvidia-smi lists."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [d.strip() for d in told.split(",") if d.strip() and d.strip() != "-1"]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    found = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return [str(n) for n, line in enumerate(line for line in found.stdout.splitlines() if line.startswith("GPU "))]


def slots(count: int | None, threads: int = 1, gpus: str | None = None) -> list[Slot]:
    """Places of workers: ``count`` of them, one for each ``threads`` processors, or one for each GPU.

    Parameters
    ----------
    count : int, optional
    threads : int
    gpus : str, optional
        ``"all"``, or devices such as ``"0,2"``.

    Raises
    ------
    StudyError
        When there is no GPU, or more workers are asked for than there are.
    """
    from studies.cluster import processors

    if gpus is None:
        return [Slot(n, None, threads) for n in range(count or max(1, processors() // threads))]
    devices = visible_gpus() if gpus == "all" else [d.strip() for d in gpus.split(",") if d.strip()]
    if not devices:
        raise StudyError("no GPU is visible here; name them with --gpus 0,1, or run on the processors")
    if len(set(devices)) != len(devices):
        raise StudyError(f"--gpus: {gpus!r} names a device twice; one worker has one device")
    if count is not None and count > len(devices):
        raise StudyError(f"{count} workers for {len(devices)} GPUs ({', '.join(devices)}); one worker has one device")
    return [Slot(n, device, threads) for n, device in enumerate(devices[:count])]


def keep_workers(
    address: str, places: Sequence[Slot], arguments: Sequence[str] = (), stop: threading.Event | None = None
) -> None:
    """Keep a worker in each slot until interrupted (Ctrl-C, SIGTERM), or until the event is set."""
    stop = stop or threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    keepers = [threading.Thread(target=_keep, args=(address, slot, arguments, stop), daemon=True) for slot in places]
    for keeper in keepers:
        keeper.start()
    while not stop.wait(0.5):
        pass
    for keeper in keepers:
        keeper.join()


def _keep(address: str, slot: Slot, arguments: Sequence[str], stop: threading.Event) -> None:
    pause = _PAUSE[0]
    while not stop.is_set():
        start = time.monotonic()
        slot.process = subprocess.Popen(
            slot.command(address, arguments), env=os.environ | slot.environment(), start_new_session=True
        )
        while slot.process.poll() is None and not stop.wait(0.1):
            pass
        if slot.process.poll() is None:
            _end(slot.process)
        pause = min(2 * pause, _PAUSE[1]) if time.monotonic() - start < 1 else _PAUSE[0]
        stop.wait(pause)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a worker and its nanny to end, then make them."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
