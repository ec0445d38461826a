"""The results of a study as one file for other programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.errors import StudyError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["export_study"]


def export_study(data: xr.Dataset, path: str | Path) -> None:
    """Write a study whole or not at all: ``.nc`` (NetCDF 3), ``.csv`` or ``.parquet`` (needs pyarrow).

    The table of CSV and Parquet has a row for each point and replicate. NetCDF 3 knows no 64-bit integers: seeds are text.

    Parameters
    ----------
    data : Dataset
        From :func:`studies.open_study`.
    path : str or Path

    Raises
    ------
    StudyError
        For another ending, a folder that is not there, or a library that is missing.
    """
    path = Path(path)
    writers = {".nc": _netcdf, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in writers:
        raise StudyError(f"{path}: the ending must be .nc, .csv or .parquet")
    if not path.absolute().parent.is_dir():
        raise StudyError(f"{path}: its folder does not exist; make it or choose another place")
    temporary = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        writers[path.suffix](data, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _table(data: xr.Dataset) -> Any:
    return data.to_dataframe().reset_index()


def _csv(data: xr.Dataset, path: Path) -> None:
    _table(data).to_csv(path, index=False)


def _parquet(data: xr.Dataset, path: Path) -> None:
    try:
        _table(data).to_parquet(path, index=False)
    except ImportError:
        raise StudyError("Parquet needs pyarrow, which is not installed; pip install 'fitlab[parquet]', or write .csv") from None


def _netcdf(data: xr.Dataset, path: Path) -> None:
    plain = data.copy()
    for name in list(plain.variables):
        values = plain[name].values
        if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and name == "seed":
            plain[name] = (plain[name].dims, np.char.mod("%d", values), plain[name].attrs)
        elif values.dtype.kind == "u":
            plain[name] = (plain[name].dims, values.astype(np.int16), plain[name].attrs)
        elif values.dtype.kind in ("O", "T"):
            plain[name] = (plain[name].dims, np.array([str(v) for v in values]), plain[name].attrs)
    for attrs in [plain.attrs, *(v.attrs for v in plain.variables.values())]:
        for key, value in list(attrs.items()):
            if isinstance(value, list):
                attrs[key] = ", ".join(map(str, value)) if any(isinstance(v, str) for v in value) else np.array(value, np.int32)
            elif value == "" or value == []:
                del attrs[key]
    # NetCDF names know no slash.
    plain = plain.rename({n: n.replace("/", "_") for n in map(str, [*plain.variables, *plain.dims]) if "/" in n})
    plain.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")
