"""What is varied: paths into configuration and training, with a range or a list of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studies.errors import StudyError

__all__ = ["SPACES", "Varied", "default_space", "parse_varied"]

_DIGITS = 4
_RATE = "train.lr=0.01:1:log"
_CHOPPED = (
    _RATE,
    "device.fast_lr=0.01:2:log",
    "device.auto_granularity=10:10000:log",
    "device.transfer_every=1,2,5",
    # How fast the slow array can change at all: the reach of a short training.
    "device.transfer_update.desired_bl=1,3,10",
    "update.desired_bl=5,10,31",
)

SPACES: dict[str, tuple[str, ...]] = {
    "sgd": ("train.lr=0.001:1:log",),
    "tiki-taka": (_RATE, "device.fast_lr=0.03:3:log", "device.transfer_lr=0.1:10:log", "device.transfer_every=1,2,5"),
    "ttv2": _CHOPPED,
    "c-ttv2": (*_CHOPPED, "device.in_chop_prob=0.003:0.3:log"),
    "agad": (*_CHOPPED, "device.in_chop_prob=0.003:0.3:log", "device.tail_weightening=1:50:log"),
    "mp": ("train.lr=0.001:1:log", "device.transfer_every=1,2,5,10"),
}
"""What is varied by default, for each algorithm of :func:`sim.configs.build_config`."""


@dataclass(frozen=True)
class Varied:
    """One path that is varied.

    Parameters
    ----------
    path : str
        As in a study file: ``device.fast_lr``, ``train.lr``.
    levels : tuple of float
        Ends of the range, or the values.
    scale : str
        ``"linear"``, ``"log"``, or ``"choice"`` for a list of values.
    """

    path: str
    levels: tuple[float, ...]
    scale: str

    def factor(self) -> dict[str, Any]:
        """The entry of a study file that tries its ends."""
        return {"values": list(self.levels)}

    def value(self, drawn: float) -> float:
        """A drawn number to four digits: what is written down is what was run."""
        return float(drawn) if self.scale == "choice" else float(f"{drawn:.{_DIGITS}g}")


def parse_varied(text: str) -> Varied:
    """``PATH=LOW:HIGH``, ``PATH=LOW:HIGH:log`` or ``PATH=A,B,C``.

    Raises
    ------
    StudyError
        Naming the text and how to write it.
    """
    path, sign, values = (part.strip() for part in text.partition("="))
    if not sign or not path or not values:
        raise StudyError(f"--vary {text}: write PATH=LOW:HIGH, PATH=LOW:HIGH:log or PATH=A,B,C")
    parts = values.split(":") if ":" in values else values.split(",")
    scale = "choice"
    if ":" in values:
        scale = parts.pop() if len(parts) == 3 else "linear"
    try:
        levels = tuple(float(part) for part in parts)
    except ValueError:
        raise StudyError(f"--vary {text}: {values!r} are no numbers; write LOW:HIGH, LOW:HIGH:log or A,B,C") from None
    if scale == "choice":
        if len(set(levels)) != len(levels):
            raise StudyError(f"--vary {text}: a value occurs twice; give each once")
        if len(levels) < 2:
            raise StudyError(f"--vary {text}: one value is nothing to vary; give several, or --set {path}={values}")
    elif len(levels) != 2 or scale not in ("linear", "log") or not levels[0] < levels[1]:
        raise StudyError(f"--vary {text}: a range is LOW:HIGH or LOW:HIGH:log, with LOW below HIGH")
    if scale == "log" and levels[0] <= 0:
        raise StudyError(f"--vary {text}: a logarithmic range starts above 0")
    return Varied(path, levels, scale)


def default_space(algorithm: str, fixed: set[str]) -> list[Varied]:
    """What is varied for an algorithm, but for what is fixed.

    Raises
    ------
    StudyError
        For an algorithm that is not known.
    """
    from sim.configs.build import ALGORITHMS

    builders = {ALGORITHMS[name]: name for name in SPACES}
    if algorithm.lower() not in ALGORITHMS:
        raise StudyError(f"--algorithm {algorithm}: write one of {', '.join(SPACES)}")
    return [v for v in map(parse_varied, SPACES[builders[ALGORITHMS[algorithm.lower()]]]) if v.path not in fixed]
