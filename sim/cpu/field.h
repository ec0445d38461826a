// Fields of random numbers, vectorised over blocks of 64 neighbouring elements (see sim/core/normal.h).
#pragma once
#include "kernels.h"
#include "normal.h"

namespace sim {
namespace {

// 64 words of a field from element 64 * q on.
SIM_HD void field_words64(Stream s, u32 q, u32 sample, u32 draw, u32 step, vu* out) {
    for (int part = 0; part < 16 / LANES; ++part) {
        const vu block = lane_index() + (q * 16 + static_cast<u32>(part * LANES));
        const Words4<vu> w = philox(Words4<vu>{block, broadcast(sample), broadcast(draw), broadcast(step)}, s.key0, s.key1);
        const int stride = 16 / LANES;
        out[part] = w.x;
        out[part + stride] = w.y;
        out[part + 2 * stride] = w.z;
        out[part + 3 * stride] = w.w;
    }
}
SIM_HD void normals64(Stream s, u32 q, u32 sample, u32 draw, u32 step, vf* out) {
    for (int part = 0; part < 16 / LANES; ++part) {
        const vu block = lane_index() + (q * 16 + static_cast<u32>(part * LANES));
        const Normals4<vf> n =
            normals<vf>(philox(Words4<vu>{block, broadcast(sample), broadcast(draw), broadcast(step)}, s.key0, s.key1));
        for (int c = 0; c < 4; ++c) out[part + c * (16 / LANES)] = n.z[c];
    }
}
SIM_HD void uniforms64(Stream s, u32 q, u32 sample, u32 draw, u32 step, vf* out) {
    vu words[64 / LANES];
    field_words64(s, q, sample, draw, step, words);
    for (int k = 0; k < 64 / LANES; ++k) out[k] = uniform<vf>(words[k]);
}

// n elements, written to out (n rounded up to a multiple of 64 must be writable).
SIM_HD void normal_row(Stream s, u32 sample, u32 draw, u32 step, int n, float* out) {
    for (int e = 0; e < n; e += 64) {
        vf z[64 / LANES];
        normals64(s, static_cast<u32>(e) / 64, sample, draw, step, z);
        for (int k = 0; k < 64 / LANES; ++k) store(out + e + k * LANES, z[k]);
    }
}

void random_field(const FieldArgs& a) {
    const long long blocks = (a.n + 63) / 64;
#pragma omp parallel for collapse(2) schedule(static) num_threads(a.threads) if (a.threads > 1)
    for (int r = 0; r < a.replicas; ++r) {
        for (long long q = 0; q < blocks; ++q) {
            const Stream s = stream_of(static_cast<u64>(a.keys[r]), a.purpose);
            float* out = a.field + r * a.n + q * 64;
            vf z[64 / LANES];
            if (a.normal) normals64(s, static_cast<u32>(q), 0, 0, a.step, z);
            else uniforms64(s, static_cast<u32>(q), 0, 0, a.step, z);
            const long long left = a.n - q * 64;
            for (int k = 0; k < 64 / LANES; ++k) {
                const long long rest = left - k * LANES;
                if (rest >= LANES) store(out + k * LANES, z[k]);
                else if (rest > 0) store_first(out + k * LANES, z[k], static_cast<int>(rest));
            }
        }
    }
}

}  // namespace
}  // namespace sim
