"""How far the approximations of the IR drop are from the exact currents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.arrays.product import Product
from sim.circuit.column import Conductances, column_matrix
from sim.circuit.nodal import NodalArray, nodal_weights
from sim.configs.io import IOParameters
from sim.errors import ConfigError
from sim.ops import ShapeError

__all__ = ["IRDropReport", "ir_drop_report"]


@dataclass(frozen=True)
class IRDropReport:
    """Relative L2 errors of products, 0.01 = 1 %.

    drop : of the product without wires against the exact one, devices of a pair on columns of their own
    quadratic : of the static approximation (mvm.md, 8.1) against the same
    paired_drop : of the product without wires against the exact one, both devices of a pair on one column
    time_stepped : of the lumped columns (mvm.md, 14) against the same
    """

    drop: float
    quadratic: float
    paired_drop: float
    time_stepped: float


def ir_drop_report(
    weight: Tensor, x: Tensor, g_max: float = 5e-6, row_wire: float = 0.35, column_wire: float = 0.35, segments: int = 8
) -> IRDropReport:
    """Exact and approximate products of an array.

    Parameters
    ----------
    weight : (out, in) in +-1
    x : (B, in) inputs, voltages in units of the read voltage
    g_max : conductance of a weight of 1 [S]
    row_wire, column_wire : resistance of the wires between neighbouring cells [Ohm]; the approximations know the columns only
    segments : of the lumped columns; they divide the number of inputs

    Raises
    ------
    ShapeError, ConfigError
        For other shapes, weights beyond +-1 or segments that do not divide the inputs.
    """
    if weight.dim() != 2 or x.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ShapeError(f"weight has shape {tuple(weight.shape)} and x {tuple(x.shape)}; these need (out, in) and (B, in)")
    if float(weight.abs().max()) > 1:
        raise ConfigError("weight goes beyond +-1, the conductances of the array: scale it")
    if column_wire <= 0 or weight.shape[1] % segments:
        raise ConfigError(
            f"column_wire = {column_wire} and segments = {segments} are not allowed: give a positive resistance and a divisor of "
            f"the {weight.shape[1]} inputs"
        )
    weight, x = weight.detach().float().contiguous(), x.detach().float().contiguous()
    inputs = x.double()
    plain = inputs @ weight.double().T
    exact = inputs @ nodal_weights(weight, g_max, row_wire, column_wire).T
    io = IOParameters(
        ir_drop=1.0, ir_drop_g_ratio=1 / (column_wire * g_max), inp_bound=0.0, inp_res=0.0, out_bound=0.0, out_res=0.0,
        out_noise=0.0, noise_management="NONE", bound_management="NONE",  # type: ignore[arg-type]
    )  # fmt: skip
    shape = (weight.shape[0], weight.shape[1])
    quadratic = Product([io], [0], False, shape)(weight.unsqueeze(0), x.unsqueeze(0))[0][0].double()
    paired = inputs @ _paired_weights(weight.double(), g_max, row_wire, column_wire).T

    def conductances(w: Tensor) -> Conductances:
        scale = g_max * 1e6
        return Conductances([(w.clamp(min=0) * scale, (-w).clamp(min=0) * scale)], [1.0], torch.full((len(w),), scale))

    lumped = column_matrix(weight.unsqueeze(0), torch.tensor([column_wire]), segments, v_read=0.4, converter=conductances)
    stepped = inputs @ lumped.matrix[0, 0].double().T
    return IRDropReport(_error(plain, exact), _error(quadratic, exact), _error(plain, paired), _error(stepped, paired))


def _paired_weights(weight: Tensor, g_max: float, row_wire: float, column_wire: float) -> Tensor:
    """Exact weights where both devices of a pair are on one column, read at alternate ends: a row of its own for each device."""
    out, n_in = weight.shape
    devices = torch.stack([weight.clamp(min=0), (-weight).clamp(min=0)], dim=2).reshape(out, 2 * n_in) * g_max
    near = NodalArray(devices, row_wire, column_wire / 2).operator
    far = NodalArray(devices.flip(1), row_wire, column_wire / 2).operator.flip(1)
    currents = torch.where((torch.arange(out) % 2 == 0).unsqueeze(1), far, near).reshape(out, n_in, 2)
    return (currents[:, :, 0] - currents[:, :, 1]) / g_max


def _error(approximation: Tensor, exact: Tensor) -> float:
    return float((approximation - exact).norm() / exact.norm())
