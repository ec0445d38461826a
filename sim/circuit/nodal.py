"""The exact currents of a crossbar with resistive wires.

Every cell joins a node of its row wire to a node of its column wire; rows are driven at one end, columns held at 0 V at
theirs. The network is linear, so that the currents of all columns are a matrix times the voltages of the rows, and that
matrix is what is computed, once for an array: blocks of cells are merged two by two, and the nodes where they meet are
eliminated. A block of p x q cells is the admittance between its 2 (p + q) wire ends, so that the work grows as the cube of a
side of the array, as in nested dissection, and all of it is products of dense matrices.

Source: A. George, SIAM J. Numer. Anal. 10, 345 (1973), for the order of the elimination.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from sim.errors import ConfigError
from sim.ops import ShapeError

__all__ = ["NodalArray", "nodal_weights"]

CHUNK = 128
"""Rows and columns that are merged together first, so that they stay in the cache."""


class NodalArray:
    """Exact currents of one array.

    Parameters
    ----------
    conductance : (out, in) of at least 0, in S; column i of the array is output i, row j is input j
    row_wire : resistance of a row between neighbouring cells, and from the driver to its first cell [Ohm]
    column_wire : resistance of a column between neighbouring cells, and from its last cell to the sense amplifier [Ohm]

    Attributes
    ----------
    operator : (out, in) float64, current of each output for 1 V on each input [S]

    Raises
    ------
    ShapeError, ConfigError
        For a conductance that is not a matrix, or a negative or infinite number.

    Notes
    -----
    Input 0 is next to the sense amplifiers, as in the quadratic model (mvm.md, 8.1), and output 0 next to the drivers; flip an
    axis for another end.
    """

    def __init__(self, conductance: Tensor, row_wire: float, column_wire: float) -> None:
        if conductance.dim() != 2 or conductance.numel() == 0:
            raise ShapeError(f"conductance has shape {tuple(conductance.shape)}; this needs (out, in)")
        if not bool((torch.isfinite(conductance) & (conductance >= 0)).all()):
            raise ConfigError("conductance holds a negative or infinite number: a cell has a conductance of at least 0 S")
        for name, wire in (("row_wire", row_wire), ("column_wire", column_wire)):
            if not 0 <= wire < float("inf"):
                raise ConfigError(f"{name} = {wire} is not allowed: give a resistance of at least 0 Ohm", field=name, value=wire)
        g = conductance.detach().double()
        if row_wire == 0 and column_wire == 0:
            self.operator = g
        elif row_wire == 0:
            self.operator = _lines(g, column_wire)
        elif column_wire == 0:
            self.operator = _lines(g.T, row_wire).T.contiguous()
        else:
            self.operator = _merged(g, 1 / row_wire, 1 / column_wire)

    def currents(self, voltages: Tensor) -> Tensor:
        """Currents (..., out) [A] for voltages (..., in) of the rows [V], float64."""
        return voltages.double() @ self.operator.T


def nodal_weights(weight: Tensor, g_max: float, row_wire: float, column_wire: float) -> Tensor:
    """Weights (out, in) that the product sees, float64: both devices of a pair on columns of their own, |w| = 1 at g_max [S]."""
    plus, minus = (NodalArray(part.clamp(min=0) * g_max, row_wire, column_wire) for part in (weight, -weight))
    return (plus.operator - minus.operator) / g_max


def _lines(g: Tensor, wire: float) -> Tensor:
    """Operator where only the wires of the outputs have a resistance: every output is a line by itself."""
    wires = 1 / wire
    n = g.shape[1]
    bands = np.zeros((2, n))
    bands[0, 1:] = -wires
    voltage_at_end = np.zeros(n)
    voltage_at_end[0] = wires
    rows = []
    for line in g.numpy():
        bands[1] = line + wires + np.where(np.arange(n) < n - 1, wires, 0.0)
        rows.append(line * solveh_banded(bands[-min(n, 2) :], voltage_at_end))  # the network is reciprocal
    return torch.from_numpy(np.stack(rows))


def _merged(g: Tensor, g_row: float, g_column: float) -> Tensor:
    """Operator of an array whose wires have these conductances."""
    out, n_in = g.shape
    rows, columns = 1 << (n_in - 1).bit_length(), 1 << (out - 1).bit_length()
    cells = torch.zeros(rows, columns, dtype=torch.float64)  # what is added beyond the far ends carries no current
    cells[:n_in, :out] = g.T
    rows_chunk, columns_chunk = min(rows, CHUNK), min(columns, CHUNK)
    chunks = [
        [_merge(_cells(part, g_row, g_column), (1, 1), False) for part in strip.split(columns_chunk, dim=1)]
        for strip in cells.split(rows_chunk, dim=0)
    ]
    blocks = torch.cat([torch.cat(strip, dim=1) for strip in chunks], dim=0)
    y = _merge(blocks, (rows_chunk, columns_chunk), True)
    return -y[rows : rows + out, :n_in].contiguous()


def _cells(g: Tensor, g_row: float, g_column: float) -> Tensor:
    """Admittance of every cell between the ends of its wires, (rows, columns, 4, 4).

    L and R of the row, F (far from the amplifier) and N (near it) of the column; R and F are the nodes of the cell itself.
    """
    y = g.new_zeros(*g.shape, 4, 4)
    for a, b, value in ((0, 1, g_row), (1, 2, g), (2, 3, g_column)):
        y[:, :, a, a] += value
        y[:, :, b, b] += value
        y[:, :, a, b] -= value
        y[:, :, b, a] -= value
    return y


def _merge(y: Tensor, size: tuple[int, int], whole: bool) -> Tensor:
    """One block of a grid of blocks (rows, columns, ends, ends) of this size; ``whole``: R and F of it lead nowhere."""
    p, q = size  # its ends are L (p), R (p), F (q), N (q)
    while y.shape[0] > 1 or y.shape[1] > 1:
        if y.shape[1] > 1 and (q <= p or y.shape[0] == 1):
            y = _beside(y[:, 0::2], y[:, 1::2], (p, p, q, q))
            q *= 2
        else:
            y = _above(y[0::2], y[1::2], (p, p, q, q))
            p *= 2
    if not whole:
        return y
    order = torch.cat([torch.arange(p), torch.arange(2 * p + q, 2 * (p + q)), torch.arange(p, 2 * p + q)])
    return _eliminated(y[:, :, order.unsqueeze(1), order], p + q)[0, 0]


Sizes = tuple[int, int, int, int]


def _beside(left: Tensor, right: Tensor, sizes: Sizes) -> Tensor:
    """Blocks side by side: R of the left one is L of the right one."""
    n_l, n_r, n_f, n_n = sizes
    at_f = n_l + n_r  # the whole has L, R, F of both, N of both, and then the seam
    at_n = at_f + 2 * n_f
    seam = at_n + 2 * n_n
    of_left = [(0, n_l), (seam, n_r), (at_f, n_f), (at_n, n_n)]
    of_right = [(seam, n_l), (n_l, n_r), (at_f + n_f, n_f), (at_n + n_n, n_n)]
    return _joined(left, of_left, right, of_right, n_r)


def _above(near: Tensor, far: Tensor, sizes: Sizes) -> Tensor:
    """Blocks on top of each other: F of the near one is N of the far one."""
    n_l, n_r, n_f, n_n = sizes
    at_r = 2 * n_l
    at_f = at_r + 2 * n_r
    at_n = at_f + n_f
    seam = at_n + n_n
    of_near = [(0, n_l), (at_r, n_r), (seam, n_f), (at_n, n_n)]
    of_far = [(n_l, n_l), (at_r + n_r, n_r), (at_f, n_f), (seam, n_n)]
    return _joined(near, of_near, far, of_far, n_f)


Span = tuple[int, int]
"""First of some neighbouring ends and their number."""


def _joined(a: Tensor, of_a: list[Span], b: Tensor, of_b: list[Span], seam: int) -> Tensor:
    """Admittance of two blocks whose ends go to these places of the whole; the seam is the last of them."""
    size = a.shape[-1] + b.shape[-1] - seam
    whole = a.new_zeros(*a.shape[:2], size, size)
    for block, spans in ((a, of_a), (b, of_b)):
        start = [0]
        for _, count in spans:
            start.append(start[-1] + count)
        for i, (row, height) in enumerate(spans):
            for j, (column, width) in enumerate(spans):
                part = block[..., start[i] : start[i] + height, start[j] : start[j] + width]
                whole[..., row : row + height, column : column + width] += part
    return _eliminated(whole, seam)


def _eliminated(y: Tensor, count: int) -> Tensor:
    """The admittance seen by the others when the last ``count`` nodes carry no current to the outside."""
    if count <= 4:
        for _ in range(count):
            column = y[..., :-1, -1]
            y = y[..., :-1, :-1] - column.unsqueeze(-1) * (column / y[..., -1:, -1]).unsqueeze(-2)
        return y
    k = y.shape[-1] - count
    root = torch.linalg.cholesky(y[..., k:, k:])
    part = torch.linalg.solve_triangular(root, y[..., k:, :k], upper=False)
    return y[..., :k, :k] - part.mT @ part
