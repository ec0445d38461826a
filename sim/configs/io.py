"""Input and output of one analog matrix-vector product (DAC, array, ADC)."""

from __future__ import annotations

from typing import Annotated

from sim.configs.enums import AnalogMVType, BoundManagementType, NoiseManagementType, WeightNoiseType
from sim.errors import ConfigError
from sim.settings import Config, NonNegative, Positive, Range, Real, config

__all__ = ["IOParameters"]

Bound = Annotated[float, Range(infinite=True)]


@config
class IOParameters(Config):
    r"""Non-idealities of the product y = W x in one direction; forward and backward own one each.

    In order: scale by noise and bound management, DAC, product, weight noise, output asymmetry, output noise, ADC,
    scale back:

    .. math:: y = s \alpha r \; \mathrm{ADC}\bigl(W\, \mathrm{DAC}(x / (\alpha r)) + \sigma_w \|u\|_2 \xi
        + \sigma_o \xi\bigr)

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
    v_offset_w_min: Annotated[Real, "weight of the implicit reference device"] = -1.0
    r_series: Annotated[NonNegative, "series resistance as a fraction of the total output current"] = 0.0
    w_read_asymmetry_dtod: Annotated[NonNegative, "device spread of the weight that negative inputs see"] = 0.0
    max_bm_factor: Annotated[int, Range(low=1), "bound management stops above this reduction"] = 1000
    max_bm_res: Annotated[Positive, "bound management stops when the reduction exceeds max_bm_res / DAC step"] = 0.25
    bm_test_negative_bound: Annotated[bool, "the negative ADC bound triggers bound management too"] = True
    nm_thres: Annotated[NonNegative, "limit of the noise-management scale, or the scale itself for CONSTANT"] = 0.0

    def rules(self) -> None:
        """Noise management scales inputs to 1, so the DAC must end there."""
        if self.noise_management is not NoiseManagementType.NONE and not self._ideal and self.inp_bound != 1.0:
            raise ConfigError(
                f"inp_bound = {self.inp_bound:g} does not go with noise_management = {self.noise_management.name}, "
                "which scales inputs to 1: set inp_bound to 1 or noise_management to NONE",
                field="inp_bound",
                value=self.inp_bound,
                allowed="1",
            )

    @property
    def _ideal(self) -> bool:
        return self.is_perfect or self.mv_type is AnalogMVType.IDEAL
