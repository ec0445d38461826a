"""The errors a user can cause.

Every one is a :class:`FitlabError`; its single sentence names the place, what was given, what is allowed and the
remedy, so that the command line can print it as it is, without a traceback.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ConfigError", "FitlabError", "ModuleError"]


class FitlabError(Exception):
    """Base of everything a user can cause."""


class ConfigError(FitlabError):
    """A setting that is unknown, of the wrong type, outside its range, or asks for what is not simulated.

    Parameters
    ----------
    message : str
        The whole sentence shown to the user.
    field : str or None
        Dotted path of the setting, for example ``forward.out_noise``.
    value : Any
        What was given.
    allowed : str or None
        What is allowed there, in words.
    """

    def __init__(self, message: str, *, field: str | None = None, value: Any = None, allowed: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.value = value
        self.allowed = allowed


class ModuleError(FitlabError):
    """A module is not in the state that an operation needs, for example in training instead of evaluation."""
