"""Cross-validation over cycles: each model fitted without some cycles and judged by how well it predicts those."""

from __future__ import annotations

import numpy as np

from .candidate import Candidate
from .free import NOISE
from .prediction_error import fit_prediction_error
from .prepare import DeviceTrace
from .response import Trace, innovations

FOLDS = 5


def _part(device: DeviceTrace, own: np.ndarray) -> Trace:
    """Reads of some cycles; what follows a cycle that is left out starts anew."""
    trace, at = device.trace, np.flatnonzero(own)
    gap = np.append(False, np.diff(at) > 1)
    return trace.part(at, (trace.segment_index[at] + np.cumsum(gap) * (trace.segment_index[-1] + 1)).astype(np.int32))


def held_out(c: Candidate, device: DeviceTrace) -> np.ndarray:
    """ln p of the reads of each fold of cycles, fitted on the others; empty for fewer than three cycles."""
    numbers = np.unique(device.cycle)
    if len(numbers) < 3:
        return np.zeros(0)
    fit, out = c.likelihood, []
    fixed = frozenset(n for n in c.model.parameters if n not in fit.varied)
    mean, noise = ({n: fit.values[n] for n in names} for names in (c.model.parameters, NOISE))
    for fold in range(min(FOLDS, len(numbers))):
        left = np.isin(device.cycle, numbers[fold::FOLDS])
        rest = fit_prediction_error(
            c.model, _part(device, ~left), mean, mult_noise=c.mult_noise, fixed=fixed, noise=noise, refine=False
        )
        kernel, _ = c.model.kernel_values(rest.values, c.mult_noise)
        sigma, kappa = (rest.values[n] for n in NOISE)
        out.append(-innovations(c.model.kernel, kernel, sigma, kappa, _part(device, left))[0])
    return np.array(out)
