"""The formulas of inference.md in NumPy, float64, written from the document: conductances in, conductances out."""

from __future__ import annotations

from typing import Any

import numpy as np

A = np.ndarray[Any, Any]

PCM = (0.26348, 1.9650, -1.1731)
HERMES = {1: (0.15781817, 2.32443916, -2.16310839, 0.68841818), 2: (0.16603222, 4.71806468, -8.48101252, 4.68961419)}
WAN = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
}


def poly(c: tuple[float, ...], r: A) -> A:
    return np.polynomial.polynomial.polyval(r, c)


def accumulated(t: float, t_read: float) -> float:
    return float(np.sqrt(np.log((t + t_read) / (2 * t_read))))


def pcm_statistics(r: A) -> tuple[A, A, A]:
    """Mean and spread of nu at r, and the read noise q."""
    inside = np.maximum(r, 1e-7)
    mean = np.clip(-0.0155 * np.log(inside) + 0.0244, 0.049, 0.1)
    std = np.clip(-0.0125 * np.log(inside) - 0.0059, 0.008, 0.045)
    return mean, std, np.minimum(0.0088 / np.maximum(r**0.65, 1e-3), 0.2)


def hermes_statistics(r: A, n: int) -> tuple[A, A, A]:
    x = np.maximum(r, 1e-7)
    log = np.log(x)
    mean = np.where(x < 0.0945, np.clip(-0.0387 * log - 0.0182, 0.0720, 0.13), -0.0436 * x**2 - 0.0126 * x + 0.0736)
    if n == 1:
        std = np.where(x < 0.3039, np.clip(-0.0120 * log - 0.0023, 0.0124, 0.04), -0.0165 * x**2 + 0.0116 * x + 0.0104)
        q = np.where(
            x < 0.1591, np.clip(-0.0078 * log + 0.0038, 0.0179, 0.04), 0.0664 * x**3 - 0.1352 * x**2 + 0.0768 * x + 0.0088
        )
    else:
        std = np.where(x < 0.3055, np.clip(-0.0117 * log - 0.0057, 0.0091, 0.04), -0.0118 * x**2 + 0.0093 * x + 0.0073)
        q = np.where(x < 0.16, np.clip(-0.0117 * log - 0.0069, 0.015, 0.04), 0.0069 * x**3 - 0.0280 * x**2 + 0.0211 * x + 0.0123)
    return mean, std, q


class Pcm:
    """Programming, drift coefficients, drift."""

    t_0, t_read = 20.0, 250e-9

    def __init__(self, rng: np.random.Generator, g_max: float = 25.0) -> None:
        self.rng, self.g_max = rng, g_max

    def program(self, g: A) -> A:
        return np.maximum(0, g + poly(PCM, g / self.g_max) * self.g_max / 25.0 * self.rng.standard_normal(g.shape))

    def coefficients(self, g: A) -> A:
        mean, std, _ = pcm_statistics(g / self.g_max)
        return np.abs(mean + std * self.rng.standard_normal(g.shape))

    def drift(self, g: A, nu: A, t: float) -> A:
        tau = t + self.t_0
        drifted = g * (tau / self.t_0) ** -nu
        q = pcm_statistics(g / self.g_max)[2]
        noise = np.abs(drifted) * q * accumulated(tau, self.t_read) * self.rng.standard_normal(g.shape)
        return np.maximum(0, drifted + noise)


class StateIndependent(Pcm):
    def program(self, g: A) -> A:
        return np.maximum(0, g + 0.2 * self.rng.standard_normal(g.shape))

    def coefficients(self, g: A) -> A:
        return np.abs(0.1 + 0.05 * self.rng.standard_normal(g.shape))

    def drift(self, g: A, nu: A, t: float) -> A:
        tau = t + self.t_0
        drifted = g * (tau / self.t_0) ** -nu
        noise = np.abs(drifted) / self.g_max * accumulated(tau, self.t_read) * self.rng.standard_normal(g.shape)
        return np.maximum(0, drifted + noise)


class Wan(Pcm):
    reference = 25.0

    def snapshot(self, g: A, t: float) -> A:
        spread = poly(WAN[t], g / self.g_max) * self.g_max / self.reference
        return np.maximum(0, g + spread * self.rng.standard_normal(g.shape))

    def program(self, g: A) -> A:
        return self.snapshot(g, 1.0)

    def coefficients(self, g: A) -> A:
        return g

    def drift(self, g: A, nu: A, t: float) -> A:
        return self.snapshot(nu, t)


def to_pair(w: A, g_max: float) -> tuple[list[A], float]:
    scale = g_max / np.abs(w).max()
    return [np.maximum(w * scale, 0), np.maximum(-w * scale, 0)], scale


def programmed_and_drifted(model: Pcm, w: A, times: list[float], again: bool) -> tuple[A, list[A]]:
    """Weights after programming and at the times; ``again``: conductances are made anew from the programmed weights."""
    targets, scale = to_pair(w, model.g_max)
    nu = [model.coefficients(g) for g in targets]
    programmed = [model.program(g) for g in targets]
    w_prog = (programmed[0] - programmed[1]) / scale
    if again:
        programmed, scale = to_pair(w_prog, model.g_max)
    drifted = []
    for t in times:
        g = [model.drift(p, n, t) for p, n in zip(programmed, nu, strict=True)]
        drifted.append((g[0] - g[1]) / scale)
    return w_prog, drifted
