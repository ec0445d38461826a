// SIMD vectors as number types of the core headers (vector extensions of g++ and clang). The width is that of the
// instruction set that the including file is compiled for; no result depends on it except sums of products.
// Included by portable.h, in front of the first template, where SIM_SIMD names this file.
#pragma once
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace sim {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int vi __attribute__((vector_size(4 * LANES)));
typedef u32 vu __attribute__((vector_size(4 * LANES)));
typedef float vf_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef u32 vu_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));


SIM_HD vf select(vi m, vf a, vf b) { return m ? a : b; }
SIM_HD vu select(vi m, vu a, vu b) { return m ? a : b; }
SIM_HD vf to_float(vi x) { return __builtin_convertvector(x, vf); }
SIM_HD vi to_int(vf x) { return __builtin_convertvector(x, vi); }
SIM_HD vi to_signed(vu x) { return (vi)x; }
SIM_HD vu to_unsigned(vi x) { return (vu)x; }
SIM_HD vu bits_of(vf x) { return (vu)x; }
SIM_HD vf float_of(vu x) { return (vf)x; }

SIM_HD vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
SIM_HD void store(float* p, vf x) { *reinterpret_cast<vf_unaligned*>(p) = x; }
SIM_HD vu load(const u32* p) { return *reinterpret_cast<const vu_unaligned*>(p); }
SIM_HD void store(u32* p, vu x) { *reinterpret_cast<vu_unaligned*>(p) = x; }
SIM_HD vf broadcast(float x) { return vf{} + x; }
SIM_HD vu broadcast(u32 x) { return vu{} + x; }
SIM_HD vu lane_index() {
    vu v{};
    for (int k = 0; k < LANES; ++k) v[k] = static_cast<u32>(k);
    return v;
}

#if defined(__AVX512F__)
SIM_HD vf root(vf x) { return (vf)_mm512_sqrt_ps((__m512)x); }
SIM_HD vf round_even(vf x) { return (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SIM_HD vf gather(const float* p, vu index) { return (vf)_mm512_i32gather_ps((__m512i)index, p, 4); }
SIM_HD vf multiply_add(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
SIM_HD bool any(vi m) { return _mm512_movepi32_mask((__m512i)m) != 0; }
SIM_HD void mul_wide(vu a, vu b, vu& high, vu& low) {
    const __m512i x = (__m512i)a, y = (__m512i)b;
    const __m512i even = _mm512_mul_epu32(x, y);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(y, 32));
    high = (vu)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
    low = (vu)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}
SIM_HD vf load_first(const float* p, int n) { return (vf)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p); }
SIM_HD void store_first(float* p, vf x, int n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), (__m512)x); }
#else
#if defined(__AVX2__)
SIM_HD vf root(vf x) { return (vf)_mm256_sqrt_ps((__m256)x); }
SIM_HD vf round_even(vf x) { return (vf)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SIM_HD vf gather(const float* p, vu index) { return (vf)_mm256_i32gather_ps(p, (__m256i)index, 4); }
SIM_HD vf multiply_add(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
SIM_HD bool any(vi m) { return _mm256_movemask_ps((__m256)m) != 0; }
SIM_HD void mul_wide(vu a, vu b, vu& high, vu& low) {
    const __m256i x = (__m256i)a, y = (__m256i)b;
    const __m256i even = _mm256_mul_epu32(x, y);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(y, 32));
    high = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
    low = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
#else
SIM_HD vf root(vf x) {
    for (int k = 0; k < LANES; ++k) x[k] = root(x[k]);
    return x;
}
SIM_HD vf round_even(vf x) {
    for (int k = 0; k < LANES; ++k) x[k] = round_even(x[k]);
    return x;
}
SIM_HD vf gather(const float* p, vu index) {
    vf x{};
    for (int k = 0; k < LANES; ++k) x[k] = p[index[k]];
    return x;
}
SIM_HD vf multiply_add(vf a, vf b, vf c) { return a * b + c; }
SIM_HD bool any(vi m) {
    int r = 0;
    for (int k = 0; k < LANES; ++k) r |= m[k];
    return r != 0;
}
SIM_HD void mul_wide(vu a, vu b, vu& high, vu& low) {
    for (int k = 0; k < LANES; ++k) {
        u32 h, l;
        mul_wide(a[k], b[k], h, l);
        high[k] = h;
        low[k] = l;
    }
}
#endif
SIM_HD vf load_first(const float* p, int n) {
    vf x{};
    for (int k = 0; k < n; ++k) x[k] = p[k];
    return x;
}
SIM_HD void store_first(float* p, vf x, int n) {
    for (int k = 0; k < n; ++k) p[k] = x[k];
}
#endif

SIM_HD vf absolute(vf x) { return float_of(bits_of(x) & 0x7FFFFFFFu); }

// p[k] of `size` numbers: those that fit into registers are permuted there, which costs a tenth of a gather.
SIM_HD vf pick(const float* p, int size, vu k) {
#if defined(__AVX512F__)
    if (size <= 32) {
        const vf low = load_first(p, size < 16 ? size : 16), high = size <= 16 ? vf{} : load_first(p + 16, size - 16);
        return (vf)_mm512_permutex2var_ps((__m512)low, (__m512i)k, (__m512)high);
    }
#elif defined(__AVX2__)
    if (size <= 8) return (vf)_mm256_permutevar8x32_ps((__m256)load_first(p, size), (__m256i)k);
#else
    (void)size;
#endif
    return gather(p, k);
}

template <> struct number<vf> {
    using mask = vi;
    using index = vu;
    static SIM_HD vu truncated(vf x) { return to_unsigned(to_int(x)); }
    static SIM_HD vf from(vu k) { return to_float(to_signed(k)); }
    static SIM_HD vf picked(const float* p, int size, vu k) { return pick(p, size, k); }
};

// Sum and maximum over the lanes, always in the same tree.
SIM_HD float sum_lanes(vf x) {
    float t[LANES];
    store(t, x);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; ++k) t[k] += t[k + half];
    return t[0];
}
SIM_HD float max_lanes(vf x) {
    float m = x[0];
    for (int k = 1; k < LANES; ++k) m = x[k] > m ? x[k] : m;
    return m;
}

}  // namespace sim
