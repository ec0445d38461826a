// What happens between the converters of a tile, output by output (mvm.md, sections 8 and 10). F is a number or a vector
// of them.
#pragma once
#include "portable.h"

namespace sim {

// Static IR drop with a quadratic profile (8.1).
//
//     z <- z - strength c d,   c = 0.05 a^3 - 0.2 a^2 + 0.5 a,   a = n / g_ratio * current
//
// current   sum_j |A_j| |u_j|
// d         sum_j A_j h_j u_j,  h_j = 1 - (1 - j/n)^2: input 0 is next to the periphery, the last one at the far end
//
// Source: M. J. Rasch, T. Gokmen, W. Haensch, IEEE Design & Test 37(2), 69 (2020), supplement.
template <class F> SIM_HD F static_ir_drop(F z, F current, F d, float n_over_ratio, float strength) {
    const F a = current * n_over_ratio;
    const F c = a * (a * (a * 0.05f - 0.2f) + 0.5f);
    return z - c * d * strength;
}

SIM_HD float ir_profile(int j, int n) {
    const float left = 1.0f - static_cast<float>(j) / static_cast<float>(n);
    return 1.0f - left * left;
}

// Voltage offset v of an output and series resistance rho (8.2); `common` is what the reference device adds to every output.
//
//     z <- (1 - v) sat(z + Y) - (1 + v) sat(Y),   sat(t) = t / (1 + rho |t|)
template <class F> SIM_HD F series_drop(F t, float rho) { return t / (1.0f + minimum(absolute(t) * rho, F{} + 3.4028235e38f)); }
template <class F> SIM_HD F offset_and_series(F z, F v, float common, float rho) {
    return (1.0f - v) * series_drop(z + common, rho) - (1.0f + v) * series_drop(F{} + common, rho);
}

// Saturation of an output (10, step 1): t = factor z / (1 + |n z|).
template <class F> SIM_HD F output_saturation(F z, F n, float factor) { return z * factor / (1.0f + absolute(n * z)); }

// Whole number of charge quanta, towards zero (14.5).
template <class F> SIM_HD F whole_quanta(F z, float quantum) {
    const F k = round_even(absolute(z) / quantum);
    const F whole = select(k * quantum > absolute(z), k - 1.0f, k) * quantum;
    return select(z < F{}, F{} - whole, whole);
}

}  // namespace sim
