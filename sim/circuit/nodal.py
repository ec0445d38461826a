"""The exact currents of a crossbar with resistive wires.

Every cell joins a node of its row wire to a node of its column wire; rows are driven at one end, columns held at 0 V at
theirs. The network is linear, so that the currents of all columns are a matrix times the voltages of the rows, and that
matrix is what is computed, once for an array: blocks of cells are merged two by two, and the nodes where they meet are
eliminated. A block of p x q cells is the admittance between its 2 (p + q) wire ends, so that the work grows as the cube of a
side of the array, as in nested dissection, and all of it is products of dense matrices. They are symmetric: of larger blocks
only the lower triangle is kept and computed.

Source: A. George, SIAM J. Numer. Anal. 10, 345 (1973), for the order of the elimination.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.linalg import blas, lapack, solveh_banded
from torch import Tensor

from sim.errors import ConfigError
from sim.ops import ShapeError

__all__ = ["NodalArray", "nodal_weights"]

CHUNK = 128
"""Rows and columns that are merged together first, so that they stay in the cache."""
SMALL = 32
"""Rows and columns of the blocks that are merged all at once; larger ones are merged one by one, by LAPACK."""

A = np.ndarray[Any, Any]


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
    size = (min(rows, CHUNK), min(columns, CHUNK))
    chunks = [
        [_chunk(_cells(part, g_row, g_column)) for part in strip.split(size[1], dim=1)] for strip in cells.split(size[0], dim=0)
    ]
    whole, (p, q) = _grown(chunks, size)
    kept = [(0, p), (p + q, p), (2 * p + q, q), (p, q)]  # L and N stay; R and F lead nowhere
    ends = _eliminated(_assembled([(whole, kept)], p + q, p + q))
    return torch.from_numpy(-ends[rows : rows + out, :n_in]).contiguous()


def _chunk(cells: Tensor) -> A:
    """One block of the cells of a chunk: small ones all at once, larger ones one by one."""
    y, (p, q) = _small(cells)
    return _grown([[block.numpy().T for block in strip] for strip in y], (p, q))[0]


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


Sizes = tuple[int, int, int, int]
"""Numbers of the ends L (p), R (p), F (q), N (q) of a block of p x q cells."""
Span = tuple[int, int]
"""First of some neighbouring ends and their number."""


def _small(y: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Blocks of up to `SMALL` x `SMALL` cells (rows, columns, ends, ends), and their size."""
    p = q = 1
    while (y.shape[0] > 1 and p < SMALL) or (y.shape[1] > 1 and q < SMALL):
        beside = y.shape[1] > 1 and q < SMALL and (q <= p or y.shape[0] == 1 or p >= SMALL)
        places, seam = (_beside if beside else _above)((p, p, q, q))
        y = _joined(y[:, 0::2], y[:, 1::2], places, seam) if beside else _joined(y[0::2], y[1::2], places, seam)
        p, q = (p, 2 * q) if beside else (2 * p, q)
    return y, (p, q)


def _grown(blocks: list[list[A]], size: tuple[int, int]) -> tuple[A, tuple[int, int]]:
    """One block of a grid of blocks of this size, and its size."""
    p, q = size
    while len(blocks) > 1 or len(blocks[0]) > 1:
        beside = len(blocks[0]) > 1 and (q <= p or len(blocks) == 1)
        (of_a, of_b), seam = (_beside if beside else _above)((p, p, q, q))
        ends = 4 * (p + q) - 2 * seam
        if beside:
            pairs = [list(zip(strip[0::2], strip[1::2], strict=True)) for strip in blocks]
        else:
            pairs = [list(zip(near, far, strict=True)) for near, far in zip(blocks[0::2], blocks[1::2], strict=True)]
        blocks = [[_eliminated(_assembled([(a, of_a), (b, of_b)], ends, seam)) for a, b in strip] for strip in pairs]
        p, q = (p, 2 * q) if beside else (2 * p, q)
    return blocks[0][0], (p, q)


Places = tuple[list[Span], list[Span]]


def _beside(sizes: Sizes) -> tuple[Places, int]:
    """Where the ends of a left and of a right block go: R of the left one is L of the right one, the seam; and its length."""
    n_l, n_r, n_f, n_n = sizes
    at_f = n_l + n_r  # the whole has L, R, F of both, N of both, and then the seam
    at_n = at_f + 2 * n_f
    seam = at_n + 2 * n_n
    of_left = [(0, n_l), (seam, n_r), (at_f, n_f), (at_n, n_n)]
    of_right = [(seam, n_l), (n_l, n_r), (at_f + n_f, n_f), (at_n + n_n, n_n)]
    return (of_left, of_right), n_r


def _above(sizes: Sizes) -> tuple[Places, int]:
    """Where the ends of a near and of a far block go: F of the near one is N of the far one."""
    n_l, n_r, n_f, n_n = sizes
    at_r = 2 * n_l
    at_f = at_r + 2 * n_r
    at_n = at_f + n_f
    seam = at_n + n_n
    of_near = [(0, n_l), (at_r, n_r), (seam, n_f), (at_n, n_n)]
    of_far = [(n_l, n_l), (at_r + n_r, n_r), (at_f, n_f), (seam, n_n)]
    return (of_near, of_far), n_f


def _joined(a: Tensor, b: Tensor, places: Places, seam: int) -> Tensor:
    """Admittances of pairs of small blocks whose ends go to these places of the whole; the seam is the last of them."""
    size = a.shape[-1] + b.shape[-1] - seam
    whole = a.new_zeros(*a.shape[:2], size, size)
    for block, spans in zip((a, b), places, strict=True):
        for i, (first, row, height) in enumerate(_spans(spans)):
            for start, column, width in _spans(spans)[: i + 1]:
                part = block[..., first : first + height, start : start + width]
                whole[..., row : row + height, column : column + width] += part
                if start != first:
                    whole[..., column : column + width, row : row + height] += part.mT
    k = size - seam
    if seam <= 4:
        for _ in range(seam):
            last = whole[..., :-1, -1]
            whole = whole[..., :-1, :-1] - last.unsqueeze(-1) * (last / whole[..., -1:, -1]).unsqueeze(-2)
        return whole
    root = torch.linalg.cholesky(whole[..., k:, k:])
    part = torch.linalg.solve_triangular(root, whole[..., k:, :k], upper=False)
    return whole[..., :k, :k] - part.mT @ part


def _spans(places: list[Span]) -> list[tuple[int, int, int]]:
    """First end in the block, first place in the whole, number."""
    starts = np.cumsum([0, *(count for _, count in places)]).tolist()
    return [(start, place, count) for start, (place, count) in zip(starts, places, strict=False)]


Parts = tuple[A, A, A]
"""Lower triangle of what stays, (k, k); coupling of the nodes to eliminate with it, (s, k); their lower triangle, (s, s)."""


def _assembled(blocks: list[tuple[A, list[Span]]], k: int, seam: int) -> Parts:
    """Admittance of blocks (lower triangles) whose ends go to these places; the last ``seam`` of them are to be eliminated."""
    stay, coupling, inner = np.zeros((k, k), order="F"), np.empty((seam, k), order="F"), np.zeros((seam, seam), order="F")
    for block, places in blocks:
        spans = _spans(places)
        for i, (first, row, height) in enumerate(spans):
            for start, column, width in spans[: i + 1]:
                part = block[first : first + height, start : start + width]
                low, high, part = (row, column, part) if row >= column else (column, row, part.T)
                n, m = part.shape
                if high >= k:
                    inner[low - k : low - k + n, high - k : high - k + m] += part
                elif low >= k:
                    coupling[low - k : low - k + n, high : high + m] = part
                else:
                    stay[low : low + n, high : high + m] = part
    return stay, coupling, inner


def _eliminated(parts: Parts) -> A:
    """Lower triangle of the admittance seen by the others when the nodes of the seam carry no current to the outside."""
    stay, coupling, inner = parts
    root, _ = lapack.dpotrf(inner, lower=1, overwrite_a=1)
    solved = blas.dtrsm(1.0, root, coupling, lower=1, overwrite_b=1)
    return blas.dsyrk(-1.0, solved, 1.0, stay, trans=1, lower=1, overwrite_c=1)
