"""The text of a study file: values changed from the command line, and the line where a key stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from typing import Any

from studies.errors import StudyFileError

__all__ = ["Place", "apply", "lines_of", "places_of"]

Place = Callable[[str], int | str | None]
"""Where a key stands: its line, ``"--set"``, or None."""

_SECTIONS = ("schema", "name", "base", "factors", "design", "replicates", "target", "refine", "run")
_FORMS = ("values", "linspace", "geomspace", "range", "multiply", "zip")
_TABLE = re.compile(r"^\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[\w.\- ])+?)\s*=""")


def apply(text: str, changes: Sequence[str], source: str = "study") -> str:
    """The study with ``key=value`` texts applied.

    A key is a path of the file, such as ``replicates.count`` or ``base.train.epochs``. Other paths are settings of the
    simulation: ``train.epochs`` stands for ``base.train.epochs``, and ``device.dw_min`` for that key of ``[base.set]``.
    A value is TOML; what is no TOML value is taken as text.

    Raises
    ------
    StudyFileError
        For a file that is not TOML, or a change that is not ``key=value``.
    """
    import tomli_w

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyFileError(source, [("", f"is not valid TOML: {error}")]) from None
    for change in changes:
        key, equals, value = change.partition("=")
        parts = _parts(key.strip())
        if not equals or parts is None:
            raise StudyFileError("--set", [("", f"{change!r} is not KEY=VALUE; write for example train.epochs=5")])
        _put(raw, _place(parts, raw), _value(value.strip()))
    return tomli_w.dumps(raw)


def _place(parts: list[str], raw: dict[str, Any]) -> list[str]:
    if parts[0] == "factors":
        # A factor's name may have dots, quoted or not: the longest that is there.
        names = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
        name = next((n for n in names if n in raw.get("factors", {})), None)
        if name is None:
            # A new factor: its form is the last part, as in factors.device.dw_min.values=[0.001, 0.01].
            name = names[1] if len(names) > 1 and parts[-1] in _FORMS else names[0]
        return ["factors", name, *parts[2 + name.count(".") if name not in parts else 2 :]]
    if parts[0] in _SECTIONS:
        return ["base", "set", ".".join(parts[2:])] if parts[:2] == ["base", "set"] else parts
    if parts[0] in ("train", "network", "inference"):
        return ["base", *parts]
    if len(parts) == 1:
        return ["base", *parts]
    return ["base", "set", ".".join(parts)]


def _put(raw: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        inner = raw.setdefault(part, {})
        if not isinstance(inner, dict):
            raise StudyFileError("--set", [(".".join(parts), f"{part} is a value, which has no keys of its own")])
        raw = inner
    raw[parts[-1]] = value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _parts(key: str) -> list[str] | None:
    """Parts of a dotted key, quotes removed; None for what is no key."""
    try:
        inner: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return None
    parts = []
    while isinstance(inner, dict) and len(inner) == 1:
        ((part, inner),) = inner.items()
        parts.append(part)
    return parts if inner == 0 and parts else None


def places_of(text: str, changes: Sequence[str]) -> Place:
    """As :func:`lines_of`, of a file with changes: a key that a change has set does not stand in the file."""
    raw = tomllib.loads(text)
    set_ = [_place(parts, raw) for change in changes if (parts := _parts(change.partition("=")[0].strip()))]
    lines = lines_of(text)

    def place_of(path: str) -> int | str | None:
        parts = _parts(re.sub(r"\[\d+\]", "", path)) or []
        return "--set" if any(parts[: len(own)] == own for own in set_) else lines(path)

    return place_of


def lines_of(text: str) -> Callable[[str], int | None]:
    """A function from key paths (``factors."device.dw_min".values[2]``) to lines of the text.

    A key inside an inline table has the line of the table; a key that is not there, that of its section.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _TABLE.match(line), _KEY.match(line)
        if header is not None:
            table = _parts(header[1].strip()) or []
            lines.setdefault(tuple(table), number)
        elif key is not None:
            parts = _parts(key[1])
            if parts is not None:
                for end in range(1, len(parts) + 1):
                    lines.setdefault((*table, *parts[:end]), number)

    def line_of(path: str) -> int | None:
        parts = _parts(re.sub(r"\[\d+\]", "", path)) or []
        return next((lines[tuple(parts[:n])] for n in range(len(parts), 0, -1) if tuple(parts[:n]) in lines), None)

    return line_of
