// Activations over an array.
#pragma once
#include "../core/activation.h"

namespace sim {
namespace {

void sigmoid_array(const float* x, float* y, long long n, int threads) {
    const long long blocks = (n + LANES - 1) / LANES;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long long q = 0; q < blocks; ++q) {
        const long long j = q * LANES, left = n - j;
        if (left >= LANES) store(y + j, sigmoid(load(x + j)));
        else store_first(y + j, sigmoid(load_first(x + j, static_cast<int>(left))), static_cast<int>(left));
    }
}

}  // namespace
}  // namespace sim
