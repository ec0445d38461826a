"""The pseudocode of compounds.md, sections 3 to 6, vector by vector, with the corrections that are built (its section 13).

Written independently of the simulator, in float64 NumPy, for arrays whose writes are exact: constant steps, no spread, no
noise, wide bounds, perfect reads; choppers only regular ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

DEFAULTS: dict[str, Any] = {
    "gamma": 0.0, "transfer_every": 1.0, "units_in_mbatch": True, "n_reads_per_transfer": 1, "transfer_columns": True,
    "fast_lr": 1.0, "scale_fast_lr": True, "transfer_lr": 1.0, "scale_transfer_lr": True, "transfer_every_vec": (),
    "transfer_lr_vec": (), "thres_scale": 1.0, "step": 1.0, "momentum": 0.0, "forget_buffer": True, "in_chop_prob": 0.0,
    "buffer_granularity": 1.0, "auto_granularity": 0.0, "no_buffer": False, "auto_scale": False, "auto_momentum": 0.99,
    "correct_gradient_magnitudes": False, "tail_weightening": 5.0, "buffer_cap": 0.0,
    "experimental_correct_accumulation": False,
}  # fmt: skip


class Oracle:
    """One cell; `g` are the granularities of its arrays, `limit` is desired_bl of a write, `fast_bl` that of the gradient."""

    def __init__(self, kind: str, shape: tuple[int, int], g: list[float], limit: int, fast_bl: int, **fields: Any) -> None:
        self.f = DEFAULTS | ({"momentum": 0.1} if kind == "buffered" else {}) | fields
        self.kind, self.g, self.limit, self.fast_bl = kind, g, limit, fast_bl
        n = len(g)
        self.arrays = [np.zeros(shape) for _ in range(n)]
        self.columns = self.f["transfer_columns"]
        self.slices, self.lines = (shape[1], shape[0]) if self.columns else shape
        self.buffer = np.zeros((n - 1, self.slices, self.lines))
        self.mean, self.past = np.zeros((self.slices, self.lines)), np.zeros((self.slices, self.lines))
        self.chop = np.ones(self.slices)
        self.switched = np.zeros(self.slices, dtype=bool)
        self.since, self.k, self.periods = [0] * n, [0] * n, [0] * n
        self.p, self.maxima, self.fast = 0, [0.0, 0.0], 0.0

    def view(self, k: int) -> np.ndarray:
        """Array k with one row for each slice."""
        return self.arrays[k].T if self.columns else self.arrays[k]

    def weight(self) -> np.ndarray:
        n = len(self.g)
        if self.kind in ("chopped", "dynamic"):
            signs = self.chop[None, :] if self.columns else self.chop[:, None]
            return self.f["gamma"] * signs * self.arrays[0] + self.arrays[1]
        return sum(self.f["gamma"] ** (n - 1 - k) * array for k, array in enumerate(self.arrays))

    def period(self, j: int, m: int) -> int:
        if self.f["transfer_every_vec"]:
            period = self.f["transfer_every_vec"][j]
        else:
            period = self.f["transfer_every"] * (self.slices / self.f["n_reads_per_transfer"]) ** j
        return math.ceil(period * m) if self.f["units_in_mbatch"] else math.floor(period + 0.5)

    def update(self, xs: np.ndarray, ds: np.ndarray, rate: float) -> None:
        m = len(xs)
        for j in range(len(self.g) - 1):  # periods that count mini-batches: a share of one stays that share (FIX 10)
            period = self.period(j, m)
            self.since[j] = self.since[j] * period // (self.periods[j] or period)
            self.periods[j] = period
        for x, d in zip(xs, ds, strict=True):
            self.fast = self.fast_rate(x, d, rate, m)
            sx, sd = (self.chop, 1.0) if self.columns else (1.0, self.chop)
            self.arrays[0] -= self.fast * np.outer(d * sd, x * sx)
            for j in range(len(self.g) - 1):
                self.since[j] += 1
                if self.since[j] == self.period(j, m):
                    self.since[j] = 0
                    self.transfer(j, rate, m)

    def fast_rate(self, x: np.ndarray, d: np.ndarray, rate: float, m: int) -> float:
        f = self.f
        scale = rate if f["scale_fast_lr"] else 1.0
        if f["auto_scale"]:
            tau = (1.0 - f["auto_momentum"]) / m
            for k, top in enumerate((np.abs(x).max(), np.abs(d).max())):
                self.maxima[k] = (
                    top if self.maxima[k] <= 0 else (1 - tau) * self.maxima[k] + tau * top if top > 0 else self.maxima[k]
                )
            if f["fast_lr"] > 0:
                return f["fast_lr"] * self.fast_bl * self.g[0] / (self.maxima[0] * self.maxima[1]) * scale
        return f["fast_lr"] * scale if f["fast_lr"] > 0 else rate

    def transfer(self, j: int, rate: float, m: int) -> None:
        rates = self.f["transfer_lr_vec"] or [self.f["transfer_lr"]] * len(self.g)
        learning = rates[j] * (rate if self.f["scale_transfer_lr"] else 1.0)
        if self.kind != "transfer" and self.f["gamma"] > 0:
            learning *= self.f["gamma"]
        reads = min(self.f["n_reads_per_transfer"], self.slices)
        for k in range(reads):
            if learning != 0:
                self.slice(j, (self.k[j] + k) % self.slices, learning, m)
        self.k[j] = (self.k[j] + reads) % self.slices

    def slice(self, j: int, q: int, learning: float, m: int) -> None:
        read, target = self.view(j)[q].copy(), self.view(j + 1)[q]
        if self.kind == "transfer":
            target += learning * read
            return
        if self.kind == "buffered":
            target += (
                self.f["step"] * self.g[j + 1] * self.fire(j, q, abs(learning) * read, self.f["thres_scale"] * self.g[j + 1])
            )
            return
        f, g = self.f, self.g
        beta = (f["buffer_granularity"] if f["buffer_granularity"] > 0 else 1.0) * g[0]
        if f["auto_granularity"] > 0:
            beta *= f["auto_granularity"] / (self.slices * self.period(0, m))
        if f["correct_gradient_magnitudes"]:
            beta *= g[1] / g[0] * self.fast
        s, phase = abs(learning) / beta, max(math.ceil(1 / f["in_chop_prob"]), 2) if f["in_chop_prob"] > 0 else 2
        position, signal, active = self.p % phase + 1, read, True
        if self.kind == "dynamic":
            if self.switched[q]:
                self.past[q] = self.mean[q]
            self.switched[q] = False
            if f["experimental_correct_accumulation"]:
                s /= min(position, 1 / g[0])
            signal, active = read - self.past[q], self.p > phase
            a = min(f["tail_weightening"] / phase, 1.0)
            self.mean[q] = (1 - a) * self.mean[q] + a * read
        if active:
            target += f["step"] * g[1] * self.fire(0, q, s * self.chop[q] * signal, 1.0)
        if position == phase and (self.kind == "dynamic" or f["in_chop_prob"] > 0):
            self.chop[q] *= -1
            self.switched[q] = self.kind == "dynamic"
        self.p += q == self.slices - 1

    def fire(self, j: int, q: int, signal: np.ndarray, threshold: float) -> np.ndarray:
        f = self.f
        w = (0.0 if f["no_buffer"] else self.buffer[j, q]) + signal
        s = np.clip(np.trunc(w / threshold), -self.limit, self.limit)
        if f["forget_buffer"]:
            left = f["momentum"] * w
        else:
            left = w - (1 - min(max(f["momentum"], 0.0), 1.0)) * s * threshold
            if f["buffer_cap"] > 0:
                left = np.clip(left, -self.limit * f["buffer_cap"], self.limit * f["buffer_cap"])
        self.buffer[j, q] = np.where(s != 0, left, w)
        return s
