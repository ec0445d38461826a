"""What travels between driver and worker: pairs, jobs, outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DONE",
    "FAILED",
    "MISSING",
    "SKIPPED",
    "STATUS_NAMES",
    "TIMEOUT",
    "Job",
    "Outcome",
    "Pair",
    "Stopped",
    "TimeUp",
]

MISSING, DONE, FAILED, TIMEOUT, SKIPPED = range(5)
STATUS_NAMES = ("missing", "done", "failed", "timeout", "skipped")


@dataclass(frozen=True)
class Pair:
    """One replicate of one point.

    Parameters
    ----------
    point_id : str
    replicate : int
    digital : bool
        Whether this is the digital baseline rather than the analog network.
    settings : dict
        Path into the configuration -> value, absolute.
    seeds : dict
        Stream name -> seed.
    """

    point_id: str
    replicate: int
    digital: bool
    settings: dict[str, Any]
    seeds: dict[str, int]


@dataclass(frozen=True)
class Job:
    """Pairs of one structure that run together; what a task function gets.

    Parameters
    ----------
    task : str
        Name of the task, or ``module:function``.
    config : object or None
        The configuration that the settings change; None for a task without a device.
    train : dict
        ``epochs``, ``batch``, ``lr``.
    data : str or None
        Folder of the data.
    threads : int
    pairs : tuple of Pair
    kind : str
        ``"training"`` in memory, ``"inference"`` of a network that was trained digitally, or ``"hardware-aware"``, the same with
        noise on the weights while it is trained.
    network : dict
        Options of the network; defaults are left out.
    inference : dict
        ``time`` after programming in seconds, and ``repeats`` of the programming.
    device : str
        Where to compute: ``"cpu"``, or ``"cuda"``, the one GPU that the worker sees.
    places : tuple of str
        Folders in which the module of a function of one's own may be, besides those of the Python path.
    """

    task: str
    config: Any
    train: dict[str, Any]
    data: str | None
    threads: int
    pairs: tuple[Pair, ...]
    kind: str = "training"
    network: dict[str, int] = field(default_factory=dict)
    inference: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of one pair."""

    pair: Pair
    status: int
    metrics: dict[str, float] = field(default_factory=dict)
    wall_time: float = 0.0
    error: str = ""
    message: str = ""
    traceback: str = ""
    transient: bool = False
    worker: str = ""


class Stopped(Exception):
    """The run was cancelled while a task was working."""


class TimeUp(Exception):
    """A task worked longer than allowed."""
