// Linear interpolation in data that all crosspoints share: nodes 0 ... n at the positions 0 ... n.
#pragma once
#include "portable.h"

namespace sim {

// Position q, clamped to [0, n] (not a number: 0), as the node below and what is left; n >= 1.
template <class F> struct Node {
    index_t<F> index;
    F fraction;
};
template <class F> SIM_HD Node<F> node(F q, F n) {
    const F zero = F{} + 0;
    q = minimum(select(q > zero, q, zero), n);
    const index_t<F> k = number<F>::truncated(minimum(q, n - 1.0f));
    return {k, q - number<F>::from(k)};
}
template <class F> SIM_HD F between(const float* data, index_t<F> index, F fraction) {
    const F low = number<F>::gathered(data, index), high = number<F>::gathered(data + 1, index);
    return low + (high - low) * fraction;
}

}  // namespace sim
