"""Traces and their model response: the compiled device kernels of `sim` in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim import _core

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Kernel:
    """A compiled step.

    Attributes
    ----------
    name : str
        Header in `sim/core/devices`.
    program : tuple of float
        Of a step that is a formula: its instructions (`sim.devices.ExpressionDevice.shared`).
    """

    name: str
    program: tuple[float, ...] = ()

    @cached_property
    def shared(self) -> NDArray[np.float32] | None:
        """The program as the kernel takes it."""
        return np.array(self.program, np.float32) if self.program else None


@dataclass(frozen=True)
class Trace:
    """Reads of one device in the window coordinate w.

    Attributes
    ----------
    reads : (n,) float
        Measured w; NaN where a read is missing or left out.
    pulses : (n,) int32
        Signed number of pulses between the read before and this one (up positive).
    segment : (n,) int32
        Where it changes, the state starts anew from a free value.
    weight : (n,) float, or None where all are 1
        A read of weight g has the read noise kappa / sqrt(g).
    """

    reads: Floats
    pulses: Ints
    segment: Ints
    weight: Floats | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("reads", np.float64), ("pulses", np.int32), ("segment", np.int32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))
        if not len(self.reads) == len(self.pulses) == len(self.segment):
            raise ValueError("reads, pulses and segment must be of equal length")
        if self.weight is not None:
            object.__setattr__(self, "weight", np.ascontiguousarray(self.weight, dtype=np.float64))

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Index of the first read of every segment."""
        if not len(self.segment):
            return np.zeros(0, dtype=np.intp)
        return np.concatenate(([0], 1 + np.flatnonzero(np.diff(self.segment))))

    @cached_property
    def segment_index(self) -> NDArray[np.intp]:
        """Number of the segment of every read, from 0 without gaps."""
        index = np.zeros(len(self.segment), dtype=np.intp)
        index[self.starts[1:]] = 1
        return np.cumsum(index)

    @cached_property
    def spread(self) -> Floats | None:
        """Variance (n,) of the reads in units of kappa^2."""
        return None if self.weight is None else 1 / self.weight

    @cached_property
    def root(self) -> Floats:
        """Roots (n,) of the weights."""
        return np.ones(len(self.reads)) if self.weight is None else np.sqrt(self.weight)

    def part(self, at: Any, segment: Ints | None = None) -> Trace:
        """Some of the reads."""
        own = self.segment[at] if segment is None else segment
        return Trace(self.reads[at], self.pulses[at], own, None if self.weight is None else self.weight[at])

    @property
    def used(self) -> NDArray[np.bool_]:
        """Reads that are not missing."""
        return np.isfinite(self.reads)


def kernel_parameters(kernel: Kernel) -> tuple[str, ...]:
    """Names of a kernel's parameters, in the order in which it takes them."""
    return tuple(_core.response_parameters(kernel.name))


def _whole(trace: Trace) -> NDArray[np.int64]:
    return np.array([0, len(trace.reads)], dtype=np.int64)


def trajectory(kernel: Kernel, parameters: Floats, trace: Trace, starts: Floats) -> Floats:
    """Mean state after the pulses of each read, without noise.

    Parameters
    ----------
    parameters : (K,) values in the order of `kernel_parameters`
    starts : (segments,) state w at the first read of each segment

    Returns
    -------
    (n,) mean w
    """
    out = np.empty(len(trace.reads))
    start = np.ascontiguousarray(starts[trace.segment_index])
    _core.response_trajectory(
        kernel.name, np.atleast_2d(parameters), trace.pulses, trace.segment, _whole(trace), start, out, 1, kernel.shared
    )
    return out


def trajectory_jacobian(kernel: Kernel, parameters: Floats, trace: Trace, starts: Floats) -> tuple[Floats, Floats]:
    """Mean state (n,) and its derivatives (n, K + 1) by the parameters and the start value of the read's segment."""
    n = len(trace.reads)
    out, jacobian = np.empty(n), np.empty((n, len(parameters) + 1))
    start = np.ascontiguousarray(starts[trace.segment_index])
    _core.response_trajectory_jacobian(
        kernel.name, np.atleast_2d(parameters), trace.pulses, trace.segment, _whole(trace), start, out, jacobian, 1, kernel.shared
    )
    return out, jacobian


def innovations(kernel: Kernel, parameters: Floats, sigma: float, kappa: float, trace: Trace) -> tuple[float, Floats, Floats]:
    """-ln L of the reads, one-step-ahead prediction errors (n,) and their variances (n,), NaN where there is none.

    sigma is the relative step noise (dw_min_std), kappa the standard deviation of a read in w.
    """
    n = len(trace.reads)
    nll, error, variance = np.empty(1), np.empty(n), np.empty(n)
    _core.response_likelihood(
        kernel.name,
        np.atleast_2d(parameters),
        np.array([sigma], float),
        np.array([kappa], float),
        trace.pulses,
        trace.segment,
        _whole(trace),
        trace.reads,
        nll,
        error,
        variance,
        1,
        kernel.shared,
        trace.spread,
    )
    return float(nll[0]), error, variance


def _repeat(trace: Trace, points: int) -> tuple[Ints, Ints, NDArray[np.int64], Floats, Floats | None]:
    """Pulses, segment, offsets, reads and spread of a trace, once for each of several parameter points."""
    if points == 1:
        return trace.pulses, trace.segment, _whole(trace), trace.reads, trace.spread
    pulses, segment, reads = np.tile(trace.pulses, points), np.tile(trace.segment, points), np.tile(trace.reads, points)
    spread = None if trace.spread is None else np.tile(trace.spread, points)
    return pulses, segment, np.arange(points + 1, dtype=np.int64) * len(trace.reads), reads, spread


def likelihood_values(kernel: Kernel, parameters: Floats, sigma: Floats, kappa: Floats, trace: Trace) -> Floats:
    """-ln L (P,) at P points (parameters (P, K), sigma (P,), kappa (P,)) of one trace."""
    points = len(parameters)
    pulses, segment, offsets, reads, spread = _repeat(trace, points)
    nll = np.empty(points)
    _core.response_likelihood(
        kernel.name,
        np.ascontiguousarray(parameters, float),
        np.ascontiguousarray(sigma, float),
        np.ascontiguousarray(kappa, float),
        pulses,
        segment,
        offsets,
        reads,
        nll,
        np.empty(len(reads)),
        np.empty(len(reads)),
        1,
        kernel.shared,
        spread,
    )
    return nll


def likelihood_gradient(
    kernel: Kernel, parameters: Floats, active: Ints, sigma: Floats, kappa: Floats, trace: Trace, *, information: bool = False
) -> tuple[Floats, Floats, Floats]:
    """-ln L at P points (parameters (P, K), sigma (P,), kappa (P,)) of one trace, with derivatives.

    Parameters
    ----------
    active : (A,) indices of the kernel parameters by which derivatives are taken

    Returns
    -------
    values (P,), gradients (P, A + 2) and, if asked for, Fisher information (P, A + 2, A + 2), by the active parameters,
    sigma and kappa
    """
    points, width = len(parameters), len(active) + 2
    pulses, segment, offsets, reads, spread = _repeat(trace, points)
    nll, gradient = np.empty(points), np.empty((points, width))
    expected = np.empty((points if information else 0, width, width))
    _core.response_likelihood_gradient(
        kernel.name,
        np.ascontiguousarray(parameters, float),
        np.ascontiguousarray(active, np.int32),
        np.ascontiguousarray(sigma, float),
        np.ascontiguousarray(kappa, float),
        pulses,
        segment,
        offsets,
        reads,
        nll,
        gradient,
        expected,
        1,
        kernel.shared,
        spread,
    )
    return nll, gradient, expected
