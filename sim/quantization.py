"""Uniform quantisers of few bits with ranges from data (mapping_and_hwa.md, section 16.1)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.configs.quantization import ActivationQuantParameter, RangeEstimator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Quantizer", "RangeState", "calibrate_quantization_ranges", "quantised", "quantised_now"]

LEAST_TOP = 1e-8


class RangeState(Enum):
    """When a quantiser takes its range from what it sees."""

    ESTIMATE = "estimate"
    """Always."""
    ESTIMATE_TRAIN = "estimate_train"
    """In training."""
    FIX = "fix"
    """Never."""


def quantised(x: Tensor, step: Tensor, offset: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``step (clamp(rint(x / step) + offset, low, high) - offset)``; the gradient passes straight through the rounding.

    Outside of the clamp it is 0 for x.
    """
    level = x / step
    level = level + (torch.round(level) - level).detach() + offset
    inside = torch.minimum(torch.maximum(level, low), high)
    return step * (torch.where(level == inside, level, inside.detach()) - offset)


def quantised_now(x: Tensor, settings: ActivationQuantParameter) -> Tensor:
    """Values (G, n) quantised within their own smallest and largest."""
    low, high = x.amin(dim=1, keepdim=True).clamp(max=0.0), x.amax(dim=1, keepdim=True).clamp(min=LEAST_TOP)
    levels = _levels(settings, low)
    return quantised(x, *_spacing(low, high, levels, settings.symmetric), *levels)


class Quantizer(nn.Module):
    """Values (G, ...) in 2^bits levels, with one range for each of the G.

    A symmetric quantiser has the levels ``-2^(n-1) ... 2^(n-1) - 1`` times its step, or ``0 ... 2^n - 1`` where nothing is below
    0; another one ``0 ... 2^n - 1`` from its offset. The range holds 0.

    Parameters
    ----------
    groups : G
    settings : bits, symmetry and estimator
    learned : steps and offsets become trainable parameters
    learn_after : batches of training that they are estimated from before

    Attributes
    ----------
    low, high : (G, 1) ends of the range; NaN before any
    """

    low: Tensor
    high: Tensor
    batches: Tensor

    def __init__(self, groups: int, settings: ActivationQuantParameter, learned: bool = False, learn_after: int = 0) -> None:
        super().__init__()
        self.settings, self.learned, self.learn_after = settings, learned, learn_after
        self.state = RangeState.ESTIMATE_TRAIN
        self.register_buffer("low", torch.full((groups, 1), torch.nan))
        self.register_buffer("high", torch.full((groups, 1), torch.nan))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.step = nn.Parameter(torch.ones(groups, 1)) if learned else None
        self.offset = nn.Parameter(torch.zeros(groups, 1)) if learned and not settings.symmetric else None

    def forward(self, x: Tensor) -> Tensor:
        """Quantised values, in the shape of x."""
        rows = x.reshape(self.low.shape[0], -1)
        learning = self.learned and int(self.batches) >= self.learn_after
        estimating = self.state is RangeState.ESTIMATE or (self.state is RangeState.ESTIMATE_TRAIN and self.training)
        if self.low.isnan().any() or (estimating and not (learning and self.training)):
            self._estimate(rows.detach(), x.shape[-1])
        if self.training and self.state is RangeState.ESTIMATE_TRAIN:
            self.batches += 1
        levels = _levels(self.settings, self.low)
        step, offset = _spacing(self.low, self.high, levels, self.settings.symmetric)
        if self.step is not None and learning:
            step = self.step.abs().clamp(min=LEAST_TOP)
            offset = offset if self.offset is None else self.offset
            offset = offset + (torch.round(offset) - offset).detach()
        return quantised(rows, step, offset, *levels).view(x.shape)

    def _estimate(self, rows: Tensor, width: int) -> None:
        settings = self.settings
        low, high = _ends(rows, settings.percentile)
        kind = settings.range_estimator
        known = not bool(self.low.isnan().any())
        if kind is RangeEstimator.ALL_MINMAX and known:
            low, high = torch.minimum(low, self.low), torch.maximum(high, self.high)
        elif kind is RangeEstimator.RUNNING_MINMAX and known:
            low, high = (
                settings.momentum * old + (1.0 - settings.momentum) * new for old, new in ((self.low, low), (self.high, high))
            )
        elif kind in _LOSSES:
            low, high = self._searched(rows, low.clamp(max=0.0), high, _LOSSES[kind], width)
        self.low.copy_(low.clamp(max=0.0))
        self.high.copy_(high.clamp(min=LEAST_TOP))
        if self.learned and (int(self.batches) < self.learn_after or not known):
            step, offset = _spacing(self.low, self.high, _levels(settings, self.low), settings.symmetric)
            with torch.no_grad():
                for mine, value in ((self.step, step), (self.offset, offset)):
                    if mine is not None:
                        mine.copy_(value)

    def _searched(
        self, rows: Tensor, low: Tensor, high: Tensor, loss: Callable[[Tensor, Tensor], Tensor], width: int
    ) -> tuple[Tensor, Tensor]:
        """The share of the range, of those tried, with the smallest loss; for each group by itself."""
        settings = self.settings
        best_low, best_high = low.clone(), high.clone()
        for g in range(len(rows)):
            row, least = rows[g : g + 1].double(), torch.inf
            for k in range(1, settings.num_candidates + 1):
                share = (1.0 + settings.range_margin) * k / settings.num_candidates
                ends = low[g : g + 1] * share, (high[g : g + 1] * share).clamp(min=LEAST_TOP)
                levels = _levels(settings, ends[0])
                step, offset = _spacing(*ends, levels, settings.symmetric)
                found = quantised(row, step.double(), offset.double(), *levels)
                value = float(loss(found.view(-1, width), row.view(-1, width)))
                if value < least:
                    least, (best_low[g], best_high[g]) = value, (ends[0][0], ends[1][0])
        return best_low, best_high


Levels = tuple[Tensor, Tensor]


def _levels(settings: ActivationQuantParameter, low: Tensor) -> Levels:
    """Lowest and highest level (G, 1) of groups whose ranges begin at ``low``."""
    n = settings.n_bits
    signed = (low < 0) & settings.symmetric
    return torch.where(signed, -(2.0 ** (n - 1)), 0.0), torch.where(signed, 2.0 ** (n - 1) - 1.0, 2.0**n - 1.0)


def _spacing(low: Tensor, high: Tensor, levels: Levels, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Steps and offsets (G, 1) of ranges."""
    top = levels[1].clamp(min=1.0)
    if symmetric:
        return (torch.maximum(-low, high) / top).clamp(min=LEAST_TOP), torch.zeros_like(low)
    step = ((high - low) / top).clamp(min=LEAST_TOP)
    return step, torch.minimum(torch.maximum(torch.round(-low / step), levels[0]), levels[1])


def _ends(rows: Tensor, percentile: float) -> tuple[Tensor, Tensor]:
    """Smallest and largest value (G, 1), or percentiles 100 - p and p: both ends, for one group as for many (M24)."""
    if percentile >= 100.0:
        return rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
    import numpy as np

    both = np.quantile(rows.cpu().numpy(), [1.0 - percentile / 100.0, percentile / 100.0], axis=1)
    low, high = torch.from_numpy(both).to(rows).unsqueeze(2)
    return low, high


def _squared_error(found: Tensor, exact: Tensor) -> Tensor:
    return (found - exact).pow(2).sum()


def _cross_entropy(found: Tensor, exact: Tensor) -> Tensor:
    return -(exact.softmax(dim=-1) * functional.log_softmax(found, dim=-1)).sum()


_LOSSES = {RangeEstimator.MSE: _squared_error, RangeEstimator.CROSS_ENTROPY: _cross_entropy}


@contextmanager
def _in_state(quantizers: Iterable[Quantizer], state: RangeState) -> Iterator[None]:
    found = list(quantizers)
    for quantizer in found:
        quantizer.state = state
    yield
    for quantizer in found:
        quantizer.state = RangeState.FIX


@torch.no_grad()
def calibrate_quantization_ranges(model: nn.Module, loader: Iterable[Any], max_num_batches: int = 20) -> None:
    """Estimate the ranges of all quantisers of a model from batches in evaluation mode, and fix them.

    Parameters
    ----------
    model : a model with `Quantizer` modules
    loader : batches: inputs, or pairs of inputs and targets, which are ignored
    max_num_batches : how many of them are used
    """
    training = model.training
    model.eval()
    with _in_state((part for part in model.modules() if isinstance(part, Quantizer)), RangeState.ESTIMATE):
        for k, batch in enumerate(loader):
            if k == max_num_batches:
                break
            model(batch[0] if isinstance(batch, tuple | list) else batch)
    model.train(training)
