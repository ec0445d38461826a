"""The same work on every instruction set of the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sim import _core

__all__ = ["on_every_isa"]

T = TypeVar("T")


def on_every_isa(work: Callable[[], T]) -> dict[str, T]:
    """What the work gives on each, by name; afterwards the best one is in use again."""
    best, found = _core.isa(), {}
    try:
        for isa in _core.supported_isas():
            _core.use_isa(isa)
            found[isa] = work()
    finally:
        _core.use_isa(best)
    return found
