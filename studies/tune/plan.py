"""What a search is: one simulation, what is varied in it, how many trials, seeds and images."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.design import Point, parse_study
from studies.errors import StudyError
from studies.overrides import apply
from studies.resolve import Resolved, resolve
from studies.tune.space import Varied, default_space, parse_varied

__all__ = ["Plan", "make_plan"]

TASKS = {"digits": ("digits-mlp", {"epochs": 15}), "mnist": ("mnist-mlp3", {"epochs": 5, "images": 10_000})}


@dataclass(frozen=True)
class Plan:
    """A search, with everything looked up.

    Parameters
    ----------
    resolved : Resolved
        The simulation; what is varied are its factors.
    space : tuple of Varied
    batch : int
        Trials that are chosen, and trained, together.
    seeds : int
        Seeds of each trial.
    seed : int
        Of the search and of the trainings.
    validation : float
        Share of the training images that is held out, by which trials are judged.
    """

    resolved: Resolved
    space: tuple[Varied, ...]
    batch: int
    seeds: int
    seed: int
    validation: float

    @property
    def contents(self) -> dict[str, Any]:
        """What must be equal for stored trials to stay valid; the number of trials is not among it."""
        kept = {k: v for k, v in self.resolved.contents.items() if k != "schema"}
        space = {v.path: {"scale": v.scale, "levels": list(v.levels)} for v in self.space}
        search = {"batch": self.batch, "seeds": self.seeds, "seed": self.seed, "validation": self.validation}
        return {"simulation": kept, "space": space, "search": search}

    def point(self, drawn: dict[str, float]) -> Point:
        """The point of a trial; of the settings as they are for an empty dictionary."""
        return self.resolved.study.point({v.path: v.value(drawn[v.path]) for v in self.space if v.path in drawn})


def make_plan(
    device: str,
    algorithm: str | None = None,
    task: str | None = None,
    data: str | None = None,
    *,
    varied: Sequence[str] = (),
    changes: Sequence[str] = (),
    batch: int = 8,
    seeds: int = 3,
    seed: int = 0,
    validation: float = 0.2,
) -> Plan:
    """Look up a search.

    Parameters
    ----------
    device : str
        A preset device, a parameter set (.toml), or a study file, whose base is taken.
    algorithm : str, optional
        As of :func:`sim.configs.build_config`; c-ttv2 if neither this nor the study names one.
    task : str, optional
        ``digits`` (the default), ``mnist``, or another task of the studies.
    data : str, optional
        Folder of the data.
    varied : sequence of str
        ``PATH=LOW:HIGH[:log]`` or ``PATH=A,B,C``; instead of, and beside, what is varied by default.
    changes : sequence of str
        ``KEY=VALUE``: settings of the simulation; what is set is not varied.
    batch, seeds, seed, validation
        See :class:`Plan`.

    Raises
    ------
    StudyError
        Naming what is wrong, and the remedy.
    """
    base, source = _base(device)
    base |= {k: v for k, v in {"algorithm": algorithm, "data": data}.items() if v is not None}
    base.setdefault("algorithm", "c-ttv2")
    if base.get("kind", "training") != "training":
        raise StudyError(f'{device}: kind = "{base["kind"]}" has no training algorithm to tune; give a study of training')
    if task is not None or "task" not in base:
        name, train = TASKS.get(task or "digits", (task, {}))
        base |= {"task": name, "train": {**train, **base.get("train", {})}}
    if ":" in base["task"]:
        raise StudyError(f"task {base['task']}: functions of one's own cannot be tuned; use a task of the studies")
    document: dict[str, Any] = {"schema": "studies.study/1", "name": f"Tuning of {base['algorithm']}", "base": base}
    document |= {"replicates": {"count": seeds, "seed": seed}}
    document = tomllib.loads(apply(_dumped(document), changes, device))
    fixed = {key.strip() for key, _, _ in (change.partition("=") for change in changes)}
    own = [parse_varied(text) for text in varied]
    paths = [v.path for v in own]
    for path in paths:
        if path in fixed or paths.count(path) > 1:
            raise StudyError(f"--vary {path}: is given twice, or also set; give it once")
    space = own + default_space(document["base"]["algorithm"], fixed | set(paths))
    if not space:
        raise StudyError("everything is set, nothing is varied; take a --set away, or give --vary")
    document["factors"] = {v.path: v.factor() for v in space}
    resolved = resolve(parse_study(_dumped(document), source))
    if not 0 < validation < 1:
        raise StudyError(f"--validation {validation}: give a share above 0 and below 1")
    return Plan(resolved, tuple(space), batch, seeds, seed, validation)


def _base(device: str) -> tuple[dict[str, Any], Path]:
    """The base of a study around a device, and the file that relative paths in it start from."""
    if not device.endswith(".toml"):
        return {"device": device}, Path("tune.toml")
    path = Path(device)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{device}: cannot be read ({error.strerror}); give a parameter set, a study or a preset") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{device}: this is not TOML ({error}); give a parameter set, a study or a preset") from None
    if str(raw.get("schema", "")).startswith("studies.study"):
        return dict(raw.get("base", {})), path
    return {"device": path.name}, path


def _dumped(document: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)
