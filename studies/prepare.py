"""Open the folder of a study for running: make it, extend it, or say why it does not fit."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from studies.design import Study, load_study
from studies.errors import StudyError
from studies.folder import Folder, write_text
from studies.resolve import Resolved, resolve
from studies.store import Store

__all__ = ["check", "check_study", "code_version", "default_folder", "open_folder", "prepare", "provenance"]

_PACKAGES = ("fitlab", "torch", "numpy", "scipy", "xarray", "zarr", "dask", "distributed", "pydantic", "lmfit")
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def default_folder(file: str | Path) -> Path:
    """``noise.toml`` -> ``noise.study`` beside it."""
    return Path(file).with_suffix(".study")


def check(
    file: str | Path,
    out: str | Path | None = None,
    changes: Sequence[str] = (),
    *,
    inputs: Path | None = None,
    data: str | None = None,
) -> tuple[Resolved, Folder]:
    """The study of a file and the folder that it would run in; makes nothing.

    Raises
    ------
    StudyError
        When the file is wrong, or the folder is something else.
    """
    study = load_study(file, changes)
    return check_study(study, out if out is not None else default_folder(file), inputs=inputs, data=data)


def check_study(study: Study, out: str | Path, *, inputs: Path | None = None, data: str | None = None) -> tuple[Resolved, Folder]:
    """As :func:`check`, of a study that may not be a file yet."""
    resolved = resolve(study, inputs=inputs, data=data)
    folder = Folder(out)
    if folder.exists():
        _same(folder, resolved)
    elif folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        raise StudyError(f"{folder.path}: exists and is not the folder of a study; choose another with -o DIR")
    else:
        _parent(folder)
    return resolved, folder


def prepare(
    file: str | Path,
    out: str | Path | None = None,
    changes: Sequence[str] = (),
    *,
    inputs: Path | None = None,
    data: str | None = None,
) -> tuple[Resolved, Folder]:
    """Folder for running a study file; ``changes`` are texts ``key=value`` that override it.

    A new folder appears complete or not at all. An existing one is continued when file and folder agree on everything
    but the levels of the factors and the number of replicates.

    Raises
    ------
    StudyError
        When the folder holds another study; the differences are named.
    """
    resolved, folder = check(file, out, changes, inputs=inputs, data=data)
    text = resolved.study.text
    if folder.exists():
        if text != folder.study.read_text(encoding="utf-8"):
            write_text(folder.study, text)
            folder.write_resolved(resolved.describe())
        return resolved, folder
    if folder.path.exists():
        folder.path.rmdir()
    _make(folder, resolved.study, resolved)
    return resolved, folder


def _parent(folder: Folder) -> Path:
    parent = folder.path.absolute().parent
    if not parent.is_dir():
        raise StudyError(f"{parent}: is not a folder; make it, or choose another place with -o DIR")
    return parent


def _make(folder: Folder, study: Study, resolved: Resolved) -> None:
    parent = _parent(folder)
    temporary = parent / f".{folder.path.name}.{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        new = Folder(temporary)
        write_text(new.study, study.text)
        for path in resolved.inputs:
            Folder.copy_input(path, new.inputs)
        new.write_resolved(resolved.describe())
        attributes = {"name": study.document.name, "study_digest": resolved.digest}
        Store.create(new.results, study.factors, resolved.metrics, study.replicates, attributes, study.size)
        os.rename(temporary, folder.path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def open_folder(path: str | Path) -> tuple[Resolved, Folder]:
    """An existing folder, with its own copy of the study."""
    folder = Folder(path).require()
    stored = folder.read_resolved()
    resolved = resolve(load_study(folder.study), inputs=folder.inputs, data=stored.get("data"))
    _same(folder, resolved)
    return resolved, folder


def _same(folder: Folder, resolved: Resolved) -> None:
    """Refuse to mix results of different studies; name what differs."""
    stored = folder.read_resolved()
    new = resolved.describe()
    # As JSON holds it: tuples are lists there.
    contents = new["contents"] | {"device": _as_known(stored["contents"].get("device", {}), new["contents"]["device"])}
    differences = _differences(stored["contents"], contents, "base")
    for name in dict.fromkeys([*stored["factors"], *new["factors"]]):
        old, now = stored["factors"].get(name), new["factors"].get(name)
        if old is None or now is None:
            differences.append(f"factor {name!r} is {'new' if old is None else 'gone'}")
        elif (old["kind"], sorted(old["fields"])) != (now["kind"], sorted(now["fields"])):
            differences.append(f"factor {name!r} was {old['kind']} {old['fields']}, is {now['kind']} {now['fields']}")
    if differences:
        raise StudyError(f"{folder.path}: holds another study ({'; '.join(differences)}); choose a new folder with -o DIR")


def _as_known(stored: dict[str, Any], device: dict[str, Any]) -> dict[str, Any]:
    """A device without the settings that it has got since a study was made, where they are as if there were none."""
    import sim.devices

    kind = sim.devices.models().get(str(device.get("model")))
    usual = {} if kind is None else kind().to_dict()
    return {k: v for k, v in device.items() if k in stored or k not in usual or v != usual[k]}


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{path}.{k}")]
    return [] if old == new else [f"{path} was {old!r}, is {new!r}"]


def code_version() -> str:
    """Version of the package that computes, as kept with each result."""
    try:
        return version("fitlab")
    except PackageNotFoundError:
        return "not installed"


def provenance() -> dict[str, Any]:
    """What this run ran on; neither user nor host."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions,
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
