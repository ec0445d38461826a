"""A column of lumped segments: the array as a time-stepped IR drop sees it (mvm.md, section 14).

The resistance of the column seen by its ADC does not depend on the inputs, because a row that is off still holds its devices
at a voltage. So the current is linear in which rows are on, and the charge of a whole phase is linear in how long they are:
a matrix, made once for the weights, replaces the steps in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ColumnMatrix", "Conductances", "Converter", "column_matrix", "single_pair"]

V_OFF = 0.4
"""Voltage of a row that is off [V]."""
V_ON = 0.2
"""What a row that is on adds to one device of its pair and takes from the other [V]."""
G_LEAK = 1e-12
"""Added to the conductance of a segment, so that an empty one has a resistance [uS]."""


@dataclass(frozen=True)
class Conductances:
    """Devices that hold a weight matrix.

    pairs : (plus, minus) for each pair, (R, ...) [uS]
    factors : significance of each pair
    scale : (R,) conductance of a weight of 1 in a pair of significance 1 [uS]
    """

    pairs: Sequence[tuple[Tensor, Tensor]]
    factors: Sequence[float]
    scale: Tensor


Converter = Callable[[Tensor], Conductances]
"""Weights (R, ...) to conductances."""


def single_pair(weight: Tensor, g_max: float = 25.0, g_min: float = 0.0) -> Conductances:
    """One differential pair; the largest weight of a replica is at ``g_max`` [uS]."""
    largest = weight.abs().flatten(1).amax(dim=1)
    scale = (g_max - g_min) / torch.where(largest > 0, largest, torch.ones_like(largest))
    target = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return Conductances([(target.clamp(0, g_max) + g_min, (-target).clamp(0, g_max) + g_min)], [1.0], scale)


@dataclass(frozen=True)
class ColumnMatrix:
    """What a column with wires does, in units of weights.

    matrix : (R, pairs, m, n), weights as the ADC sees them
    offset : (R, pairs, m), output for each unit of time without any input
    charge : (R, pairs), output of a charge of 1 uA in a unit of time
    """

    matrix: Tensor
    offset: Tensor
    charge: Tensor


def column_matrix(
    weight: Tensor, wire: Tensor, segments: int, phys_input_size: int = 0, v_read: Tensor | float = 0.4005,
    converter: Converter = single_pair,
) -> ColumnMatrix:  # fmt: skip
    """The matrix that replaces the steps in time.

    Parameters
    ----------
    weight : (R, m, n); each of the m columns has n rows
    wire : (R,) resistance between neighbouring cells [Ohm]
    segments : lumped segments of a column
    phys_input_size : rows of the physical array, of which the n are the middle; n if that is not less
    v_read : voltage that the ADC holds the end of a column at [V], a number or (R,)
    converter : how weights become conductances

    Notes
    -----
    A segment of conductance G and open-circuit voltage V; the equivalent (R_th, V_th) goes from the far end to the ADC:

        r1 = R_th + r_wire,  r2 = 1 / G,  R_th <- r1 r2 / (r1 + r2),  V_th <- (V_th / r1 + V / r2) R_th

    so that V_th is a weighted mean of the V, with weights of the conductances only. Columns with an odd index have their ADC at
    row 0, the others at the last row.
    """
    replicas, m, n = weight.shape
    size = max(n, phys_input_size)
    before = (size - n) // 2
    padded = torch.nn.functional.pad(weight, (before, size - n - before))
    padded[:, 1::2] = padded[:, 1::2].flip(2)
    rows = size // segments
    g = converter(padded)
    r_wire = (wire.double() * 1e-6 * rows).reshape(replicas, 1)  # MOhm, as conductances are in uS
    v_read = torch.as_tensor(v_read, dtype=torch.float64, device=weight.device).expand(replicas).reshape(replicas, 1)
    per_weight = g.scale.to(weight.device).double() * V_ON
    matrices, offsets, charges = [], [], []
    for (plus, minus), factor in zip(g.pairs, g.factors, strict=True):
        whole = _row_sums((plus + minus).double().reshape(replicas, m, segments, rows))  # (R, m, segments)
        leaky = whole + G_LEAK
        r_th, shares = 1.0 / leaky[:, :, 0], [torch.ones_like(leaky[:, :, 0])]
        for k in range(1, segments):
            r1, r2 = r_th + r_wire, 1.0 / leaky[:, :, k]
            r_th = r1 * r2 / (r1 + r2)
            shares = [share * (r_th / r1) for share in shares] + [r_th / r2]
        r_th = r_th + r_wire / 2
        current = torch.stack(shares, dim=2) / leaky / r_th.unsqueeze(2)  # uA for each uS V of a segment
        scale = factor / per_weight
        # The ADC draws a current even where nothing is on, unless it holds V_OFF.
        rest = (V_OFF - v_read) / r_th - V_OFF * G_LEAK * _row_sums(current)
        effective = (plus - minus).reshape(replicas, m, segments, rows) * (V_ON * current * scale.reshape(-1, 1, 1)).to(
            weight.dtype
        ).unsqueeze(3)
        effective = effective.reshape(replicas, m, size)
        effective[:, 1::2] = effective[:, 1::2].flip(2)
        matrices.append(effective[:, :, before : before + n])
        offsets.append((rest * scale.reshape(-1, 1)).to(weight.dtype))
        charges.append(scale.to(weight.dtype))
    return ColumnMatrix(torch.stack(matrices, 1), torch.stack(offsets, 1), torch.stack(charges, 1))


def _row_sums(v: Tensor) -> Tensor:
    """Sums over the last axis in order, so that they do not depend on what else is in the tensor."""
    total = torch.zeros_like(v[..., 0])
    for k in range(v.shape[-1]):
        total = total + v[..., k]
    return total
