"""Configurations as TOML or JSON text, with a schema version and the name of the class."""

from __future__ import annotations

import json
import math
import tomllib
from typing import Any, TypeVar

from sim.errors import ConfigError
from sim.settings.base import Config

__all__ = ["SCHEMA", "from_json", "from_toml", "to_json", "to_toml"]

SCHEMA = "sim.config/1"

T = TypeVar("T", bound=Config)


def to_toml(cfg: Config) -> str:
    """The configuration with all its fields as TOML."""
    import tomli_w

    return tomli_w.dumps(_document(cfg))


def to_json(cfg: Config) -> str:
    """The configuration with all its fields as JSON; infinite numbers are the texts ``inf`` and ``-inf``."""
    return json.dumps(_finite(_document(cfg)), indent=2, allow_nan=False) + "\n"


def from_toml(text: str, kind: type[T] = Config) -> T:  # type: ignore[assignment]
    """Read what :func:`to_toml` wrote.

    Parameters
    ----------
    text : str
        The document.
    kind : type
        Class that the result must have or be derived from.

    Raises
    ------
    ConfigError
        If the text is no TOML (with line and column), has another schema, or a key or value is not allowed.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The configuration is not valid TOML: {error}; correct it there") from None
    return _read(document, kind)


def from_json(text: str, kind: type[T] = Config) -> T:  # type: ignore[assignment]
    """Read what :func:`to_json` wrote; parameters and errors as :func:`from_toml`."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"The configuration is not valid JSON: {error}; correct it there") from None
    return _read(document, kind)


def _document(cfg: Config) -> dict[str, Any]:
    return {"schema": SCHEMA, "class": type(cfg).__name__, **cfg.to_dict()}


def _read(document: Any, kind: type[T]) -> T:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        given = document.get("schema") if isinstance(document, dict) else None
        raise ConfigError(
            f"schema = {given!r} is not known: this version reads {SCHEMA!r}",
            field="schema",
            value=given,
            allowed=SCHEMA,
        )
    if "class" not in document:
        raise ConfigError("class is missing: name the kind of configuration, for example 'SingleRPUConfig'", field="class")
    return kind.from_dict({k: v for k, v in document.items() if k != "schema"})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return ("inf" if value > 0 else "-inf") if isinstance(value, float) and math.isinf(value) else value
