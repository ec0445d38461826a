"""What a tile holds inside, by name: matrices, buffers, choppers, counters and learning rates."""

from __future__ import annotations

from torch import Tensor

from sim.arrays import MixedPrecisionArray, TransferArray
from sim.tiles.tile import Tile

__all__ = ["inspect"]

MATRIX = ("replica", "out", "in")


def inspect(tile: Tile) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    """State of a tile by name: names of the axes and values, as copies; the first axis is the replica's.

    Of every tile ``weight``, what the products see, ``learning_rate``, and the hidden parameters of its devices. Of a
    transfer compound besides: ``fast`` and ``slow``, the first and the last array as they read, ``buffer`` (its first
    stage), ``chopper_in`` and ``chopper_out`` of columns and rows, ``fast_learning_rate`` (of the last vector),
    ``period`` in vectors, ``since_transfer`` and ``next_slice`` of each array, ``sweeps``, and for AGAD ``running_mean`` and
    ``reference``. Of mixed precision: ``digital``, ``unit`` of a step, ``batches`` since the weights were set and the next
    ``row``. ``fitlab.overview.inspect`` gives the same as a labelled Dataset.
    """
    array = tile.array
    seen: dict[str, tuple[tuple[str, ...], Tensor]] = {
        "weight": (MATRIX, array.read()),
        "learning_rate": (("replica",), tile.learning_rate),
    }
    if isinstance(array, TransferArray):
        columns, rows = array.choppers()
        hidden = array.hidden()
        seen |= {
            "fast": (MATRIX, array.devices()[0].read()),
            "slow": (MATRIX, array.devices()[-1].read()),
            "chopper_in": (("replica", "in"), columns),
            "chopper_out": (("replica", "out"), rows),
            "fast_learning_rate": (("replica",), array.maxima[:, 2]),
            "sweeps": (("replica",), array.sweeps),
        }
        for k, name in enumerate(("since_transfer", "period", "next_slice")):
            seen[name] = (("replica", "array"), array.counters[:, :, k])
        for name, key in (
            ("buffer", "buffered_FP_weight_0"),
            ("running_mean", "running_mean_weight"),
            ("reference", "past_mean_weight"),
        ):
            if key in hidden:
                seen[name] = (MATRIX, hidden[key])
    if isinstance(array, MixedPrecisionArray):
        seen["digital"] = (MATRIX, array.chi)
        seen |= {name: (("replica",), getattr(array, name)) for name in ("unit", "batches", "row")}
    seen |= {name: (MATRIX, value) for name, value in array.hidden().items()}
    return {name: (axes, value.detach().clone()) for name, (axes, value) in seen.items()}
