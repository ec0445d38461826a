// Programming and drift (sim/core/programming.h), vectorised over blocks of 64 neighbouring weights.
#pragma once
#include "../core/programming.h"
#include "field.h"
#include "kernels.h"

namespace sim {
namespace {

template <bool DRIFT> void over_devices(const ProgramArgs& a, int threads) {
    over_blocks(a.replicas, a.cells, threads, [&](int r, long long q) {
        const real *p = a.numbers + 1LL * r * a.stride, *lines = p + N_PROGRAM_NUMBERS, *table = lines + N_LINE * a.devices;
        const u64 key = static_cast<u64>(a.keys[r]);
        const u32 at = static_cast<u32>(q), step = static_cast<u32>(*a.step);
        vf xi[PARTS_OF_64], xi_nu[PARTS_OF_64] = {}, total[PARTS_OF_64];
        for (vf& sum : total) sum = vf{} + p[WEIGHT_OFFSET];
        for (int d = 0; d < a.devices; ++d) {
            const u32 purpose = DRIFT ? drift_purpose(d) : program_purpose(law_of(p), d);
            const real* line = lines + N_LINE * d;
            real *conductance = a.conductance + (1LL * a.devices * r + d) * a.cells, *nu = a.nu + (1LL * a.devices * r + d) * a.cells;
            normals64(stream_of(key, purpose), at, 0, 0, step, xi);
            if (!DRIFT && law_of(p) != SNAPSHOTS) normals64(stream_of(key, purpose + 1u), at, 0, 0, step, xi_nu);
            for (int k = 0; k < PARTS_OF_64; ++k) {
                const Part part(a.cells, q, k);
                if (!part.exists()) break;
                vf g;
                if (DRIFT) {
                    g = drifted_device(p, table, part.at(conductance), part.at(nu), xi[k]);
                } else {
                    const ProgrammedDevice<vf> made = programmed(p, line, table, part.at(a.weight + r * a.cells), xi[k], xi_nu[k]);
                    part.put(conductance, g = made.conductance), part.put(nu, made.nu);
                }
                total[k] = total[k] + part_of_weight(p, line, g);
                if (d == a.devices - 1) part.put(a.noisy + r * a.cells, total[k]);
            }
        }
    });
}

void program_devices(const ProgramArgs& a, int threads) { over_devices<false>(a, threads); }
void drift_devices(const ProgramArgs& a, int threads) { over_devices<true>(a, threads); }

}  // namespace
}  // namespace sim
