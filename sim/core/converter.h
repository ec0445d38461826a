// The converters of a tile, element by element (mvm.md, sections 7 and 10). F is a number or a vector of them.
//
//     DAC:  u = clamp(q(x s), +-inp_bound) [+ inp_noise xi],  u < 0: times 1 - inp_asymmetry
//     ADC:  t = z (t < 0: times 1 - out_asymmetry) + out_noise xi,  y = clamp(q(t), +-out_bound)
//     q(v) = step round(v / step [+ U - 1/2]), half to even;  step 0: no quantiser
//
// Noise at the input is added after clipping, asymmetry at the output before the noise.
#pragma once
#include "portable.h"

namespace sim {

template <class F> SIM_HD F quantise(F v, float step, F shift) { return step > 0.0f ? round_even(v / step + shift) * step : v; }

template <class F> SIM_HD F dac(F x, float scale, float step, F shift, float bound) {
    return clip(quantise(x * scale, step, shift), F{} - bound, F{} + bound);
}
template <class F> SIM_HD F input_imperfections(F u, float noise, F xi, float asymmetry) {
    u = u + xi * noise;
    return select(u < F{}, u * (1.0f - asymmetry), u);
}

template <class F> struct Adc {
    F value;
    mask_t<F> above, below;  // outside of the range before clipping
};
template <class F> SIM_HD Adc<F> adc(F z, float noise, F xi, float asymmetry, float step, F shift, float bound) {
    F t = select(z < F{}, z * (1.0f - asymmetry), z) + xi * noise;
    t = quantise(t, step, shift);
    return {clip(t, F{} - bound, F{} + bound), t > F{} + bound, t < F{} - bound};
}

}  // namespace sim
