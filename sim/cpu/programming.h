// Programming and drift (sim/core/programming.h), vectorised over blocks of 64 neighbouring weights.
#pragma once
#include "../core/programming.h"
#include "field.h"
#include "kernels.h"

namespace sim {
namespace {

template <bool DRIFT> void over_devices(const ProgramArgs& a, int threads) {
    const long long blocks = (a.cells + 63) / 64;
    constexpr int PARTS_OF_64 = 64 / LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
    for (int r = 0; r < a.replicas; ++r)
        for (long long q = 0; q < blocks; ++q) {
            const float *p = a.numbers + 1LL * r * a.stride, *lines = p + N_PROGRAM_NUMBERS, *table = lines + N_LINE * a.devices;
            const u64 key = static_cast<u64>(a.keys[r]);
            const u32 at = static_cast<u32>(q), step = static_cast<u32>(*a.step);
            vf xi[PARTS_OF_64], xi_nu[PARTS_OF_64] = {}, total[PARTS_OF_64];
            for (vf& sum : total) sum = vf{} + p[WEIGHT_OFFSET];
            for (int d = 0; d < a.devices; ++d) {
                const u32 purpose = DRIFT ? drift_purpose(d) : program_purpose(law_of(p), d);
                const float* line = lines + N_LINE * d;
                normals64(stream_of(key, purpose), at, 0, 0, step, xi);
                if (!DRIFT && law_of(p) != SNAPSHOTS) normals64(stream_of(key, purpose + 1u), at, 0, 0, step, xi_nu);
                for (int k = 0; k < PARTS_OF_64; ++k) {
                    const long long e = q * 64 + k * LANES, rest = a.cells - e;
                    if (rest <= 0) break;
                    const int left = rest < LANES ? static_cast<int>(rest) : LANES;
                    const auto get = [&](const float* from) { return left == LANES ? load(from) : load_first(from, left); };
                    const auto put = [&](float* to, vf v) {
                        if (left == LANES) store(to, v);
                        else store_first(to, v, left);
                    };
                    const long long device = (1LL * a.devices * r + d) * a.cells + e;
                    vf g;
                    if (DRIFT) {
                        g = drifted_device(p, table, get(a.conductance + device), get(a.nu + device), xi[k]);
                    } else {
                        const ProgrammedDevice<vf> made = programmed(p, line, table, get(a.weight + r * a.cells + e), xi[k], xi_nu[k]);
                        put(a.conductance + device, g = made.conductance), put(a.nu + device, made.nu);
                    }
                    total[k] = total[k] + part_of_weight(p, line, g);
                    if (d == a.devices - 1) put(a.noisy + r * a.cells + e, total[k]);
                }
            }
        }
}

void program_devices(const ProgramArgs& a, int threads) { over_devices<false>(a, threads); }
void drift_devices(const ProgramArgs& a, int threads) { over_devices<true>(a, threads); }

}  // namespace
}  // namespace sim
