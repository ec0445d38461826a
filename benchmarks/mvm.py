"""Analog matrix products beside torch's plain float32 product."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.table import Table, verdict
from benchmarks.timing import race, threads
from sim.configs import IOParameters, SingleRPUConfig
from sim.tiles import AnalogTile

__all__ = ["run"]

BAR = 1.5
"""Times the plain product, at batches of at least 128."""


def run(quick: bool = False) -> list[Table]:
    """Forward and transposed, one thread: converters and output noise as the defaults have them, and perfect."""
    threads(1)
    table = Table(
        "analog product against the plain float32 product, one thread [us]",
        ["out x in", "batch", "product", "analog min", "analog median", "plain min", "ratio", "perfect ratio", "bar"],
        notes=[
            "analog: default IOParameters (7-bit input, 9-bit output, output noise 0.06, noise and bound management);",
            "perfect: the same path with is_perfect.",
        ],
    )
    for out, n_in in ((512, 512), (256, 784)):
        for batch in (10, 128, 512):
            for name in ("forward", "transposed"):
                with torch.no_grad():
                    t = race(_calls(out, n_in, batch, name), 0.1 if quick else 0.6)
                bar = BAR if batch >= 128 else None
                ratio = t["analog"] / t["plain"]
                table.add(
                    f"{out} x {n_in}", batch, name, t["analog"].minimum * 1e6, t["analog"].median * 1e6, t["plain"].minimum * 1e6,
                    ratio, t["perfect"] / t["plain"], verdict(ratio, bar),
                )  # fmt: skip
    return [table]


def _calls(out: int, n_in: int, batch: int, direction: str) -> dict[str, Callable[[], object]]:
    torch.manual_seed(1)
    weight = 0.1 * torch.randn(out, n_in)
    matrix = weight.T if direction == "forward" else weight
    x = torch.rand(batch, matrix.shape[0]) * 2 - 1
    calls: dict[str, Callable[[], object]] = {"plain": lambda: x @ matrix}
    for name, io in (("analog", IOParameters()), ("perfect", IOParameters(is_perfect=True))):
        tile = AnalogTile(out, n_in, rpu_config=SingleRPUConfig(forward=io, backward=io))
        tile.set_weights(weight)
        calls[name] = partial(tile.forward if direction == "forward" else tile.backward, x)
    return calls
