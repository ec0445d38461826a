// exp, log and power of every number type: polynomials in + - * / for float and SIMD vectors (a library's functions
// differ in bits between the vectorised body and the tail of an array, so that a replica's result would depend on its
// neighbours), the library's for double. Derivatives are in dual.h.
#pragma once
#include "normal.h"

namespace sim {

// exp(x), relative error below 2e-7; x is clamped to +-87. x = k ln 2 + r, |r| <= ln(2)/2, Taylor series in r.
template <class F> SIM_HD F exponential(F x) {
    x = clamp(x, F{} - 87.0f, F{} + 87.0f);
    const F k = round_even(x * 1.44269504089f);
    const F r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    F p = F{} + 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    return p * float_of(to_unsigned(to_int(k) + 127) << 23);
}
SIM_HD double exponential(double x) { return exp(clamp(x, -87.0, 87.0)); }

// ln(x) for positive normal numbers, relative error below 2e-7 (absolute below 1e-7 near x = 1).
template <class F> SIM_HD F logarithm(F x) { return log_unit(x); }
SIM_HD double logarithm(double x) { return log(x); }

// 2^x, relative error below 3e-7 (1 + |x| / 4) counting the rounding of x; x is clamped to +-126. x = k + r, |r| <= 1/2,
// minimax polynomial of 2^r with p(0) = 1, in the order of the shortest chain: pulses wait for one another.
template <class F> SIM_HD F two_to(F x) {
    x = clamp(x, F{} - 126.0f, F{} + 126.0f);
    const F k = round_even(x), r = x - k, r2 = r * r;
    const F low = (1.0f + 0.693147182f * r) + r2 * (0.240226477f + 0.0555033237f * r);
    const F p = low + (r2 * r2) * ((9.61843692e-3f + 1.3398875e-3f * r) + r2 * 1.5353362e-4f);
    return p * float_of(to_unsigned(to_int(k) + 127) << 23);
}
SIM_HD double two_to(double x) { return exp2(clamp(x, -126.0, 126.0)); }
// x such that exp is two_to: x / ln 2.
template <class F> SIM_HD F octaves(F x) { return x * 1.44269504089f; }
SIM_HD double octaves(double x) { return x * 1.4426950408889634; }

// log2(x) for positive normal numbers, as log_unit of normal.h.
template <class F> SIM_HD F log_two(F x) {
    const auto b = bits_of(x);
    const auto e = to_signed((b + (0x3F800000u - 0x3F3504F3u)) >> 23) - 127;
    const F m = float_of(b - (to_unsigned(e) << 23));
    const F s = (m - 1.0f) / (m + 1.0f), q = s * s, scaled = s * 2.88539008178f;
    const F p = ((0.14798198f * q + 0.19998914f) * q + 0.33333347f) * q;
    return (scaled * p + scaled) + to_float(e);
}

// base^exponent for base >= 0, relative error below 4e-7 (1 + |exponent log2 base| / 2). A base of 0 (or below the smallest
// normal number) gives 0, whatever the exponent but 0: a step that vanishes at a bound stays there.
template <class F> SIM_HD F power(F base, F exponent) {
    const F zero = F{} + 0, smallest = F{} + 1.17549435e-38f;
    const F inside = two_to(exponent * log_two(maximum(base, smallest)));
    return select(base < smallest, select(exponent == zero, zero + 1, zero), inside);
}
SIM_HD double power(double base, double exponent) {
    return base < 1.17549435e-38 ? (exponent == 0.0 ? 1.0 : 0.0) : pow(base, exponent);
}

#if defined(SIM_SIMD) && defined(SIM_DOUBLE)
SIM_HD vf exponential(vf x) { return each(x, [](double v) { return exponential(v); }); }
SIM_HD vf logarithm(vf x) { return each(x, [](double v) { return logarithm(v); }); }
SIM_HD vf two_to(vf x) { return each(x, [](double v) { return two_to(v); }); }
SIM_HD vf octaves(vf x) { return x * 1.4426950408889634; }
SIM_HD vf power(vf base, vf exponent) {
    for (int k = 0; k < LANES; ++k) base[k] = power(base[k], exponent[k]);
    return base;
}
#endif

}  // namespace sim
