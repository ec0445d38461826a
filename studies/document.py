"""The study file as it is written: sections, keys, what each may hold.

Everything here is a statement about the file alone; that a field exists in the simulator is checked in
:mod:`studies.resolve`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from studies.quantities import number, quantity, seconds, span, unit_of

__all__ = ["SCHEMA", "Base", "Design", "Document", "FactorEntry", "Refine", "Replicates", "Run", "Target", "Train"]

SCHEMA = "studies.study/1"

Number = Annotated[float, BeforeValidator(number)]
# Any: a float of pydantic would forget its unit.
Quantity = Annotated[Any, BeforeValidator(quantity)]
Seconds = Annotated[float, BeforeValidator(seconds)]
Level = float | str | bool


def _level(value: Any) -> Level:
    """A level of a factor: a number, text with a unit, the name of an enumeration member, or true/false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value[:1].isdigit() or value[:1] in "+-.":
            return quantity(value)
        if not value.strip():
            raise ValueError("an empty text is not a level")
        return value
    return number(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number; write for example 5")  # noqa: TRY004  pydantic collects ValueError
    return value


# Any: as of a quantity.
LevelItem = Annotated[Any, BeforeValidator(_level)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Train(_Part):
    """How the network is trained at each point."""

    epochs: Annotated[int, BeforeValidator(_count), Field(ge=1)] = 15
    batch: Annotated[int, BeforeValidator(_count), Field(ge=1)] = 10
    lr: Annotated[Number, Field(gt=0)] = 0.1
    images: Annotated[int, BeforeValidator(_count), Field(ge=1)] | None = None
    """Training images that are used, the first of the set; all if not given."""
    test: Annotated[int, BeforeValidator(_count), Field(ge=1)] | None = None
    """Test images that are used, likewise; large networks take long for the ten thousand of most sets."""


class Inference(_Part):
    """When and how often a programmed network is measured; not in a study of training in memory."""

    time: Annotated[float, BeforeValidator(span), Field(ge=0)] = 86400.0
    repeats: Annotated[int, BeforeValidator(_count), Field(ge=1)] = 1


class Base(_Part):
    """The one simulation that the factors vary."""

    kind: Literal["training", "inference", "hardware-aware"] = "training"
    device: str | None = None
    algorithm: str = "sgd"
    task: str = "digits-mlp"
    data: str | None = None
    network: dict[str, Annotated[int, BeforeValidator(_count), Field(ge=1)]] = {}
    set: dict[str, LevelItem] = {}
    train: Train = Train()
    inference: Inference = Inference()

    @model_validator(mode="after")
    def _one_kind(self) -> Base:
        if self.kind == "training" and self.inference != Inference():
            raise ValueError('inference goes with kind = "inference" or "hardware-aware"; add that, or remove it')
        return self


Spacing = tuple[Quantity, Quantity, Annotated[int, BeforeValidator(_count), Field(ge=2)]]


Span = tuple[Quantity, Quantity]


class _Spaced(_Part):
    linspace: Spacing | None = None
    geomspace: Spacing | None = None
    range: Span | None = None

    @model_validator(mode="after")
    def _one(self) -> _Spaced:
        if sum(given is not None for given in (self.linspace, self.geomspace, self.range)) != 1:
            raise ValueError("give either linspace or geomspace, as [first, last, count], or range, as [low, high]")
        return self

    def levels(self) -> list[float]:
        if self.range is not None:
            low, high = self.range
            if not low < high:
                raise ValueError(f"range runs from a lower to a higher value, not from {low!r} to {high!r}")
            return [low, high]
        first, last, count = self.linspace or self.geomspace  # type: ignore[misc]
        if first == last:
            raise ValueError(f"first and last value are both {first!r}; a factor needs different values")
        if self.linspace is not None:
            return [first + (last - first) * i / (count - 1) for i in range(count)]
        if not (first > 0 and last > 0):
            raise ValueError(f"geomspace runs between positive values, not from {first!r} to {last!r}")
        logs = [math.log(first) + (math.log(last) - math.log(first)) * i / (count - 1) for i in range(count)]
        # Twelve digits: ends come out as written, and the value can be read in a table.
        return [float(f"{math.exp(x):.12g}") for x in logs]


class FactorEntry(_Part):
    """One axis of the study: its levels, and the fields that they set or multiply."""

    fields: list[str] | None = None
    values: list[LevelItem] | None = None
    linspace: Spacing | None = None
    geomspace: Spacing | None = None
    range: Span | None = None
    multiply: list[Number] | _Spaced | None = None
    zip: dict[str, list[LevelItem]] | None = None
    labels: list[str] | None = None
    scale: Literal["log", "linear"] | None = None
    label: str | None = None
    better: Literal["lower", "higher"] | None = None
    when: dict[str, list[LevelItem]] = {}

    @model_validator(mode="after")
    def _one_form(self) -> FactorEntry:
        given = [k for k in ("values", "linspace", "geomspace", "range", "multiply", "zip") if getattr(self, k) is not None]
        if len(given) != 1:
            had = "none" if not given else " and ".join(given)
            raise ValueError(f"give exactly one of values, linspace, geomspace, range, multiply, zip; given: {had}")
        if self.labels is not None and self.zip is None:
            raise ValueError("labels go with zip only; numbers label themselves")
        if self.zip is not None and self.fields is not None:
            raise ValueError("zip names its fields itself; remove fields")
        if self.fields is not None and not self.fields:
            raise ValueError('fields is empty; name at least one, such as ["device.dw_min"]')
        levels = self.levels()
        if not levels:
            raise ValueError(f"{given[0]} is empty; a factor needs at least one level")
        if len(set(map(str, levels))) != len(levels):
            twice = next(v for v in levels if list(map(str, levels)).count(str(v)) > 1)
            raise ValueError(f"level {twice!r} occurs twice; give every level once")
        kinds = {"text" if isinstance(v, str | bool) else "number" for v in levels}
        if len(kinds) > 1:
            raise ValueError("levels mix numbers and text; use one kind")
        if self.scale == "log" and (kinds == {"text"} or min(levels) <= 0):
            raise ValueError('scale = "log" needs positive numbers as levels')
        if self.multiply is not None and min(levels) < 0:
            raise ValueError(f"multiplier {min(levels)!r} is negative; multipliers are zero or positive")
        return self

    def levels(self) -> list[Any]:
        """Levels in the order of the file."""
        if self.values is not None:
            return list(self.values)
        if self.zip is not None:
            lengths = {key: len(items) for key, items in self.zip.items()}
            if len(set(lengths.values())) != 1:
                raise ValueError(f"zip needs lists of one length, given: {lengths or 'no field'}")
            count = next(iter(lengths.values()))
            if self.labels is not None and len(self.labels) != count:
                raise ValueError(f"{len(self.labels)} labels for {count} levels; give one label a level")
            return list(self.labels) if self.labels is not None else [f"level {i + 1}" for i in range(count)]
        if isinstance(self.multiply, list):
            return list(self.multiply)
        spaced = self.multiply or _Spaced(linspace=self.linspace, geomspace=self.geomspace, range=self.range)
        return list(spaced.levels())

    @property
    def ranged(self) -> bool:
        """Whether it names a range for a design to fill rather than levels."""
        return self.range is not None or (isinstance(self.multiply, _Spaced) and self.multiply.range is not None)

    def units(self) -> set[str]:
        """Units that its levels are written with; ``"1"`` where there is none. Zero needs no unit."""
        ends = (self.linspace or self.geomspace or ())[:2] or self.range
        items = [*(ends or self.values or ()), *(v for column in (self.zip or {}).values() for v in column)]
        return {unit_of(v) for v in items if isinstance(v, str) or v != 0 or unit_of(v) != "1"} or {"1"}

    def default_scale(self) -> str:
        """Scale on which thresholds are interpolated."""
        if self.scale is not None:
            return self.scale
        if self.geomspace is not None or (isinstance(self.multiply, _Spaced) and self.multiply.geomspace is not None):
            return "log"
        levels = self.levels()
        if self.values is not None or isinstance(self.multiply, list):
            positive = not any(isinstance(v, str | bool) for v in levels) and min(levels) > 0
            return "log" if positive and max(levels) >= 4 * min(levels) else "linear"
        if self.ranged and levels[0] > 0 and levels[1] >= 10 * levels[0]:
            return "log"
        return "linear"


class Design(_Part):
    """Points other than a grid: spread over the ranges of all factors, in blocks for indices, or every factor varied alone.

    ``points`` counts the blocks of ``saltelli`` (of two points more than factors) and ``morris`` (of one more).
    """

    kind: Literal["sobol", "latin-hypercube", "saltelli", "morris", "one-at-a-time"]
    points: Annotated[int, BeforeValidator(_count), Field(ge=2, le=1_000_000)] | None = None
    seed: Annotated[int, BeforeValidator(_count), Field(ge=0)] = 0

    @model_validator(mode="after")
    def _power(self) -> Design:
        if (self.points is None) != (self.kind == "one-at-a-time"):
            told = (
                "has one point for each level; remove points" if self.points else "needs the number of its points; write points"
            )
            raise ValueError(f"a design of kind {self.kind} {told}")
        if self.kind in ("sobol", "saltelli") and self.points is not None and self.points & (self.points - 1):
            near = 1 << (self.points.bit_length() - 1)
            raise ValueError(f"a {self.kind} design is balanced for powers of two only; write points = {near} or {2 * near}")
        return self


class Replicates(_Part):
    """Repeats of every point; a replicate is a seed."""

    count: Annotated[int, BeforeValidator(_count), Field(ge=1, le=1000)] = 5
    common: bool = True
    seed: Annotated[int, BeforeValidator(_count), Field(ge=0)] = 0


class Target(_Part):
    """The question: how far may the factor go before the metric falls under the level."""

    metric: str = "accuracy"
    baseline: Literal["digital"] | dict[str, LevelItem] = "digital"
    level: Annotated[Number, Field(gt=0, lt=1)] = 0.99
    factor: str | None = None
    better: Literal["lower", "higher"] = "lower"
    normalisation: Literal["ratio", "above-chance"] = "ratio"
    chance: Annotated[Number, Field(ge=0, lt=1)] | None = None


class Refine(_Part):
    """Bisection around the threshold once the grid is done."""

    resolution: Annotated[Number, Field(gt=0)] = 0.05
    max_points: Annotated[int, BeforeValidator(_count), Field(ge=1)] = 12


class Run(_Part):
    """How the work is done; nothing here changes a result, but for the last digits on a GPU."""

    retries: Annotated[int, BeforeValidator(_count), Field(ge=0)] = 1
    timeout: Seconds = "30 min"  # type: ignore[assignment]
    threads: Annotated[int, BeforeValidator(_count), Field(ge=1)] = 1
    group: Annotated[int, BeforeValidator(_count), Field(ge=1)] | None = None
    device: Literal["cpu", "cuda"] = "cpu"


class Document(_Part):
    """A whole study file."""

    schema_: Literal["studies.study/1"] = Field(alias="schema")
    name: str = Field(min_length=1)
    base: Base = Base()
    factors: dict[str, FactorEntry] = Field(min_length=1)
    design: Design | None = None
    replicates: Replicates = Replicates()
    target: Target = Target()
    refine: Refine | None = None
    run: Run = Run()
