"""The same work on every instruction set of the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sim import _core

__all__ = ["on_every_isa"]

T = TypeVar("T")


def on_every_isa(work: Callable[[], T], core: Any = _core) -> dict[str, T]:
    """What the work gives on each that a core has, by name; afterwards the best one is in use again."""
    best, found = core.isa(), {}
    try:
        for isa in core.supported_isas():
            core.use_isa(isa)
            found[isa] = work()
    finally:
        core.use_isa(best)
    return found
