// Modified weights (sim/core/modifier.h), with the bits of sim/cpu/modifier.h: a thread takes four crosspoints of a block of 64,
// which share blocks of random words. A grid of (blocks of threads, R).
#include "modifier.h"
#include "quad.h"

using namespace sim;

// Fields of ModifierArgs one by one.
extern "C" __global__ void modify(const float* weight, float* modified, const float* numbers, const float* largest, const float* coeffs,
                                  const long long* keys, const long long* step, long long cells, int in, int n_coeffs, int kind,
                                  int stochastic, int spare_last) {
    const Quad at = quad_at(static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x);
    const int r = static_cast<int>(blockIdx.y);
    if (at.element(0) >= cells) return;
    const float* p = numbers + r * N_MODIFIER_NUMBERS;
    const u32 needed = modifier_draws(kind, p, stochastic != 0);
    float draw[4][N_MODIFIER_DRAWS] = {};
#pragma unroll
    for (u32 d = 0; d < N_MODIFIER_DRAWS; ++d) {
        if (!((needed >> d) & 1u)) continue;
        const Stream s = stream_of(static_cast<u64>(keys[r]), PURPOSE_FIELD + d);
        Normals4<float> z;
        if ((MODIFIER_NORMALS >> d) & 1u) z = at.normals(s, 0, 0, static_cast<u32>(*step));
        else at.uniforms(s, 0, 0, static_cast<u32>(*step), z.z);
        draw[0][d] = z.z[0], draw[1][d] = z.z[1], draw[2][d] = z.z[2], draw[3][d] = z.z[3];
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        const long long e = at.element(c), here = r * cells + e;
        if (e >= cells) continue;
        const float w = weight[here];
        const bool spared = spare_last && e % in == in - 1;
        modified[here] = spared ? w : modified_weight(kind, p, largest[r], coeffs + r * n_coeffs, n_coeffs, stochastic != 0, w, draw[c]);
    }
}
