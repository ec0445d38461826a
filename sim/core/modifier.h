// Weights that products see in hardware-aware training (mapping_and_hwa.md, section 8), crosspoint by crosspoint.
//
//     w      weight,  m  largest weight of the matrix (or the assumed one),  xi  standard normals
//     numbers of a replica and coefficients are those of sim/arrays/modifier.py
#pragma once
#include "elementary.h"

namespace sim {

enum ModifierKind {
    MODIFY_COPY, MODIFY_DISCRETIZE, MODIFY_MULT_NORMAL, MODIFY_ADD_NORMAL, MODIFY_DISCRETIZE_ADD_NORMAL, MODIFY_DOREFA, MODIFY_POLY,
    MODIFY_PROG_NOISE, MODIFY_PCM_NOISE
};
enum ModifierNumber {
    MOD_STD_DEV, MOD_RES, MOD_DOREFA_CLIP, MOD_PDROP, MOD_ASSUMED_WMAX, MOD_G_MAX, MOD_ZERO_THRES, MOD_T_INFERENCE, MOD_AT_RESET, MOD_AT_GMAX,
    MOD_AT_RANDOM, MOD_T0, N_MODIFIER_NUMBERS
};
// Streams of the draws of one modification.
enum ModifierDraw {
    MOD_VALUE, MOD_ROUND, MOD_DROP, MOD_DRIFT, MOD_READ, MOD_RESET_CHOICE, MOD_GMAX_CHOICE, MOD_RANDOM_CHOICE, MOD_STUCK_SIGN, MOD_STUCK_VALUE,
    N_MODIFIER_DRAWS
};
constexpr u32 MODIFIER_NORMALS = 1u << MOD_VALUE | 1u << MOD_DRIFT | 1u << MOD_READ;

struct ModifierArgs {
    const real* weight;       // (R, out, in)
    real* modified;           // (R, out, in)
    const real* numbers;      // (R, N_MODIFIER_NUMBERS)
    const real* largest;      // (R)
    const real* coeffs;       // (R, n_coeffs)
    const long long *keys, *step;
    long long cells;
    int replicas, in, n_coeffs, kind;
    int stochastic, spare_last;  // rounding is random; the last column stays as it is
};

// Which draws a replica needs, a bit each.
SIM_HD u32 modifier_draws(int kind, const real* p, bool stochastic) {
    const bool rounds = kind == MODIFY_DISCRETIZE || kind == MODIFY_DISCRETIZE_ADD_NORMAL || kind == MODIFY_DOREFA;
    const bool stuck = kind == MODIFY_PCM_NOISE && (p[MOD_AT_RESET] > 0.0f || p[MOD_AT_GMAX] > 0.0f || p[MOD_AT_RANDOM] > 0.0f);
    u32 draws = 0;
    if (kind != MODIFY_COPY && kind != MODIFY_DISCRETIZE && kind != MODIFY_DOREFA) draws |= 1u << MOD_VALUE;
    if (rounds && stochastic) draws |= 1u << MOD_ROUND;
    if (p[MOD_PDROP] > 0.0f) draws |= 1u << MOD_DROP;
    if (kind == MODIFY_PCM_NOISE) draws |= 1u << MOD_DRIFT | 1u << MOD_READ;
    if (stuck) draws |= 31u << MOD_RESET_CHOICE;
    return draws;
}

// Without what is behind the point.
template <class F> SIM_HD F whole_part(F x) {
    const auto small = absolute(x) < F{} + 1073741824.0f;
    return select(small, to_real(to_int(select(small, x, F{}))), x);
}
// To multiples of res, halves away from 0.
template <class F> SIM_HD F rounded_to(F v, real res, F shift) {
    if (!(res > 0.0f)) return v;
    const F steps = v / res + shift, whole = whole_part(steps);
    const F further = select(steps < F{}, whole - 1.0f, whole + 1.0f);
    return select(absolute(steps - whole) >= F{} + 0.5f, further, whole) * res;
}
// tanh(x), relative error below 3e-7: its series near 0, and 1 - 2 / (exp(2 x) + 1) elsewhere.
template <class F> SIM_HD F hyperbolic_tangent(F x) {
    const F q = x * x;
    const F series = x + x * q * (-0.333333333f + q * (0.133333333f + q * (-0.0539682540f + q * (0.0218694885f - q * 8.86323553e-3f))));
    const F size = 1.0f - 2.0f / (exponential(absolute(x) * 2.0f) + 1.0f);
    return select(absolute(x) < F{} + 0.3f, series, select(x < F{}, F{} - size, size));
}
SIM_HD double hyperbolic_tangent(double x) { return tanh(x); }
#if defined(SIM_SIMD) && defined(SIM_DOUBLE)
SIM_HD vf hyperbolic_tangent(vf x) { return each(x, [](double v) { return tanh(v); }); }
#endif

// Conductances programmed, stuck, drifted by the variable part of the exponent only, and read.
template <class F> SIM_HD F pcm_modified(const real* p, real m, F w, const F* draw) {
    constexpr real C0 = real(0.26348), C1 = real(1.9650), C2 = real(-1.1731), T_READ = real(250e-9);  // programming noise in uS, as published; s
    const real c = p[MOD_G_MAX], k = p[MOD_STD_DEV];
    F g = clip(w, F{} - m, F{} + m) * (c / m);
    g = select(absolute(g) <= F{} + p[MOD_ZERO_THRES] * k * C0, F{}, g);
    const auto negative = g < F{};
    if (p[MOD_AT_RESET] > 0.0f) g = select(draw[MOD_RESET_CHOICE] < F{} + p[MOD_AT_RESET], F{}, g);
    if (p[MOD_AT_GMAX] > 0.0f)
        g = select(draw[MOD_GMAX_CHOICE] < F{} + p[MOD_AT_GMAX], select(draw[MOD_STUCK_SIGN] < F{} + 0.5f, g + c, g - c), g);
    if (p[MOD_AT_RANDOM] > 0.0f) {
        const F anywhere = draw[MOD_STUCK_VALUE] * c;
        g = select(draw[MOD_RANDOM_CHOICE] < F{} + p[MOD_AT_RANDOM], select(g > F{}, anywhere, F{} - anywhere), g);
    }
    g = clip(g, F{} - c, F{} + c);
    const F a = absolute(g) / c;
    const F noisy = g + k * (C0 + a * (C1 + a * C2)) * draw[MOD_VALUE];
    const F relative = absolute(noisy) / c;
    const real t = p[MOD_T_INFERENCE] + p[MOD_T0], t_0 = p[MOD_T0];
    F drifted = noisy;
    if (t > t_0) {
        const F spread = clip(real(-0.0125) * logarithm(maximum(relative, F{} + 1e-6f)) - real(0.0059), F{} + real(0.008), F{} + real(0.045));
        drifted = noisy * exponential(absolute(draw[MOD_DRIFT] * spread) * -logarithm(t / t_0));
    }
    const real strength = root(logarithm(maximum((t + T_READ) * (1.0f / (2.0f * T_READ)), real(1))));
    const F power = exponential(logarithm(maximum(relative, F{} + 2.0611536e-9f)) * real(0.65));  // exp(-20) at least
    const F q = minimum(real(0.0088) / maximum(power, F{} + real(1e-3)), F{} + real(0.2)) * strength;
    const F read = absolute(drifted + k * absolute(drifted) * q * draw[MOD_READ]) * (m / c);
    return select(g == F{}, F{}, select(negative, F{} - read, read));
}

// draw: numbers of the streams that `modifier_draws` names.
template <class F> SIM_HD F modified_weight(int kind, const real* p, real m, const real* coeffs, int n_coeffs, bool stochastic, F w, const F* draw) {
    const real size = p[MOD_STD_DEV] * m;
    const F shift = stochastic ? draw[MOD_ROUND] - 0.5f : F{};
    F v = w;
    switch (kind) {
        case MODIFY_DISCRETIZE: v = rounded_to(w / m, p[MOD_RES], shift) * m; break;
        case MODIFY_MULT_NORMAL: v = draw[MOD_VALUE] * size * w + w; break;
        case MODIFY_ADD_NORMAL: v = draw[MOD_VALUE] * size + w; break;
        case MODIFY_DISCRETIZE_ADD_NORMAL: v = draw[MOD_VALUE] * size + rounded_to(w / m, p[MOD_RES], shift) * m; break;
        case MODIFY_DOREFA:
            if (p[MOD_RES] > 0.0f) v = rounded_to(hyperbolic_tangent(w) * absolute(p[MOD_DOREFA_CLIP] / hyperbolic_tangent(m)), p[MOD_RES], shift);
            break;
        case MODIFY_POLY:
        case MODIFY_PROG_NOISE: {
            const F a = absolute(w) / m;
            F spread = F{};
            for (int c = n_coeffs - 1; c >= 0; --c) spread = spread * a + coeffs[c];
            v = draw[MOD_VALUE] * spread * size + w;
            if (kind == MODIFY_PROG_NOISE) v = select(w < F{}, F{} - absolute(v), absolute(v));
            break;
        }
        case MODIFY_PCM_NOISE: v = pcm_modified(p, m, w, draw); break;
        default: break;
    }
    return p[MOD_PDROP] > 0.0f ? select(draw[MOD_DROP] < F{} + p[MOD_PDROP], F{}, v) : v;
}

}  // namespace sim
