"""Tiles whose digital periphery has few bits (mapping_and_hwa.md, section 16.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sim.configs.quantization import (
    ActivationQuantParameter,
    PeripheryQuantParameter,
    QuantizedTorchInferenceRPUConfig,
    RangeEstimator,
)
from sim.configs.rpu import RPUConfig
from sim.quantization import Quantizer, quantised_now
from sim.tiles.bias import AddBias
from sim.tiles.inference import InferenceTile
from sim.tiles.product import TileProduct

__all__ = ["QuantizedInferenceTile", "Quantizers"]


class Quantizers(nn.Module):
    """Quantisers of bias and outputs that a configuration asks for; what it does not is left alone.

    Parameters
    ----------
    config : the configuration of the first replica: bits, symmetry and estimators are structure
    replicas : R; each has ranges of its own
    has_bias : whether there is a digital bias
    """

    def __init__(self, config: RPUConfig, replicas: int, has_bias: bool) -> None:
        super().__init__()
        periphery = getattr(config.pre_post, "periph_quant", PeripheryQuantParameter())
        outputs: ActivationQuantParameter = getattr(config, "act_quant_config", ActivationQuantParameter())
        learned, after = periphery.learn_quant_params, periphery.init_learning_after
        fresh = ActivationQuantParameter(
            n_bits=periphery.n_bits, symmetric=periphery.symmetric, range_estimator=RangeEstimator.CURRENT_MINMAX
        )
        self.scale = fresh if periphery.n_bits > 0 else None
        self.bias = Quantizer(replicas, fresh, learned, after) if periphery.n_bits > 0 and has_bias else None
        self.output = Quantizer(replicas, outputs, learned, after) if outputs.n_bits > 0 else None


class QuantizedInferenceTile(InferenceTile):
    """An inference tile with quantised scales, bias and outputs; parameters as of `Tile`.

    Scales are quantised as they are now; ranges of bias and outputs are estimated in training (and then learned, if
    asked), or from the first batch where there was no training.
    """

    default_config: ClassVar[type[Any]] = QuantizedTorchInferenceRPUConfig
    quantizes_output = True
    """Off for the tile of a grid of one, whose grid quantises the sum with the bias."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quantizers = Quantizers(self.configs[0], self.replicas, self.bias is not None).to(self.dtype)

    def _run(self, x: Tensor) -> Tensor:
        q = self.quantizers
        self._before(x)
        anchor, alpha, rho = self._in_graph()
        y = TileProduct.apply(x, anchor, None, alpha, rho, self)
        rows = y.view(self.replicas, -1, self.out_size)
        if q.scale is not None:
            rows = rows * self._rounding(q.scale)
        y = rows.view(y.shape)
        if self.bias is not None:
            y = AddBias.apply(y, self.bias if q.bias is None else q.bias(self.bias), self.replicas)
        return q.output(y) if q.output is not None and self.quantizes_output else y

    def _rounding(self, settings: ActivationQuantParameter) -> Tensor:
        """What makes quantised scales of the scales, (R, 1, 1) or (R, 1, out); for the gradient a constant."""
        with torch.no_grad():
            scale = self._output_scale(None if self.input_range is None else self.input_range.detach().abs())
            trained = self.out_scaling_alpha
            if trained is not None:
                rows = trained.detach().view(self.replicas, -1)
                scale = rows if scale is None else scale * rows
            if scale is None:
                return torch.ones(self.replicas, 1, 1, dtype=self.dtype)
            found = quantised_now(scale, settings)
            return torch.where(scale == 0, 1.0, found / torch.where(scale == 0, 1.0, scale)).unsqueeze(1)

    def _rebuild(self, configs: Sequence[RPUConfig]) -> None:
        own, shown = self.quantizers, self.quantizes_output
        super()._rebuild(configs)
        fresh = self.quantizers
        for name, quantizer in own.named_children():
            twin = getattr(fresh, name)
            if twin is not None and twin.settings == quantizer.settings and twin.learned == quantizer.learned:
                setattr(fresh, name, quantizer)  # with the parameters that optimizers know
        self.quantizes_output = shown
