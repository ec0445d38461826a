// Activation functions in + - * / only: a library's differ in bits between the vectorised body and the tail of an array,
// so that a replica's result would depend on its neighbours.
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

template <class F> SIM_HD F sigmoid(F x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace sim
