"""Random fields and elementary functions, whose numbers do not depend on where an element stands."""

from __future__ import annotations

import torch
from torch import Tensor

from sim import _core
from sim.ops.checks import core_of, is_traced, threads
from sim.ops.library import define, library

__all__ = ["FIELD_PURPOSE", "key_tensor_of", "logarithm", "normal_field", "sigmoid", "uniform_field"]

FIELD_PURPOSE = 64


def normal_field(keys: int | Tensor, shape: tuple[int, ...], step: int | Tensor = 0, stream: int = 0) -> Tensor:
    """Standard normals of ``shape`` for a key, or of (R, *shape) for a tensor of R keys; ``stream`` tells uses apart."""
    return _field(keys, shape, step, stream, normal=True)


def uniform_field(keys: int | Tensor, shape: tuple[int, ...], step: int | Tensor = 0, stream: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) of ``shape`` for a key, or of (R, *shape) for a tensor of R keys."""
    return _field(keys, shape, step, stream, normal=False)


def _field(keys: int | Tensor, shape: tuple[int, ...], step: int | Tensor, stream: int, normal: bool) -> Tensor:
    n = 1
    for size in shape:
        n *= size
    single = not isinstance(keys, Tensor)
    key_tensor = keys if isinstance(keys, Tensor) else key_tensor_of([keys])
    step_tensor = step if isinstance(step, Tensor) else torch.tensor(step, dtype=torch.int64)
    field = torch.ops.sim.random_field(key_tensor, FIELD_PURPOSE + stream, step_tensor.to(key_tensor.device), n, normal)
    return field.reshape(shape if single else (key_tensor.shape[0], *shape))


def key_tensor_of(keys: list[int]) -> Tensor:
    """64-bit keys (as Python integers) in an int64 tensor, bit for bit."""
    return torch.tensor([k - (1 << 64) if k >= (1 << 63) else k for k in keys], dtype=torch.int64)


class _Sigmoid(torch.autograd.Function):
    """The op without torch's dispatcher."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # noqa: ANN001
        y = _sigmoid_cpu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:  # noqa: ANN001
        return _sigmoid_gradient(ctx, grads[0])


def sigmoid(x: Tensor) -> Tensor:
    """Logistic function, the same bits for an element wherever it stands in the tensor (torch's are not)."""
    if is_traced() or not x.is_cpu:
        return torch.ops.sim.sigmoid(x)
    return _Sigmoid.apply(x)


def logarithm(x: Tensor) -> Tensor:
    """Natural logarithm of numbers above 0, float32 or float64, the same bits for an element wherever it stands, and fast.

    Relative error below 2e-7 (1e-15); what is below the smallest normal number counts as that. It has no gradient.
    """
    return torch.ops.sim.logarithm(x)


def _random_field_cpu(keys: Tensor, purpose: int, step: Tensor, n: int, normal: bool) -> Tensor:
    field = keys.new_empty((keys.shape[0], n), dtype=torch.float32)
    _core.random_field(field.numpy(), keys.numpy(), purpose, int(step), normal, threads(field.numel()))
    return field


def _logarithm_cpu(x: Tensor) -> Tensor:
    x = x.detach().contiguous()
    y = torch.empty_like(x)
    core_of(x.dtype).logarithm(x.numpy(), y.numpy(), threads(x.numel()))
    return y


def _sigmoid_cpu(x: Tensor) -> Tensor:
    x = x.detach().contiguous()
    y = torch.empty_like(x)
    core_of(x.dtype).sigmoid(x.numpy(), y.numpy(), threads(x.numel()))
    return y


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _sigmoid_context(ctx, inputs, output) -> None:  # noqa: ANN001
    ctx.save_for_backward(output)


def _sigmoid_gradient(ctx, grad: Tensor) -> Tensor:  # noqa: ANN001
    (y,) = ctx.saved_tensors
    return torch.ops.aten.sigmoid_backward.default(grad, y)


define(
    "random_field(Tensor keys, int purpose, Tensor step, int n, bool normal) -> Tensor",
    _random_field_cpu,
    lambda keys, purpose, step, n, normal: keys.new_empty((keys.shape[0], n), dtype=torch.float32),
)
define("sigmoid(Tensor x) -> Tensor", _sigmoid_cpu, _like)
define("logarithm(Tensor x) -> Tensor", _logarithm_cpu, _like)
torch.library.register_autograd("sim::sigmoid", _sigmoid_gradient, setup_context=_sigmoid_context, lib=library)
