"""What every configuration class stands on: validated plain dataclasses, addressed by dotted paths, written as text."""

from sim.settings.base import Config, config
from sim.settings.fields import (
    NamedNumbers,
    NonNegative,
    Positive,
    Probability,
    Range,
    Real,
    Setting,
    Structural,
    settings_of,
)
from sim.settings.paths import get_path, has_path, numeric_paths, set_path, setting_at, structure
from sim.settings.text import from_json, from_toml, to_json, to_toml

__all__ = [
    "Config",
    "NamedNumbers",
    "NonNegative",
    "Positive",
    "Probability",
    "Range",
    "Real",
    "Setting",
    "Structural",
    "config",
    "from_json",
    "from_toml",
    "get_path",
    "has_path",
    "numeric_paths",
    "set_path",
    "setting_at",
    "settings_of",
    "structure",
    "to_json",
    "to_toml",
]
