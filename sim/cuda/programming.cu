// Programming and drift of devices (sim/core/programming.h), with the bits of sim/cpu/programming.h: a thread takes four weights of a block of 64,
// which share blocks of random words. Grids are (blocks of threads, R).
#include "programming.h"
#include "quad.h"

using namespace sim;

namespace {

// `made_g` and `made_nu` of drift are those that programming made.
template <bool DRIFT> __device__ __forceinline__ void over_devices(const float* weight, float* noisy, const float* made_g, const float* made_nu, float* conductance,
                                                                   float* nu, const float* numbers, const long long* keys, const long long* step_at,
                                                                   long long cells, int devices, int stride) {
    const Quad at = quad_at(static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x);
    if (at.element(0) >= cells) return;
    const long long r = blockIdx.y;
    const float *p = numbers + r * stride, *lines = p + N_PROGRAM_NUMBERS, *table = lines + N_LINE * devices;
    const u64 key = static_cast<u64>(keys[r]);
    const u32 step = static_cast<u32>(*step_at);
    float total[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) total[c] = p[WEIGHT_OFFSET];
    for (int d = 0; d < devices; ++d) {
        const float* line = lines + N_LINE * d;
        const u32 purpose = DRIFT ? drift_purpose(d) : program_purpose(law_of(p), d);
        const Normals4<float> xi = at.normals(stream_of(key, purpose), 0, 0, step);
        Normals4<float> xi_nu = {};
        if (!DRIFT && law_of(p) != SNAPSHOTS) xi_nu = at.normals(stream_of(key, purpose + 1u), 0, 0, step);
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            const long long e = at.element(c), device = (devices * r + d) * cells + e;
            if (e >= cells) continue;
            float g;
            if (DRIFT) {
                g = drifted_device(p, table, made_g[device], made_nu[device], xi.z[c]);
            } else {
                const ProgrammedDevice<float> made = programmed(p, line, table, weight[r * cells + e], xi.z[c], xi_nu.z[c]);
                conductance[device] = g = made.conductance, nu[device] = made.nu;
            }
            total[c] = total[c] + part_of_weight(p, line, g);
            if (d == devices - 1) noisy[r * cells + e] = total[c];
        }
    }
}

}  // namespace

extern "C" __global__ void program_devices(const float* weight, float* noisy, float* conductance, float* nu, const float* numbers, const long long* keys,
                                           const long long* step_at, long long cells, int devices, int stride) {
    over_devices<false>(weight, noisy, nullptr, nullptr, conductance, nu, numbers, keys, step_at, cells, devices, stride);
}

extern "C" __global__ void drift_devices(float* noisy, const float* conductance, const float* nu, const float* numbers, const long long* keys,
                                         const long long* step_at, long long cells, int devices, int stride) {
    over_devices<true>(nullptr, noisy, conductance, nu, nullptr, nullptr, numbers, keys, step_at, cells, devices, stride);
}
