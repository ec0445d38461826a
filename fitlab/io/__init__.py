"""Read measurement files: `read(path, ...)` gives a PulseResponse Dataset or says file, line, column and remedy."""

from __future__ import annotations

from .read import read
from .reading import Options

__all__ = ["Options", "read"]
