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
// Data of n nodes up, then n nodes down: the node of a direction.
template <class F> SIM_HD index_t<F> of_direction(index_t<F> k, u32 n, mask_t<F> up) {
    return k + select(of_mask(up), index_t<F>{}, index_t<F>{} + n);
}
// Between entry k and the next of `size` numbers.
template <class F, class D> SIM_HD F between(const D* data, int size, index_t<F> k, F fraction) {
    const F low = number<F>::picked(data, size, k), high = number<F>::picked(data, size, k + 1u);
    return low + (high - low) * fraction;
}

}  // namespace sim
