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
template <class U> struct Words2 {
    U x, y;
};

// N independent blocks, a round of each in turn.
template <int N, class U> SIM_HD void philox(Words4<U>* c, u32 key0, u32 key1) {
    Words4<decltype(widen(U{}))> v[N];
    for (int n = 0; n < N; ++n) v[n] = {widen(c[n].x), widen(c[n].y), widen(c[n].z), widen(c[n].w)};
    for (int round = 0; round < 10; ++round) {
        for (int n = 0; n < N; ++n) {
            const auto a = product(v[n].x, 0xD2511F53u), b = product(v[n].z, 0xCD9E8D57u);
            v[n] = {mixed(high_half(b), v[n].y, key0), b, mixed(high_half(a), v[n].w, key1), a};
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    for (int n = 0; n < N; ++n) c[n] = {narrow(v[n].x), narrow(v[n].y), narrow(v[n].z), narrow(v[n].w)};
}
// Philox2x32-10: half the work, where two words of a counter are enough.
template <int N, class U> SIM_HD void philox(Words2<U>* c, u32 key) {
    Words2<decltype(widen(U{}))> v[N];
    for (int n = 0; n < N; ++n) v[n] = {widen(c[n].x), widen(c[n].y)};
    for (int round = 0; round < 10; ++round) {
        for (int n = 0; n < N; ++n) {
            const auto a = product(v[n].x, 0xD256D193u);
            v[n] = {mixed(high_half(a), v[n].y, key), a};
        }
        key += 0x9E3779B9u;
    }
    for (int n = 0; n < N; ++n) c[n] = {narrow(v[n].x), narrow(v[n].y)};
}
template <class U> SIM_HD Words4<U> philox(Words4<U> c, u32 key0, u32 key1) {
    philox<1>(&c, key0, key1);
    return c;
}
template <class U> SIM_HD Words2<U> philox(Words2<U> c, u32 key) {
    philox<1>(&c, key);
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
    PURPOSE_START_SLICE = 32,  // where a transfer between arrays starts
    PURPOSE_IN_CHOPPER = 33,   // switching of the choppers of the lines that are read
    PURPOSE_OUT_CHOPPER = 34,  // ... of the lines that are written
    PURPOSE_PART_STEP = 35,    // rounding of written steps that are no whole number of pulses
    PURPOSE_FIELD = 64,        // 64 and above: fields of normal or uniform numbers (device spread, set, decay, ...)
};

struct Stream {
    u32 key0, key1;
};
SIM_HD Stream stream_of(u64 key, u32 purpose) {
    return {static_cast<u32>(key), static_cast<u32>(key >> 32) ^ (purpose * 0x85EBCA6Bu)};
}

}  // namespace sim
