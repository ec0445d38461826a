"""Networks of the studies, as replicas.

Every layer with weights is analog; what lies between has no parameters and treats each sample alone, so that a replica's
result does not depend on the replicas beside it. Samples come flat, replica after replica.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.nn import (
    AnalogContainer,
    AnalogConv2d,
    AnalogLinear,
    AnalogLSTM,
    AnalogMultiheadAttention,
    AnalogSequential,
    Sigmoid,
)
from sim.ops import sigmoid

if TYPE_CHECKING:
    from sim.configs import RPUConfig
    from studies.data import Images

__all__ = ["fully_connected", "network"]

Configs: TypeAlias = "RPUConfig | list[RPUConfig]"


def network(name: str, images: Images, configs: Configs, seeds: Sequence[int], options: dict[str, int]) -> nn.Module:
    """A network for a data set, one replica a seed.

    Parameters
    ----------
    name : str
        One of :data:`studies.task.NETWORKS`.
    images : Images
    configs : configuration, or one for each replica
    seeds : sequence of int
    options : dict
        All options of that network.

    Returns
    -------
    Module
        Maps (R B, pixels) to logits (R B, classes), or tokens (R B, T) to logits (R B, T, tokens).
    """
    shared = {
        "rpu_config": configs,
        "replicas": None if isinstance(configs, list) else len(seeds),
        "seeds": list(seeds),
    }
    return _NETWORKS[name](images, shared, options)


def _mlp(images: Images, shared: dict[str, Any], options: dict[str, int]) -> nn.Module:
    # mlp3 is the three-layer network of the field's training studies (Gokmen and Vlasov, Front. Neurosci. 10:333, 2016).
    sizes = (images.train_x.shape[1], *options.values(), images.classes)
    return fully_connected(sizes, shared["rpu_config"], shared["seeds"])


class Tanh(nn.Module):
    """2 s(2x) - 1 with the simulator's logistic function: the same bits wherever an element stands."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return 2.0 * sigmoid(2.0 * x) - 1.0


class _Norm(nn.Module):
    """Each sample to mean 0 and variance 1: what batch normalisation would couple, samples and replicas, stays apart."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, ...)."""
        # One memory order: torch has a kernel for each, whose sums differ, and chooses by the number of samples.
        return functional.group_norm(x.contiguous(), 1)


class _Fold(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape)


def _lenet5(images: Images, shared: dict[str, Any], _options: dict[str, int]) -> nn.Module:
    # LeCun et al., Proc. IEEE 86, 2278 (1998), with maxima for the trained averages, as in the field's training studies.
    channels, high, wide = images.shape
    inside = 16 * (((high + 4 - 4) // 2 - 4) // 2) * (((wide + 4 - 4) // 2 - 4) // 2)
    return AnalogSequential(
        _Fold(images.shape),
        AnalogConv2d(channels, 6, 5, padding=2, stream="conv1", **shared), Tanh(), nn.MaxPool2d(2),
        AnalogConv2d(6, 16, 5, stream="conv2", **shared), Tanh(), nn.MaxPool2d(2), nn.Flatten(),
        AnalogLinear(inside, 120, stream="fc1", **shared), Tanh(),
        AnalogLinear(120, 84, stream="fc2", **shared), Tanh(),
        AnalogLinear(84, images.classes, stream="fc3", **shared),
    )  # fmt: skip


def _vgg8(images: Images, shared: dict[str, Any], options: dict[str, int]) -> nn.Module:
    channels, high, wide = images.shape
    parts: list[nn.Module] = [_Fold(images.shape)]
    for stage in range(3):
        width = options["width"] * 2**stage
        for number in (1, 2):
            conv = AnalogConv2d(channels, width, 3, padding=1, stream=f"conv{stage + 1}.{number}", **shared)
            parts += [conv, _Norm(), nn.ReLU()]
            channels = width
        parts.append(nn.MaxPool2d(2))
    inside = channels * (high // 8) * (wide // 8)
    hidden = AnalogLinear(inside, 8 * options["width"], stream="fc1", **shared)
    last = AnalogLinear(8 * options["width"], images.classes, stream="fc2", **shared)
    return AnalogSequential(*parts, nn.Flatten(), hidden, nn.ReLU(), last)


class _Residual(AnalogContainer):
    """Two convolutions and a shortcut without weights (option A of He et al., CVPR 2016, section 4.2)."""

    def __init__(self, given: int, width: int, stride: int, shared: dict[str, Any], stream: str) -> None:
        super().__init__()
        self.stride, self.more = stride, width - given
        self.conv1 = AnalogConv2d(given, width, 3, stride=stride, padding=1, stream=f"{stream}.1", **shared)
        self.conv2 = AnalogConv2d(width, width, 3, padding=1, stream=f"{stream}.2", **shared)
        self.norm = _Norm()

    def forward(self, x: Tensor) -> Tensor:
        """(N, given, high, wide) to (N, width, high / stride, wide / stride)."""
        inner = self.norm(self.conv2(torch.relu(self.norm(self.conv1(x)))))
        short = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return torch.relu(inner + short)


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _resnet32(images: Images, shared: dict[str, Any], options: dict[str, int]) -> nn.Module:
    width = options["width"]
    first = AnalogConv2d(images.shape[0], width, 3, padding=1, stream="conv1", **shared)
    parts: list[nn.Module] = [_Fold(images.shape), first, _Norm(), nn.ReLU()]
    given = width
    for stage in range(3):
        for block in range(5):
            stride = 2 if stage and not block else 1
            parts.append(_Residual(given, width * 2**stage, stride, shared, f"block{stage + 1}.{block + 1}"))
            given = width * 2**stage
    return AnalogSequential(*parts, _Mean(), AnalogLinear(given, images.classes, stream="fc", **shared))


class _OneHot(nn.Module):
    """Tokens (N, T) as (N, T, tokens)."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        return functional.one_hot(x, self.tokens).float()


class _Each(AnalogContainer):
    """A layer at every place of a sequence."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, ...) to (N, T, ...)."""
        y: Tensor = self.layer(x.reshape(-1, x.shape[-1]))
        return y.view(*x.shape[:-1], -1)


class _LSTM(AnalogContainer):
    def __init__(self, tokens: int, hidden: int, shared: dict[str, Any]) -> None:
        super().__init__()
        self.lstm = AnalogLSTM(tokens, hidden, batch_first=True, stream="lstm", **shared)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lstm(x)[0]
        return y


def _lstm(images: Images, shared: dict[str, Any], options: dict[str, int]) -> nn.Module:
    tokens, hidden = images.classes, options["hidden"]
    last = _Each(AnalogLinear(hidden, tokens, stream="out", **shared))
    return AnalogSequential(_OneHot(tokens), _LSTM(tokens, hidden, shared), last)


class _Transformer(AnalogContainer):
    """One block (attention to what came before, then two layers), each part with a shortcut and normalised input."""

    def __init__(self, tokens: int, context: int, hidden: int, heads: int, shared: dict[str, Any]) -> None:
        super().__init__()
        self.tokens, self.hidden = tokens, hidden
        # Tokens and places are one-hot side by side: their embedding is one analog matrix.
        self.embed = _Each(AnalogLinear(tokens + context, hidden, stream="embed", **shared))
        self.attention = AnalogMultiheadAttention(hidden, heads, batch_first=True, stream="attention", **shared)
        self.wide = _Each(AnalogLinear(hidden, 4 * hidden, stream="wide", **shared))
        self.narrow = _Each(AnalogLinear(4 * hidden, hidden, stream="narrow", **shared))
        self.out = _Each(AnalogLinear(hidden, tokens, stream="out", **shared))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T) to logits (N, T, tokens)."""
        length = x.shape[1]
        places = torch.eye(length).expand(len(x), -1, -1)
        h = self.embed(torch.cat([functional.one_hot(x, self.tokens).float(), places], 2))
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        inner = functional.layer_norm(h, (self.hidden,))
        h = h + self.attention(inner, inner, inner, need_weights=False, attn_mask=ahead)[0]
        h = h + self.narrow(torch.relu(self.wide(functional.layer_norm(h, (self.hidden,)))))
        y: Tensor = self.out(functional.layer_norm(h, (self.hidden,)))
        return y


def _transformer(images: Images, shared: dict[str, Any], options: dict[str, int]) -> nn.Module:
    return _Transformer(images.classes, images.train_x.shape[1], options["hidden"], options["heads"], shared)


_NETWORKS: dict[str, Callable[[Images, dict[str, Any], dict[str, int]], nn.Module]] = {
    "mlp": _mlp,
    "mlp3": _mlp,
    "lenet5": _lenet5,
    "vgg8": _vgg8,
    "resnet32": _resnet32,
    "lstm": _lstm,
    "transformer": _transformer,
}


def fully_connected(sizes: Sequence[int], configs: Configs, seeds: Sequence[int]) -> AnalogSequential:
    """Fully connected layers with sigmoids between them, one replica a seed.

    Parameters
    ----------
    sizes : sequence of int
        Widths, inputs first.
    configs : configuration, or one for each replica
    seeds : sequence of int
        Seed of each replica; with the layer's name it fixes all that is random in that replica.

    Returns
    -------
    AnalogSequential
        Maps (R B, sizes[0]) to (R B, sizes[-1]), replica after replica; outputs are logits.
    """
    parts: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        if parts:
            parts.append(Sigmoid())
        replicas = None if isinstance(configs, list) else len(seeds)
        layer = AnalogLinear(inputs, outputs, rpu_config=configs, replicas=replicas, seeds=list(seeds), stream=f"fc{number}")
        parts.append(layer)
    return AnalogSequential(*parts)
