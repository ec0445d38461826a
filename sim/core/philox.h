// Random numbers as a function of (key, counter): Philox4x32-10.
//
// Source: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011), section 3.3.
// There is no state. The key says whose numbers they are (replica seed, tile, purpose), the counter which one
// (element, sample, draw, step), so results do not depend on threads, order, grouping or restarts.
#pragma once
#include "portable.h"

namespace sim {

template <class U> struct Words4 {
    U x, y, z, w;
};

// N independent blocks, a round of each in turn.
template <int N, class U> SIM_HD void philox(Words4<U>* c, u32 key0, u32 key1) {
    for (int round = 0; round < 10; ++round) {
        for (int n = 0; n < N; ++n) {
            U high0, low0, high1, low1;
            mul_wide(c[n].x, U{} + 0xD2511F53u, high0, low0);
            mul_wide(c[n].z, U{} + 0xCD9E8D57u, high1, low1);
            c[n] = {high1 ^ c[n].y ^ key0, low1, high0 ^ c[n].w ^ key1, low0};
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}
template <class U> SIM_HD Words4<U> philox(Words4<U> c, u32 key0, u32 key1) {
    philox<1>(&c, key0, key1);
    return c;
}

// What the numbers of one tile are drawn for. Each purpose is a stream of its own: it is mixed into the key.
enum Purpose : u32 {
    PURPOSE_ROW_TRAIN = 1,     // pulse bits of the error side
    PURPOSE_COLUMN_TRAIN = 2,  // pulse bits of the input side
    PURPOSE_CYCLE = 3,         // cycle-to-cycle noise of a pulse
    PURPOSE_WRITE = 4,         // write noise after pulses
    PURPOSE_ROUND_ROW = 5,     // stochastic rounding of pulse probabilities, error side
    PURPOSE_ROUND_COLUMN = 6,  // ... input side
    PURPOSE_INPUT_NOISE = 7,
    PURPOSE_INPUT_ROUND = 8,
    PURPOSE_WEIGHT_NOISE = 9,
    PURPOSE_OUTPUT_NOISE = 10,
    PURPOSE_OUTPUT_ROUND = 11,
    PURPOSE_FIELD = 64,        // 64 and above: fields of normal or uniform numbers (device spread, set, decay, ...)
};

struct Stream {
    u32 key0, key1;
};
SIM_HD Stream stream_of(u64 key, u32 purpose) {
    return {static_cast<u32>(key), static_cast<u32>(key >> 32) ^ (purpose * 0x85EBCA6Bu)};
}

}  // namespace sim
