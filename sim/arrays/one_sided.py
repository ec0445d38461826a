"""A pair of devices that only ever get up pulses, with refresh (devices.md, 10.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sim.arrays.array import Event
from sim.arrays.cells import CellArray, drawn_device
from sim.arrays.product import Product
from sim.arrays.trains import Trains
from sim.configs.unit_cells import OneSidedUnitCell
from sim.configs.update import UpdateParameters
from sim.gpu import may_look, numbers
from sim.random import derive_key

__all__ = ["OneSidedArray"]

MINUS, PLUS = 0, 1


class OneSidedArray(CellArray):
    """``W = g+ - g-``: what would raise the weight is an up pulse on g+, what would lower it an up pulse on g-.

    A refresh reads both devices and, where both are large, resets them and writes their difference back. `vectors` counts
    the samples since the weights were set.
    """

    vectors: Tensor

    def __init__(
        self, cells: Sequence[OneSidedUnitCell], updates: Sequence[UpdateParameters], shape: tuple[int, int], keys: Sequence[int]
    ) -> None:
        drawn = [drawn_device(cells, k, shape, keys) for k in (MINUS, PLUS)]
        mirrored = [cell.copy_inverted for cell in cells]
        if any(mirrored):
            devices = [cell.device_list()[MINUS] for cell in cells]
            drawn[PLUS] = [
                device.mirrored(minus) if mirror else plus
                for device, minus, plus, mirror in zip(devices, drawn[MINUS], drawn[PLUS], mirrored, strict=True)
            ]
        super().__init__(cells, updates, shape, keys, torch.tensor([cell.gammas() for cell in cells]), drawn)
        self.register_buffer("vectors", torch.zeros((), dtype=torch.int64))
        self.readers = torch.nn.ModuleList(
            Product([cell.refresh_forward for cell in cells], [derive_key(key, "refresh", k) for key in keys], False, shape)
            for k in (MINUS, PLUS)
        )
        self.refresh_trains = Trains([cell.refresh_update for cell in cells], [derive_key(key, "write back") for key in keys])

    @property
    def cell(self) -> OneSidedUnitCell:
        """The cell of the first replica; periods and units are structure, the same in all."""
        cell = self.cells[0]
        assert isinstance(cell, OneSidedUnitCell)
        return cell

    def set(self, weight: Tensor) -> None:
        minus, plus = self.devices()
        minus.set((-weight).clamp(min=0.0))
        plus.set(weight.clamp(min=0.0))
        self.vectors.zero_()
        self.combine()

    def update(self, x: Tensor, d: Tensor, rate: Tensor) -> None:
        batch = x.shape[1]
        period = self.cell.refresh_every * (batch if self.cell.units_in_mbatch else 1)
        if period > 0:
            may_look(x, "a one-sided cell counts the samples up to its next refresh: set device.refresh_every to 0")
        start = 0
        while start < batch:
            stop = batch
            if period > 0:  # up to the next refresh
                stop = min(batch, start + period - int(self.vectors) % period)
            part = slice(start, stop)
            for k, side in ((MINUS, -1), (PLUS, 1)):
                self.pulse(k, x[:, part].contiguous(), d[:, part].contiguous(), rate, side)
            self.steps[Event.UPDATE] += 1
            self.vectors += stop - start
            if period > 0 and int(self.vectors) % period == 0:
                self.refresh()
            start = stop
        self.combine()

    def refresh(self) -> None:
        """Reset saturated pairs and write their difference back, all columns at once: each is a one-hot input."""
        minus, plus = self.devices()
        n_in = self.shape[1]
        one_hot = (
            torch.eye(n_in, dtype=self.weight.dtype, device=self.weight.device).expand(self.replicas, n_in, n_in).contiguous()
        )
        read = [reader(array.read().contiguous(), one_hot)[0] for reader, array in zip(self.readers, (minus, plus), strict=True)]
        cells: Any = self.cells
        reach = numbers(self.weight, [abs(cell.device_list()[MINUS].w_max) for cell in cells]).reshape(-1, 1, 1)
        upper = numbers(self.weight, [cell.refresh_upper_thres for cell in cells]).reshape(-1, 1, 1)
        lower = numbers(self.weight, [cell.refresh_lower_thres for cell in cells]).reshape(-1, 1, 1)
        larger = read[PLUS] > read[MINUS]
        high, low = torch.maximum(*read) / reach, torch.minimum(*read) / reach
        chosen = (high > upper) & (low > lower)  # (R, in, out)
        having = chosen.flatten(1).any(1).to(torch.uint8)
        if bool(having.any()):
            crosspoints = chosen.transpose(1, 2).contiguous()
            for array in (minus, plus):
                array.reset_where(crosspoints, having)
        else:
            for array in (minus, plus):
                array.steps[Event.RESET] += 1
        difference = torch.where(chosen, (read[PLUS] - read[MINUS]).abs(), 0.0)
        for k, mine in ((MINUS, ~larger), (PLUS, larger)):
            error = torch.where(mine, difference, 0.0)
            if bool(error.any()):  # open loop: at most desired_bl pulses are written back
                self.devices()[k].pulse(
                    one_hot,
                    -error,
                    self.weight.new_ones(self.replicas),
                    self.refresh_trains,
                    self.granularity,
                    self.steps[Event.UPDATE],
                    1,
                )
            self.steps[Event.UPDATE] += 1  # also where no replica of the group writes: each counts as it would alone
