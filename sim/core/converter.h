// The converters of a tile, element by element (mvm.md, sections 7 and 10). F is a number or a vector of them.
//
//     DAC:  u = clamp(q(x s), +-inp_bound) [+ inp_noise xi],  u < 0: times 1 - inp_asymmetry
//     ADC:  t = z (t < 0: times 1 - out_asymmetry) + out_noise xi,  y = clamp(q(t), +-out_bound)
//     q(v) = step round(v / step [+ U - 1/2]), half to even;  step 0: no quantiser
//
// Noise at the input is added after clipping, asymmetry at the output before the noise.
//
// Inputs that are fed digit by digit: k = u / step is a whole number, and a pass feeds `bits` of its binary digits from
// `shift` on, with the sign of u, each unit as `amplitude`; the digits are summed after the ADC.
#pragma once
#include "portable.h"

namespace sim {

template <class F> SIM_HD F quantise(F v, real step, F shift) { return step > 0.0f ? round_even(v / step + shift) * step : v; }

template <class F> SIM_HD F dac(F x, real scale, real step, F shift, real bound) {
    return clip(quantise(x * scale, step, shift), F{} - bound, F{} + bound);
}
template <class F> SIM_HD F input_imperfections(F u, real noise, F xi, real asymmetry) {
    u = u + xi * noise;
    return select(u < F{}, u * (1.0f - asymmetry), u);
}

// `scale` pulse widths per unit: a converter whose time axis is coarser than its levels loses the rest (mvm.md, 14.2).
template <class F> SIM_HD F input_digit(F u, real step, int shift, int bits, real amplitude, real scale) {
    auto k = to_int(round_even(absolute(u) / step)) >> shift;
    if (bits < 31) k = k & ((1 << bits) - 1);
    F v = to_real(k);
    if (scale != 1.0f) v = round_even(v * scale) / scale;
    v = v * amplitude;
    return select(u < F{}, F{} - v, select(u == u, v, u));
}

template <class F> struct Adc {
    F value;
    mask_t<F> above, below;  // outside of the range before clipping
};
template <class F> SIM_HD F output_asymmetry(F z, real asymmetry) { return select(z < F{}, z * (1.0f - asymmetry), z); }
template <class F> SIM_HD Adc<F> adc(F t, real step, F shift, real bound) {
    t = quantise(t, step, shift);
    return {clip(t, F{} - bound, F{} + bound), t > F{} + bound, t < F{} - bound};
}

}  // namespace sim
