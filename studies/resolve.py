"""From the names in a study file to the simulator's settings: absolute values, structures, jobs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.errors import ConfigError, FitlabError
from studies.checks import expand, try_levels, try_variants
from studies.configure import AROUND, configured, configures
from studies.design import Factor, Point, Study, _close, _key, canonical, digest
from studies.device import Found, data_digest, data_folder, find_device, places_of_functions
from studies.errors import StudyFileError
from studies.quantities import unit_of
from studies.records import Job, Pair
from studies.task import find_task, network_options

__all__ = ["Resolved", "resolve"]

# What each replica may have for itself among the settings that are not the configuration's: replicas share the rest.
_OWN = ("train.lr", "inference.time")


@dataclass
class Resolved:
    """A study with everything looked up and checked.

    Parameters
    ----------
    study : Study
    config : object or None
        Configuration that the factors change; None for a task without a device.
    metrics : tuple of str
    fields : dict
        Factor name -> paths that it sets, patterns expanded.
    start : dict
        Path -> value in the base, for every path that a factor touches (None where there is none).
    data : str or None
        Folder of the data, absolute.
    uncertainty : dict
        Path -> standard error of the fitted value; only where the parameter set has one.
    intervals : dict
        Path -> 95 % interval, where it is not as wide to both sides.
    measured : dict
        Path -> how much of the measured quantity 1 of it is, and its unit; for steps and noise of a fitted device.
    contents : dict
        What enters the study's digest.
    inputs : list of Path
        Files that the study names and the folder keeps.
    folder : Path or None
        Folder with copies of the named files.
    """

    study: Study
    config: Any
    metrics: tuple[str, ...]
    fields: dict[str, tuple[str, ...]]
    start: dict[str, Any]
    data: str | None
    uncertainty: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    measured: dict[str, tuple[float, str]]
    contents: dict[str, Any]
    inputs: list[Path]
    folder: Path | None = None
    _structures: dict[Any, Hashable] = field(default_factory=dict)
    _variants: dict[tuple[str, str], Found] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What must be equal for stored points to stay valid."""
        return digest(self.contents)

    def settings(self, point: Point) -> dict[str, Any]:
        """Absolute value of each path at a point."""
        out: dict[str, Any] = {}
        for factor in self.study.factors:
            if factor.name in point.values:
                out |= self._levels(factor, point.values[factor.name])
        return out

    def _levels(self, factor: Factor, level: float | str) -> dict[str, Any]:
        if factor.columns is not None:
            index = factor.levels.index(level)
            return {path: column[index] for path, column in factor.columns.items()}
        if factor.kind == "multiply":
            return {path: self.start[path] * float(level) for path in self.fields[factor.name]}
        if factor.units in ("1", "s"):
            return dict.fromkeys(self.fields[factor.name], level)
        return {path: float(level) / self.measured[path][0] for path in self.fields[factor.name]}

    def _own(self, factor: Factor) -> dict[str, dict[str, Any]]:
        """What is known of a factor's fields in the base, in the unit of the factor."""
        paths = self.fields[factor.name]
        size = {p: 1.0 if factor.units in ("1", "s") else self.measured[p][0] for p in paths}
        start = {p: v * size[p] if size[p] != 1 else v for p in paths for v in [self.start[p]]}
        return {
            "start": start,
            "standard_error": {p: self.uncertainty[p] * size[p] for p in paths if p in self.uncertainty},
            "interval": {p: [end * size[p] for end in self.intervals[p]] for p in paths if p in self.intervals},
            "measured": {p: self.measured[p] for p in paths if p in self.measured},
        }

    def variant(self, settings: dict[str, Any]) -> Any:
        """The configuration of the device and algorithm that these settings name, with ``base.set`` applied."""
        base = self.study.document.base
        key = str(settings.get("device", base.device)), str(settings.get("algorithm", base.algorithm))
        if self.config is None or key == (str(base.device), base.algorithm):
            return self.config
        if key not in self._variants:
            found = find_device(self.study, self.folder, *key)
            self._variants[key] = dataclasses.replace(found, config=configured(found.config, base.set))
        return self._variants[key].config

    def under(self, factor: Factor) -> dict[str, Any]:
        """Settings under which a factor has a say: the first level of every condition."""
        out: dict[str, Any] = {}
        for name, allowed in factor.when:
            other = self.study.factor(name)
            out |= self.under(other) | self._levels(other, allowed[0])
        return out

    def structure(self, point: Point) -> Hashable:
        """What pairs must share to run together."""
        if not self._shaping:
            return point.digital
        settings = {p: v for p, v in self.settings(point).items() if p in self._shaping}
        key = (point.digital, canonical(settings))
        if key not in self._structures:
            around = {p: v for p, v in settings.items() if not configures(p)}
            self._structures[key] = (point.digital, canonical(around), self._shape(settings, point.digital))
        return self._structures[key]

    def _shape(self, settings: dict[str, Any], digital: bool) -> Hashable:
        if self.config is None or digital:
            return None
        from sim.configs import structure

        return structure(configured(self.variant(settings), settings))

    @functools.cached_property
    def _shaping(self) -> set[str]:
        """Paths that may change the structure: all but the plain numbers of the configuration."""
        touched = {p for paths in self.fields.values() for p in paths}
        if self.config is None:
            return {p for p in touched if p.startswith(AROUND) and p not in _OWN}
        from sim.configs import numeric_paths, setting_at

        numbers = {p for p in numeric_paths(self.config) if not setting_at(self.config, p).structural}
        return {p for p in touched if p not in numbers and p not in _OWN}

    def pair(self, point: Point, replicate: int) -> Pair:
        """A pair with its settings and seeds."""
        seeds = {name: self.study.seed(replicate, name, point.id) for name in ("simulator", "data-order")}
        return Pair(point.id, replicate, point.digital, self.settings(point), seeds)

    def job(self, units: list[tuple[Point, int]]) -> Job:
        """The job that runs these pairs together."""
        document = self.study.document
        pairs = tuple(self.pair(point, replicate) for point, replicate in units)
        base = document.base
        return Job(
            base.task,
            self.variant(pairs[0].settings),
            base.train.model_dump(),
            self.data,
            document.run.threads,
            pairs,
            base.kind,
            dict(base.network),
            base.inference.model_dump(),
            document.run.device,
            places_of_functions(self.study) if ":" in base.task else (),
        )

    def describe(self) -> dict[str, Any]:
        """The content of ``resolved.json``."""
        return {
            "digest": self.digest,
            "contents": self.contents,
            "config": None if self.config is None else {"class": type(self.config).__name__, **self.config.to_dict()},
            "train": self.study.document.base.train.model_dump(),
            "data": self.data,
            "metrics": list(self.metrics),
            "factors": {
                f.name: {
                    "kind": f.kind,
                    "fields": list(self.fields[f.name]),
                    "levels": list(f.levels),
                }
                | self._own(f)
                for f in self.study.factors
            },
        }


def resolve(study: Study, *, inputs: Path | None = None, data: str | None = None) -> Resolved:
    """Look up everything that a study names, and try every level of every factor.

    Parameters
    ----------
    study : Study
    inputs : Path, optional
        Folder with copies of the named files; used before the places that the study names.
    data : str, optional
        Folder of the data, instead of the one in the study.

    Raises
    ------
    StudyFileError
        Naming file and key.
    """
    source = str(study.source)
    base = study.document.base

    def fault(key: str, text: object) -> StudyFileError:
        return StudyFileError(source, [(key, str(text))], study.place)

    try:
        metrics = find_task(base.task, places_of_functions(study))[1]
    except FitlabError as error:
        raise fault("", error) from None
    if study.document.target.metric not in metrics:
        near = _close(study.document.target.metric, list(metrics))
        raise fault("target.metric", f"{study.document.target.metric!r} is not measured by {base.task}{near}")
    if study.document.target.metric == "loss" and ":" not in base.task:
        raise fault(
            "target.metric", "'loss' is better when it is less, and a target keeps a share of the baseline; write accuracy"
        )
    for factor in study.factors:
        if factor.name in metrics:
            raise fault(f"factors.{factor.name}", f"this is what {base.task} measures; choose another name for the factor")
    own = ":" in base.task
    config: Any = None
    about: dict[str, Any] = {}
    files: list[Path] = []
    errors: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    measured: dict[str, tuple[float, str]] = {}
    if base.device is not None or base.kind != "training":
        try:
            found = find_device(study, inputs, base.device, base.algorithm)
            config, about, files, errors = found.config, found.about, [*found.files], dict(found.errors)
            intervals, measured = found.intervals, found.measured
        except ConfigError as error:
            raise fault("base", error) from None
        except FitlabError as error:
            raise fault("base.device", error) from None
        for path, value in base.set.items():
            if unit_of(value) not in ("1", "s"):
                raise fault(f"base.set.{_key(path)}", "write the number without unit; factors take units")
            try:
                config = configured(config, {path: value})
            except ConfigError as error:
                raise fault(f"base.set.{_key(path)}", error) from None
    elif not own:
        raise fault("base.device", "is missing; give a parameter set (a .toml file) or the name of a preset device")
    folder = data_folder(study, data)
    contents = {
        "schema": study.document.schema_,
        "task": base.task,
        "device": about,
        "set": base.set,
        "train": base.train.model_dump(exclude_none=True),
        "data": data_digest(base.task, folder, lambda text: fault("base.data", text)),
        "metric": study.document.target.metric,
        "seed": study.document.replicates.seed,
        "common": study.document.replicates.common,
        "algorithm": base.algorithm,
    }
    # Only what is said enters, so that studies from before there was such a thing to say stay what they are.
    if base.kind != "training":
        contents |= {"kind": base.kind, "inference": base.inference.model_dump()}
    if base.network:
        contents["network"] = dict(base.network)
    if study.document.run.device != "cpu":
        contents["computed_on"] = study.document.run.device
    known = network_options(base.task)
    for name in base.network:
        if known is not None and name not in known:
            raise fault(f"base.network.{name}", f"is no option of the network{_close(name, list(known))}")
    if base.kind != "training" and own:
        raise fault("base.kind", "a function of your own gets the whole job; leave kind out and do in it what you need")
    resolved = Resolved(study, config, metrics, {}, {}, folder, errors, intervals, measured, contents, files, inputs)
    expand(resolved, fault)
    try_levels(resolved, fault)
    if config is not None:
        try_variants(resolved, fault)
    for variant in resolved._variants.values():
        resolved.inputs += [p for p in variant.files if p not in resolved.inputs]
    return resolved
