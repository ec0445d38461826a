"""Standard normals: the compiled generator beside torch's and NumPy's."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.table import Table, verdict
from benchmarks.timing import race, threads
from sim.ops import key_tensor_of, normal_field, uniform_field

__all__ = ["run"]

BAR_NS = {"avx512": 1.2}
"""Nanoseconds a normal, where the bar names the instruction set."""


def run(quick: bool = False) -> list[Table]:
    """Nanoseconds a number, one thread, for every instruction set of this processor."""
    from sim import _core

    threads(1)
    n, seconds = 1 << 20, 0.2 if quick else 1.0
    keys, generator = key_tensor_of([5]), np.random.default_rng(5)
    table = Table(f"random numbers, {n} at a time, one thread [ns each]", ["source", "minimum", "median", "bar"])
    best = _core.isa()
    try:
        for isa in _core.supported_isas():
            _core.use_isa(isa)
            times = race({"normals": lambda: normal_field(keys, (n,)), "uniforms": lambda: uniform_field(keys, (n,))}, seconds)
            for name, t in times.items():
                ns = t.minimum / n * 1e9
                bar = BAR_NS.get(isa) if name == "normals" else None
                table.add(f"sim, {name}, {isa}", ns, t.median / n * 1e9, verdict(ns, bar))
    finally:
        _core.use_isa(best)
    others = race(
        {"torch.randn": lambda: torch.randn(n), "numpy, float32": lambda: generator.standard_normal(n, np.float32)}, seconds
    )
    for name, t in others.items():
        table.add(name, t.minimum / n * 1e9, t.median / n * 1e9, "-")
    return [table]
