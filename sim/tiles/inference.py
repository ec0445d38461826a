"""The tile that is trained digitally and programmed for inference."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from sim.arrays.array import Array
from sim.arrays.inference import InferenceArray
from sim.arrays.modifier import Modifier
from sim.arrays.product import Product
from sim.circuit.column import Conductances
from sim.configs.enums import WeightClipType, WeightRemapType
from sim.configs.inference import InferenceRPUConfig
from sim.configs.rpu import RPUConfig
from sim.errors import ConfigError
from sim.gpu import numbers
from sim.inference.compensation import BaseDriftCompensation, NoDriftCompensation
from sim.inference.noise import BaseNoiseModel
from sim.ops import key_tensor_of, uniform_field
from sim.periphery import affine
from sim.random import derive_key
from sim.tiles.tile import Tile

__all__ = ["InferenceTile"]


class _Converters:
    """Conductances of the weights of all replicas, by the converters of their noise models."""

    def __init__(self, configs: Sequence[InferenceRPUConfig]) -> None:
        self.configs = configs

    def __call__(self, weight: Tensor) -> Conductances:
        made = [c.noise_model.g_converter.convert_to_conductances(w) for c, w in zip(self.configs, weight, strict=True)]
        converter = self.configs[0].noise_model.g_converter
        g = [torch.stack(devices) for devices in zip(*(conductances for conductances, _ in made), strict=True)]
        if len(g) % 2:
            raise ConfigError(
                f"{type(converter).__name__} has no pairs of devices, which a time-stepped IR drop reads: give another converter",
                field="noise_model.g_converter",
            )
        factors = [float(f) for f in getattr(converter, "f_lst", (1.0,))]
        return Conductances(list(zip(g[::2], g[1::2], strict=True)), factors, torch.tensor([p["scale"] for _, p in made]))


class InferenceTile(Tile):
    """A crossbar of memory devices that are programmed once, behind converters; parameters as of `Tile`.

    Training is digital: products see the non-ideal periphery and modified weights, the backward product is exact, and the weights
    are a parameter with a gradient, so that any optimizer steps them; sim's own also clip, remap and modify them after each
    step. For inference `program_weights` writes them onto devices with programming noise, and `drift_weights` shows them a time
    later. The trained weights stay as they were: training goes on from them, and a weight that changes drops what was
    programmed.
    """

    default_config = InferenceRPUConfig
    array: InferenceArray

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.inference_configs[0].remap.type is not WeightRemapType.NONE:
            self.mapping_scales = torch.ones(self.replicas, self.out_size, dtype=self.dtype)
        self._rows_per_sample = 1

    def _parts(
        self, configs: list[InferenceRPUConfig], shape: tuple[int, int], keys: Sequence[int]
    ) -> tuple[Array, Product, Product]:
        array = InferenceArray(configs, shape, keys)
        start = uniform_field(key_tensor_of([derive_key(key, "start") for key in keys]), shape)
        with torch.no_grad():
            array.set(start * 0.2 - 0.1)
        forward = Product(
            [c.forward for c in configs], keys, False, shape, configs[0].mapping.max_input_size, _Converters(configs)
        )
        return array, forward, Product([c.backward for c in configs], keys, True, shape)

    @property
    def inference_configs(self) -> list[InferenceRPUConfig]:
        """The configurations of the replicas."""
        return cast("list[InferenceRPUConfig]", self.configs)

    # Inference: `get_weights` shows the programmed weights in evaluation, and the trained ones in training

    def program_weights(self, from_reference: bool = True, noise_model: BaseNoiseModel | None = None) -> None:
        """Program the weights onto devices: new programming noise and new drift exponents, from the same weights each time.

        Parameters
        ----------
        from_reference : program the trained weights; False: what is programmed now becomes the weights, and is programmed
        noise_model : replaces the noise model of the configuration

        Raises
        ------
        ConfigError
            if the noise model is none
        """
        if noise_model is not None:
            if not isinstance(noise_model, BaseNoiseModel):
                raise ConfigError(
                    f"noise_model is a {type(noise_model).__name__}: give a noise model such as PCMLikeNoiseModel()",
                    field="noise_model",
                    value=noise_model,
                )
            noise_model.check("noise_model")
            for config in self.inference_configs:
                config.noise_model = copy.deepcopy(noise_model)
        with torch.no_grad():
            if not from_reference and self.array.is_programmed():
                self.array.set(self.array.programmed_weight().clone())
            self.array.program([config.noise_model for config in self.inference_configs])
            self.array.baseline = self._baseline()

    def drift_weights(self, t_inference: float = 0.0) -> None:
        """Show the devices ``t_inference`` seconds after programming, which is done now if it was not; times may go back."""
        with torch.no_grad():
            if not self.array.is_programmed():
                self.program_weights()
            self.array.drift_to(t_inference)
            now = self._read_out()
            self.array.alpha = None if now is None or self.array.baseline is None else self.array.baseline / now

    @property
    def drift_baseline(self) -> Tensor | None:
        """Read-out after programming, (R, 1) or (R, out); None without compensation."""
        return self.array.baseline if self.array.is_programmed() else None

    @property
    def alpha(self) -> Tensor | None:
        """Factors of the outputs in evaluation that undo drift, (R, 1) or (R, out); None where nothing has drifted."""
        return self.array.alpha if self.array.is_programmed() else None

    def _compensation(self, r: int) -> BaseDriftCompensation | None:
        compensation = self.inference_configs[r].drift_compensation
        return None if isinstance(compensation, NoDriftCompensation) else compensation

    def _baseline(self) -> Tensor | None:
        first = self._compensation(0)
        return self._read_out(self.array.weight.detach() if first is not None and first.exact_reference else None)

    def _read_out(self, exact: Tensor | None = None) -> Tensor | None:
        """Read-out of each replica through its periphery, or exactly from given weights."""
        schemes = [self._compensation(r) for r in range(self.replicas)]
        if schemes[0] is None:
            return None
        n_in = self.array.shape[1]
        x = torch.stack([s.get_readout_tensor(n_in).to(self.learning_rate) for s in schemes if s is not None])
        if exact is None:
            y = self.forward_product(self.array.programmed_weight(), x)[0]
        else:
            y = torch.stack([x[r] @ exact[r].T for r in range(self.replicas)])
        return torch.stack([s.readout(y[r]).reshape(-1) for r, s in enumerate(schemes) if s is not None])

    # Training

    def _anchor(self) -> Tensor:
        return self.array.weight

    def record(self, x: Tensor, d: Tensor) -> Tensor | None:
        if not self.array.weight.requires_grad:
            return None
        return self.array.gradient(*(v.contiguous() for v in self._operands(x, d)))

    def end_step(self) -> None:
        """Clip, then remap, then draw modified weights."""
        if self.configs[0].runtime.on_the_fly_bindings:
            self.array.modifier = Modifier([config.modifier for config in self.inference_configs])
        with torch.no_grad():
            self._clip()
            self._remap()
            self.array.redraw()

    def remap_weights(self, weight_scaling_omega: float | None = 1.0) -> None:
        self.array.forget_devices()  # it is the trained weights that are scaled
        super().remap_weights(weight_scaling_omega)

    def _clip(self) -> None:
        parameters = [config.clip for config in self.inference_configs]
        kind, w = parameters[0].type, self.array.weight.detach()
        if kind is WeightClipType.NONE:
            return
        fixed = numbers(w, [p.fixed_value for p in parameters]).reshape(-1, 1, 1)
        if kind is WeightClipType.FIXED_VALUE:
            bound = torch.where(fixed >= 0, fixed, torch.inf)
        else:
            if kind is WeightClipType.LAYER_GAUSSIAN:
                sigma = numbers(w, [p.sigma for p in parameters]).reshape(-1, 1, 1)
                bound = sigma * _deviation(w)
            else:
                bound = w.abs().amax(dim=2, keepdim=True).double().mean(dim=1, keepdim=True).to(w.dtype)
            bound = torch.where(fixed > 0, torch.minimum(bound, fixed), bound)
        self.array.clip_to(bound)

    def _remap(self) -> None:
        """The scaled weights stay; scales of ones appear where there are none (mapping_and_hwa.md, section 10)."""
        parameters = [config.remap for config in self.inference_configs]
        kind, w = parameters[0].type, self.array.weight.detach()
        if kind is WeightRemapType.NONE:
            return
        scales = self._all_scales()
        assert scales is not None
        old = scales.expand(self.replicas, self.out_size).unsqueeze(2)
        top = numbers(w, [p.remapped_wmax for p in parameters]).reshape(-1, 1, 1)
        axes = (1, 2) if kind is WeightRemapType.LAYERWISE_SYMMETRIC else (2,)
        factor = w.abs().amax(dim=axes, keepdim=True) / top
        new = old * torch.where(factor > 0, factor, 1.0)
        if kind is WeightRemapType.CHANNELWISE_SYMMETRIC:
            reach = numbers(w, [p.max_scale_range for p in parameters]).reshape(-1, 1, 1)
            least = numbers(w, [p.max_scale_ref for p in parameters]).reshape(-1, 1, 1)
            smallest = old.amin(dim=1, keepdim=True).clamp(min=0.0)
            smallest = torch.where(smallest > 0, torch.maximum(smallest, least), smallest)
            new = torch.where((reach > 0) & (smallest > 0), torch.minimum(new, smallest * reach), new)
        self.array.set(w * (old / new))
        moved = new.squeeze(2)
        if self.mapping_scales is None or self.mapping_scales.shape != moved.shape:
            self.mapping_scales = moved.contiguous()
        else:  # in its place, for graphs that were captured
            self.mapping_scales.copy_(moved)
        if self.out_scaling_alpha is not None:
            self.out_scaling_alpha.fill_(1.0)

    # Products

    def _before(self, x: Tensor) -> None:
        if self.array.per_sample and self.training and x.dim() > 1:
            self._rows_per_sample = max(x[0].numel() // max(x.shape[-1], 1), 1)

    def _forward(self, x: Tensor, want_clipped: bool) -> tuple[Tensor, Tensor]:
        y, clipped = super()._forward(x, want_clipped)
        return self._compensated(y, out=y), clipped

    def _backward(self, d: Tensor) -> Tensor:
        return super()._backward(self._compensated(d))

    def _compensated(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        alpha = None if self.training else self.alpha
        return y if alpha is None else affine(y, alpha, None, out=out)

    def _multiply(self, product: Product, v: Tensor, want_clipped: bool = False) -> tuple[Tensor, Tensor]:
        if not (self.training and self.array.per_sample):
            return super()._multiply(product, v, want_clipped)
        rows = self._rows_per_sample if v.shape[1] % self._rows_per_sample == 0 else 1
        parts = [
            product(self.array.weight_of_sample(k), part.contiguous(), want_clipped)
            for k, part in enumerate(v.split(rows, dim=1))
        ]
        clipped = [part[1] for part in parts]
        return torch.cat([part[0] for part in parts], dim=1), torch.cat(clipped, dim=1) if want_clipped else clipped[0]

    def _rebuild(self, configs: Sequence[RPUConfig]) -> None:
        weight = self.array.weight
        super()._rebuild(configs)
        with torch.no_grad():
            weight.copy_(self.array.weight)
        self.array.weight = weight  # the object that optimizers know


def _deviation(w: Tensor) -> Tensor:
    """Standard deviation (n - 1) of each matrix, (R, 1, 1); summed row by row, so that threads do not matter."""
    n = w.shape[1] * w.shape[2]
    v = w.double()
    v = v - v.sum(dim=2, keepdim=True).sum(dim=1, keepdim=True) / n
    return ((v * v).sum(dim=2, keepdim=True).sum(dim=1, keepdim=True) / max(n - 1, 1)).sqrt().to(w.dtype)
