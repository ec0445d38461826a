// Pairs of devices (sim/core/programming.h), vectorised over blocks of 64 neighbouring weights.
#pragma once
#include "../core/programming.h"
#include "field.h"
#include "kernels.h"

namespace sim {
namespace {

template <bool DRIFT> void over_pairs(const PairArgs& a, int threads) {
    const long long blocks = (a.cells + 63) / 64;
    constexpr int PARTS_OF_64 = 64 / LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
    for (int r = 0; r < a.replicas; ++r)
        for (long long q = 0; q < blocks; ++q) {
            const float* p = a.numbers + r * N_PROGRAM_NUMBERS;
            const u64 key = static_cast<u64>(a.keys[r]);
            const u32 at = static_cast<u32>(q), step = static_cast<u32>(*a.step);
            vf xi[2][PARTS_OF_64], xi_nu[2][PARTS_OF_64];
            for (int d = 0; d < 2; ++d) {
                normals64(stream_of(key, DRIFT ? drift_purpose(d) : program_purpose(d, false)), at, 0, 0, step, xi[d]);
                if (!DRIFT) normals64(stream_of(key, program_purpose(d, true)), at, 0, 0, step, xi_nu[d]);
            }
            for (int k = 0; k < PARTS_OF_64; ++k) {
                const long long e = q * 64 + k * LANES, rest = a.cells - e;
                if (rest <= 0) break;
                const int left = rest < LANES ? static_cast<int>(rest) : LANES;
                const auto get = [&](const float* from) { return left == LANES ? load(from) : load_first(from, left); };
                const auto put = [&](float* to, vf v) {
                    if (left == LANES) store(to, v);
                    else store_first(to, v, left);
                };
                vf g[2];
                for (int d = 0; d < 2; ++d) {
                    const long long device = (2LL * r + d) * a.cells + e;
                    if (DRIFT) {
                        g[d] = drifted_device(p, get(a.conductance + device), get(a.nu + device), xi[d][k]);
                    } else {
                        const ProgrammedDevice<vf> made = programmed(p, get(a.weight + r * a.cells + e), d, xi[d][k], xi_nu[d][k]);
                        put(a.conductance + device, g[d] = made.conductance), put(a.nu + device, made.nu);
                    }
                }
                put(a.noisy + r * a.cells + e, weight_of_pair(p, g[0], g[1]));
            }
        }
}

void program_pairs(const PairArgs& a, int threads) { over_pairs<false>(a, threads); }
void drift_pairs(const PairArgs& a, int threads) { over_pairs<true>(a, threads); }

}  // namespace
}  // namespace sim
