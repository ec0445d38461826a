"""The simulated device over its measurement: whether mean and spread agree within the data's own error.

The fitted device is simulated with the product's own arrays, many copies of it, through the pulses of the measurement, and read
with the fitted read noise. Whatever is computed from the measurement is computed from every copy too; a measurement that the
model describes is one among the copies (D. B. Rubin, Ann. Stat. 12, 1151 (1984)). The parameters are those of the fit, without
their errors, which makes the check slightly strict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fitlab.fit.candidate import Candidate
from fitlab.fit.guess import ramps
from fitlab.fit.response import Trace

if TYPE_CHECKING:
    from fitlab.fit.run import Fit
    from sim.devices.base import PulsedDevice

Floats = NDArray[np.float64]

__all__ = ["Check", "check_device", "check_fit", "device_of", "simulated_reads"]

COPIES = 200
BLOCKS = 12
"""Parts of a ramp over which the mean is compared."""
LEAST = 0.01
"""A measurement is called described where both probabilities are at least this."""
CLOSE_MEAN, CLOSE_SPREAD = 0.02, 0.15
"""Or where the mean is within this part of the window, and the spread from read to read within this part: long measurements
tell differences that are of no weight."""


@dataclass(frozen=True)
class Check:
    """One device, measured and simulated.

    Attributes
    ----------
    device : its name
    mean_p : share of copies whose blocks of a ramp deviate from the mean of the copies at least as much as the measurement's
    mean_deviation : root mean square of the blocks' deviation, in parts of the window
    spread_p : two-sided share of copies whose increments spread at least as differently
    spread_ratio : spread of the measured increments over the median of the copies'
    inside : share of reads between the 5 % and 95 % quantiles of the copies
    low, high, middle : (n,) 5 and 95 % quantiles and mean of the copies, in w
    """

    device: str
    mean_p: float
    mean_deviation: float
    spread_p: float
    spread_ratio: float
    inside: float
    low: Floats
    high: Floats
    middle: Floats

    @property
    def mean_agrees(self) -> bool:
        """Whether the mean response lies over the measurement."""
        return self.mean_p >= LEAST or self.mean_deviation < CLOSE_MEAN

    @property
    def spread_agrees(self) -> bool:
        """Whether reads scatter as measured."""
        return self.spread_p >= LEAST or abs(self.spread_ratio - 1) < CLOSE_SPREAD

    def sentence(self) -> str:
        """The outcome in words."""
        what = {
            (True, True): "the simulated device lies over its measurement, mean and spread",
            (True, False): "the mean of the simulated device lies over its measurement, its spread from read to read does not",
            (False, True): "the simulated device spreads as measured, but its mean response is another",
            (False, False): "the model does not describe this device: neither mean nor spread agree",
        }[self.mean_agrees, self.spread_agrees]
        return (
            f"{self.device}: {what} (mean off by {100 * self.mean_deviation:.2g} % of the window, p = {self.mean_p:.2g}; spread "
            f"{self.spread_ratio:.2f} of the simulated, p = {self.spread_p:.2g}; {100 * self.inside:.0f} % of the reads inside "
            "the 5 to 95 % band)"
        )


def device_of(chosen: Candidate) -> PulsedDevice:
    """Device of the simulator with the parameters of one fitted device: no spread between crosspoints, no write noise."""
    import sim.devices
    from fitlab.overview.variants import without_spread, without_write_noise

    model, stored = chosen.model, chosen.stored
    numbers = {n: v for n, v in model.fields(stored).items() if n not in model.own}
    values = {**numbers, "dw_min_std": stored["dw_min_std"], **model.structure(stored)}
    if "dw_min_std" in chosen.reasons:
        values["dw_min_std"] = 0.0
    if model.forms:
        values["mult_noise"] = chosen.mult_noise
    if "gamma_up" in model.parameters:
        values["allow_increasing"] = min(stored["gamma_up"], stored["gamma_down"]) < 0
    return without_write_noise(without_spread(getattr(sim.devices, model.device)(**values)))


def simulated_reads(chosen: Candidate, trace: Trace, copies: int = COPIES, seed: int = 1) -> Floats:
    """Reads (copies, n) of the simulated device under the pulses of a trace."""
    from fitlab.overview.rows import Row

    row = Row(device_of(chosen), copies, seed, "predictive")
    out = np.empty((copies, len(trace.reads)))
    begins = set(trace.starts.tolist())
    segment = trace.segment_index
    for k, count in enumerate(trace.pulses.tolist()):
        if k in begins:
            row.set(float(chosen.starts[segment[k]]))
        elif count:
            row.pulse(np.full(abs(count), np.sign(count)))
        out[:, k] = row.weights()
    rng = np.random.default_rng(seed)
    return out + chosen.stored["read_noise"] / trace.root * rng.standard_normal(out.shape)


def _blocks(trace: Trace) -> list[NDArray[np.intp]]:
    """Places of the reads of each block of each ramp; pulses in turn are cut into blocks too."""
    runs = ramps(trace)
    if not runs:
        runs = [slice(0, len(trace.reads))]
    out = []
    for run in runs:
        at = np.arange(run.start, run.stop)
        at = at[trace.used[at]]
        out += [part for part in np.array_split(at, min(BLOCKS, max(len(at) // 2, 1))) if len(part)]
    return out


def check_device(name: str, chosen: Candidate, trace: Trace, copies: int = COPIES, seed: int = 1) -> Check:
    """Compare one device with `copies` simulated ones."""
    found = simulated_reads(chosen, trace, copies, seed)
    low, high = np.quantile(found, [0.05, 0.95], axis=0)
    middle = found.mean(axis=0)
    used = trace.used
    every = np.vstack([trace.reads[None], found])
    blocks = _blocks(trace)
    means = np.stack([every[:, at].mean(axis=1) for at in blocks], axis=1)
    centre, width = means[1:].mean(axis=0), means[1:].std(axis=0, ddof=1)
    floor = 1e-3 * np.ptp(middle)  # copies without noise are all alike
    deviation = (means - centre) / np.maximum(width, floor)
    # the measured one is compared with the mean of the others, as each copy is
    statistic = np.mean(deviation**2, axis=1)
    mean_p = (1 + int(np.sum(statistic[1:] >= statistic[0]))) / (copies + 1)
    step = np.diff(every, axis=1)
    follows = (np.diff(trace.segment_index) == 0) & used[1:] & used[:-1]
    residual = step[:, follows] - np.diff(middle)[follows]
    spread = np.sqrt(np.mean(residual**2, axis=1))
    upper = (1 + int(np.sum(spread[1:] >= spread[0]))) / (copies + 1)
    lower = (1 + int(np.sum(spread[1:] <= spread[0]))) / (copies + 1)
    typical = float(np.median(spread[1:]))
    return Check(
        name,
        mean_p,
        float(np.sqrt(np.mean((means[0] - centre) ** 2)) / 2),
        min(1.0, 2 * min(upper, lower)),
        float(spread[0] / typical) if typical > 0 else float("inf"),
        float(np.mean((trace.reads[used] >= low[used]) & (trace.reads[used] <= high[used]))),
        low,
        high,
        middle,
    )


def check_fit(fit: Fit, most: int = 8, copies: int = COPIES, seed: int = 1) -> list[Check]:
    """The first devices of a fit (`most` of them), each against its simulation."""
    pairs = list(zip(fit.devices, fit.chosen, strict=True))[:most]
    return [check_device(device.name, chosen, device.trace, copies, seed + k) for k, (device, chosen) in enumerate(pairs)]
