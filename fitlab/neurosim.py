r"""NeuroSim's description of a device: curvature A and label of both branches, levels, range and noise; in and out.

A branch from one end of the range to the other, over p = n / P of its P pulses, is

.. math:: g(p) = \frac{1 - e^{-p/|A|}}{1 - e^{-1/|A|}}

where A is relative to P. The step is linear in the state, so that `sim.devices.LinearStepDevice` is the same law: per pulse the
distance to an asymptote shrinks by 1 - b, |A| P = -1 / ln(1 - b). Signs are those of NeuroSim's examples: A of potentiation is
positive and A of depression negative where the first pulses move the device most; the opposite signs mean steps that grow.

The label of the nonlinearity grows with the curvature from 0 for a straight line; it is taken as ten times the largest
distance of the curve from that line, which gives the pairs that are published (|A| 0.5 and 2.4, 0.2 and 4.88) within the one
digit of those A. Source: P.-Y. Chen, X. Peng, S. Yu, IEDM (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fitlab.errors import FitlabError
from fitlab.parameters import ParameterSet
from sim.devices import LinearStepDevice
from sim.devices.base import PulsedDevice

__all__ = ["NeuroSim", "a_of_label", "from_neurosim", "label_of_a", "neurosim_of", "to_neurosim"]

SHARPEST = 700.0
"""Largest 1 / |A|; beyond it a branch is one step."""
LONGEST = 12_000
"""Most pulses of a branch."""


@dataclass(frozen=True)
class NeuroSim:
    """A device as NeuroSim takes it.

    Attributes
    ----------
    a_ltp, a_ltd : curvature relative to the pulses of the branch; infinite for a straight line
    pulses_ltp, pulses_ltd : pulses from one end of the range to the other
    g_min, g_max : the range, in `unit`
    var_amp : standard deviation of one step, as a fraction of the range
    """

    a_ltp: float
    a_ltd: float
    pulses_ltp: int
    pulses_ltd: int
    g_min: float
    g_max: float
    unit: str = "S"
    var_amp: float = 0.0

    @property
    def label_ltp(self) -> float:
        """Label of the nonlinearity of potentiation."""
        return label_of_a(self.a_ltp)

    @property
    def label_ltd(self) -> float:
        """Label of the nonlinearity of depression."""
        return label_of_a(self.a_ltd)


def _bend(k: float) -> float:
    """Largest distance of (1 - exp(-k p)) / (1 - exp(-k)) from p."""
    if k < 1e-4:
        return k / 8
    whole = -math.expm1(-k)
    p = math.log(k / whole) / k
    return -math.expm1(-k * p) / whole - p


def label_of_a(a: float) -> float:
    """Label of a relative curvature, with its sign.

    Raises
    ------
    FitlabError
        A curvature of 0, or one that is not a number.
    """
    if a == 0 or math.isnan(a):
        raise FitlabError(f"A = {a:g}: give a curvature that is not 0 (infinite for a straight line)")
    return math.copysign(10 * _bend(min(1 / abs(a), SHARPEST)), a)


def a_of_label(label: float) -> float:
    """Relative curvature of a label, with its sign; infinite for 0.

    Raises
    ------
    FitlabError
        A label beyond 9.
    """
    if not abs(label) <= 9:
        raise FitlabError(f"nonlinearity {label:g}: labels go from -9 to 9")
    if label == 0:
        return math.inf
    low, high = 0.0, SHARPEST
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if 10 * _bend(middle) < abs(label) else (low, middle)
    return math.copysign(1 / high, label)


def from_neurosim(given: NeuroSim) -> LinearStepDevice:
    """The device of the simulator with these branches between the weights -1 and 1.

    The noise of a pulse is additive and goes with the step of its direction at weight 0; var_amp is its root mean square over
    both directions.

    Raises
    ------
    FitlabError
        A branch without pulses, or an empty range.
    """
    if min(given.pulses_ltp, given.pulses_ltd) < 1 or not given.g_max > given.g_min or given.var_amp < 0:
        raise FitlabError(
            f"NeuroSim device: {given.pulses_ltp} and {given.pulses_ltd} pulses from {given.g_min:g} to {given.g_max:g} "
            f"{given.unit}, var_amp {given.var_amp:g}; give at least one pulse each, g_max above g_min, and var_amp of at least 0"
        )
    up, gamma_up = _line(math.copysign(1, given.a_ltp) / abs(given.a_ltp), given.pulses_ltp)
    down, gamma_down = _line(-math.copysign(1, given.a_ltd) / abs(given.a_ltd), given.pulses_ltd)
    dw_min = max(up, down)
    return LinearStepDevice(
        dw_min=dw_min, up_down=up / dw_min - 1 if up < down else 1 - down / dw_min, w_min=-1.0, w_max=1.0,
        gamma_up=gamma_up, gamma_down=gamma_down, allow_increasing=min(gamma_up, gamma_down) < 0,
        mult_noise=False, dw_min_std=2 * given.var_amp / math.hypot(up, down) * math.sqrt(2),
        dw_min_dtod=0.0, up_down_dtod=0.0, w_max_dtod=0.0, w_min_dtod=0.0, gamma_up_dtod=0.0, gamma_down_dtod=0.0,
    )  # fmt: skip


def _line(k: float, pulses: int) -> tuple[float, float]:
    """Step at weight 0 and relative slope of a branch from -1 to 1: w_inf = coth(k / 2), step = b w_inf, slope 1 / w_inf."""
    k = min(max(k, -SHARPEST), SHARPEST)
    if abs(k) < 1e-9:
        return 2 / pulses, 0.0
    gamma = math.tanh(k / 2)
    return -math.expm1(-k / pulses) / gamma, gamma


def neurosim_of(document: ParameterSet) -> NeuroSim:
    """Curvature, levels and noise of a fitted device, over the measured range (weights -1 to 1).

    A branch goes on until the other end of the range, or for as many pulses as the ramps of the measurement had. Other
    laws than a linear step are approximated by least squares on the branch.

    Raises
    ------
    FitlabError
        A device that does not answer to pulses, or a logarithmic scale.
    """
    if document.weight.scale == "log":
        raise FitlabError(f"{document.name}: weights are logarithms, NeuroSim's are not; fit with --scale linear")
    ramps = max(document.protocol.devices * document.protocol.cycles, 1)
    protocol = document.protocol
    (up, k_up), (down, k_down), noise = _branches(
        document.to_device(), max(10, protocol.reads_up // ramps), max(10, protocol.reads_down // ramps)
    )
    return NeuroSim(
        1 / k_up if k_up else math.inf, -1 / k_down if k_down else -math.inf, up, down,
        document.weight.low, document.weight.high, document.weight.unit, noise / 2,
    )  # fmt: skip


def _branches(device: PulsedDevice, up: int, down: int) -> tuple[tuple[int, float], tuple[int, float], float]:
    from fitlab.overview.simulate import overview

    steps = overview(device).steps
    inside = np.abs(steps.weight) <= 1
    noise = float(np.sqrt(np.mean(np.concatenate([steps.up_noise[inside], steps.down_noise[inside]]) ** 2)))
    rising = _curve(steps.weight, steps.up, up)
    falling = _curve(-steps.weight[::-1], steps.down[::-1], down)
    return (len(rising) - 1, _curvature(rising)), (len(falling) - 1, _curvature(falling)), noise


def _curve(weight: NDArray[np.float64], step: NDArray[np.float64], fewest: int) -> NDArray[np.float64]:
    """Mean weights along a branch from -1 to 1, 0 to 1 of what is reached."""
    w = [-1.0]
    while len(w) <= LONGEST and w[-1] < 1:
        move = float(np.interp(w[-1], weight, step))
        if move <= 0 or (len(w) > fewest and move < 1e-3 / fewest):
            break
        w.append(w[-1] + move)
    if len(w) < 3:
        raise FitlabError("the branch is fewer than two pulses long; NeuroSim has no such device")
    if w[-1] > 1 and w[-1] - 1 > 1 - w[-2]:
        w.pop()  # the end that lies nearer
    path = np.array(w)
    return np.asarray((path - path[0]) / (path[-1] - path[0]))


def _curvature(path: NDArray[np.float64]) -> float:
    """k = 1 / A of least squares; positive where the first pulses move most."""
    p = np.linspace(0, 1, len(path))

    def misfit(k: float) -> float:
        shape = p if abs(k) < 1e-9 else np.expm1(-k * p) / np.expm1(-k)
        return float(np.sum((shape - path) ** 2))

    grid = np.concatenate([-np.geomspace(500, 1e-3, 120), [0.0], np.geomspace(1e-3, 500, 120)])
    best = int(np.argmin([misfit(k) for k in grid]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    for _ in range(80):
        a, b = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, b) if misfit(a) < misfit(b) else (a, high)
    return (low + high) / 2


def to_neurosim(document: ParameterSet) -> str:
    """The numbers that NeuroSim's device takes, as text with their names."""
    n = neurosim_of(document)
    return "\n".join([
        f"# {document.name}: {document.device.model} fitted to {document.source.files}",
        "# relative to the pulses of a branch; A > 0 of LTP and A < 0 of LTD: the first pulses move most",
        f"A_LTP = {n.a_ltp:.6g}", f"A_LTD = {n.a_ltd:.6g}",
        f"NL_LTP = {n.label_ltp:.3g}", f"NL_LTD = {n.label_ltd:.3g}",
        f"maxNumLevelLTP = {n.pulses_ltp}", f"maxNumLevelLTD = {n.pulses_ltd}",
        f"minConductance = {n.g_min:.6g}  # {n.unit}", f"maxConductance = {n.g_max:.6g}  # {n.unit}",
        f"sigmaCtoC = {n.var_amp:.4g}  # of the range, one step", "",
    ])  # fmt: skip
