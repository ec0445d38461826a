// Some columns of a row next to each other, so that whole vectors of them can be worked. Masks tell which of each LANES these are.
#pragma once
#include "portable.h"

namespace sim {
namespace {

#if defined(SIM_AVX512)
constexpr int TOGETHER = 2;  // vectors that are worked together, as far as the registers go
#else
constexpr int TOGETHER = 1;
#endif
constexpr int MARGIN = TOGETHER * LANES;  // behind planes, so that whole vectors can be read and written

SIM_HD int count_of(u32 mask) { return __builtin_popcount(mask); }

// The first bits of `from` at the set ones of `at`.
SIM_HD u32 deposited(u32 from, u32 at) {
#if defined(__BMI2__)
    return _pdep_u32(from, at);
#else
    u32 bits = 0;
    for (; at; at &= at - 1, from >>= 1) bits |= (from & 1u) * (at & -at);
    return bits;
#endif
}

// Lanes where m is not 0.
#if defined(SIM_AVX512)
SIM_HD u32 mask_of(vu m) { return _mm512_test_epi32_mask((__m512i)m, (__m512i)m); }
#else
SIM_HD u32 mask_of(vu m) {
    u32 mask = 0;
    for (int k = 0; k < LANES; ++k) mask |= static_cast<u32>(m[k] != 0) << k;
    return mask;
}
#endif

#if defined(SIM_AVX512)
SIM_HD vu permute(vu v, vu lane) { return (vu)_mm512_permutexvar_epi32((__m512i)lane, (__m512i)v); }
SIM_HD vu permute(vu other, vu lane, vu v, __mmask16 taken) { return (vu)_mm512_mask_permutexvar_epi32((__m512i)other, taken, (__m512i)lane, (__m512i)v); }

// Puts masked lanes of P planes behind those that are there. Vectors are filled in registers: stores that overlap would take
// longer than all the rest.
template <int P> struct Packer {
    u32* to[P];
    vu filled[P]{};
    u32 n = 0, at = 0;

    SIM_HD void add(u32 mask, vu* v) {
        const __mmask16 hit = static_cast<__mmask16>(mask);
        const u32 more = static_cast<u32>(count_of(mask));
        const vu behind = lane_index() - n;  // lane n takes the first
        for (int p = 0; p < P; ++p) {
            v[p] = (vu)_mm512_maskz_compress_epi32(hit, (__m512i)v[p]);
            filled[p] = permute(filled[p], behind, v[p], static_cast<__mmask16>(0xFFFFu << n));
        }
        n += more;
        if (n < LANES) return;
        n -= LANES;
        const vu rest = lane_index() + (more - n);
        for (int p = 0; p < P; ++p) {
            store(to[p] + at, filled[p]);
            filled[p] = permute(v[p], rest);
        }
        at += LANES;
    }
    // The number of them all.
    SIM_HD int finish() {
        for (int p = 0; p < P; ++p) store(to[p] + at, filled[p]);
        return static_cast<int>(at + n);
    }
};
template <int P> SIM_HD void pack_planes(const u32* const* from, u32* const* to, const u32* hits, int width) {
    Packer<P> packer{};
    for (int p = 0; p < P; ++p) packer.to[p] = to[p];
    for (int j = 0; j < width; j += LANES) {
        if (!hits[j / LANES]) continue;
        vu v[P];
        for (int p = 0; p < P; ++p) v[p] = load(from[p] + j);
        packer.add(hits[j / LANES], v);
    }
    packer.finish();
}

// Brings together the masked columns of some planes, of `width` columns; a plane may go to where it is.
SIM_HD void pack(const u32* const* from, u32* const* to, int planes, const u32* hits, int width) {
    switch (planes) {
        case 1: return pack_planes<1>(from, to, hits, width);
        case 2: return pack_planes<2>(from, to, hits, width);
        case 3: return pack_planes<3>(from, to, hits, width);
        case 4: return pack_planes<4>(from, to, hits, width);
    }
}

// Weights of the masked columns, and back to where they are.
SIM_HD void pack(const real* from, real* to, const u32* hits, int width) {
    const u32* source = reinterpret_cast<const u32*>(from);
    u32* target = reinterpret_cast<u32*>(to);
    pack_planes<1>(&source, &target, hits, width);
}
SIM_HD void unpack(const real* from, real* to, const u32* hits, int width) {
    for (int j = 0; j < width; j += LANES) {
        const __mmask16 hit = static_cast<__mmask16>(hits[j / LANES]);
        if (!hit) continue;
        _mm512_mask_storeu_epi32(to + j, hit, _mm512_maskz_expand_epi32(hit, _mm512_loadu_epi32(from)));
        from += count_of(hit);
    }
}
#else
template <int P> struct Packer {
    u32* to[P];
    int n = 0;

    SIM_HD void add(u32 hit, const vu* v) {
        for (; hit; hit &= hit - 1, ++n)
            for (int p = 0; p < P; ++p) to[p][n] = v[p][__builtin_ctz(hit)];
    }
    SIM_HD int finish() const { return n; }
};
SIM_HD void pack(const u32* const* from, u32* const* to, int planes, const u32* hits, int width) {
    int n = 0;
    for (int j = 0; j < width; j += LANES)
        for (u32 hit = hits[j / LANES]; hit; hit &= hit - 1, ++n) {
            const int column = j + __builtin_ctz(hit);
            for (int p = 0; p < planes; ++p) to[p][n] = from[p][column];
        }
}
SIM_HD void pack(const real* from, real* to, const u32* hits, int width) {
    for (int j = 0; j < width; j += LANES)
        for (u32 hit = hits[j / LANES]; hit; hit &= hit - 1) *to++ = from[j + __builtin_ctz(hit)];
}
SIM_HD void unpack(const real* from, real* to, const u32* hits, int width) {
    for (int j = 0; j < width; j += LANES)
        for (u32 hit = hits[j / LANES]; hit; hit &= hit - 1) to[j + __builtin_ctz(hit)] = *from++;
}
#endif

}  // namespace
}  // namespace sim
