"""The results of a study as one labelled dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.design import Factor, Study, load_study
from studies.folder import Folder
from studies.records import DONE
from studies.store import Store

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["open_study", "serve"]


def open_study(path: str | Path) -> xr.Dataset:
    """Open the folder of a study, finished or not.

    Parameters
    ----------
    path : str or Path
        Folder made by ``fitlab study run``.

    Returns
    -------
    xarray.Dataset
        One dimension per factor and ``replicate``. Each metric and its ``baseline_`` counterpart (1; NaN where there is
        no result), ``status`` and ``baseline_status`` (0 missing, 1 done, 2 failed, 3 timeout, 4 skipped), ``seed``,
        ``wall_time`` (s). Attributes: name, digest, target (JSON), versions.

    Raises
    ------
    StudyError
        When there is no study in the folder.
    """
    folder = Folder(path).require()
    return serve(load_study(folder.study), folder.read_resolved(), Store(folder.results))


def serve(study: Study, resolved: dict[str, Any], store: Store) -> xr.Dataset:
    """The dataset of a study from its table."""
    import xarray as xr

    columns, rows = store.columns, store.rows
    names = [f.name for f in study.factors]
    grid_rows = np.flatnonzero(columns["baseline"] == 0)
    if study.document.design is not None:
        return _long(study, resolved, store, grid_rows)
    levels = {f.name: _levels(f, columns[f.name][grid_rows]) for f in study.factors}
    shape = tuple(len(levels[n]) for n in names)
    whole = not any(f.when for f in study.factors)
    if whole:
        places = tuple(_places(levels[n], columns[n][grid_rows]) for n in names)
    else:
        # A factor without a say at a point has no level there: its results stand at all levels.
        where = [{v: i for i, v in enumerate(levels[n].tolist())} for n in names]
        index = [tuple(where[a].get(_item(columns[n][row]), slice(None)) for a, n in enumerate(names)) for row in grid_rows]
    variables: dict[str, Any] = {}
    for name in [*store.metrics, "status", "seed", "wall_time"]:
        column = columns[name]
        values = np.full((*shape, store.replicates), np.nan if column.dtype.kind == "f" else 0, dtype=column.dtype)
        if whole:
            values[places] = column[grid_rows]
        else:
            for place, row in zip(index, grid_rows, strict=True):
                values[place] = column[row]
        variables[name] = _variable((*names, "replicate"), values, _attributes(name))
    variables |= _baseline(study, store, levels, rows)
    coords = {f.name: _axis(f.name, levels[f.name], _about(f, resolved)) for f in study.factors}
    coords["replicate"] = _axis("replicate", np.arange(store.replicates), {})
    return xr.Dataset(variables, coords, _heading(study, resolved, store))


def _places(levels: np.ndarray[Any, Any], column: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Index of each value of a column among the levels."""
    if levels.dtype.kind == "f":
        return np.searchsorted(levels, column)
    where = {v: i for i, v in enumerate(levels.tolist())}
    return np.array([where[str(v)] for v in column], dtype=int)


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _variable(dims: tuple[str, ...], values: np.ndarray[Any, Any], attributes: dict[str, Any]) -> xr.Variable:
    """A variable of a plain array. Told so, xarray does not import dask and pint to ask, which takes longer than all else."""
    import xarray as xr

    return xr.Variable(dims, values, attributes, fastpath=True)


def _axis(name: str, values: np.ndarray[Any, Any], attributes: dict[str, Any]) -> xr.Variable:
    """The coordinate of a dimension, likewise."""
    import pandas as pd
    import xarray as xr

    return xr.IndexVariable(name, pd.Index(values, dtype=values.dtype), attributes, fastpath=True)


def _heading(study: Study, resolved: dict[str, Any], store: Store) -> dict[str, Any]:
    """Attributes of the dataset."""
    design = study.document.design
    return {
        "schema": study.document.schema_,
        "name": study.document.name,
        "study_digest": resolved["digest"],
        "target": json.dumps(study.document.target.model_dump() | {"factor": study.target_factor.name}),
        "design": "grid" if design is None else design.kind,
        "code_versions": list(store.attributes["code_versions"]),
    }


def _long(study: Study, resolved: dict[str, Any], store: Store, grid_rows: np.ndarray[Any, Any]) -> xr.Dataset:
    """The dataset of a design: one dimension of points, with the factors along it (NaN or empty: as in the base)."""
    import xarray as xr

    columns = store.columns
    variables: dict[str, Any] = {}
    for name in [*store.metrics, "status", "seed", "wall_time"]:
        variables[name] = _variable(("point", "replicate"), columns[name][grid_rows], _attributes(name))
    coords: dict[str, Any] = {}
    for f in study.factors:
        column = columns[f.name][grid_rows]
        levels = column if f.numeric else np.array([str(v) for v in column], dtype=object)
        coords[f.name] = _variable(("point",), levels, _about(f, resolved))
    named = study.document.target.baseline != "digital"
    ids = []
    for row in grid_rows:
        kept = {f.name: columns[f.name][row].item() for f in study.factors if f.numeric and f.trains}
        kept = {name: value for name, value in kept.items() if value == value}
        ids.append(study.baseline_points()[0].id if named else study.baseline_of(kept).id)
    for name in [*store.metrics, "status"]:
        column = store.columns[name]
        values = np.full((len(ids), store.replicates), np.nan if column.dtype.kind == "f" else 0, dtype=column.dtype)
        for place, identity in enumerate(ids):
            if identity in store.rows:
                values[place] = column[store.rows[identity]]
        variables[f"baseline_{name}"] = _variable(("point", "replicate"), values, _attributes(name))
    coords["replicate"] = _axis("replicate", np.arange(store.replicates), {})
    identities = np.array([str(i) for i in columns["point_id"][grid_rows]], dtype=object)
    coords["point_id"] = _variable(("point",), identities, {"long_name": "identity of the point"})
    return xr.Dataset(variables, coords, _heading(study, resolved, store))


def _baseline(study: Study, store: Store, levels: dict[str, Any], rows: dict[str, int]) -> dict[str, Any]:
    """Metrics of the baseline, along the factors of training only (none for a named setting)."""
    points = study.baseline_points()
    training = [f for f in study.factors if f.trains and points[0].digital]
    names = [f.name for f in training]
    shape = (*(len(levels[n]) for n in names), store.replicates)
    out: dict[str, Any] = {}
    for name in [*store.metrics, "status"]:
        column = store.columns[name]
        values = np.full(shape, np.nan if column.dtype.kind == "f" else 0, dtype=column.dtype)
        for point in points:
            if point.id in rows:
                place = tuple(levels[n].tolist().index(point.values[n]) for n in names)
                values[place] = column[rows[point.id]]
        out[f"baseline_{name}"] = _variable((*names, "replicate"), values, _attributes(name))
    return out


def _levels(factor: Factor, stored: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Levels of an axis: those asked for and those that refinement or earlier runs added."""
    if factor.numeric:
        found = stored.astype(float)
        return np.unique(np.concatenate([np.asarray(factor.levels, float), found[~np.isnan(found)]]))
    extra = sorted({str(v) for v in stored} - set(map(str, factor.levels)) - {""})
    return np.array([*map(str, factor.levels), *extra], dtype=object)


def _about(factor: Factor, resolved: dict[str, Any]) -> dict[str, Any]:
    """Attributes of a factor's coordinate."""
    known = resolved["factors"][factor.name]
    about = {
        "long_name": factor.label or factor.name,
        "units": factor.units,
        "kind": factor.kind,
        "better": factor.better or "",
        "when": json.dumps(factor.when),
        "scale": factor.scale,
        "fields": list(known["fields"]),
    }
    numbers = {k: v for k, v in known["start"].items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return about | {
        "start": json.dumps(numbers),
        "standard_error": json.dumps(known["standard_error"]),
        "interval": json.dumps(known.get("interval", {})),
        "measured": json.dumps(known.get("measured", {})),
    }


def _attributes(name: str) -> dict[str, Any]:
    if name == "status":
        return {"flag_values": [0, 1, 2, 3, 4], "flag_meanings": "missing done failed timeout skipped", "done": DONE}
    if name == "accuracy":
        return {"units": "1", "long_name": "test accuracy", "valid_min": 0.0, "valid_max": 1.0}
    return {"units": "s" if name == "wall_time" else "1", "long_name": name.replace("_", " ")}
