// Functions of one number over an array.
#pragma once
#include "../core/activation.h"

namespace sim {
namespace {

template <class Function> void over_array(const real* x, real* y, long long n, int threads, Function function) {
    const long long blocks = (n + LANES - 1) / LANES;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long long q = 0; q < blocks; ++q) {
        const long long j = q * LANES, left = n - j;
        if (left >= LANES) store(y + j, function(load(x + j)));
        else store_first(y + j, function(load_first(x + j, static_cast<int>(left))), static_cast<int>(left));
    }
}

void sigmoid_array(const real* x, real* y, long long n, int threads) {
    over_array(x, y, n, threads, [](vf v) { return sigmoid(v); });
}

void logarithm_array(const real* x, real* y, long long n, int threads) {
    over_array(x, y, n, threads, [](vf v) { return logarithm(maximum(v, vf{} + 1.17549435e-38f)); });
}

}  // namespace
}  // namespace sim
