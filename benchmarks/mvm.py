"""Analog matrix products beside torch's plain float32 product."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.table import Table, verdict
from benchmarks.timing import race, threads
from sim.arrays.product import Product
from sim.circuit.nodal import NodalArray
from sim.configs import IOParameters, SingleRPUConfig
from sim.tiles import AnalogTile

__all__ = ["run"]

BAR = 1.5
"""Times the plain product, at batches of at least 128."""

TILE_BARS = {1: 50e-6, 10: 120e-6, 128: 600e-6, 1024: 4e-3}
"""Seconds for a batch on a 512 x 512 tile with 8-bit converters; or BAR times the plain product where that is more."""
IR_DROP_BAR = 3.0
NODAL_BARS = 1.0, 10e-3
"""Seconds to solve a 512 x 512 array with wires, and for a vector after that."""

TILE_IO = {
    "inp_res": 1 / 254, "out_res": 1 / 254, "out_bound": 10.0, "out_noise": 0.04, "w_noise": 0.01,
    "w_noise_type": "ADDITIVE_CONSTANT", "bound_management": "NONE",
}  # fmt: skip


def run(quick: bool = False) -> list[Table]:
    """Products one thread: converters and output noise as the defaults have them, perfect, all of a tile, and its wires."""
    threads(1)
    return [_defaults(quick), _tile(quick), _nodal(quick)]


def _defaults(quick: bool) -> Table:
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
    return table


def _tile(quick: bool) -> Table:
    table = Table(
        "512 x 512, 8-bit converters, output noise 0.04, weight noise 0.01, ABS_MAX, one thread [us]",
        ["batch", "product", "plain min", "min", "ratio", "bar"],
        notes=[
            "bar: 50, 120, 600 and 4000 us, or 1.5 times the plain product where that is more; with IR drop 3 times it, at 1024."
        ],
    )
    weight = 0.25 * torch.randn(1, 512, 512, generator=torch.Generator().manual_seed(1))
    for batch, bar in TILE_BARS.items():
        x = torch.rand(1, batch, 512, generator=torch.Generator().manual_seed(2)) * 2 - 1
        calls: dict[str, Callable[[], object]] = {"plain": partial(torch.mm, x[0], weight[0].T)}
        for name, drop in (("", 0.0), (", IR drop", 1.0)):
            for direction in ("forward", "transposed"):
                io = IOParameters(**TILE_IO, ir_drop=drop)  # type: ignore[arg-type]
                product = Product([io], [1], direction == "transposed", (512, 512))
                calls[direction + name] = partial(product, weight, x)
        with torch.no_grad():
            t = race(calls, 0.1 if quick else 0.6)
        plain = t.pop("plain").minimum
        for name, times in t.items():
            limit = max(bar, BAR * plain) if "IR" not in name else IR_DROP_BAR * plain if batch == 1024 else None
            verdict_ = "-" if limit is None else verdict(times.minimum * 1e6, limit * 1e6)
            table.add(batch, name, plain * 1e6, times.minimum * 1e6, times.minimum / plain, verdict_)
    return table


def _nodal(quick: bool) -> Table:
    table = Table("exact wires of a 512 x 512 array, one thread [ms]", ["what", "min", "bar"])
    g = 5e-6 * torch.rand(512, 512, generator=torch.Generator().manual_seed(3))
    array, v = NodalArray(g, 0.35, 0.35), torch.rand(1, 512)
    for what, call, bar in (
        ("all currents for all voltages", lambda: NodalArray(g, 0.35, 0.35), NODAL_BARS[0]),
        ("one vector", lambda: array.currents(v), NODAL_BARS[1]),
    ):
        t = race({"call": call}, 0.1, least=2 if quick else 5)["call"].minimum * 1e3
        table.add(what, t, verdict(t, bar * 1e3))
    return table


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
