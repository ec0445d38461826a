"""From a study file to its points: factors, levels, identities, seeds."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.errors import StudyFileError, is_newer
from studies.overrides import Place, apply, lines_of, places_of

if TYPE_CHECKING:
    from studies.document import Document

__all__ = ["Factor", "Point", "Study", "canonical", "load_study", "parse_study", "seed_of"]

Value = float | str


@dataclass(frozen=True)
class Factor:
    """One axis.

    Parameters
    ----------
    name : str
        The key in the file, and the dimension of the dataset.
    kind : str
        ``"set"``: levels are values; ``"multiply"``: levels multiply the fields' own values; ``"zip"``: a level stands
        for one value in each field.
    fields : tuple of str
        Paths into the configuration (``device.dw_min``), ``*`` allowed.
    levels : tuple
        Numbers, or text.
    scale : str
        ``"log"`` or ``"linear"``: where thresholds are interpolated.
    columns : dict or None
        For ``zip``: the values of each field, level by level.
    label : str or None
        Name for figures.
    when : tuple of (str, tuple)
        Levels of earlier factors under which this one has a say; elsewhere its fields keep the values of the base.
    ranged : bool
        Whether the levels are the ends of a range that a design fills.
    units : str
        What the levels are written in: ``"s"`` for times, ``"S"`` for conductances; else ``"1"``.
    better : str or None
        ``"lower"`` or ``"higher"``, where it differs from what the target says.
    """

    name: str
    kind: str
    fields: tuple[str, ...]
    levels: tuple[Value, ...]
    scale: str
    columns: dict[str, tuple[Any, ...]] | None = None
    label: str | None = None
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    ranged: bool = False
    units: str = "1"
    better: str | None = None

    def active(self, values: dict[str, Value]) -> bool:
        """Whether the factor has a say at these levels of the factors before it."""
        return all(values.get(name) in allowed for name, allowed in self.when)

    @property
    def numeric(self) -> bool:
        """Whether the levels are numbers."""
        return not isinstance(self.levels[0], str)

    @property
    def identity(self) -> str:
        """What the factor does, whatever its name: part of a point's identity."""
        measured = "" if self.units in ("1", "s") else f" [{self.units}]"
        return f"{self.kind}:{','.join(sorted(self.fields))}{measured}"

    def identity_value(self, level: Value) -> Any:
        """The level as it enters a point's identity."""
        if self.columns is None:
            return level
        index = self.levels.index(level)
        return {field: column[index] for field, column in self.columns.items()}

    def at(self, share: float) -> Value:
        """The level at a share (0 to 1) of the way through the levels, or through the range on the factor's scale."""
        if not self.ranged:
            return self.levels[min(int(share * len(self.levels)), len(self.levels) - 1)]
        low, high = float(self.levels[0]), float(self.levels[1])
        value = low * (high / low) ** share if self.scale == "log" else low + (high - low) * share
        return float(f"{value:.12g}")

    @property
    def trains(self) -> bool:
        """Whether it varies the network or its training rather than the hardware: the digital baseline follows it."""
        return any(field.startswith(("train.", "network.")) for field in self.fields)


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of the factors; ``values`` misses the hardware factors in the digital baseline."""

    id: str
    values: dict[str, Value]
    digital: bool = False
    stage: int = 0


@dataclass(frozen=True)
class Study:
    """A study file, read.

    Parameters
    ----------
    source : Path
        The file; relative paths in it are relative to its folder.
    document : Document
        The sections as written.
    factors : tuple of Factor
    text : str
        The file's text, changes included.
    place : callable
        Where a key stands, so that a fault can be given a line.
    """

    source: Path
    document: Document
    factors: tuple[Factor, ...]
    text: str = ""
    place: Place = field(default=lambda _: None, repr=False, compare=False)
    _kept: dict[str, list[Point]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def factor(self, name: str) -> Factor:
        """The factor of that name."""
        return next(f for f in self.factors if f.name == name)

    @property
    def target_factor(self) -> Factor:
        """The factor that the target is about: the named one, else the first numeric one."""
        name = self.document.target.factor
        if name is not None:
            return self.factor(name)
        return next((f for f in self.factors if f.numeric), self.factors[0])

    @property
    def replicates(self) -> int:
        """Number of replicates of every point."""
        return self.document.replicates.count

    def point(self, values: dict[str, Value], *, stage: int = 0) -> Point:
        """The point at these levels; factors without a say there are left out, whatever their level."""
        kept: dict[str, Value] = {}
        for f in self.factors:
            if f.name in values and f.active(kept):
                kept[f.name] = values[f.name]
        values = kept
        identity = {f.identity: f.identity_value(values[f.name]) for f in self.factors if f.name in values}
        return Point(digest(identity), dict(values), stage=stage)

    def baseline_points(self) -> list[Point]:
        """Points of the baseline: the digital network (one for each level of network and training), or the named setting."""
        baseline = self.document.target.baseline
        if baseline != "digital":
            return [self.point({f.name: baseline[f.name] for f in self.factors})]
        training = [f for f in self.factors if f.trains]
        if self.document.design is not None:
            found = [self.baseline_of(p.values) for p in self.grid_points()]
            return list({p.id: p for p in found}.values())
        return [
            self.baseline_of({f.name: level for f, level in zip(training, combination, strict=True)})
            for combination in itertools.product(*(f.levels for f in training))
        ]

    def baseline_of(self, values: dict[str, Value]) -> Point:
        """The digital point that is trained as the one with these values."""
        kept = {f.name: values[f.name] for f in self.factors if f.trains and f.name in values}
        identity = {f.identity: f.identity_value(kept[f.name]) for f in self.factors if f.name in kept} | {"baseline": "digital"}
        return Point(digest(identity), kept, digital=True)

    def grid_points(self) -> list[Point]:
        """Every combination of levels, the last factor fastest; or the points of the design."""
        if self.document.design is not None:
            found = [self.point(values) for values in self._design_values()]
            return list({p.id: p for p in found}.values())
        names = [f.name for f in self.factors]
        grid = itertools.product(*(f.levels for f in self.factors))
        # Points that differ only in a factor without a say are one.
        return list({p.id: p for p in (self.point(dict(zip(names, levels, strict=True))) for levels in grid)}.values())

    def design_sample(self) -> np.ndarray[Any, Any]:
        """The sample of the unit cube that a design stretches over the ranges of the factors, (points, factors)."""
        from scipy.stats import qmc

        from studies.sensitivity import morris, saltelli

        design = self.document.design
        assert design is not None
        assert design.points is not None
        if design.kind in ("saltelli", "morris"):
            blocks = saltelli if design.kind == "saltelli" else morris
            return blocks(len(self.factors), design.points, design.seed)
        kind = qmc.Sobol if design.kind == "sobol" else qmc.LatinHypercube
        sample: np.ndarray[Any, Any] = kind(len(self.factors), rng=np.random.default_rng(design.seed)).random(design.points)
        return sample

    def _design_values(self) -> list[dict[str, Value]]:
        """Levels at each point of the design."""
        design = self.document.design
        assert design is not None
        if design.points is None:
            # A level that is the device's own is left out: all factors share that point.
            return [{} if f.kind == "multiply" and v == 1 else {f.name: v} for f in self.factors for v in f.levels]
        return [{f.name: f.at(float(u)) for f, u in zip(self.factors, row, strict=True)} for row in self.design_sample()]

    def design_ids(self) -> list[str]:
        """Ids of the points of a design, in its order; a point may occur again."""
        return [self.point(values).id for values in self._design_values()]

    def points(self) -> list[Point]:
        """Baseline first, then the grid; a baseline that lies on the grid occurs once."""
        # A million of them take some seconds.
        if "points" not in self._kept:
            self._kept["points"] = list({p.id: p for p in [*self.baseline_points(), *self.grid_points()]}.values())
        return self._kept["points"]

    @property
    def size(self) -> int:
        """About how many points there are, at once."""
        design = self.document.design
        if design is None:
            return math.prod(len(f.levels) for f in self.factors)
        if design.points is None:
            return sum(len(f.levels) for f in self.factors)
        return design.points * (len(self.factors) + 2 if design.kind in ("saltelli", "morris") else 1)

    def seed(self, replicate: int, stream: str, point_id: str) -> int:
        """Seed of one replicate's stream; the same at every point unless ``common = false``."""
        replicates = self.document.replicates
        return seed_of(replicates.seed, replicate, stream, None if replicates.common else point_id)


def canonical(value: Any) -> str:
    """JSON with sorted keys; numbers in their shortest form that reads back the same, 1 and 1.0 alike."""

    def plain(item: Any) -> Any:
        if isinstance(item, bool) or item is None or isinstance(item, str):
            return item
        if isinstance(item, int | float):
            return float(item)
        if isinstance(item, dict):
            return {str(k): plain(v) for k, v in item.items()}
        return [plain(v) for v in item]

    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=True)


def digest(value: Any) -> str:
    """First 16 hexadecimal digits of blake2b over the canonical JSON."""
    return hashlib.blake2b(canonical(value).encode(), digest_size=8).hexdigest()


def _words(text: str) -> tuple[int, int]:
    raw = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:], "little")


def seed_of(study_seed: int, replicate: int, stream: str, point_id: str | None) -> int:
    """Seed (63 bit) from the study's seed, the replicate, the stream's name and, if given, the point.

    No index of the grid, worker or order of completion enters. Words of NumPy's ``SeedSequence``.
    """
    from numpy.random import SeedSequence

    key = (replicate, *_words(stream), *(_words(point_id) if point_id is not None else ()))
    high, low = SeedSequence(study_seed, spawn_key=key).generate_state(2)
    return (int(high) << 32 | int(low)) >> 1


def load_study(path: str | Path, changes: Sequence[str] = ()) -> Study:
    """Read and check a study file; ``changes`` are texts ``key=value`` that override it.

    Raises
    ------
    StudyFileError
        Naming the file and every key that is wrong, with the remedy.
    """
    path = Path(path)
    try:
        # Editors of some systems begin a file with a mark of the byte order.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyFileError(str(path), [("", f"cannot be read ({reason}); give the path of a study file")]) from None
    except UnicodeDecodeError:
        raise StudyFileError(str(path), [("", "is not a text file; a study is a TOML file")]) from None
    return parse_study(text, path, changes)


def parse_study(text: str, source: Path, changes: Sequence[str] = ()) -> Study:
    """Check the text of a study file; ``source`` is where it stands."""
    from pydantic import ValidationError

    from studies.document import SCHEMA, Document

    place: Place = lines_of(text)
    if changes:
        changed = apply(text, changes, str(source))
        place, text = places_of(text, changes), changed
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; each key may occur once" if "overwrite" in str(error) else ""
        raise StudyFileError(str(source), [("", f"is not valid TOML: {error}{hint}")]) from None
    if "schema" in raw and raw["schema"] != SCHEMA:
        told = (
            f"is of a newer fitlab than this one; update fitlab, or write for {SCHEMA}"
            if is_newer(str(raw["schema"]), SCHEMA)
            else f'is not known; write schema = "{SCHEMA}"'
        )
        fault = ("schema", f"{raw['schema']!r} {told}")
        raise StudyFileError(str(source), [fault], place)
    try:
        document = Document.model_validate(raw)
    except ValidationError as error:
        raise StudyFileError(str(source), _document_faults(error.errors()), place) from None
    factors = tuple(_factor(name, entry) for name, entry in document.factors.items())
    study = Study(source, document, factors, text, place)
    faults = _faults(study)
    if faults:
        raise StudyFileError(str(source), faults, place)
    return study


def _factor(name: str, entry: Any) -> Factor:
    kind = "multiply" if entry.multiply is not None else "zip" if entry.zip is not None else "set"
    fields = tuple(entry.zip) if entry.zip is not None else tuple(entry.fields or [name])
    columns = {k: tuple(v) for k, v in entry.zip.items()} if entry.zip is not None else None
    levels = tuple(str(v).lower() if isinstance(v, bool) else v if isinstance(v, str) else float(v) for v in entry.levels())
    when = tuple((k, tuple(str(v).lower() if isinstance(v, bool) else v for v in allowed)) for k, allowed in entry.when.items())
    # Zip has a unit for each of its fields: see _faults.
    units = sorted(entry.units())[-1] if entry.zip is None else "1"
    return Factor(
        name, kind, fields, levels, entry.default_scale(), columns, entry.label, when, entry.ranged, units, entry.better
    )


# Endings of the fields that are times; everything else in the simulator is a number without unit.
_TIMES = ("inference.time", "t_0", "t0", "t_read", "t_inference", "lifetime")

RESERVED = frozenset(
    ("point", "replicate", "layer", "epoch", "baseline", "point_id", "stage", "seed", "status", "wall_time", "finished_at")
) | {"code_version"}
"""What the stored table and the dataset call their own."""


def _faults(study: Study) -> list[tuple[str, str]]:
    """What is wrong between sections."""
    faults = []
    names = [f.name for f in study.factors]
    target = study.document.target
    for place, factor in enumerate(study.factors):
        key = f"factors.{_key(factor.name)}"
        for other, allowed in factor.when:
            if other not in names[:place]:
                known = ", ".join(names[:place]) or "none"
                faults.append((f"{key}.when", f"{other!r} is not a factor that stands before this one (those are: {known})"))
            elif not set(allowed) <= set(study.factor(other).levels):
                wrong = next(v for v in allowed if v not in study.factor(other).levels)
                faults.append((f"{key}.when", f"{wrong!r} is not a level of {other}"))
        design = study.document.design
        if factor.when and design is not None and design.kind == "one-at-a-time":
            faults.append((f"{key}.when", "has no meaning where every factor is varied alone; remove it"))
        if factor.ranged and (design is None or design.kind == "one-at-a-time"):
            faults.append((key, "a range needs a [design]; for a grid write geomspace or linspace with a number of levels"))
        given = study.document.factors[factor.name].units()
        if factor.kind == "zip" and not given <= {"1", "s"}:
            faults.append((key, "zip takes plain numbers and times; write the other values without unit"))
        elif len(given) > 1 and factor.kind != "zip":
            faults.append((key, f"its levels have units and none, or several ({', '.join(sorted(given))}); use one"))
        elif factor.units == "s" and not all(f.endswith(_TIMES) for f in factor.fields):
            faults.append((key, "its levels are times, but it does not set a time; write numbers without unit"))
    if study.document.design is not None and study.document.refine is not None:
        faults.append(("refine", "goes with a grid, not with a design; remove one of them"))
    for name in names:
        if name in RESERVED or name.startswith("baseline_"):
            faults.append((f"factors.{_key(name)}", "this name is reserved; choose another"))
    if target.factor is not None and target.factor not in names:
        faults.append(("target.factor", f"{target.factor!r} is not a factor{_close(target.factor, names)}"))
    elif not study.target_factor.numeric:
        faults.append(("target.factor", f"{study.target_factor.name!r} has text as levels; name a numeric factor"))
    elif len(study.target_factor.levels) < 2:
        faults.append((f"factors.{_key(study.target_factor.name)}", "the factor of the target needs two levels or more"))
    if isinstance(target.baseline, dict):
        for name in target.baseline:
            if name not in names:
                faults.append((f"target.baseline.{_key(name)}", f"is not a factor{_close(name, names)}"))
        missing = [n for n in names if n not in target.baseline]
        if missing:
            faults.append(("target.baseline", f"gives no level for {', '.join(missing)}; name every factor"))
    if target.normalisation == "ratio" and target.chance is not None:
        faults.append(("target.chance", 'is used with normalisation = "above-chance" only; remove it or change that'))
    return faults


def _document_faults(errors: list[Any]) -> list[tuple[str, str]]:
    """Faults of the document, one a key: where a key has several forms, the form that got furthest speaks."""
    faults = [(_location(e), e) for e in errors]
    paths = [loc for loc, _ in faults]
    shallow = {"model_type", "dict_type", "list_type", "literal_error"}
    kept: dict[str, str] = {}
    for loc, error in faults:
        deeper = any(len(p) > len(loc) and p[: len(loc)] == loc for p in paths)
        if error["type"] in shallow and deeper:
            continue
        path, text = _fault(loc, error)
        kept.setdefault(path, text)
    return list(kept.items())


def _location(error: Any) -> list[Any]:
    """Keys and indices of a fault; the branches of a union are not keys of the file."""
    branches = ("_Spaced", "list[", "dict[", "literal[", "function-")
    return [p for p in error["loc"] if not (isinstance(p, str) and p.startswith(branches))]


def _fault(loc: list[Any], error: Any) -> tuple[str, str]:
    """A pydantic fault as (key path, sentence)."""
    from studies import document

    path = "".join(f"[{p}]" if isinstance(p, int) else f".{_key(str(p))}" for p in loc).lstrip(".")
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        known = _known_keys(document, loc)
        return path, f"unknown key{_close(str(loc[-1]), known)}"
    if kind == "missing":
        return path, "is missing; add it" + (f', schema = "{document.SCHEMA}"' if path == "schema" else "")
    if kind == "value_error":
        return path, message.removeprefix("Value error, ")
    if path == "factors" and kind == "too_short":
        return path, "is empty; a study varies at least one factor"
    return path, f"{message[0].lower()}{message[1:]} (given: {error['input']!r})"


def _known_keys(document: Any, loc: list[Any]) -> list[str]:
    """Keys allowed beside the last part of a path."""
    model = document.Document
    for part in loc[:-1]:
        if model is document.Document and part == "factors":
            continue
        fields = model.model_fields
        inner = document.FactorEntry if loc[0] == "factors" else fields[str(part)].annotation
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), model)
        if loc[0] == "factors":
            model = document.FactorEntry
    return [field.alias or name for name, field in model.model_fields.items()]


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else f'"{name}"'


def _close(name: str, known: list[str]) -> str:
    """The end of a sentence about a name that is not known."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; known are {', '.join(known)}"
