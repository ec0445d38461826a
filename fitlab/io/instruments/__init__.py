"""One module an instrument, or a kind of file that is no plain table.

Each has `NAME`, `match(document, options)` (how sure, and why) and `blocks(document, options)`, a list of Block: the tables in
the file, with what the instrument says beside them. Modules are found by themselves; a new instrument needs no other edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def instruments() -> dict[str, ModuleType]:
    """Instrument modules by name."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {module.NAME: module for module in modules}
