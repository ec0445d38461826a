"""Studies: how good a network is as device properties vary, and the spec target that follows.

A study file (:mod:`studies.design`) names one simulation and the factors varied around it; :mod:`studies.run` works the
points off on dask and :mod:`studies.store` keeps every result; :func:`open_study` serves them as one labelled dataset,
from which :mod:`studies.spec` reads the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.dataset import open_study
    from studies.design import Study, load_study

__all__ = ["Study", "load_study", "open_study"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the command line answers quickly.
    if name == "open_study":
        from studies.dataset import open_study

        return open_study
    if name in ("Study", "load_study"):
        import studies.design

        return getattr(studies.design, name)
    raise AttributeError(f"module 'studies' has no attribute {name!r}")
