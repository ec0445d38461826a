"""A file whose meaning stands in a recipe: a TOML file beside it, `NAME.recipe.toml` or `recipe.toml`, or named by the user.

    [reader]
    layout = "long"                        # long, wide, pair, trace, or lines (one line a device)
    columns = ["addr", "time (s)", "r (ohm)", "g (S)"]
    value = "g (S)"                        # and device, cycle, pulse, direction, up, down, time, amplitude, width
    device = "addr"

Further keys: `separator`, `skip` (lines before the table), `unit`, `read_voltage_V`, `kind` ("retention"), and for lines
`sample_rate_Hz`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.reading import Match, Options
from fitlab.io.roles import ROLES
from fitlab.io.text import Document
from fitlab.io.units import parse_unit

NAME = "recipe"

_LAYOUTS = ("long", "wide", "pair", "trace", "lines")
_TEXTS = ("layout", "separator", "unit", "kind", *(role for role in ROLES if role != "ignore"))
_NUMBERS = ("skip", "read_voltage_V", "sample_rate_Hz")


def path_of(document: Document, options: Options) -> Path | None:
    """The recipe of a file, if there is one."""
    if options.recipe is not None:
        return options.recipe
    for name in (f"{document.path.name}.recipe.toml", f"{document.path.stem}.recipe.toml", "recipe.toml"):
        beside = document.path.with_name(name)
        if beside.is_file():
            return beside
    return None


def match(document: Document, options: Options) -> Match:
    """There is a recipe."""
    if path_of(document, options) is None:
        return Match(0.0, "no recipe")
    return Match(1.0, "a recipe")


def load_recipe(path: Path) -> dict[str, Any]:
    """The table `reader` of a recipe, checked.

    Raises
    ------
    ReadError
        Not there, no TOML, an unknown key or a bad value.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("reader")
    except OSError as error:
        raise ReadError(f"the recipe cannot be opened ({error.strerror})", file=path.name) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReadError(f"the recipe is no TOML ({error})", file=path.name) from None
    if not isinstance(found, dict):
        raise ReadError("the recipe has no table [reader]", file=path.name)
    known = {*_TEXTS, *_NUMBERS, "columns"}
    for key, value in found.items():
        good = (
            (key in _TEXTS and isinstance(value, str))
            or (key in _NUMBERS and isinstance(value, (int, float)) and not isinstance(value, bool))
            or (key == "columns" and isinstance(value, list) and all(isinstance(v, str) for v in value))
        )
        if not good:
            kind = "a text" if key in _TEXTS else "a number" if key in _NUMBERS else "a list of texts"
            why = f"must be {kind}" if key in known else f"is no key of a recipe; keys are {', '.join(sorted(known))}"
            raise ReadError(f"{key} = {value!r}: {why}", file=path.name)
    if found.get("layout") not in _LAYOUTS:
        raise ReadError(f"layout = {found.get('layout')!r}: give one of {', '.join(_LAYOUTS)}", file=path.name)
    if found.get("kind") not in (None, "pulses", "retention"):
        raise ReadError(f"kind = {found['kind']!r}: give pulses or retention", file=path.name)
    if "unit" in found and parse_unit(found["unit"]) is None:
        raise ReadError(f"unit = {found['unit']!r} is no unit; give for example uS, nA, kohm", file=path.name)
    return found


def blocks(document: Document, options: Options) -> list[Block]:
    """One block, with the names of the recipe as header.

    Raises
    ------
    ReadError
        A recipe that is none, or a workbook.
    """
    path = path_of(document, options)
    if path is None:
        raise ReadError("there is no recipe for this file; name one with --recipe FILE", file=document.name)
    recipe = load_recipe(path)
    from .plain import chosen_sheet

    source = chosen_sheet(document, options)
    separator = recipe.get("separator") or source.separator or ("\t" if any("\t" in line for line in source.lines[:20]) else ",")
    numbered = [(n, line) for n, line in source.numbered()[int(recipe.get("skip", 0)) :] if line.strip()]
    mapping = {role: recipe[role] for role in ROLES if role in recipe}
    common: dict[str, Any] = {
        "read_voltage_V": recipe.get("read_voltage_V"),
        "kind": recipe.get("kind"),
        "unit": recipe.get("unit"),
        "assumptions": (f"columns as the recipe {path.name} says",),
    }
    if not numbered:
        raise ReadError("the file has no line after those that the recipe skips", file=source.name)
    if recipe["layout"] == "lines":
        return [Block(**_unfolded(source, numbered, separator, recipe), **common)]
    if "columns" in recipe:
        numbered = [(numbered[0][0], separator.join(recipe["columns"])), *numbered]
    return [Block(source.part(numbered, separator), mapping=mapping, layout=recipe["layout"], **common)]


def _unfolded(source: Any, numbered: list[tuple[int, str]], separator: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """One line a device, its reads one after the other, as a long table."""
    names = recipe.get("columns", ["device"])
    device = names.index(recipe["device"]) if recipe.get("device") in names else 0
    rate = float(recipe.get("sample_rate_Hz", 0.0))
    rows = [(numbered[0][0], "device\tt (s)\tvalue" if rate else "device\tvalue")]
    for n, line in numbered:
        cells = [c.strip() for c in line.split(separator)]
        for k, cell in enumerate(cells[len(names) :]):
            rows.append((n, f"{cells[device]}\t{k / rate!r}\t{cell}" if rate else f"{cells[device]}\t{cell}"))
    mapping = {"device": "device", "value": "value"} | ({"time": "t (s)"} if rate else {})
    return {"source": source.part(rows, "\t"), "mapping": mapping, "layout": "long"}
