// Some columns of a row next to each other, so that whole vectors of them can be worked: planes of numbers of the columns, and
// masks that tell which columns of each LANES of the plane before these are.
#pragma once
#include "portable.h"

namespace sim {
namespace {

#if defined(__AVX512F__)
constexpr int TOGETHER = 2;  // vectors that are worked together, as far as the registers go
#else
constexpr int TOGETHER = 1;
#endif
constexpr int MARGIN = TOGETHER * LANES;  // behind planes, so that whole vectors can be read and written

SIM_HD int count_of(u32 mask) { return __builtin_popcount(mask); }

// Lanes where m is not 0.
#if defined(__AVX512F__)
SIM_HD u32 mask_of(vu m) { return _mm512_test_epi32_mask((__m512i)m, (__m512i)m); }
#else
SIM_HD u32 mask_of(vu m) {
    u32 mask = 0;
    for (int k = 0; k < LANES; ++k) mask |= static_cast<u32>(m[k] != 0) << k;
    return mask;
}
#endif

#if defined(__AVX512F__)
SIM_HD vf load_masked(const float* p, __mmask16 lanes) { return (vf)_mm512_maskz_loadu_ps(lanes, p); }
SIM_HD vf compress(vf v, __mmask16 hit) { return (vf)_mm512_maskz_compress_ps(hit, (__m512)v); }
SIM_HD vf permute(vf v, vu lane) { return (vf)_mm512_permutexvar_ps((__m512i)lane, (__m512)v); }
SIM_HD vf permute(vf other, vu lane, vf v, __mmask16 taken) { return (vf)_mm512_mask_permutexvar_ps((__m512)other, taken, (__m512i)lane, (__m512)v); }

// Vectors are filled in registers: stores that overlap would take longer than all the rest.
template <int P> SIM_HD void pack_planes(const float* const* from, float* const* to, const u32* hits, int width) {
    vf filled[P] = {};
    u32 n = 0, at = 0;
    for (int j = 0; j < width; j += LANES) {
        const __mmask16 hit = static_cast<__mmask16>(hits[j / LANES]);
        if (!hit) continue;
        const u32 more = static_cast<u32>(count_of(hit));
        const vu behind = lane_index() - n;  // lane n takes the first
        vf v[P];
        for (int p = 0; p < P; ++p) {
            v[p] = compress(load_masked(from[p] + j, hit), hit);
            filled[p] = permute(filled[p], behind, v[p], static_cast<__mmask16>(0xFFFFu << n));
        }
        n += more;
        if (n < LANES) continue;
        n -= LANES;
        const vu rest = lane_index() + (more - n);
        for (int p = 0; p < P; ++p) {
            store(to[p] + at, filled[p]);
            filled[p] = permute(v[p], rest);
        }
        at += LANES;
    }
    for (int p = 0; p < P; ++p) store(to[p] + at, filled[p]);
}

// Brings together the masked columns of some planes, of `width` columns; a plane may go to where it is.
SIM_HD void pack(const float* const* from, float* const* to, int planes, const u32* hits, int width) {
    constexpr int most = 8;
    for (; planes > most; planes -= most, from += most, to += most) pack_planes<most>(from, to, hits, width);
    switch (planes) {
        case 1: return pack_planes<1>(from, to, hits, width);
        case 2: return pack_planes<2>(from, to, hits, width);
        case 3: return pack_planes<3>(from, to, hits, width);
        case 4: return pack_planes<4>(from, to, hits, width);
        case 5: return pack_planes<5>(from, to, hits, width);
        case 6: return pack_planes<6>(from, to, hits, width);
        case 7: return pack_planes<7>(from, to, hits, width);
        case 8: return pack_planes<8>(from, to, hits, width);
    }
}

// The columns of a plane back to where they were.
SIM_HD void unpack(const float* from, float* to, const u32* hits, int width) {
    for (int j = 0; j < width; j += LANES) {
        const __mmask16 hit = static_cast<__mmask16>(hits[j / LANES]);
        if (!hit) continue;
        _mm512_mask_storeu_ps(to + j, hit, _mm512_maskz_expand_ps(hit, _mm512_loadu_ps(from)));
        from += count_of(hit);
    }
}
#else
SIM_HD void pack(const float* const* from, float* const* to, int planes, const u32* hits, int width) {
    int n = 0;
    for (int j = 0; j < width; j += LANES)
        for (u32 hit = hits[j / LANES]; hit; hit &= hit - 1, ++n) {
            const int column = j + __builtin_ctz(hit);
            for (int p = 0; p < planes; ++p) to[p][n] = from[p][column];
        }
}
SIM_HD void unpack(const float* from, float* to, const u32* hits, int width) {
    for (int j = 0; j < width; j += LANES)
        for (u32 hit = hits[j / LANES]; hit; hit &= hit - 1) to[j + __builtin_ctz(hit)] = *from++;
}
#endif

}  // namespace
}  // namespace sim
