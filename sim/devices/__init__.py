"""Device models: one module each. A module added here is found without an edit elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

__all__: list[str] = []

for _module in pkgutil.iter_modules(__path__):
    _loaded = importlib.import_module(f"{__name__}.{_module.name}")
    for _name in _loaded.__all__:
        if isinstance(getattr(_loaded, _name), type):
            globals()[_name] = getattr(_loaded, _name)
            __all__.append(_name)


def __getattr__(name: str) -> Any:
    # Reached for unknown names only; it also tells type checkers that classes are found at run time.
    from sim.settings.fields import close

    raise AttributeError(f"sim.devices has no {name!r}{close(name, __all__)}")


def models() -> dict[str, type]:
    """The pulsed device models by class name."""
    from sim.devices.base import PulsedDevice

    return {name: globals()[name] for name in __all__ if name in PulsedDevice.kinds()}
