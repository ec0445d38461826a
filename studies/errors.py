"""Errors of a study that a user can cause."""

from __future__ import annotations

from collections.abc import Callable

from sim.errors import FitlabError

__all__ = ["StudyError", "StudyFileError", "is_newer"]


def is_newer(found: str, own: str) -> bool:
    """Whether a version such as ``studies.store/2`` is of a newer program than the own one, ``studies.store/1``."""
    name, _, number = found.rpartition("/")
    known, _, mine = own.rpartition("/")
    return name == known and number.isdecimal() and int(number) > int(mine)


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
    line : callable, optional
        Line of a key path in the file, what else it is from, or None.
    """

    def __init__(
        self, source: str, faults: list[tuple[str, str]], line: Callable[[str], int | str | None] = lambda _: None
    ) -> None:
        self.source = source
        self.faults = faults
        texts = []
        for key, text in faults:
            number = line(key) if key else None
            where = number if isinstance(number, str) else source if number is None else f"{source}:{number}"
            texts.append(f"{where}: {key}: {text}" if key else f"{where}: {text}")
        super().__init__("\n".join(texts))
