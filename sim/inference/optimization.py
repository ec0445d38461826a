"""Conductances of several devices a weight that keep weights best over time (inference.md, 9.1).

Source: C. Mackin et al., Nat. Commun. 13, 3765 (2022).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from sim.configs.inference import InferenceRPUConfig
from sim.errors import ConfigError
from sim.inference.converters import (
    BaseConductanceConverter,
    CustomPairConductanceConverter,
    NPairConductanceConverter,
    SinglePairConductanceConverter,
)
from sim.settings import Config, NonNegative, Positive, Probability, Range, config
from sim.tiles.inference import InferenceTile

__all__ = ["OptimizedConverter", "SearchParameter", "WeightProgrammingOptimizer"]

A = np.ndarray[Any, Any]


@config
class SearchParameter(Config):
    """Settings of the search by differential evolution."""

    nbins: Annotated[int, Range(low=2), "points of the tables from weight 0 to the largest"] = 6
    test_out_features: Annotated[int, Range(low=1), "outputs of the layer that is tried"] = 20
    g_err: Annotated[NonNegative, "conductances beyond the range that are tried and clipped, as a fraction of it"] = 0.0
    f_min: Annotated[Positive, "smallest factor of a pair that is optimised"] = 0.1
    f_max: Annotated[Positive, "largest factor of a pair that is optimised"] = 5.0
    use_max_kw: Annotated[bool, "use the full range of conductances; false: the scale is optimised too"] = False
    loss_margin: Annotated[NonNegative, "relative improvement at which the search ends"] = 0.125
    baseline_iterations: Annotated[int, Range(low=1), "programmings of the baseline that are averaged"] = 100
    seed: Annotated[int, Range(low=0), "of the search, of the sample of weights and of the noise"] = 100
    strategy: Annotated[str, "of scipy's differential_evolution"] = "best1bin"
    popsize: Annotated[int, Range(low=1), "population, times the number of dimensions"] = 100
    maxiter: Annotated[int, Range(low=1), "generations"] = 200
    tol: Annotated[NonNegative, "relative spread of the population at which the search ends"] = 0.0
    atol: Annotated[NonNegative, "absolute spread of the population at which the search ends"] = 0.02
    mutation: Annotated[NonNegative, "weight of the difference of two members"] = 0.1
    recombination: Annotated[Probability, "probability of a changed coordinate"] = 0.3
    polish: Annotated[bool, "end with a local search"] = True
    workers: Annotated[int, Range(low=-1), "processes; -1 = all cores"] = -1
    x_init: Annotated[str, "how the population starts"] = "latinhypercube"


@dataclass(frozen=True)
class OptimizedConverter:
    """What a search found.

    Attributes
    ----------
    g_converter : the converter, for a noise model
    success : whether it beats the baseline by the margin
    best_loss, baseline_loss : time-averaged square errors of weights, relative to the largest weight, times 100
    evaluations : of the loss
    """

    g_converter: CustomPairConductanceConverter
    success: bool
    best_loss: float
    baseline_loss: float
    evaluations: int


class WeightProgrammingOptimizer:
    """Search for the tables of a `CustomPairConductanceConverter`, and factors of its pairs.

    Parameters
    ----------
    weights : weights whose distribution is optimised for, any shape
    f_lst : factor of each pair; None for one that is optimised too
    rpu_config : inference configuration with the noise model and the compensation of drift
    t_steps : times after programming, s
    g_converter_baseline : converter to beat; its range of conductances is that of the search
    symmetric : a negative weight has the conductances of the positive one, swapped
    **settings : fields of `SearchParameter`

    Raises
    ------
    ConfigError
        for no times, no pairs, weights that are all 0, or a setting out of range

    Notes
    -----
    Every candidate meets the same random numbers, so that the search is repeatable.
    """

    def __init__(
        self, weights: Tensor, f_lst: Sequence[float | None], rpu_config: InferenceRPUConfig, t_steps: Sequence[float],
        g_converter_baseline: BaseConductanceConverter | None = None, symmetric: bool = True, **settings: Any,
    ) -> None:  # fmt: skip
        self.search = SearchParameter(**settings)
        baseline = SinglePairConductanceConverter() if g_converter_baseline is None else g_converter_baseline
        if not isinstance(baseline, SinglePairConductanceConverter | NPairConductanceConverter | CustomPairConductanceConverter):
            raise ConfigError(f"g_converter_baseline is a {type(baseline).__name__}: give one with pairs of devices")
        if not len(t_steps) or not len(f_lst) or not float(torch.as_tensor(weights).abs().max()) > 0:
            raise ConfigError("give at least one time in t_steps, one pair in f_lst, and weights that are not all 0")
        self.baseline, self.symmetric = baseline, symmetric
        self.f_lst, self.t_steps = list(f_lst), [float(t) for t in t_steps]
        self.config = copy.deepcopy(rpu_config)
        mapping = self.config.mapping
        mapping.weight_scaling_omega, mapping.learn_out_scaling, mapping.weight_scaling_columnwise = 0.0, False, False
        self.g_min, self.g_max = baseline.g_min, baseline.g_max
        self.g_err = self.search.g_err * (self.g_max - self.g_min)
        n_in = mapping.max_input_size if mapping.max_input_size > 0 else 512
        self.sample = self._sample(torch.as_tensor(weights), n_in)
        self.w_max = float(np.abs(self.sample).max())
        self.grid = np.linspace(-self.w_max, self.w_max, 2 * self.search.nbins - 1)
        self.baseline_loss = 0.0

    @property
    def dimensions(self) -> int:
        """Of the search."""
        points = self.search.nbins if self.symmetric else 2 * self.search.nbins - 1
        free = sum(f is None for f in self.f_lst)
        return free + (not self.search.use_max_kw) + points * (2 * len(self.f_lst) - 1)

    def run_optimizer(self) -> OptimizedConverter:
        """Search; this takes minutes with the default settings."""
        from scipy.optimize import differential_evolution

        s = self.search
        self.baseline_loss = self.loss(self.baseline, s.baseline_iterations)
        with warnings.catch_warnings():
            # With several processes scipy changes the updating itself, and says so.
            warnings.simplefilter("ignore", UserWarning)
            found = differential_evolution(
                self.objective, [(0.0, 1.0)] * self.dimensions, strategy=s.strategy, popsize=s.popsize, maxiter=s.maxiter,
                tol=s.tol, atol=s.atol, mutation=s.mutation, recombination=s.recombination, polish=s.polish, rng=s.seed,
                workers=s.workers, updating="immediate" if s.workers == 1 else "deferred", init=s.x_init,
                callback=_beaten,
            )  # fmt: skip
        loss = (found.fun - s.loss_margin) * self.baseline_loss + self.baseline_loss
        return OptimizedConverter(self.converter(found.x), bool(found.fun < 0), float(loss), self.baseline_loss, int(found.nfev))

    def objective(self, x: A) -> float:
        """Relative loss of a candidate, 0 where it beats the baseline by the margin."""
        loss = self.loss(self.converter(x), 1)
        return (loss - self.baseline_loss) / self.baseline_loss + self.search.loss_margin

    def loss(self, converter: BaseConductanceConverter, programmings: int) -> float:
        """Mean over times and programmings of ``(10 (w(t) - w) / w_max)^2``; infinite where it is not a number."""
        configured = copy.deepcopy(self.config)
        configured.noise_model.g_converter = converter
        out, n_in = self.sample.T.shape
        tile = InferenceTile(out, n_in, configured, seeds=[self.search.seed], stream="optimisation").eval()
        target = torch.from_numpy(np.ascontiguousarray(self.sample.T, dtype=np.float32))
        tile.set_weights(target)
        total = 0.0
        for _ in range(programmings):
            for t in self.t_steps:
                tile.program_weights()
                tile.drift_weights(t)
                seen = tile.array.programmed_weight()[0]
                if tile.alpha is not None:
                    seen = seen * tile.alpha[0].unsqueeze(1)
                total += float(((seen - target).double() * (10.0 / self.w_max)).square().mean())
        loss = total / (programmings * len(self.t_steps))
        return loss if np.isfinite(loss) else float("inf")

    def converter(self, x: A) -> CustomPairConductanceConverter:
        """The candidate at a point of the unit cube."""
        numbers = iter(x)
        s = self.search
        factors = [float(next(numbers)) * (s.f_max - s.f_min) + s.f_min if f is None else float(f) for f in self.f_lst]
        x_k = 1.0 if s.use_max_kw else float(next(numbers))
        blocks = np.fromiter(numbers, float).reshape(2 * len(factors) - 1, -1)
        full = sum(factors) * (self.g_max - self.g_min)
        scale = (x_k * 0.95 * full + 0.05 * full) / self.w_max
        weights = self.grid[: s.nbins] if self.symmetric else self.grid
        tables: list[A] = []
        left = scale * weights  # µS still to be made
        for p, f in enumerate(factors):
            span = f * (self.g_max - self.g_min)
            rest = sum(factors[p + 1 :]) * (self.g_max - self.g_min)
            low, high = np.maximum(left - rest, -span), np.minimum(left + rest, span)
            share = blocks[2 * p + 1] if p < len(factors) - 1 else 1.0
            part = share * (high - low) + low
            left = left - part
            difference = part / f
            g_low = self.g_min + np.maximum(difference, 0.0) - self.g_err
            g_high = self.g_max + np.minimum(difference, 0.0) + self.g_err
            plus = np.clip(blocks[2 * p] * (g_high - g_low) + g_low, self.g_min, self.g_max)
            minus = np.clip(plus - difference, self.g_min, self.g_max)
            if self.symmetric:
                plus, minus = np.append(plus, minus[-2::-1]), np.append(minus, plus[-2::-1])
            tables += [plus, minus]
        return CustomPairConductanceConverter(
            f_lst=factors, g_lst=[table.tolist() for table in tables], g_max=self.g_max, g_min=self.g_min,
            invertibility_test=False,
        )  # fmt: skip

    def _sample(self, weights: Tensor, n_in: int) -> A:
        """Weights (in, out) of the same distribution: the sorted ones resampled, rows shuffled."""
        curve = np.sort(weights.detach().double().reshape(-1).cpu().numpy())
        n = n_in * self.search.test_out_features
        resampled = np.interp(np.linspace(0.0, len(curve) - 1.0, n), np.arange(len(curve)), curve)
        rows = resampled.reshape(n_in, -1)
        return np.random.default_rng(self.search.seed).permutation(rows, axis=0)


def _beaten(intermediate_result: Any) -> bool:
    """Stop as soon as the baseline is beaten by the margin."""
    return bool(intermediate_result.fun < 0)
