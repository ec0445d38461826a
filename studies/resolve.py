"""From the names in a study file to the simulator's settings: devices, fields, absolute values, structures."""

from __future__ import annotations

import copy
import dataclasses
import enum
import fnmatch
import functools
import itertools
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.errors import ConfigError, FitlabError
from studies.design import Factor, Point, Study, _close, _key, canonical, digest
from studies.errors import StudyFileError
from studies.quantities import unit_of
from studies.records import Job, Pair
from studies.task import find_task, network_options

__all__ = ["Resolved", "resolve"]

_TRAIN = ("train.epochs", "train.batch", "train.lr")
# What each replica may have for itself among the settings that are not the configuration's: replicas share the rest.
_OWN = ("train.lr", "inference.time")
# Noise of the usual size on the weights of every mini-batch; base.set and factors change it.
_AWARE = {"modifier.type": "ADD_NORMAL", "modifier.std_dev": 0.1}
_AROUND = ("train.", "network.", "inference.")
# Numbers of a factor that are tried before anything runs.
_TRIED = 500


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
    _variants: dict[tuple[str, str], _Found] = field(default_factory=dict)

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
            found = _device(self.study, self.folder, *key)
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
            around = {p: v for p, v in settings.items() if not _configures(p)}
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
            return {p for p in touched if p.startswith(_AROUND) and p not in _OWN}
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
            _places(self.study) if ":" in base.task else (),
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


def configured(config: Any, settings: dict[str, Any]) -> Any:
    """A copy of a configuration with settings assigned (those around it left out)."""
    from sim.configs import set_path, setting_at

    changed = copy.deepcopy(config)
    for name, value in settings.items():
        if not _configures(name):
            continue
        for path in _placed(changed, name):
            switch = setting_at(changed, path).kind is bool and value in ("true", "false")
            set_path(changed, path, value == "true" if switch else value)
    return changed


def _configures(path: str) -> bool:
    """Whether a setting is one of the configuration, rather than of what is around it."""
    return not path.startswith(_AROUND) and path not in ("algorithm", "device")


def _placed(config: Any, path: str) -> list[str]:
    """Where a setting stands: ``device.x`` is that field of every device of a cell that has no such field itself.

    Raises
    ------
    ConfigError
        When there is no such field.
    """
    from sim.configs import get_path, numeric_paths

    try:
        get_path(config, path)
    except ConfigError:
        inner = re.compile(rf"device\.(?:\w+\.)+{re.escape(path.removeprefix('device.'))}")
        places = [p for p in numeric_paths(config) if inner.fullmatch(p)] if path.startswith("device.") else []
        if not places:
            raise
        return places
    return [path]


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
        metrics = find_task(base.task, _places(study))[1]
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
            found = _device(study, inputs, base.device, base.algorithm)
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
    folder = _data_folder(study, data)
    contents = {
        "schema": study.document.schema_,
        "task": base.task,
        "device": about,
        "set": base.set,
        "train": base.train.model_dump(exclude_none=True),
        "data": _data_digest(base.task, folder, lambda text: fault("base.data", text)),
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
    _expand(resolved, fault)
    _try_levels(resolved, fault)
    if config is not None:
        _try_variants(resolved, fault)
    for variant in resolved._variants.values():
        resolved.inputs += [p for p in variant.files if p not in resolved.inputs]
    return resolved


@dataclass(frozen=True)
class _Found:
    """Configuration of a named device, what it is, its files, standard errors of its fields, and steps as they were measured."""

    config: Any
    about: dict[str, Any]
    files: list[Path]
    errors: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    measured: dict[str, tuple[float, str]] = field(default_factory=dict)


def _device(study: Study, inputs: Path | None, name: str | None, algorithm: str) -> _Found:
    from sim.configs import build_config

    if study.document.base.kind != "training":
        found = _noise_model(study, inputs, name)
        aware = study.document.base.kind == "hardware-aware"
        return dataclasses.replace(found, config=configured(found.config, _AWARE)) if aware else found
    name = str(name)
    if name.endswith(".toml") or "/" in name or "\\" in name:
        path = _input(study, name, inputs)
        import fitlab.parameters

        parameters = fitlab.parameters.load(path)
        device: Any = parameters.to_device()
        errors, intervals = _standard_errors(parameters), _intervals(parameters)
        return _Found(build_config(algorithm, device), _about(device), [path], errors, intervals, _measured(parameters))
    import sim.devices
    import sim.presets

    models = sim.devices.models()
    known = [*sim.presets.names("device"), *models]
    if name not in known:
        raise FitlabError(
            f"{name!r} is not the name of a preset device or a model{_close(name, known)} Or give a parameter set (.toml)"
        )
    device = models[name]() if name in models else sim.presets.get(name)()
    return _Found(build_config(algorithm, device), _about(device), [], {})


def _noise_model(study: Study, inputs: Path | None, name: str | None) -> _Found:
    """Inference on devices with a noise model: the default one, one by name, or one fitted to retention."""
    import sim.inference.noise as models
    from sim.configs import InferenceRPUConfig, from_toml

    if name is None:
        config = InferenceRPUConfig()
        return _Found(config, _about(config.noise_model), [], {})
    if name.endswith(".toml"):
        path = _input(study, name, inputs)
        model: Any = from_toml(path.read_text(encoding="utf-8-sig"))
        if not isinstance(model, models.BaseNoiseModel):
            raise FitlabError(f"{path}: is no noise model; make one with: fitlab fit FILE.csv --kind retention -o {name}")
        return _Found(InferenceRPUConfig(noise_model=model), _about(model), [path], {})
    known = [n for n in models.__all__ if n.endswith("NoiseModel") and not n.startswith(("Base", "Relative", "Measured"))]
    if name not in known:
        raise FitlabError(f"{name!r} is not the name of a noise model{_close(name, known)} A fitted one is given as a .toml file")
    model = getattr(models, name)()
    return _Found(InferenceRPUConfig(noise_model=model), _about(model), [], {})


def _about(device: Any) -> dict[str, Any]:
    """What the device is, not where it came from: a remark added to its file changes no result."""
    return {"model": type(device).__name__, **device.to_dict()}


def _input(study: Study, name: str, inputs: Path | None) -> Path:
    places = [] if inputs is None else [inputs / Path(name).name]
    places.append(study.source.parent / name)
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise FitlabError(f"{name!r} is not there (looked for {places[-1]}); make it with: fitlab fit FILE.csv -o {name}")
    return found


def _standard_errors(parameters: Any) -> dict[str, float]:
    """Path -> standard error, for the fitted fields that have one."""
    estimates = {**parameters.parameters, **parameters.dtod}
    return {
        f"device.{name}": estimate.error
        for name, estimate in estimates.items()
        if estimate.error is not None and name in parameters.device.fields
    }


def _intervals(parameters: Any) -> dict[str, tuple[float, float]]:
    """Path -> 95 % interval, for the fitted fields whose interval the parameter set gives itself."""
    estimates = {**parameters.parameters, **parameters.dtod}
    return {
        f"device.{name}": (estimate.low, estimate.high)
        for name, estimate in estimates.items()
        if estimate.low is not None and estimate.high is not None and name in parameters.device.fields
    }


def _measured(parameters: Any) -> dict[str, tuple[float, str]]:
    """Fields that are differences of weights -> a weight of 1 in the measured quantity, where it is proportional to weights."""
    weight = parameters.weight
    if weight.scale != "linear":
        return {}
    size = (weight.high - weight.low) / 2
    return dict.fromkeys(("device.dw_min", "forward.w_noise", "backward.w_noise"), (size, weight.unit))


def _places(study: Study) -> tuple[str, ...]:
    """Folders with functions of the user: that of the study file, or that of the folder that holds the study."""
    folder = study.source.absolute().parent
    return (str(folder.parent),) if (folder / "resolved.json").exists() else (str(folder),)


def _data_folder(study: Study, data: str | None) -> str | None:
    given = data or study.document.base.data
    if given is None:
        return None
    path = Path(given)
    return str(path if path.is_absolute() or data else (study.source.parent / path).resolve())


def _data_digest(task: str, folder: str | None, fault: Any) -> str:
    if ":" in task:
        return ""
    from studies.data import fingerprint

    try:
        return fingerprint(task.split("-")[0], folder)
    except FitlabError as error:
        raise fault(error) from None


def _expand(resolved: Resolved, fault: Any) -> None:
    """Patterns to paths; refuse unknown paths and paths that two factors set."""
    from sim.configs import get_path, numeric_paths

    base = resolved.study.document.base
    train = base.train.model_dump()
    owners: dict[str, str] = {}
    # Where every factor is varied alone, two may set the same field.
    alone = resolved.study.document.design is not None and resolved.study.document.design.kind == "one-at-a-time"
    for factor in resolved.study.factors:
        key = f"factors.{_key(factor.name)}"
        paths: list[str] = []
        try:
            config = resolved.variant(resolved.under(factor))
        except FitlabError as error:
            raise fault(key, error) from None
        around = _around(resolved)
        for pattern in factor.fields:
            if pattern in around:
                found = [pattern]
            elif pattern.startswith(("network.", "inference.")):
                raise fault(key, f"{pattern!r} cannot be varied in this study{_close(pattern, list(around))}")
            elif pattern.startswith("train."):
                if pattern not in _TRAIN:
                    raise fault(key, f"{pattern!r} is no setting of the training{_close(pattern, list(_TRAIN))}")
                found = [pattern]
            elif config is None:
                found = [pattern]
            elif "*" in pattern:
                found = [p for p in numeric_paths(config) if fnmatch.fnmatchcase(p, pattern)]
                if not found:
                    raise fault(key, f'no number of the configuration matches {pattern!r}; try "device.*_dtod"')
            else:
                try:
                    _placed(config, pattern)
                except ConfigError as error:
                    raise fault(key, error) from None
                found = [pattern]
            paths += [p for p in found if p not in paths]
        if factor.units not in ("1", "s"):
            if any("device" in f.fields for f in resolved.study.factors):
                raise fault(key, f"its levels are in {factor.units}, which differs with the device; write numbers without unit")
            for path in paths:
                if resolved.measured.get(path, (0.0, ""))[1] != factor.units:
                    raise fault(key, f"its levels are in {factor.units}, and {path} {_why_not(resolved, path)}")
        for path in paths:
            if path in owners and not alone:
                raise fault(key, f"{path} is already varied by the factor {owners[path]!r}; vary a field in one factor")
            owners[path] = factor.name
            name = path.removeprefix("train.")
            if path in around:
                resolved.start[path] = around[path]
            elif path in _TRAIN:
                resolved.start[path] = train[name]
            else:
                value = base.set.get(path) if config is None else get_path(config, _placed(config, path)[0])
                resolved.start[path] = value.name if isinstance(value, enum.Enum) else value
        if factor.kind == "multiply":
            # A switch or a text cannot be multiplied, and a joint factor leaves whole fields that are zero at zero.
            for path in paths:
                if isinstance(resolved.start[path], bool) or not isinstance(resolved.start[path], int | float):
                    raise fault(key, f"multiplies {path}, which is {resolved.start[path]!r}; only numbers can be")
            if all(resolved.start[path] == 0 for path in paths):
                fields = ", ".join(paths)
                raise fault(key, f"multiplies {fields}, which is 0 in the base, so nothing changes; use values instead")
        resolved.fields[factor.name] = tuple(paths)


def _why_not(resolved: Resolved, path: str) -> str:
    """Why a field cannot be given in a unit."""
    if not resolved.measured:
        return "belongs to no fitted device, whose file would say what a weight is in it; write numbers without unit"
    if path in resolved.measured:
        return f"was measured in {resolved.measured[path][1]}; use that, or numbers without unit"
    return f"is no such quantity; write numbers without unit (those that are: {', '.join(resolved.measured)})"


def _around(resolved: Resolved) -> dict[str, Any]:
    """What can be varied beside configuration and training, with its value in the base."""
    base = resolved.study.document.base
    out: dict[str, Any] = {}
    if resolved.config is not None:
        out["device"] = base.device
    if base.kind == "training" and resolved.config is not None:
        out["algorithm"] = base.algorithm
    if base.kind != "training":
        out["inference.time"] = base.inference.time
    known = {**(network_options(base.task) or {}), **base.network}
    return out | {f"network.{name}": value for name, value in known.items()}


def _try_levels(resolved: Resolved, fault: Any) -> None:
    """Assign every level once, so that a bad one is found before anything runs."""
    from studies.document import Train

    for factor in resolved.study.factors:
        for level in _some(factor.levels):
            settings = resolved.under(factor) | resolved._levels(factor, level)
            train = {p.removeprefix("train."): v for p, v in settings.items() if p in _TRAIN}
            try:
                if train:
                    whole = {k: int(v) if k != "lr" and v == int(v) else v for k, v in train.items()}
                    Train.model_validate({**resolved.study.document.base.train.model_dump(), **whole})
                wrong = {p: v for p, v in settings.items() if p.startswith("network.") and not (v == int(v) and v >= 1)}
                if wrong or settings.get("inference.time", 0) < 0:
                    text = "is not a positive whole number" if wrong else "is before the programming; give a time of 0 or more"
                    raise fault(f"factors.{_key(factor.name)}", f"level {level!r}: {text}")
                if resolved.config is not None:
                    changed = configured(resolved.variant(settings), settings)
                    changed.check()
                    _check_supported(changed)
            except StudyFileError:
                raise
            except FitlabError as error:
                raise fault(f"factors.{_key(factor.name)}", f"level {level!r}: {error}") from None
            except ValueError as error:
                text = str(error).splitlines()[2].strip() if "validation error" in str(error) else str(error)
                raise fault(f"factors.{_key(factor.name)}", f"level {level!r}: {text}") from None


def _some(levels: tuple[Any, ...]) -> list[Any]:
    """Levels to try: all but where there are very many numbers, which are allowed or not by their size."""
    step = len(levels) // _TRIED
    if step < 2 or isinstance(levels[0], str):
        return list(levels)
    return sorted({min(levels), max(levels), *levels[::step]})


def _try_variants(resolved: Resolved, fault: Any) -> None:
    """Every factor must have its fields under every device and algorithm that it meets."""
    study = resolved.study
    chosen = [f for f in study.factors if {"device", "algorithm"} & set(resolved.fields[f.name])]
    for combination in itertools.product(*(f.levels for f in chosen)) if chosen else ():
        values = {f.name: level for f, level in zip(chosen, combination, strict=True)}
        settings: dict[str, Any] = {}
        for factor in chosen:
            settings |= resolved._levels(factor, values[factor.name])
        config = resolved.variant(settings)
        for factor in study.factors:
            if any(name in values and values[name] not in allowed for name, allowed in factor.when):
                continue
            for path in filter(_configures, resolved.fields[factor.name]):
                try:
                    _placed(config, path)
                except ConfigError as error:
                    told = ", ".join(f"{k} = {v}" for k, v in values.items())
                    text = f"{error}; this is so at {told}: give the factor a condition with when"
                    raise fault(f"factors.{_key(factor.name)}", text) from None


def _check_supported(config: Any) -> None:
    from sim.configs import check_supported

    check_supported(config)
