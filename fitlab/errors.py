"""Errors of reading and fitting measurements."""

from __future__ import annotations

from sim.errors import FitlabError

__all__ = ["FitError", "FitlabError", "ParameterFileError", "ReadError"]


class ReadError(FitlabError):
    """A measurement file that cannot be read: place, what stands there, what is expected, what to do.

    Parameters
    ----------
    what : str
        What is wrong and the remedy.
    file : str
        Name of the file.
    line, column : int or None
        Place in the file, from 1.
    """

    def __init__(self, what: str, *, file: str, line: int | None = None, column: int | None = None) -> None:
        place = file + (f":{line}" if line is not None else "") + (f":{column}" if column is not None else "")
        super().__init__(f"{place}: {what}")
        self.file, self.line, self.column = file, line, column


class FitError(FitlabError):
    """Data that no model can be fitted to, or a fit that was asked for in a way that does not exist."""


class ParameterFileError(FitlabError):
    """A parameter-set file that is not one, or holds what it must not."""
