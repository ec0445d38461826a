"""The inside of a tile as a labelled Dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from sim.tiles import Tile

__all__ = ["inspect"]


def inspect(tile: Tile) -> xr.Dataset:
    """What a tile holds, named and with its axes ``replica``, ``out``, ``in`` and ``array``; see `sim.inspection.inspect`."""
    import xarray as xr

    from sim.inspection import inspect as state_of

    state = {name: (axes, value.numpy()) for name, (axes, value) in state_of(tile).items()}
    return xr.Dataset(state, attrs={"device": type(tile.configs[0].device).__name__})  # type: ignore[attr-defined]
