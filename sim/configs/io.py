"""Input and output of one analog matrix-vector product (DAC, array, ADC)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from sim.configs.enums import AnalogMVType, BoundManagementType, NoiseManagementType, WeightNoiseType
from sim.errors import ConfigError
from sim.settings import Config, NonNegative, Positive, Range, Real, Structural, config

__all__ = ["BitSlicedIOParameters", "IOParameters", "IOParametersIRDropT", "quantiser_step"]

Bound = Annotated[float, Range(infinite=True)]


PHASED = (AnalogMVType.SPLIT_MODE, AnalogMVType.BIT_WISE)
TWO_PASS = (AnalogMVType.POS_NEG_SEPARATE, AnalogMVType.POS_NEG_SEPARATE_DIGITAL_SUM)
MAX_INPUT_BITS = 24


def quantiser_step(resolution: float, bound: float) -> float:
    """Step of a converter with range +-bound (mvm.md, 3.1); 0, no quantiser, where the range has no bound."""
    if resolution <= 0 or bound <= 0 or math.isinf(bound):
        return 0.0
    return 2.0 * bound * (1.0 / resolution if resolution > 1 else resolution)


@config
class IOParameters(Config):
    r"""Non-idealities of the product y = W x in one direction; forward and backward own one each.

    In order: scale by noise and bound management, DAC, input noise and asymmetry, product, IR drop, voltage offsets and series
    resistance, weight noise, saturation, output asymmetry, output noise, ADC, scale back:

    .. math:: y = s \alpha r \; \mathrm{ADC}\bigl(f(W\, \mathrm{DAC}(x / (\alpha r))) + \sigma_w \|u\|_2 \xi
        + \sigma_o \xi\bigr)

    With two passes (``POS_NEG_SEPARATE``, ``POS_NEG_SEPARATE_DIGITAL_SUM``) negative and positive inputs are measured apart and
    added before or after the ADC; with phases (``SPLIT_MODE``, ``BIT_WISE``) the binary digits of the inputs are, and added
    after it.

    All values are in normalised units: inputs in units of the input bound 1, weights in units of the nominal
    conductance range. A resolution r is a bin width as a fraction of the full range 2 bound for 0 < r <= 1, a number
    of bins for r > 1, and off for r <= 0.

    Source: M. J. Rasch et al., Nat. Commun. 14, 5282 (2023), methods.
    """

    is_perfect: Annotated[bool, "exact product; every other field except out_scale is ignored"] = False
    mv_type: Annotated[AnalogMVType, "how the product is measured"] = AnalogMVType.ONE_PASS
    inp_bound: Annotated[Bound, "clip bound of the DAC; none for <= 0"] = 1.0
    inp_noise: Annotated[NonNegative, "std of the noise added to every converted input"] = 0.0
    inp_res: Annotated[Real, "resolution of the DAC"] = 1 / 126
    inp_sto_round: Annotated[bool, "stochastic rounding in the DAC"] = False
    inp_asymmetry: Annotated[Real, "negative inputs are multiplied by 1 - inp_asymmetry"] = 0.0
    out_bound: Annotated[Bound, "clip bound of the ADC; none for <= 0"] = 12.0
    out_noise: Annotated[NonNegative, "std of the noise added to every output before the ADC"] = 0.06
    out_noise_std: Annotated[NonNegative, "relative spread of out_noise between outputs"] = 0.0
    out_res: Annotated[Real, "resolution of the ADC"] = 1 / 510
    out_sto_round: Annotated[bool, "stochastic rounding in the ADC"] = False
    out_scale: Annotated[Real, "digital factor on the final output"] = 1.0
    out_asymmetry: Annotated[NonNegative, "negative outputs are multiplied by 1 - out_asymmetry"] = 0.0
    bound_management: Annotated[BoundManagementType, "what is done when the ADC clips (forward only)"] = (
        BoundManagementType.ITERATIVE
    )
    noise_management: Annotated[NoiseManagementType, "how inputs are scaled into the DAC's range"] = NoiseManagementType.ABS_MAX
    w_noise: Annotated[NonNegative, "std of the weight noise during one product"] = 0.0
    w_noise_type: Annotated[WeightNoiseType, "law of the weight noise"] = WeightNoiseType.NONE
    ir_drop: Annotated[NonNegative, "scale of the static IR drop; 0 = off"] = 0.0
    ir_drop_g_ratio: Annotated[Positive, "wire conductance of a cell over maximal device conductance"] = 1 / 0.35 / 5e-6
    out_nonlinearity: Annotated[NonNegative, "strength of the saturation of the output"] = 0.0
    out_nonlinearity_std: Annotated[NonNegative, "relative spread of out_nonlinearity between outputs"] = 0.0
    slope_calibration: Annotated[Real, "fraction of out_bound at which the mean output slope is calibrated to 1"] = 0.0
    v_offset_std: Annotated[NonNegative, "spread of the voltage offsets of the outputs"] = 0.0
    v_offset_signed: Annotated[bool, "offsets of either sign; false: only positive ones, half of the outputs have none"] = False
    v_offset_w_min: Annotated[Real, "weight of the implicit reference device"] = -1.0
    r_series: Annotated[NonNegative, "series resistance as a fraction of the total output current"] = 0.0
    w_read_asymmetry_dtod: Annotated[NonNegative, "device spread of the weight that negative inputs see"] = 0.0
    max_bm_factor: Annotated[int, Range(low=1), "bound management stops above this reduction"] = 1000
    max_bm_res: Annotated[Positive, "bound management stops when the reduction exceeds max_bm_res / DAC step"] = 0.25
    bm_test_negative_bound: Annotated[bool, "the negative ADC bound triggers bound management too"] = True
    split_mode_bit_shift: Annotated[int, Range(low=1, high=24), Structural(), "bits of the first phase of SPLIT_MODE"] = 3
    nm_thres: Annotated[NonNegative, "limit of the noise-management scale, or the scale itself for CONSTANT"] = 0.0

    def rules(self) -> None:
        """Noise management scales inputs to 1, so the DAC must end there; phases need a DAC."""
        if self.ideal:
            return
        if self.noise_management is not NoiseManagementType.NONE and self.inp_bound != 1.0:
            raise ConfigError(
                f"inp_bound = {self.inp_bound:g} does not go with noise_management = {self.noise_management.name}, "
                "which scales inputs to 1: set inp_bound to 1 or noise_management to NONE",
                field="inp_bound",
                value=self.inp_bound,
                allowed="1",
            )
        if self.mv_type in PHASED:
            self._needs_levels(f"mv_type = {self.mv_type.name}")
        if self.mv_type is AnalogMVType.SPLIT_MODE:
            bits = self.input_bits + 1
            if 2 * self.input_levels != 2**bits - 2:
                raise ConfigError(
                    f"inp_res = {self.inp_res:g} does not go with mv_type = SPLIT_MODE, which needs 2^n - 2 bins: "
                    f"give 1/{2**bits - 2}",
                    field="inp_res",
                    value=self.inp_res,
                    allowed="1/(2^n - 2)",
                )
            if self.split_mode_bit_shift >= bits:
                raise ConfigError(
                    f"split_mode_bit_shift = {self.split_mode_bit_shift} does not go with an input of {bits} bits: "
                    f"give at most {bits - 1}",
                    field="split_mode_bit_shift",
                    value=self.split_mode_bit_shift,
                    allowed=f"at most {bits - 1}",
                )

    @property
    def ideal(self) -> bool:
        """Whether the product is exact."""
        return self.is_perfect or self.mv_type is AnalogMVType.IDEAL

    @property
    def inp_step(self) -> float:
        """Step of the DAC; 0: no quantiser."""
        return quantiser_step(self.inp_res, self.inp_bound)

    @property
    def input_levels(self) -> int:
        """Largest level of a quantised input; levels are symmetric around 0."""
        return math.floor(self.inp_bound / self.inp_step + 1e-6) if self.inp_step > 0 else 0

    @property
    def input_bits(self) -> int:
        """Binary digits of the magnitude of a quantised input."""
        return self.input_levels.bit_length()

    @property
    def static_ir_drop(self) -> float:
        """Scale of the IR drop with a quadratic profile."""
        return self.ir_drop

    def _needs_levels(self, what: str) -> None:
        if not 1 <= self.input_bits <= MAX_INPUT_BITS:
            raise ConfigError(
                f"inp_res = {self.inp_res:g} does not go with {what}, which feeds inputs by their levels: give a resolution of "
                f"the DAC with 1 to {MAX_INPUT_BITS} bits and a finite inp_bound",
                field="inp_res",
                value=self.inp_res,
                allowed=f"1 to {MAX_INPUT_BITS} bits",
            )


@config
class IOParametersIRDropT(IOParameters):
    r"""Inputs as pulse widths, with the IR drop along every column while they last (mvm.md, section 14).

    A column is ``ir_drop_segments`` lumped segments with the wire between them; its Thevenin equivalent drives the ADC,
    which integrates the current. Columns are read at alternate ends. A row that is on holds its pair of devices at 0.6 V
    and 0.2 V, one that is off at 0.4 V, so that the network is linear and its resistance does not depend on the inputs: the
    charge is exactly a sum over the pulse widths,

    .. math:: Q_i = \sum_j M_{ij}(W) k_j + T i_0(W)

    with k the levels of the inputs and T the steps of a phase. Nothing is stepped in time. In training the product is ideal
    between the converters.

    Source: mvm.md, section 14; the column itself is in `sim/circuit/column.py`.
    """

    ir_drop: Annotated[NonNegative, "scale of the wire resistance; 0 = off"] = 1.0
    ir_drop_rs: Annotated[NonNegative, "wire resistance between neighbouring cells [Ohm]"] = 0.15
    ir_drop_segments: Annotated[int, Range(low=1), Structural(), "lumped segments of a column; divides the physical inputs"] = 8
    ir_drop_time_step_resolution_scale: Annotated[Positive, "time steps for each level of an input (not in BIT_WISE)"] = 1.0
    ir_drop_v_read: Annotated[Real, "read voltage at the ADC [V]"] = 0.4005
    apply_xdep_pcm_read_noise: Annotated[bool, "read noise of PCM that depends on the mean input"] = False
    xdep_pcm_read_noise_scale: Annotated[NonNegative, "its scale"] = 1.0
    adc_quantization: Annotated[bool, "the ADC counts whole charge quanta"] = True
    adc_frequency: Annotated[Positive, "frequency of the ADC [GHz]"] = 6.24
    ir_drop_integration_sum: Annotated[bool, "no effect: the charge is exact with either rule"] = False

    def rules(self) -> None:
        """Inputs are pulse widths: they need levels, and no passes by sign."""
        super().rules()
        if self.ideal:
            return
        if self.mv_type in TWO_PASS:
            raise ConfigError(
                f"mv_type = {self.mv_type.name} does not go with a time-stepped IR drop: give ONE_PASS, SPLIT_MODE or BIT_WISE",
                field="mv_type",
                value=self.mv_type,
                allowed="ONE_PASS, SPLIT_MODE, BIT_WISE",
            )
        self._needs_levels("a time-stepped IR drop")

    @property
    def static_ir_drop(self) -> float:
        """The columns have wires instead."""
        return 0.0


@config
class BitSlicedIOParameters(IOParameters):
    r"""Weights over several devices of stated significance, inputs in slices of bits; shift and add after the ADC.

    A weight in +-1 is a whole number of levels, :math:`|w| \approx \sum_k f_k d_k / (L - 1) / \sum_k f_k`, with the
    significances f, L = 2^weight_bits levels of a device and the digits d_k = 0 ... L - 1 found from the most significant
    device down. Each slice of the weights meets each slice of the inputs in a product of its own, with the noise and the ADC
    of these parameters, and the results are added with their significance:

    .. math:: y = \sum_{p,k} c_p s_k\, \mathrm{ADC}(W_k u_p), \quad W_k = d_k / (L - 1), \quad s_k = f_k / \sum f

    A digit of an input is fed at the full range of the DAC: :math:`u_p` is the digit over :math:`2^b - 1`.

    Source: A. Shafiee et al., ISCA 2016 (ISAAC), section 5; T. P. Xiao et al., Appl. Phys. Rev. 7, 031301 (2020), section IV.
    """

    weight_significance: Annotated[Sequence[Annotated[float, Range(low=1.0)]], "significance of the devices of a weight"] = (1.0,)
    weight_bits: Annotated[int, Range(low=0, high=16), Structural(), "bits of one device; 0: continuous, for a single device"] = 0
    input_slice_bits: Annotated[int, Range(low=0, high=MAX_INPUT_BITS), Structural(), "bits of an input fed at once; 0: all"] = 0

    def rules(self) -> None:
        """Slices need levels; the passes are these slices."""
        super().rules()
        if self.ideal:
            return
        if not self.weight_significance or (len(self.weight_significance) > 1 and self.weight_bits == 0):
            raise ConfigError(
                f"weight_bits = {self.weight_bits} does not go with {len(self.weight_significance)} devices a weight: "
                "give the bits that one device stores, and at least one significance",
                field="weight_bits",
                value=self.weight_bits,
                allowed="at least 1",
            )
        if self.mv_type in PHASED:
            raise ConfigError(
                f"mv_type = {self.mv_type.name} does not go with bit slices: give ONE_PASS and input_slice_bits",
                field="mv_type",
                value=self.mv_type,
                allowed="ONE_PASS, POS_NEG_SEPARATE, POS_NEG_SEPARATE_DIGITAL_SUM",
            )
        if self.input_slice_bits:
            self._needs_levels("input slices")
