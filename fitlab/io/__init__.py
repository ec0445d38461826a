"""Read measurement files: `read(path, ...)` gives a PulseResponse Dataset or says file, line, column and remedy."""

from __future__ import annotations

from .read import read, read_record
from .reading import Options

__all__ = ["Options", "read", "read_record"]
