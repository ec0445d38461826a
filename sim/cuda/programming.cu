// Pairs of devices (sim/core/programming.h), with the bits of sim/cpu/programming.h: a thread takes four weights of a block of 64,
// which share blocks of random words. Grids are (blocks of threads, R).
#include "programming.h"

using namespace sim;

namespace {

__device__ __forceinline__ bool four_of(long long cells, u32& q, u32& lane) {
    const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    q = static_cast<u32>(thread / 16), lane = static_cast<u32>(thread % 16);
    return 64LL * q + lane < cells;
}
__device__ __forceinline__ Normals4<float> four_normals(u64 key, u32 purpose, u32 block, u32 step) {
    const Stream s = stream_of(key, purpose);
    return normals<float>(philox(Words4<u32>{block, 0u, 0u, step}, s.key0, s.key1));
}

}  // namespace

extern "C" __global__ void program_pairs(const float* weight, float* noisy, float* conductance, float* nu, const float* numbers, const long long* keys,
                                         const long long* step_at, long long cells) {
    u32 q, lane;
    if (!four_of(cells, q, lane)) return;
    const long long r = blockIdx.y;
    const float* p = numbers + r * N_PROGRAM_NUMBERS;
    const u64 key = static_cast<u64>(keys[r]);
    const u32 step = static_cast<u32>(*step_at), block = 16 * q + lane;
    float plus[4] = {};
#pragma unroll
    for (int d = 0; d < 2; ++d) {
        const Normals4<float> xi = four_normals(key, program_purpose(d, false), block, step), xi_nu = four_normals(key, program_purpose(d, true), block, step);
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            const long long e = 64LL * q + 16 * c + lane, device = (2 * r + d) * cells + e;
            if (e >= cells) continue;
            const ProgrammedDevice<float> made = programmed(p, weight[r * cells + e], d, xi.z[c], xi_nu.z[c]);
            conductance[device] = made.conductance, nu[device] = made.nu;
            if (d == 0) plus[c] = made.conductance;
            else noisy[r * cells + e] = weight_of_pair(p, plus[c], made.conductance);
        }
    }
}

extern "C" __global__ void drift_pairs(float* noisy, const float* conductance, const float* nu, const float* numbers, const long long* keys,
                                       const long long* step_at, long long cells) {
    u32 q, lane;
    if (!four_of(cells, q, lane)) return;
    const long long r = blockIdx.y;
    const float* p = numbers + r * N_PROGRAM_NUMBERS;
    const u64 key = static_cast<u64>(keys[r]);
    const u32 step = static_cast<u32>(*step_at), block = 16 * q + lane;
    float plus[4] = {};
#pragma unroll
    for (int d = 0; d < 2; ++d) {
        const Normals4<float> xi = four_normals(key, drift_purpose(d), block, step);
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            const long long e = 64LL * q + 16 * c + lane, device = (2 * r + d) * cells + e;
            if (e >= cells) continue;
            const float g = drifted_device(p, conductance[device], nu[device], xi.z[c]);
            if (d == 0) plus[c] = g;
            else noisy[r * cells + e] = weight_of_pair(p, plus[c], g);
        }
    }
}
