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
SIM_HD void normal_row(Stream s, u32 sample, u32 draw, u32 step, int n, real* out) {
    for (int e = 0; e < n; e += 64) {
        vf z[64 / LANES];
        normals64(s, static_cast<u32>(e) / 64, sample, draw, step, z);
        for (int k = 0; k < 64 / LANES; ++k) store(out + e + k * LANES, z[k]);
    }
}

// Planes of n elements of each replica, block of 64 by block.
constexpr int PARTS_OF_64 = 64 / LANES;

// Calls body(r, q) for each block of each replica.
template <class Body> void over_blocks(int replicas, long long n, int threads, Body body) {
    const long long blocks = (n + 63) / 64;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
    for (int r = 0; r < replicas; ++r)
        for (long long q = 0; q < blocks; ++q) body(r, q);
}

// Part k of block q of n elements: LANES of them, of which `left` exist.
struct Part {
    long long element;
    int left;

    SIM_HD Part(long long n, long long q, int k) : element(q * 64 + k * LANES), left(n - element < LANES ? static_cast<int>(n - element) : LANES) {}
    SIM_HD bool exists() const { return left > 0; }
    SIM_HD vf at(const real* p) const { return left == LANES ? load(p + element) : load_first(p + element, left); }
    // Where an element has `step` numbers.
    SIM_HD vf at_every(u32 step, const real* p) const {
        return gather(p + element * step, indices(0, static_cast<u32>(left)) * step);
    }
    SIM_HD void put(real* p, vf v) const {
        if (left == LANES) store(p + element, v);
        else store_first(p + element, v, left);
    }
};

void random_field(const FieldArgs& a) {
    over_blocks(a.replicas, a.n, a.threads, [&](int r, long long q) {
        const Stream s = stream_of(static_cast<u64>(a.keys[r]), a.purpose);
        vf z[PARTS_OF_64];
        if (a.normal) normals64(s, static_cast<u32>(q), 0, 0, a.step, z);
        else uniforms64(s, static_cast<u32>(q), 0, 0, a.step, z);
        for (int k = 0; k < PARTS_OF_64; ++k) {
            const Part part(a.n, q, k);
            if (!part.exists()) break;
            part.put(a.field + r * a.n, z[k]);
        }
    });
}

}  // namespace
}  // namespace sim
