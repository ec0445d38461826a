// Modified weights (sim/core/modifier.h), vectorised over blocks of 64 neighbouring crosspoints.
#pragma once
#include "../core/modifier.h"
#include "field.h"
#include "kernels.h"

namespace sim {
namespace {

void modify(const ModifierArgs& a, int threads) {
    over_blocks(a.replicas, a.cells, threads, [&](int r, long long q) {
        const real* p = a.numbers + r * N_MODIFIER_NUMBERS;
        const u32 needed = modifier_draws(a.kind, p, a.stochastic != 0), step = static_cast<u32>(*a.step);
        vf drawn[N_MODIFIER_DRAWS][PARTS_OF_64];
        for (u32 d = 0; d < N_MODIFIER_DRAWS; ++d) {
            if (!((needed >> d) & 1u)) continue;
            const Stream s = stream_of(static_cast<u64>(a.keys[r]), PURPOSE_FIELD + d);
            if ((MODIFIER_NORMALS >> d) & 1u) normals64(s, static_cast<u32>(q), 0, 0, step, drawn[d]);
            else uniforms64(s, static_cast<u32>(q), 0, 0, step, drawn[d]);
        }
        for (int k = 0; k < PARTS_OF_64; ++k) {
            const Part part(a.cells, q, k);
            if (!part.exists()) break;
            const vf w = part.at(a.weight + r * a.cells);
            vf draw[N_MODIFIER_DRAWS];
            for (int d = 0; d < N_MODIFIER_DRAWS; ++d) draw[d] = (needed >> d) & 1u ? drawn[d][k] : vf{};
            vf v = modified_weight(a.kind, p, a.largest[r], a.coeffs + r * a.n_coeffs, a.n_coeffs, a.stochastic != 0, w, draw);
            if (a.spare_last)
                for (int lane = 0; lane < part.left; ++lane)
                    if ((part.element + lane) % a.in == a.in - 1) v[lane] = w[lane];
            part.put(a.modified + r * a.cells, v);
        }
    });
}

}  // namespace
}  // namespace sim
