"""Device-to-device spread: quantities that are one number where nothing varies, and an (out, in) tensor elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, Union

from sim.random import Draws

if TYPE_CHECKING:
    import torch

__all__ = ["Value", "decay_scale", "idealise_last_column", "magnitude", "normal_spread", "where"]

Value: TypeAlias = Union[float, "torch.Tensor"]


def where(condition: Value | bool, yes: Value, no: Value) -> Value:
    """Pick by a truth value or a tensor of them."""
    if isinstance(condition, bool):
        return yes if condition else no
    import torch

    return torch.where(condition, yes, no)  # type: ignore[arg-type]


def magnitude(value: Value) -> Value:
    """The absolute value."""
    return abs(value) if isinstance(value, float) else value.abs()


def normal_spread(mean: float, relative: float, draws: Draws, name: str) -> Value:
    """``mean (1 + relative xi)``; a plain number where it does not vary."""
    if mean == 0 or relative == 0:
        return mean
    return mean * (1.0 + relative * draws.normal(name))


def decay_scale(lifetime: Value) -> Value:
    """Factor of one decay call, ``1 - 1/lifetime``; 0 for a lifetime of at most one call."""
    if isinstance(lifetime, float):
        return 1.0 - 1.0 / lifetime if lifetime > 1 else 0.0
    return where(lifetime > 1, 1.0 - 1.0 / lifetime.clamp(min=1.0), 0.0)


def idealise_last_column(value: Value, shape: tuple[int, int], ideal: float) -> Value:
    """The same with ``ideal`` at every crosspoint of the last column."""
    import torch

    if isinstance(value, float) and value == ideal:
        return value
    out = torch.full(shape, value) if isinstance(value, float) else value.clone()
    out[:, -1] = ideal
    return out
