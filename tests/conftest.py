"""What all tests share: deterministic property tests, figures without a display."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"

# The same examples on every run; no deadlines, since workers share cores.
settings.register_profile("fitlab", derandomize=True, deadline=None)
settings.load_profile("fitlab")
