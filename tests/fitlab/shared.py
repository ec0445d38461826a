"""Measured data beside the repository, for the tests that read them."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("FITLAB_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "measured"


def measured(name: str) -> Path:
    """Path of a measured file; skips the test where the data are not there."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"the measured data are not here ({path}); set FITLAB_SHARED to their folder")
    return path
