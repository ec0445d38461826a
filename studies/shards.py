"""A study in parts that know nothing of each other, and the parts joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from studies.design import Point, load_study
from studies.errors import StudyError
from studies.folder import Folder
from studies.prepare import _same, code_version, open_folder, prepare
from studies.records import DONE, MISSING, SKIPPED, Outcome
from studies.resolve import Resolved
from studies.store import Store

__all__ = ["merge_folders", "part_of", "shard_folder"]


def part_of(text: str) -> tuple[int, int]:
    """``"3/16"`` as (3, 16).

    Raises
    ------
    StudyError
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise StudyError(f"--shard: {text!r} is not I/N with I from 1 to N; write for example 3/16")
    return int(match[1]), int(match[2])


def shard_folder(out: Path, part: tuple[int, int]) -> Path:
    """Folder of a part beside the folder of the whole."""
    return out.with_name(f"{out.name}.shard-{part[0]}-of-{part[1]}")


def merge_folders(out: str | Path, parts: Sequence[str | Path]) -> dict[str, int]:
    """Join the results of parts into one folder, which is made if it is not there.

    A pair that is done in one part and failed in another is done. Nothing is written unless all parts fit.

    Parameters
    ----------
    out : str or Path
    parts : sequence of str or Path

    Returns
    -------
    dict
        Status name -> pairs, in the joined folder.

    Raises
    ------
    StudyError
        For no parts, parts of different studies, or results that contradict each other.
    """
    folders = [Folder(p).require() for p in parts]
    if not folders:
        raise StudyError("no shards given; name their folders")
    if any(f.path.resolve() == Path(out).resolve() for f in folders):
        raise StudyError(f"{out}: cannot be joined with itself; give another folder for the result")
    for other in folders[1:]:
        _same(other, open_folder(folders[0].path)[0])
    target = Folder(out)
    if target.exists():
        _same(target, open_folder(folders[0].path)[0])
    stores = [Store(f.results) for f in folders]
    _agree(
        [(f.path, s) for f, s in zip(folders, stores, strict=True)]
        + ([(target.path, Store(target.results))] if target.exists() else [])
    )
    resolved = open_folder(folders[0].path)[0]
    if not target.exists():
        resolved = _copy(folders[0], resolved, target)
    with target.writing():
        store = Store(target.results, writable=True)
        store.widen(max(s.replicates for s in stores))
        for folder, part in zip(folders, stores, strict=True):
            _take(store, part, open_folder(folder.path)[0])
            lines = folder.failures.read_text(encoding="utf-8") if folder.failures.exists() else ""
            if lines and (not target.failures.exists() or lines not in target.failures.read_text(encoding="utf-8")):
                with target.failures.open("a", encoding="utf-8") as file:
                    file.write(lines)
        return store.counts()


def _copy(source: Folder, resolved: Resolved, target: Folder) -> Resolved:
    """An empty folder of the same study."""
    load_study(source.study)
    made, _ = prepare(source.study, target.path, inputs=source.inputs, data=resolved.data)
    return made


def _agree(stores: list[tuple[Path, Store]]) -> None:
    """Refuse results that differ for the same pair."""
    known: dict[tuple[str, int], tuple[Path, tuple[bytes, ...]]] = {}
    for path, store in stores:
        for identity, row in store.rows.items():
            for replicate in np.flatnonzero(store.columns["status"][row] == DONE):
                values = tuple(store.columns[m][row, replicate].tobytes() for m in store.metrics)
                before = known.setdefault((identity, int(replicate)), (path, values))
                if before[1] != values:
                    raise StudyError(
                        f"{before[0]} and {path}: point {identity}, replicate {replicate} has different results; "
                        "was one made by another version or machine? merge only parts that belong together"
                    )


def _take(store: Store, part: Store, resolved: Resolved) -> None:
    """Add a part's points, and its results where there is nothing better."""
    points = {}
    for identity, row in part.rows.items():
        values = {}
        for name in part.factors:
            value = part.columns[name][row]
            value = float(value) if part.columns[name].dtype.kind == "f" else str(value)
            if value == value and value != "":
                values[name] = value
        baseline, stage = bool(part.columns["baseline"][row]), int(part.columns["stage"][row])
        points[identity] = Point(identity, values, digital=baseline, stage=stage)
    store.add_points(points.values())
    versions = list(part.attributes["code_versions"])
    for version_index, version in enumerate(versions or [code_version()]):
        outcomes = []
        for identity, row in part.rows.items():
            for replicate in range(part.replicates):
                status = int(part.columns["status"][row, replicate])
                if status in (MISSING, SKIPPED) or int(part.columns["code_version"][row, replicate]) != version_index:
                    continue
                held = int(store.columns["status"][store.rows[identity], replicate])
                if held == DONE or (held == status and held not in (MISSING, SKIPPED)):
                    continue
                metrics = {m: float(part.columns[m][row, replicate]) for m in part.metrics}
                pair = resolved.pair(points[identity], replicate)
                outcomes.append(Outcome(pair, status, metrics, float(part.columns["wall_time"][row, replicate])))
        store.commit(outcomes, version)
