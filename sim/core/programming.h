// Programming and drift of weights on pairs of devices (inference.md, sections 2 and 3), crosspoint by crosspoint.
//
//     target:   g = clip(+-s w, 0, g_max) + g_min
//     program:  g_prog = max(0, g + P(r) xi),   r = g / g_max;   nu = a |mu(r) + sigma(r) xi|
//     drift:    g_d = g_prog exp(-nu ln((t + t_0) / t_0)),   g(t) = max(0, g_d (1 + q(r_prog) strength xi))
//
// mu and sigma are clipped lines of ln r, q is a power of r; numbers of a replica as of sim/inference/pairs.py.
#pragma once
#include "elementary.h"

namespace sim {

constexpr int N_PROGRAM_COEFFICIENTS = 6;
enum ProgramNumber {
    PAIR_SCALE, PAIR_G_MAX, PAIR_G_MIN, PAIR_INVERSE, PAIR_COEFFICIENTS, MEAN_SLOPE = PAIR_COEFFICIENTS + N_PROGRAM_COEFFICIENTS, MEAN_OFFSET, MEAN_LOW,
    MEAN_HIGH, SPREAD_SLOPE, SPREAD_OFFSET, SPREAD_LOW, SPREAD_HIGH, DRIFT_FACTOR, READ_FACTOR, READ_FLOOR, READ_POWER, LOG_TIME, READ_STRENGTH,
    N_PROGRAM_NUMBERS
};
// Draws of a programming and of a drift call: of device d of a pair (+ first).
SIM_HD u32 program_purpose(int d, bool exponent) { return PURPOSE_FIELD + 1u + 2u * static_cast<u32>(d) + (exponent ? 1u : 0u); }
SIM_HD u32 drift_purpose(int d) { return PURPOSE_FIELD + 1u + static_cast<u32>(d); }

struct PairArgs {
    const float* weight;      // (R, cells): programmed; null for drift
    float* noisy;             // (R, cells): weights that the devices make
    float *conductance, *nu;  // (R, 2, cells): made by programming, read by drift
    const float* numbers;     // (R, N_PROGRAM_NUMBERS)
    const long long *keys, *step;
    long long cells;
    int replicas;
};

template <class F> struct ProgrammedDevice {
    F conductance, nu;
};
template <class F> SIM_HD F clipped_line(F x, const float* p) { return clip(x * p[0] + p[1], F{} + p[2], F{} + p[3]); }

template <class F> SIM_HD ProgrammedDevice<F> programmed(const float* p, F w, int d, F xi, F xi_nu) {
    const F u = (d ? F{} - w : w) * p[PAIR_SCALE];
    const F g = clip(u, F{}, F{} + p[PAIR_G_MAX]) + p[PAIR_G_MIN], r = g * p[PAIR_INVERSE];
    F sigma = F{};
    for (int c = N_PROGRAM_COEFFICIENTS - 1; c >= 0; --c) sigma = sigma * r + p[PAIR_COEFFICIENTS + c];
    const F log_r = logarithm(maximum(absolute(r), F{} + 1e-7f));
    const F nu = absolute(clipped_line(log_r, p + SPREAD_SLOPE) * xi_nu + clipped_line(log_r, p + MEAN_SLOPE)) * p[DRIFT_FACTOR];
    return {maximum(sigma * xi + g, F{}), nu};
}
template <class F> SIM_HD F drifted_device(const float* p, F g, F nu, F xi) {
    F d = g;
    if (p[LOG_TIME] > 0.0f) d = exponential(nu * -p[LOG_TIME]) * g;
    if (p[READ_STRENGTH] == 0.0f) return d;
    F q = F{} + p[READ_FACTOR];
    if (p[READ_POWER] != 0.0f) q = exponential(logarithm(maximum(absolute(g * p[PAIR_INVERSE]), F{} + p[READ_FLOOR])) * p[READ_POWER]) * p[READ_FACTOR];
    return maximum((q * xi * p[READ_STRENGTH] + 1.0f) * d, F{});
}
template <class F> SIM_HD F weight_of_pair(const float* p, F plus, F minus) {
    return ((plus - p[PAIR_G_MIN]) - (minus - p[PAIR_G_MIN])) / p[PAIR_SCALE];
}

}  // namespace sim
