"""HDF5 files of arc2control (ArC TWO) as lines of text, so that they go the way of all tables.

A group `crosspoints/W..B..` a device holds the table `timeseries`, padded to a block size: current, voltage of the pulse, pulse
width, read voltage, and the kind of operation (1 read, 2 pulse, 3 pulse and read); the attribute NROWS is its valid length.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from fitlab.errors import ReadError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HISTORY = "arc2control"
"""What stands for the encoding of such a source."""
_COLUMNS = {"current", "voltage", "pulse_width", "read_voltage", "op_type"}
READ, PULSE = 1, 2


def histories(data: bytes, path: Path) -> tuple[str, ...]:
    """Lines of a table of all crosspoints, with a header.

    Raises
    ------
    ReadError
        h5py is not installed, the file is damaged, or it is none of arc2control.
    """
    try:
        import h5py
    except ImportError:
        raise ReadError("HDF5 files need h5py; pip install 'fitlab[hdf5]', or export the data as CSV", file=path.name) from None
    lines = ["device,pulse voltage (V),width (s),G (S)"]
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            points = file.get("crosspoints")
            if not isinstance(points, h5py.Group):
                raise ReadError("the HDF5 file has no group 'crosspoints' and is none of arc2control; export CSV", file=path.name)
            for name in sorted(points):
                table = points[name].get("timeseries")
                if table is None:
                    continue
                if table.dtype.names is None or not set(table.dtype.names) >= _COLUMNS:
                    raise ReadError(
                        f"crosspoints/{name}/timeseries has columns {table.dtype.names}, not those of arc2control; export CSV",
                        file=path.name,
                    )
                lines += _lines(name, table[: int(table.attrs.get("NROWS", len(table)))])
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise ReadError(f"the HDF5 file is damaged ({error}); copy it again", file=path.name) from None
    return tuple(lines)


def _lines(name: str, rows: Any) -> list[str]:
    """Rows of one crosspoint: no pulse voltage where none was applied, no conductance where none was read."""
    with np.errstate(divide="ignore", invalid="ignore"):
        g = np.abs(rows["current"].astype(float) / rows["read_voltage"].astype(float))
    kind = rows["op_type"].astype(int)
    g[((kind & READ) == 0) | ~np.isfinite(g)] = np.nan
    pulsed = (kind & PULSE) != 0
    return [
        f"{name},{volts:.9g},{width:.9g},{value:.9g}" if on else f"{name},,0,{value:.9g}"
        for on, volts, width, value in zip(pulsed, rows["voltage"], rows["pulse_width"], g, strict=True)
    ]
