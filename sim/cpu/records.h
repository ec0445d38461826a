// Device parameters that vary between crosspoints: a record of n numbers for each. Few crosspoints of a row have a pulse, and the
// numbers of one then lie in one line of the cache, or two.
#pragma once
#include "kernels.h"
#include "portable.h"

namespace sim {
namespace {

#if defined(SIM_AVX512)
// The first four numbers, or as many of them as `some` has bits, of 16 records.
template <bool All> SIM_HD void four_fields(const real* records, const u32* at, __mmask8 some, vf* out) {
    const auto four = [&](int k) { return All ? _mm_loadu_ps(records + at[k]) : _mm_maskz_loadu_ps(some, records + at[k]); };
    __m512 z[4];  // lanes 4 q to 4 q + 3 of z[k] are of record 4 q + k
    for (int k = 0; k < 4; ++k) {
        z[k] = _mm512_maskz_broadcast_f32x4(0x000F, four(k));
        z[k] = _mm512_mask_broadcast_f32x4(z[k], 0x00F0, four(4 + k));
        z[k] = _mm512_mask_broadcast_f32x4(z[k], 0x0F00, four(8 + k));
        z[k] = _mm512_mask_broadcast_f32x4(z[k], 0xF000, four(12 + k));
    }
    const __m512d a = (__m512d)_mm512_unpacklo_ps(z[0], z[1]), b = (__m512d)_mm512_unpacklo_ps(z[2], z[3]);
    const __m512d c = (__m512d)_mm512_unpackhi_ps(z[0], z[1]), d = (__m512d)_mm512_unpackhi_ps(z[2], z[3]);
    out[0] = (vf)_mm512_unpacklo_pd(a, b), out[1] = (vf)_mm512_unpackhi_pd(a, b);
    out[2] = (vf)_mm512_unpacklo_pd(c, d), out[3] = (vf)_mm512_unpackhi_pd(c, d);
}

// The n numbers of LANES records.
SIM_HD void load_records(const real* records, int n, vu index, vf* out) {
    if (!n) return;
    alignas(64) u32 at[LANES];
    store(at, index * static_cast<u32>(n));
    if (n < 4) return four_fields<false>(records, at, static_cast<__mmask8>((1u << n) - 1u), out);
    for (int f = 0; f < n; f += 4) {
        const int from = f + 4 <= n ? f : n - 4;  // nothing behind a record is read
        four_fields<true>(records + from, at, 0, out + from);
    }
}
#else
SIM_HD void load_records(const real* records, int n, vu index, vf* out) {
    for (int f = 0; f < n; ++f) out[f] = gather(records + f, index * static_cast<u32>(n));
}
#endif

}  // namespace
}  // namespace sim
