"""One module a file format.

Each has `NAME`, `match(reading) -> Match` (how sure, and why) and `read(reading) -> list of Run`. Modules are found by
themselves; a new format needs no other edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def formats() -> dict[str, ModuleType]:
    """Format modules by name."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {module.NAME: module for module in modules}
