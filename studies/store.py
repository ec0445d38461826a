"""The results of a study: an append-only table of points in a Zarr store with one writer.

Layout ``studies.store/1`` (Zarr format 3):

==================================  ==================  =======  ==================================================
array                               dimensions          type     meaning
==================================  ==================  =======  ==================================================
one per factor                      point               f8/text  level; NaN or empty in the digital baseline
``point_id``                        point               text     digest of what the point is
``baseline``, ``stage``             point               u1       1 for the digital baseline; round of refinement
one per metric                      point, replicate    f8
``seed``                            point, replicate    u8       seed of the simulator
``status``                          point, replicate    u1       0 missing, 1 done, 2 failed, 3 timeout, 4 skipped
``wall_time``, ``finished_at``      point, replicate    f8, i8   seconds; seconds since 1970
``code_version``                    point, replicate    u2       index into the attribute ``code_versions``
==================================  ==================  =======  ==================================================

A pair counts from the moment its ``status`` is written, which is last; a point from the moment its ``point_id`` is.
Whatever was being written when the writer died is therefore as if it had not begun. The size of the chunks is each
store's own: few files for many points, and little to write for few.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.errors import StudyError, is_newer
from studies.records import DONE, STATUS_NAMES, Outcome

if TYPE_CHECKING:
    from studies.design import Factor, Point

__all__ = ["LAYOUT", "Store"]

LAYOUT = "studies.store/1"
_POINT = {"point_id": str, "baseline": "u1", "stage": "u1"}
_PAIR = {
    "seed": "u8",
    "status": "u1",
    "wall_time": "f8",
    "finished_at": "i8",
    "code_version": "u2",
}


class Store:
    """The table, in memory and on disk.

    Parameters
    ----------
    path : Path
        The Zarr folder; must exist (see :meth:`create`).
    writable : bool
        Whether this is the one writer.

    Attributes
    ----------
    columns : dict
        Array name -> values, (points,) or (points, replicates).
    rows : dict
        Point id -> row.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        import zarr

        if not (path / "zarr.json").exists():
            raise StudyError(f"{path}: no results are stored here; is this the folder of a study?")
        self.path = path
        if writable:
            # Half-written chunks of a writer that was killed; the names are Zarr's.
            for litter in path.rglob("*.partial"):
                litter.unlink(missing_ok=True)
        self._group = zarr.open_group(store=str(path), mode="r+" if writable else "r", zarr_format=3)
        attributes: dict[str, Any] = dict(self._group.attrs)
        if attributes.get("layout") != LAYOUT:
            wrote = ", ".join(map(str, attributes.get("code_versions", []))) or "not said"
            told = f"open it with the version that wrote it (fitlab {wrote}), or export it there"
            if is_newer(str(attributes.get("layout")), LAYOUT):
                told = f"it is of a newer fitlab ({wrote}); update fitlab"
            raise StudyError(f"{path}: layout {attributes.get('layout')!r} is not {LAYOUT!r}; {told}")
        self.attributes = attributes
        self.metrics: list[str] = list(attributes["metrics"])
        self.factors: list[str] = list(attributes["factors"])
        self.columns: dict[str, np.ndarray[Any, Any]] = {}
        self.rows: dict[str, int] = {}
        self._arrays: dict[str, Any] = {}
        self._touched: set[int] = set()
        self._load()

    @classmethod
    def create(
        cls, path: Path, factors: Iterable[Factor], metrics: Iterable[str], replicates: int, attributes: dict[str, Any],
        points: int = 0,
    ) -> Store:  # fmt: skip
        """Make an empty store and return its writer; ``points`` is how many are expected."""
        import zarr

        # Opening takes time for each file, writing for each byte of a chunk: some ten chunks a column.
        chunks = min(max(256, 1 << math.ceil(math.log2(max(points, 10) / 10))), 16384), min(replicates, 16)

        factors, metrics = list(factors), list(metrics)
        group = zarr.create_group(
            store=str(path),
            zarr_format=3,
            attributes={
                **attributes,
                "layout": LAYOUT,
                "factors": [f.name for f in factors],
                "metrics": metrics,
                "code_versions": [],
            },
        )
        for factor in factors:
            about = {"long_name": factor.label or factor.name, "factor_path": list(factor.fields), "kind": factor.kind}
            about |= {"units": factor.units, "scale": factor.scale}
            _array(group, _safe(factor.name), "f8" if factor.numeric else str, None, chunks, about)
        for name, dtype in _POINT.items():
            _array(group, name, dtype, None, chunks, {})
        for name in metrics:
            _array(group, _safe(name), "f8", replicates, chunks, {"units": "1", "long_name": name})
        flags = {"flag_values": list(range(len(STATUS_NAMES))), "flag_meanings": " ".join(STATUS_NAMES)}
        for name, dtype in _PAIR.items():
            _array(group, name, dtype, replicates, chunks, flags if name == "status" else {})
        return cls(path, writable=True)

    def _load(self) -> None:
        names = [*self.factors, *_POINT, *self.metrics, *_PAIR]
        self._arrays = {name: self._group[_safe(name)] for name in names}
        self._chunk_rows = int(self._arrays["status"].chunks[0])
        raw = {name: np.asarray(array[:]) for name, array in self._arrays.items()}
        ids: list[str] = raw["point_id"].tolist()
        # Rows behind the first empty identity were being added when the writer died.
        count = ids.index("") if "" in ids else len(ids)
        width = min(raw[name].shape[1] for name in (*self.metrics, *_PAIR))
        for name, values in raw.items():
            self.columns[name] = values[:count].copy() if values.ndim == 1 else values[:count, :width].copy()
        self.rows = {identity: row for row, identity in enumerate(ids[:count])}

    @property
    def replicates(self) -> int:
        """Number of replicates that the table has room for."""
        return int(self.columns["status"].shape[1])

    def status(self) -> dict[str, np.ndarray[Any, Any]]:
        """Point id -> status of its replicates."""
        return {identity: self.columns["status"][row] for identity, row in self.rows.items()}

    def add_points(self, points: Iterable[Point]) -> None:
        """Append points that are not there yet."""
        new = list({p.id: p for p in points if p.id not in self.rows}.values())
        if not new:
            return
        start, stop = len(self.rows), len(self.rows) + len(new)
        for name, old in self.columns.items():
            shape = (stop, *old.shape[1:])
            grown = np.full(shape, _fill(old.dtype), dtype=old.dtype)
            grown[:start] = old
            self.columns[name] = grown
        for row, point in enumerate(new, start):
            for factor in self.factors:
                if factor in point.values:
                    self.columns[factor][row] = point.values[factor]
            self.columns["baseline"][row] = point.digital
            self.columns["stage"][row] = point.stage
            self.columns["point_id"][row] = point.id
            self.rows[point.id] = row
        # Identities last: they make the rows count.
        for name in [n for n in self.columns if n != "point_id"] + ["point_id"]:
            array = self._arrays[name]
            array.resize(self.columns[name].shape)
            if name in (*self.factors, *_POINT):
                array[start:stop] = self.columns[name][start:stop]

    def widen(self, replicates: int) -> None:
        """Make room for more replicates."""
        if replicates <= self.replicates:
            return
        for name in (*self.metrics, *_PAIR):
            old = self.columns[name]
            grown = np.full((old.shape[0], replicates), _fill(old.dtype), dtype=old.dtype)
            grown[:, : old.shape[1]] = old
            self.columns[name] = grown
            self._arrays[name].resize(grown.shape)

    def commit(self, outcomes: Iterable[Outcome], code_version: str) -> None:
        """Take what became of some pairs, and write it."""
        self.take(outcomes, code_version)
        self.flush()

    def take(self, outcomes: Iterable[Outcome], code_version: str) -> None:
        """Keep what became of some pairs in memory, until :meth:`flush`."""
        now = int(time.time())
        for outcome in outcomes:
            row, column = self.rows[outcome.pair.point_id], outcome.pair.replicate
            for name in self.metrics:
                self.columns[name][row, column] = outcome.metrics.get(name, np.nan)
            self.columns["seed"][row, column] = outcome.pair.seeds.get("simulator", 0)
            self.columns["wall_time"][row, column] = outcome.wall_time
            self.columns["finished_at"][row, column] = now
            self.columns["code_version"][row, column] = self._version(code_version)
            self.columns["status"][row, column] = outcome.status
            self._touched.add(row // self._chunk_rows)

    @property
    def dirty(self) -> bool:
        """Whether something was taken that is not on the disk yet."""
        return bool(self._touched)

    def flush(self) -> None:
        """Write what was taken; values first, status last.

        Raises
        ------
        OSError
            When the disk refuses; nothing that was taken is forgotten, so that a later flush may succeed.
        """
        versions = list(self.attributes["code_versions"])
        if self._touched and versions != self._group.attrs["code_versions"]:
            self._group.attrs["code_versions"] = versions
        for name in [*self.metrics, *(n for n in _PAIR if n != "status"), "status"]:
            for first, last in _spans(self._touched):
                rows = slice(first * self._chunk_rows, min((last + 1) * self._chunk_rows, len(self.rows)))
                self._arrays[name][rows] = self.columns[name][rows]
        self._touched.clear()

    def _version(self, text: str) -> int:
        versions = list(self.attributes["code_versions"])
        if text not in versions:
            versions.append(text)
            self.attributes["code_versions"] = versions
        return versions.index(text)

    def counts(self) -> dict[str, int]:
        """How many pairs there are of each status."""
        numbers = np.bincount(self.columns["status"].ravel(), minlength=len(STATUS_NAMES))
        return {name: int(n) for name, n in zip(STATUS_NAMES, numbers, strict=True)}

    def median_time(self) -> float | None:
        """Median seconds a finished pair took; None before the first."""
        done = self.columns["status"] == DONE
        return float(np.median(self.columns["wall_time"][done])) if done.any() else None


def _spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, as (first, last)."""
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return spans


def _array(
    group: Any, name: str, dtype: Any, replicates: int | None, chunks: tuple[int, int], attributes: dict[str, Any]
) -> None:
    shape = (0,) if replicates is None else (0, replicates)
    group.create_array(
        name,
        shape=shape,
        chunks=chunks[: len(shape)],
        dtype=dtype,
        fill_value=_fill(np.dtype("T") if dtype is str else np.dtype(dtype)),
        dimension_names=["point", "replicate"][: len(shape)],
        attributes=attributes,
    )


def _fill(dtype: np.dtype[Any]) -> Any:
    return {"f": np.nan, "T": ""}.get(dtype.kind, 0)


def _safe(name: str) -> str:
    """Name of an array: a slash would make a folder."""
    return name.replace("/", "%2F")
