// What happens between the converters of a tile, output by output (mvm.md, sections 8 and 10). F is a number or a vector
// of them.
#pragma once
#include "converter.h"
#include "portable.h"
#include "settings.h"

namespace sim {

// Static IR drop with a quadratic profile (8.1).
//
//     z <- z - strength c d,   c = 0.05 a^3 - 0.2 a^2 + 0.5 a,   a = n / g_ratio * current
//
// current   sum_j |A_j| |u_j|
// d         sum_j A_j h_j u_j,  h_j = 1 - (1 - j/n)^2: input 0 is next to the periphery, the last one at the far end
//
// Source: M. J. Rasch, T. Gokmen, W. Haensch, IEEE Design & Test 37(2), 69 (2020), supplement.
template <class F> SIM_HD F static_ir_drop(F z, F current, F d, real n_over_ratio, real strength) {
    const F a = current * n_over_ratio;
    const F c = a * (a * (a * real(0.05) - real(0.2)) + 0.5f);
    return z - c * d * strength;
}

SIM_HD real ir_profile(int j, int n) {
    const real left = 1.0f - static_cast<real>(j) / static_cast<real>(n);
    return 1.0f - left * left;
}

// Voltage offset v of an output and series resistance rho (8.2); `common` is what the reference device adds to every output.
//
//     z <- (1 - v) sat(z + Y) - (1 + v) sat(Y),   sat(t) = t / (1 + rho |t|)
template <class F> SIM_HD F series_drop(F t, real rho) { return t / (1.0f + minimum(absolute(t) * rho, F{} + LARGEST)); }
template <class F> SIM_HD F offset_and_series(F z, F v, real common, real rho) {
    return (1.0f - v) * series_drop(z + common, rho) - (1.0f + v) * series_drop(F{} + common, rho);
}

// Saturation of an output (10, step 1): t = factor z / (1 + |n z|).
template <class F> SIM_HD F output_saturation(F z, F n, real factor) { return z * factor / (1.0f + absolute(n * z)); }

// Whole number of charge quanta, towards zero (14.5).
template <class F> SIM_HD F whole_quanta(F z, real quantum) {
    const F k = round_even(absolute(z) / quantum);
    const F whole = select(k * quantum > absolute(z), k - 1.0f, k) * quantum;
    return select(z < F{}, F{} - whole, whole);
}

// What an output meets in a pass, in order. Read and output noise that nothing separates (`straight`) are drawn as one: they
// are Gaussian and their variances add.
struct OutputPath {
    bool offset, ir_drop, series;    // of the array
    bool read_noise, held;           // read noise; the outputs of the pass before are added
    bool last, saturates, straight;  // digitised after this pass; by a converter that saturates
    bool noisy;                      // a normal is added in front of the converter
    SIM_HD bool read_apart() const { return read_noise && !straight; }
};
SIM_HD OutputPath output_path(const real* s, WeightNoise weight_noise, bool last, bool held, bool offset, bool noise_values) {
    OutputPath p{};
    p.offset = offset, p.held = held, p.last = last;
    p.ir_drop = s[IR_DROP] > 0.0f, p.series = s[V_OFFSET] > 0.0f;
    p.read_noise = weight_noise != WN_NONE && s[W_NOISE] > 0.0f;
    p.saturates = last && s[NONLINEAR] > 0.0f;
    p.straight = last && !p.saturates && s[OUT_ASYMMETRY] == 0.0f;
    p.noisy = (last && (s[OUT_NOISE] > 0.0f || noise_values)) || (p.read_noise && p.straight);
    return p;
}

// What the array does to an output before the read noise (8.1, 8.2, 14.5). offset: output without an input, for a unit of the
// window; total: sum of the inputs.
template <class F>
SIM_HD F array_output(const OutputPath& p, const real* s, const real* values, F z, F offset, F current, F drop, F v_offset, real total, int n) {
    if (p.offset) z = z + offset * values[WINDOW];
    if (values[QUANTUM] > 0.0f) z = whole_quanta(z, values[QUANTUM]);
    if (p.ir_drop) z = static_ir_drop(z, current, drop, to_real(n) / s[IR_DROP_G_RATIO], s[IR_DROP]);
    if (p.series) z = offset_and_series(z, v_offset, -s[V_OFFSET_W_MIN] * total, s[R_SERIES]);
    return z;
}

// Noise of an output and what follows up to the converter. variance: of the read noise; read, added: normals; size: std of the
// output noise.
template <class F>
SIM_HD F noisy_output(const OutputPath& p, const real* s, F z, F variance, F read, F added, F held, F nonlinearity, F size) {
    if (p.read_apart()) z = z + root(variance) * read;
    if (p.held) z = z + held;
    if (p.saturates) z = output_saturation(z, nonlinearity, s[SLOPE]);
    if (p.last) z = output_asymmetry(z, s[OUT_ASYMMETRY]);
    if (p.noisy) z = z + (p.read_noise && p.straight ? root(size * size + variance) : size) * added;
    return z;
}

}  // namespace sim
