// Modified weights (sim/core/modifier.h), vectorised over blocks of 64 neighbouring crosspoints.
#pragma once
#include "../core/modifier.h"
#include "field.h"
#include "kernels.h"

namespace sim {
namespace {

void modify(const ModifierArgs& a, int threads) {
    const long long blocks = (a.cells + 63) / 64;
    constexpr int PARTS_OF_64 = 64 / LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
    for (int r = 0; r < a.replicas; ++r)
        for (long long q = 0; q < blocks; ++q) {
            const float* p = a.numbers + r * N_MODIFIER_NUMBERS;
            const u32 needed = modifier_draws(a.kind, p, a.stochastic != 0), step = static_cast<u32>(*a.step);
            vf drawn[N_MODIFIER_DRAWS][PARTS_OF_64];
            for (u32 d = 0; d < N_MODIFIER_DRAWS; ++d) {
                if (!((needed >> d) & 1u)) continue;
                const Stream s = stream_of(static_cast<u64>(a.keys[r]), PURPOSE_FIELD + d);
                if ((MODIFIER_NORMALS >> d) & 1u) normals64(s, static_cast<u32>(q), 0, 0, step, drawn[d]);
                else uniforms64(s, static_cast<u32>(q), 0, 0, step, drawn[d]);
            }
            for (int k = 0; k < PARTS_OF_64; ++k) {
                const long long e = q * 64 + k * LANES, rest = a.cells - e;
                if (rest <= 0) break;
                const int left = rest < LANES ? static_cast<int>(rest) : LANES;
                const float* from = a.weight + r * a.cells + e;
                const vf w = left == LANES ? load(from) : load_first(from, left);
                vf draw[N_MODIFIER_DRAWS];
                for (int d = 0; d < N_MODIFIER_DRAWS; ++d) draw[d] = (needed >> d) & 1u ? drawn[d][k] : vf{};
                vf v = modified_weight(a.kind, p, a.largest[r], a.coeffs + r * a.n_coeffs, a.n_coeffs, a.stochastic != 0, w, draw);
                if (a.spare_last)
                    for (int lane = 0; lane < left; ++lane)
                        if ((e + lane) % a.in == a.in - 1) v[lane] = w[lane];
                float* to = a.modified + r * a.cells + e;
                if (left == LANES) store(to, v);
                else store_first(to, v, left);
            }
        }
}

}  // namespace
}  // namespace sim
