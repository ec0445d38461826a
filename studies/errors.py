"""Errors of a study that a user can cause."""

from __future__ import annotations

from sim.errors import FitlabError

__all__ = ["StudyError", "StudyFileError"]


class StudyError(FitlabError):
    """Something about a study, its folder or its run that the user can put right."""


class StudyFileError(StudyError):
    """A study file that cannot be used; holds every fault found, each with the key it concerns.

    Parameters
    ----------
    source : str
        The file.
    faults : list of (str, str)
        Key path and sentence for each fault.
    """

    def __init__(self, source: str, faults: list[tuple[str, str]]) -> None:
        self.source = source
        self.faults = faults
        super().__init__("\n".join(f"{source}: {key}: {text}" if key else f"{source}: {text}" for key, text in faults))
