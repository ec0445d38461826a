"""Cells whose weights are trained through hidden arrays or a digital matrix (compounds.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any, ClassVar

from sim.configs.io import IOParameters
from sim.configs.unit_cells import Seed, UnitCell
from sim.configs.update import UpdateParameters
from sim.devices.base import PulsedDevice
from sim.devices.constant_step import ConstantStepDevice
from sim.errors import ConfigError
from sim.settings import Config, NonNegative, Positive, Probability, Range, Real, Structural, config

__all__ = [
    "BufferedTransferCompound",
    "ChoppedTransferCompound",
    "DigitalRankUpdateCell",
    "DynamicTransferCompound",
    "MixedPrecisionCompound",
    "TransferCompound",
]


def _single_pulses() -> UpdateParameters:
    """At most one pulse a write."""
    return UpdateParameters(desired_bl=1, update_bl_management=False, update_management=False)


@config
class TransferCompound(UnitCell):
    r"""Tiki-Taka: gradients go to a fast array, whose columns are read and written, one after the other, to a slow one.

    N arrays :math:`A_0 \ldots A_{N-1}`, one for each entry of `unit_cell_devices`: the first entry is the device of the fast
    array, the second that of all others. The visible weight is :math:`W = \sum_k \gamma_k A_k`. After the gradient pulses of
    a vector, every :math:`T_j` vectors or mini-batches, a column q of array j is read and written to the next one,

    .. math:: A_{j+1}[:, q] \leftarrow A_{j+1}[:, q] + L_j\, \mathrm{read}(A_j[:, q])

    Derived periods: :math:`T_0` = transfer_every, :math:`T_{j+1} = T_j\, slices / n\_reads\_per\_transfer`. In a read noise
    and bound management play no part: its input is a single 1. Source: T. Gokmen and W. Haensch, Front. Neurosci. 14, 103
    (2020).
    """

    gamma: Annotated[Real, "weight of array N-1-i is gamma^i"] = 0.0
    gamma_vec: Annotated[Sequence[float], "weight of each array, the last not 0; replaces gamma"] = ()
    transfer_every: Annotated[Real, "base period; 0 = never; below 0 (chopped and dynamic): from the number of states"] = 1.0
    transfer_every_vec: Annotated[Sequence[float], "period of each array; replaces transfer_every"] = ()
    no_self_transfer: Annotated[bool, "of no effect: the last array is never transferred to itself"] = True
    units_in_mbatch: Annotated[bool, "periods count mini-batches; false: single vectors"] = True
    n_reads_per_transfer: Annotated[int, Structural(), Range(low=1), "columns (or rows) of one transfer"] = 1
    transfer_columns: Annotated[bool, "columns are transferred; false: rows"] = True
    with_reset_prob: Annotated[Probability, Structural(), "probability that a column is reset after it was read"] = 0.0
    random_selection: Annotated[bool, "a transfer starts at a random column"] = False
    fast_lr: Annotated[Real, "learning rate of the fast array; <= 0: that of the optimizer"] = 1.0
    scale_fast_lr: Annotated[bool, "multiply fast_lr by the learning rate of the optimizer"] = True
    transfer_lr: Annotated[Real, "learning rate of the transfer"] = 1.0
    transfer_lr_vec: Annotated[Sequence[float], "of each array that is read; replaces transfer_lr"] = ()
    scale_transfer_lr: Annotated[bool, "multiply transfer_lr by the learning rate of the optimizer"] = True
    transfer_forward: Annotated[IOParameters, "how a column is read"] = field(default_factory=IOParameters)
    transfer_update: Annotated[UpdateParameters, "how it is written"] = field(default_factory=UpdateParameters)

    auto_period: ClassVar[bool] = False

    def device_list(self) -> tuple[PulsedDevice, ...]:
        devices = tuple(self.unit_cell_devices)
        return devices[:1] + devices[1:2] * (len(devices) - 1)

    def gammas(self) -> list[float]:
        n = len(self.device_list())
        return list(self.gamma_vec) or [float(self.gamma ** (n - 1 - k)) for k in range(n)]

    def granularity(self) -> float:
        """Assumed weight change of one gradient pulse: that of the fast array."""
        return self.device_list()[0].granularity()

    def num_states(self) -> float:
        """Number of states of the array that holds the weight."""
        return self.device_list()[-1].num_states()

    def hidden(self) -> bool:
        """Whether the visible weight is the last array, and nothing else."""
        *leading, last = self.gammas()
        return last == 1.0 and not any(leading)

    def slices(self, shape: tuple[int, int]) -> int:
        """Number of columns, or rows, of an array (out, in) that are transferred one after the other."""
        return shape[1] if self.transfer_columns else shape[0]

    def periods(self, shape: tuple[int, int]) -> list[float]:
        """Period of each array in the unit of `units_in_mbatch`; 0 = never, below 0 = from the number of states."""
        n = len(self.device_list())
        if self.transfer_every_vec:
            return [*self.transfer_every_vec[:-1], 0.0]
        growth = self.slices(shape) / self.n_reads_per_transfer
        return [self.transfer_every * growth**k for k in range(n - 1)] + [0.0]

    def rates(self) -> list[float]:
        """Transfer learning rate of each array that is read."""
        n = len(self.device_list())
        return list(self.transfer_lr_vec) or [self.transfer_lr] * n

    def rules(self) -> None:
        """Two arrays or more, lists of their number, resets of columns only, and no negative period."""
        n = len(self.device_list())
        if n == 1:
            self._refuse("unit_cell_devices", "at least two devices")
        if n:
            for name in ("gamma_vec", "transfer_every_vec", "transfer_lr_vec"):
                if getattr(self, name) and len(getattr(self, name)) != n:
                    self._refuse(name, f"{n} numbers, one for each array, or none")
        if self.gamma_vec and self.gamma_vec[-1] == 0:
            self._refuse("gamma_vec", "a last number other than 0: it is the weight of the array that is written")
        if self.with_reset_prob > 0 and not self.transfer_columns:
            self._refuse("with_reset_prob", "0 for rows: only columns can be reset")
        for name in ("transfer_every", "transfer_every_vec"):
            values = getattr(self, name) if name.endswith("vec") else [getattr(self, name)]
            if not self.auto_period and any(value < 0 for value in values):
                self._refuse(name, "periods of at least 0, 0 = never")

    def _refuse(self, name: str, allowed: str) -> None:
        value = getattr(self, name)
        shown = f"{len(value)} of them" if name == "unit_cell_devices" else list(value) if isinstance(value, tuple) else value
        raise ConfigError(f"{name} = {shown} is not allowed: give {allowed}", field=name, value=value, allowed=allowed)


@config
class BufferedTransferCompound(TransferCompound):
    r"""TTv2: what is read is added up in a digital buffer, and only whole steps are written.

    .. math:: H \leftarrow H + |L|\, \mathrm{read}, \quad s = \mathrm{clip}(\mathrm{trunc}(H / \theta), -B, B), \quad
        \theta = thres\_scale\; \delta

    with the granularity :math:`\delta` of the array that is written and B = transfer_update.desired_bl; s pulses are written,
    exactly (times `step`), where s is not 0. L has a factor :math:`\gamma_j / \gamma_{j+1}` where both are positive. Source:
    T. Gokmen, Front. Artif. Intell. 4, 699148 (2021).
    """

    thres_scale: Annotated[Positive, "threshold in units of the granularity"] = 1.0
    step: Annotated[NonNegative, "size of a written step in units of the granularity"] = 1.0
    momentum: Annotated[Real, "part of the buffer that is kept after a write"] = 0.1
    forget_buffer: Annotated[bool, "a write leaves momentum times the buffer; false: it takes off what was written"] = True
    transfer_update: Annotated[UpdateParameters, "how it is written"] = field(default_factory=_single_pulses)


@config
class ChoppedTransferCompound(TransferCompound):
    r"""Chopped TTv2: signs of rows and columns of the fast array switch now and then, so that its offset averages out.

    Two arrays, the fast A and the slow C. Pulses at (i, j) of A are multiplied by the choppers :math:`c_i c_j`, and so is
    what is read:

    .. math:: H \leftarrow H + s\, c_i c_j\, \mathrm{read}, \quad s = |L| / \beta, \quad
        \beta = buffer\_granularity\; \delta_A\, \frac{auto\_granularity}{slices \cdot E}

    (the fraction only with `auto_granularity` > 0; E is the period in vectors); the buffer fires where :math:`|H| \ge 1` and
    trunc(H) pulses, at most transfer_update.desired_bl, are written. With `auto_scale` the fast rate is
    :math:`fast\_lr\, BL\, \delta_A / (m_x m_d)`, with running maxima of inputs and errors. A `transfer_every` below 0 gives
    the period :math:`|transfer\_every|` times the states of A over the number of slices. in_chop_prob = 0 is TTv2. Source: M. J.
    Rasch et al., Nat. Commun. 15, 7133 (2024).
    """

    units_in_mbatch: Annotated[bool, "periods count mini-batches; false: single vectors"] = False
    scale_fast_lr: Annotated[bool, "multiply fast_lr by the learning rate of the optimizer"] = False
    transfer_update: Annotated[UpdateParameters, "how it is written"] = field(default_factory=_single_pulses)
    in_chop_prob: Annotated[Probability, "probability that the chopper of a column switches when it was read"] = 0.1
    in_chop_random: Annotated[bool, "random switching; false: every max(ceil(1/in_chop_prob), 2) sweeps"] = True
    out_chop_prob: Annotated[Probability, "probability that the chopper of a row switches after a sweep"] = 0.0
    buffer_granularity: Annotated[Real, "unit of the buffer in granularities of the fast array; <= 0 counts as 1"] = 1.0
    auto_granularity: Annotated[NonNegative, "vectors in which a weight is expected to change; 0 = off"] = 0.0
    step: Annotated[NonNegative, "size of a written step in units of the granularity"] = 1.0
    momentum: Annotated[Real, "part of the buffer that is kept after a write"] = 0.0
    forget_buffer: Annotated[bool, "a write leaves momentum times the buffer; false: it takes off what was written"] = True
    no_buffer: Annotated[bool, "nothing is kept between reads"] = False
    auto_scale: Annotated[bool, "scale the fast learning rate by the size of the gradients"] = False
    auto_momentum: Annotated[Probability, "of the running maxima of inputs and errors"] = 0.99
    correct_gradient_magnitudes: Annotated[bool, "divide what is transferred by the fast learning rate"] = False

    auto_period: ClassVar[bool] = True

    def periods(self, shape: tuple[int, int]) -> list[float]:
        period = self.transfer_every_vec[0] if self.transfer_every_vec else self.transfer_every
        return [period, 0.0]

    def buffer_unit(self) -> float:
        """Unit of the buffer in weight, before the factor of auto_granularity."""
        scale = self.buffer_granularity if self.buffer_granularity > 0 else 1.0
        fast, slow = (device.granularity() for device in self.device_list())
        return scale * (slow if self.correct_gradient_magnitudes else fast)

    def sweeps_of_a_phase(self) -> int:
        """Sweeps from one regular switching of the choppers to the next."""
        return max(math.ceil(1.0 / self.in_chop_prob), 2) if self.in_chop_prob > 0 else 2

    def rules(self) -> None:
        """Exactly two arrays, and one column after the other."""
        super().rules()
        if len(self.unit_cell_devices) > 2:
            self._refuse("unit_cell_devices", "two devices")
        for name, only in (("n_reads_per_transfer", 1), ("random_selection", False), ("with_reset_prob", 0.0)):
            if getattr(self, name) != only:
                self._refuse(name, f"{only}: choppers need every column in turn")


@config
class DynamicTransferCompound(ChoppedTransferCompound):
    r"""AGAD: the reference of the fast array is estimated on the fly, as its mean over the last chopper phase.

    .. math:: H \leftarrow H + s\, c_i c_j\, (\mathrm{read} - R), \quad
        M \leftarrow (1 - a) M + a\, \mathrm{read}, \quad a = \min(tail\_weightening / P, 1)

    R is M as it was when the chopper switched last, P the sweeps of a phase. Nothing is written, and the buffer rests, in the
    first P + 1 sweeps. The choppers switch at the end of each phase; with `in_chop_random` at random besides. Source: M. J.
    Rasch et al., Nat. Commun. 15, 7133 (2024).
    """

    in_chop_random: Annotated[bool, "switch at random besides"] = False
    experimental_correct_accumulation: Annotated[bool, "divide what is transferred by the sweeps of the phase so far"] = False
    buffer_cap: Annotated[NonNegative, "limit of the buffer in units of desired_bl; only without forget_buffer; 0 = none"] = 0.0
    tail_weightening: Annotated[NonNegative, "weight of the end of a phase in its mean"] = 5.0


@config
class DigitalRankUpdateCell(Config):
    """An analog device for the products, and a digital matrix in which gradients are added up."""

    abstract = True

    device: Annotated[Config, "the device: a pulsed device, or a vector, reference or one-sided cell"] = field(
        default_factory=ConstantStepDevice
    )
    construction_seed: Annotated[Seed, "seed of the device-to-device spread; 0 = that of the device, or the seed of the tile"] = 0

    def num_states(self) -> float:
        """Number of states of the device."""
        device: Any = self.device
        return float(device.num_states())

    def rules(self) -> None:
        """The device must be one that pulses reach directly."""
        cell = isinstance(self.device, UnitCell) and not isinstance(self.device, TransferCompound)
        if not (cell or isinstance(self.device, PulsedDevice)):
            raise ConfigError(
                f"device = {type(self.device).__name__} is not allowed: give a pulsed device, or a vector, reference or "
                "one-sided cell",
                field="device",
                value=self.device,
                allowed="a pulsed device or such a cell",
            )


@config
class MixedPrecisionCompound(DigitalRankUpdateCell):
    r"""Mixed precision: gradients are added up digitally, and whole steps are written, row by row.

    .. math:: \chi \leftarrow \chi + \eta\, Q(d)\, Q(x)^T, \quad t = \mathrm{trunc}(\chi / \epsilon), \quad
        \chi \leftarrow \chi - \epsilon t

    at the end of every `transfer_every`-th mini-batch, with :math:`\epsilon` = `granularity`; t pulses are written on average,
    with update and update-BL management, times `transfer_lr`. Q rounds to `n_x_bins` or `n_d_bins` values, symmetric around 0
    and scaled to the largest entry of each vector. Source: S. R. Nandakumar et al., Front. Neurosci. 14, 406 (2020).
    """

    transfer_every: Annotated[int, Range(low=0), "mini-batches between transfers; 0 = never"] = 1
    n_rows_per_transfer: Annotated[int, Structural(), Range(low=-1), "rows of one transfer; -1 = all, 0 = none"] = -1
    random_row: Annotated[bool, "start at a random row, where not all are transferred"] = False
    granularity: Annotated[NonNegative, "unit of the digital matrix in weight; 0 = the granularity of the device"] = 0.0
    transfer_lr: Annotated[Real, "factor of what is written"] = 1.0
    n_x_bins: Annotated[int, Range(low=0), "values of an input; 0 = not rounded"] = 0
    n_d_bins: Annotated[int, Range(low=0), "values of an error; 0 = not rounded"] = 0
    stoc_round_x: Annotated[bool, "stochastic rounding of inputs"] = True
    stoc_round_d: Annotated[bool, "stochastic rounding of errors"] = True
