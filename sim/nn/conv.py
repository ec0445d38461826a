"""Convolutions on analog tiles: every output position of every image is one matrix-vector product."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.configs.rpu import RPUConfig
from sim.errors import ConfigError
from sim.nn.module import AnalogLayer
from sim.ops import ShapeError
from sim.tiles.common import Replicas
from sim.tiles.grid import TileGrid, grid_class, split
from sim.tiles.groups import TileGroups

__all__ = ["AnalogConv1d", "AnalogConv1dMapped", "AnalogConv2d", "AnalogConv2dMapped", "AnalogConv3d", "AnalogConv3dMapped"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

Size = int | Sequence[int]


class AnalogConv(AnalogLayer):
    """A convolution as a matrix on tiles: (out_channels, in_channels / groups * elements of the kernel).

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode : as of torch's layer
    rpu_config, tile_module_class, replicas, seeds, stream : as of `AnalogLayer`
    use_indexed : taken for scripts of the field; how the patches of an image are gathered makes no difference here

    Raises
    ------
    ConfigError
        for a size below 1, channels that are not a multiple of the groups, a padding that there is not, or what a tile refuses

    Notes
    -----
    Images are (N, channels, ...) or one image (channels, ...); replicated: (R N, channels, ...). Each group has tiles of its
    own. The pairs of an update come in the order of the images, then of the positions.
    """

    axes: ClassVar[int]
    digital: ClassVar[type[Any]]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size | str = 0,
        dilation: Size = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, tile_module_class: type[Any] | None = None,
        use_indexed: bool | None = None, replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
        checked = self._prepare(rpu_config, replicas, seeds, stream, **sizes)
        for name in ("in_channels", "out_channels"):
            if sizes[name] % groups:
                raise ConfigError(f"{name} = {sizes[name]} is not allowed: give a multiple of groups = {groups}", field=name)
        if padding_mode not in PADDING_MODES:
            allowed = "one of " + ", ".join(PADDING_MODES)
            raise ConfigError(f"padding_mode = {padding_mode!r} is not allowed: give {allowed}", field="padding_mode")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._per_axis(kernel_size, "kernel_size")
        self.stride, self.dilation = self._per_axis(stride, "stride"), self._per_axis(dilation, "dilation")
        self.padding: tuple[int, ...] | str = padding if isinstance(padding, str) else self._per_axis(padding, "padding", 0)
        self.padding_mode = padding_mode
        self._pads = self._both_sides()
        self.analog_module = self._module(checked, bias, tile_module_class)
        self.reset_parameters()

    def _module(self, checked: Replicas[RPUConfig], bias: bool, tile_module_class: type[Any] | None) -> nn.Module:
        out, n_in = self.out_channels // self.groups, self.in_channels // self.groups * math.prod(self.kernel_size)
        if self.groups == 1:
            return self._tiles(out, n_in, checked, bias, tile_module_class)
        return TileGroups(self.groups, lambda g: self._tiles(out, n_in, checked, bias, tile_module_class, f".group{g}"))

    @classmethod
    def from_digital(
        cls, module: Any, rpu_config: RPUConfig | Sequence[RPUConfig] | None = None,
        tile_module_class: type[Any] | None = None, replicas: int | None = None, seeds: Sequence[int] | None = None,
        stream: str = "",
    ) -> Self:  # fmt: skip
        """The analog layer with the weights, bias and flags of a torch layer, the same in all replicas."""
        layer = cls(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding, module.dilation,
            module.groups, module.bias is not None, module.padding_mode, rpu_config, tile_module_class, None, replicas, seeds,
            stream,
        )  # fmt: skip
        layer._take(module)
        return layer

    def to_digital(self) -> Any:
        """The torch layer with the same weights, bias and flags."""
        return self._give(self._precise_twin())

    def _twin(self) -> Any:
        return self.digital(
            self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding, self.dilation, self.groups,
            self.get_weights()[1] is not None, self.padding_mode,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of images (N, in_channels, ...) or of one, (in_channels, ...)."""
        if x.dim() not in (self.axes + 1, self.axes + 2) or x.shape[-1 - self.axes] != self.in_channels:
            raise ShapeError(
                f"x has shape {tuple(x.shape)}; this layer needs (N, {self.in_channels}) and {self.axes} axes of an image"
            )
        images = x if x.dim() == self.axes + 2 else x.unsqueeze(0)
        if any(self._pads):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            images = functional.pad(images, self._pads, mode=mode)
        sizes = [
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(images.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        ]
        if min(sizes) < 1:
            raise ShapeError(f"x has shape {tuple(x.shape)}, which is smaller than the kernel {self.kernel_size}")
        patches = Patches.apply(images, self.kernel_size, self.stride, self.dilation)
        y = self.analog_module(patches).transpose(1, 2).reshape(len(images), self.out_channels, *sizes)
        return y if x.dim() == self.axes + 2 else y.squeeze(0)

    def _per_axis(self, value: Size, name: str, least: int = 1) -> tuple[int, ...]:
        sizes = (value,) * self.axes if isinstance(value, int) else tuple(value)
        if len(sizes) != self.axes or not all(isinstance(n, int) and n >= least for n in sizes):
            raise ConfigError(
                f"{name} = {value!r} is not allowed: give a whole number of at least {least}, or {self.axes} of them", field=name
            )
        return sizes

    def _both_sides(self) -> list[int]:
        """Padding as torch's pad takes it: of the last axis first, both sides."""
        if self.padding == "same":
            if any(s != 1 for s in self.stride):
                raise ConfigError(
                    f"padding = 'same' is not allowed with stride = {self.stride}: give a stride of 1", field="padding"
                )
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(n // 2, n - n // 2) for n in total]
        elif self.padding == "valid":
            sides = [(0, 0)] * self.axes
        elif isinstance(self.padding, str):
            raise ConfigError(f"padding = {self.padding!r} is not allowed: give numbers, 'same' or 'valid'", field="padding")
        else:
            sides = [(n, n) for n in self.padding]
        return [n for side in reversed(sides) for n in side]

    def extra_repr(self) -> str:
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return shown + (f", groups={self.groups}" if self.groups > 1 else "")


class Patches(torch.autograd.Function):
    """Images (N, C, ...) as the inputs of every output position, (N, positions, C * elements of the kernel)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
    ) -> Tensor:
        ctx.shape, ctx.kernel, ctx.stride, ctx.dilation = x.shape, kernel, stride, dilation
        n, view = len(kernel), x
        for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
            view = view.unfold(2 + axis, d * (k - 1) + 1, s)[..., ::d]
        ctx.positions = view.shape[2 : 2 + n]
        order = [0, *range(2, 2 + n), 1, *range(2 + n, 2 + 2 * n)]
        return view.permute(order).reshape(x.shape[0], math.prod(ctx.positions), x.shape[1] * math.prod(kernel))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        n, (images, channels) = len(ctx.kernel), ctx.shape[:2]
        g = grads[0].reshape(images, *ctx.positions, channels, *ctx.kernel)
        g = g.permute(0, 1 + n, *range(1, 1 + n), *range(2 + n, 2 + 2 * n))
        dx = grads[0].new_zeros(ctx.shape)
        for element in itertools.product(*(range(k) for k in ctx.kernel)):  # each in turn: sums in one fixed order
            window: tuple[Any, ...] = tuple(
                slice(e * d, e * d + (p - 1) * s + 1, s)
                for e, d, p, s in zip(element, ctx.dilation, ctx.positions, ctx.stride, strict=True)
            )
            at: tuple[Any, ...] = (slice(None), slice(None), *window)
            of: tuple[Any, ...] = (Ellipsis, *element)
            dx[at] += g[of]
        return dx, None, None, None


class MappedConv(AnalogConv):
    """A convolution split over tiles along whole channels only; its bias is digital."""

    def _module(self, checked: Replicas[RPUConfig], bias: bool, tile_module_class: type[Any] | None) -> nn.Module:
        mapping, elements = checked.first.mapping, math.prod(self.kernel_size)
        if bias and not mapping.digital_bias:
            raise ConfigError(
                "mapping.digital_bias = False is not allowed here: a layer split along its channels has a digital bias",
                field="mapping.digital_bias",
            )
        limit = mapping.max_input_size
        if 0 < limit < elements:
            raise ConfigError(
                f"mapping.max_input_size = {limit} is not allowed: one channel has {elements} inputs; give at least as many",
                field="mapping.max_input_size",
            )
        given = tile_module_class is not None and issubclass(tile_module_class, TileGrid)
        grid = tile_module_class if given and tile_module_class is not None else grid_class(checked.first)
        kind = None if given else tile_module_class
        channels = split(self.in_channels // self.groups, limit // elements if limit > 0 else 0)

        def make(g: int) -> TileGrid:
            name = self.stream if self.groups == 1 else f"{self.stream}.group{g}"
            columns, out = [c * elements for c in channels], self.out_channels // self.groups
            return grid(out, sum(columns), checked, bias, seeds=self.seeds, stream=name, columns=columns, kind=kind)

        return make(0) if self.groups == 1 else TileGroups(self.groups, make)


class AnalogConv1d(AnalogConv):
    __doc__ = AnalogConv.__doc__
    axes, digital = 1, nn.Conv1d


class AnalogConv2d(AnalogConv):
    __doc__ = AnalogConv.__doc__
    axes, digital = 2, nn.Conv2d


class AnalogConv3d(AnalogConv):
    __doc__ = AnalogConv.__doc__
    axes, digital = 3, nn.Conv3d


class AnalogConv1dMapped(MappedConv):
    __doc__ = MappedConv.__doc__
    axes, digital = 1, nn.Conv1d


class AnalogConv2dMapped(MappedConv):
    __doc__ = MappedConv.__doc__
    axes, digital = 2, nn.Conv2d


class AnalogConv3dMapped(MappedConv):
    __doc__ = MappedConv.__doc__
    axes, digital = 3, nn.Conv3d
