"""Settings of a study, by their paths, in a configuration of the simulator."""

from __future__ import annotations

import copy
import re
from typing import Any

__all__ = ["AROUND", "configured", "configures", "placed"]

AROUND = ("train.", "network.", "inference.")
"""Beginnings of the paths that are not the configuration's."""


def configured(config: Any, settings: dict[str, Any]) -> Any:
    """A copy of a configuration with settings assigned (those around it left out)."""
    from sim.configs import set_path, setting_at

    changed = copy.deepcopy(config)
    for name, value in settings.items():
        if not configures(name):
            continue
        for path in placed(changed, name):
            switch = setting_at(changed, path).kind is bool and value in ("true", "false")
            set_path(changed, path, value == "true" if switch else value)
    return changed


def configures(path: str) -> bool:
    """Whether a setting is one of the configuration, rather than of what is around it."""
    return not path.startswith(AROUND) and path not in ("algorithm", "device")


def placed(config: Any, path: str) -> list[str]:
    """Where a setting stands: ``device.x`` is that field of every device of a cell that has no such field itself.

    Raises
    ------
    ConfigError
        When there is no such field.
    """
    from sim.configs import get_path, has_path, numeric_paths

    if has_path(config, path):
        return [path]
    inner = re.compile(rf"device\.(?:\w+\.)+{re.escape(path.removeprefix('device.'))}")
    places = [p for p in numeric_paths(config) if inner.fullmatch(p)] if path.startswith("device.") else []
    if not places:
        get_path(config, path)  # says what there is
    return places
