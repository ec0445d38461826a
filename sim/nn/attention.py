"""Multi-head attention with analog projections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.configs.rpu import RPUConfig
from sim.errors import ConfigError
from sim.nn.linear import AnalogLinear
from sim.nn.module import AnalogContainer, FromDigital
from sim.ops import ShapeError

__all__ = ["AnalogMultiheadAttention"]


class AnalogMultiheadAttention(FromDigital, AnalogContainer):
    """Torch's attention with the projections of query, key, value and output on tiles; scores and their sums are digital.

    Parameters
    ----------
    embed_dim, num_heads, dropout, bias, kdim, vdim, batch_first : as of torch's layer
    rpu_config, tile_module_class, replicas, seeds, stream : as of `AnalogLayer`; the batch axis is then R B

    Raises
    ------
    ConfigError
        for ``add_bias_kv`` or ``add_zero_attn``, which have no analog twin, or sizes that do not go together
    """

    # Torch's encoder layers read these to decide on kernels that take weights from parameters: not here.
    in_proj_weight = None
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, tile_module_class: type[Any] | None = None,
        replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "attention",
    ) -> None:  # fmt: skip
        super().__init__()
        for name, given in (("add_bias_kv", add_bias_kv), ("add_zero_attn", add_zero_attn)):
            if given:
                raise ConfigError(f"{name} = True is not available on tiles: give False", field=name, value=given)
        if embed_dim % num_heads:
            raise ConfigError(
                f"embed_dim = {embed_dim} is not allowed: give a multiple of num_heads = {num_heads}", field="embed_dim"
            )
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim

        def projection(name: str, n_in: int) -> AnalogLinear:
            return AnalogLinear(n_in, embed_dim, bias, rpu_config, tile_module_class, replicas, seeds, f"{stream}.{name}")

        self.q_proj, self.k_proj = projection("q_proj", embed_dim), projection("k_proj", self.kdim)
        self.v_proj, self.out_proj = projection("v_proj", self.vdim), projection("out_proj", embed_dim)

    @classmethod
    def from_digital(
        cls, module: Any, rpu_config: RPUConfig | Sequence[RPUConfig] | None = None,
        tile_module_class: type[Any] | None = None, replicas: int | None = None, seeds: Sequence[int] | None = None,
        stream: str = "attention",
    ) -> Self:  # fmt: skip
        """The analog layer with the weights, biases and flags of a torch layer, the same in all replicas."""
        layer = cls(
            module.embed_dim, module.num_heads, module.dropout, module.in_proj_bias is not None, module.bias_k is not None,
            module.add_zero_attn, module.kdim, module.vdim, module.batch_first, rpu_config, tile_module_class, replicas, seeds,
            stream,
        )  # fmt: skip
        layer._take(module)
        return layer

    def to_digital(self) -> nn.MultiheadAttention:
        """The torch layer with the same weights, biases and flags."""
        module = self._precise_twin()
        for twin, projection in zip(_projections(module), self._all(), strict=True):
            projection._give(twin)
        trained = all(tile._anchor().requires_grad for tile in self.analog_tiles())
        return module.requires_grad_(trained).train(self.training)

    def _twin(self) -> nn.MultiheadAttention:
        bias = self.q_proj.get_weights()[1] is not None
        return nn.MultiheadAttention(
            self.embed_dim, self.num_heads, self.dropout, bias, kdim=self.kdim, vdim=self.vdim, batch_first=self.batch_first
        )

    def _take(self, module: Any) -> None:
        for twin, projection in zip(_projections(module), self._all(), strict=True):
            projection._take(twin)
        self.train(module.training)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Attention output and weights; shapes and masks as of torch's layer."""
        if is_causal and attn_mask is None:
            raise ShapeError("is_causal is a hint about attn_mask: give that too")
        batched = query.dim() == 3
        q, k, v = (t if batched else t.unsqueeze(0 if self.batch_first else 1) for t in (query, key, value))
        if not self.batch_first:
            q, k, v = (t.transpose(0, 1) for t in (q, k, v))
        heads = [self._heads(p(t)) for p, t in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))]
        mask = self._mask(attn_mask, key_padding_mask if batched or key_padding_mask is None else key_padding_mask[None], q)
        scores = (heads[0] / math.sqrt(self.embed_dim // self.num_heads)) @ heads[1].transpose(2, 3)
        weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        weights = functional.dropout(weights, self.dropout, self.training)
        y = self.out_proj((weights @ heads[2]).transpose(1, 2).reshape(q.shape))
        y = y if self.batch_first else y.transpose(0, 1)
        shown = None
        if need_weights:
            shown = weights.mean(dim=1) if average_attn_weights else weights
            shown = shown if batched else shown.squeeze(0)
        return (y if batched else y.squeeze(0 if self.batch_first else 1)), shown

    def _all(self) -> tuple[AnalogLinear, ...]:
        return self.q_proj, self.k_proj, self.v_proj, self.out_proj

    def _heads(self, t: Tensor) -> Tensor:
        """(B, L, embed) to (B, heads, L, embed / heads)."""
        return t.view(*t.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _mask(self, attn_mask: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
        """Both masks as one that is added to the scores (B, heads, L, S)."""
        total = None
        if attn_mask is not None:
            total = _added(attn_mask, like)
            total = total.view(-1, self.num_heads, *total.shape[1:]) if total.dim() == 3 else total[None, None]
        if padding is not None:
            added = _added(padding, like)[:, None, None, :]
            total = added if total is None else total + added
        return total


class _Projection:
    """One matrix of torch's attention with its bias, as if it were a layer; the memory is the module's."""

    def __init__(self, weight: Tensor, bias: Tensor | None, of: nn.Parameter, bias_of: nn.Parameter | None) -> None:
        self.weight = weight.detach().requires_grad_(of.requires_grad)
        self.bias = None if bias is None or bias_of is None else bias.detach().requires_grad_(bias_of.requires_grad)
        self.training = True

    def train(self, mode: bool) -> _Projection:
        return self


def _projections(module: Any) -> list[_Projection]:
    """Query, key, value and output projection."""
    joint, bias, out = module.in_proj_weight, module.in_proj_bias, module.out_proj
    whole = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight] if joint is None else [joint] * 3
    weights = whole if joint is None else joint.chunk(3)
    biases: Any = [None] * 3 if bias is None else bias.chunk(3)
    found = [_Projection(w, b, of, bias) for w, b, of in zip(weights, biases, whole, strict=True)]
    return [*found, _Projection(out.weight, out.bias, out.weight, out.bias)]


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask of truth values (true: not seen) as one that is added."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)
