"""Every factor and every level of a study, tried before anything runs."""

from __future__ import annotations

import enum
import fnmatch
import itertools
from typing import TYPE_CHECKING, Any

from sim.errors import ConfigError, FitlabError
from studies.configure import configured, configures, placed
from studies.design import _close, _key
from studies.errors import StudyFileError
from studies.task import network_options

if TYPE_CHECKING:
    from studies.resolve import Resolved

__all__ = ["expand", "try_levels", "try_variants"]

_TRAIN = ("train.epochs", "train.batch", "train.lr")
# Numbers of a factor that are tried before anything runs.
_TRIED = 500


def expand(resolved: Resolved, fault: Any) -> None:
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
                    placed(config, pattern)
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
                value = base.set.get(path) if config is None else get_path(config, placed(config, path)[0])
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


def try_levels(resolved: Resolved, fault: Any) -> None:
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


def try_variants(resolved: Resolved, fault: Any) -> None:
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
            for path in filter(configures, resolved.fields[factor.name]):
                try:
                    placed(config, path)
                except ConfigError as error:
                    told = ", ".join(f"{k} = {v}" for k, v in values.items())
                    text = f"{error}; this is so at {told}: give the factor a condition with when"
                    raise fault(f"factors.{_key(factor.name)}", text) from None


def _check_supported(config: Any) -> None:
    from sim.configs import check_supported

    check_supported(config)
