// SIMD vectors as number types of the core headers (vector extensions of g++ and clang). The width is that of the
// instruction set that the including file is compiled for; no result depends on it except sums of products.
// Included by portable.h, in front of the first template, where SIM_SIMD names this file.
#pragma once
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif
// Instructions are named for single precision only.
#if defined(__AVX512F__) && !defined(SIM_DOUBLE)
#define SIM_AVX512
#elif defined(__AVX2__) && !defined(SIM_DOUBLE)
#define SIM_AVX2
#endif

namespace sim {

#if defined(SIM_AVX512)
constexpr int LANES = 16;
#elif defined(SIM_AVX2)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

// LANES numbers: of single precision, whole, and as arrays hold them.
typedef float vs __attribute__((vector_size(4 * LANES)));
typedef int vi __attribute__((vector_size(4 * LANES)));
typedef u32 vu __attribute__((vector_size(4 * LANES)));
#ifdef SIM_DOUBLE
typedef double vf __attribute__((vector_size(8 * LANES)));
typedef long vm __attribute__((vector_size(8 * LANES)));  // of comparisons
#else
typedef vs vf;
typedef vi vm;
#endif
typedef real vf_unaligned __attribute__((vector_size(sizeof(vf)), aligned(sizeof(real)), may_alias));
typedef u32 vu_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

SIM_HD vs select(vi m, vs a, vs b) { return m ? a : b; }
SIM_HD vu select(vi m, vu a, vu b) { return m ? a : b; }
SIM_HD vi select(vi m, vi a, vi b) { return m ? a : b; }
SIM_HD vs to_float(vi x) { return __builtin_convertvector(x, vs); }
SIM_HD vi to_int(vs x) { return __builtin_convertvector(x, vi); }
SIM_HD vi to_signed(vu x) { return (vi)x; }
SIM_HD vu to_unsigned(vi x) { return (vu)x; }
SIM_HD vu bits_of(vs x) { return (vu)x; }
SIM_HD vs float_of(vu x) { return (vs)x; }

#ifdef SIM_DOUBLE
SIM_HD vf select(vm m, vf a, vf b) { return m ? a : b; }
SIM_HD vi to_int(vf x) { return __builtin_convertvector(x, vi); }
SIM_HD vm to_mask(vi m) { return __builtin_convertvector(m, vm); }
SIM_HD vi of_mask(vm m) { return __builtin_convertvector(m, vi); }
#else
SIM_HD vm to_mask(vi m) { return m; }
SIM_HD vi of_mask(vm m) { return m; }
#endif
SIM_HD vf to_real(vi x) { return __builtin_convertvector(x, vf); }

SIM_HD vf load(const real* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
SIM_HD void store(real* p, vf x) { *reinterpret_cast<vf_unaligned*>(p) = x; }
SIM_HD vu load(const u32* p) { return *reinterpret_cast<const vu_unaligned*>(p); }
SIM_HD void store(u32* p, vu x) { *reinterpret_cast<vu_unaligned*>(p) = x; }
// What will be read soon, to the second level of the cache: the first has few places for what is on its way.
SIM_HD void fetch(const real* p) { __builtin_prefetch(p, 0, 2); }
SIM_HD void fetch(const real* p, int n) {
    constexpr int LINE = 64 / sizeof(real);  // numbers of a line of the cache
    for (int k = 0; k < n; k += LINE) fetch(p + k);
}
SIM_HD vf broadcast(real x) { return vf{} + x; }
SIM_HD vu broadcast(u32 x) { return vu{} + x; }
SIM_HD vu lane_index() {
    vu v{};
    for (int k = 0; k < LANES; ++k) v[k] = static_cast<u32>(k);
    return v;
}

// Indices `first` to `first` + LANES - 1; the last of n in the place of those behind it.
SIM_HD vu indices(u32 first, u32 n) {
    const vu k = lane_index() + first, last = broadcast(n - 1u);
    return select(to_signed(k) < to_signed(last), k, last);
}

// Set bits of each lane, in plain arithmetic, where the instruction set does not count them.
SIM_HD vu counted_bits(vu a) {
    a = a - ((a >> 1) & 0x55555555u);
    a = (a & 0x33333333u) + ((a >> 2) & 0x33333333u);
    return (((a + (a >> 4)) & 0x0F0F0F0Fu) * 0x01010101u) >> 24;
}

#if defined(SIM_AVX512)
SIM_HD vs root(vs x) { return (vs)_mm512_sqrt_ps((__m512)x); }
SIM_HD vs round_even(vs x) { return (vs)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SIM_HD vs gather(const float* p, vu index) { return (vs)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xFFFF, (__m512i)index, p, 4); }
SIM_HD vs multiply_add(vs a, vs b, vs c) { return (vs)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
SIM_HD bool any(vi m) { return _mm512_movepi32_mask((__m512i)m) != 0; }
// A vector on its way through products of twice its width, even and odd lanes apart (see portable.h).
struct vw {
    __m512i even, odd;
};
SIM_HD vw widen(vu a) { return {(__m512i)a, _mm512_srli_epi64((__m512i)a, 32)}; }
SIM_HD vu narrow(vw a) { return (vu)_mm512_mask_shuffle_epi32(a.even, 0xAAAA, a.odd, _MM_PERM_CCAA); }
SIM_HD vw product(vw a, u32 b) {
    const __m512i f = _mm512_set1_epi64(b);
    return {_mm512_mul_epu32(a.even, f), _mm512_mul_epu32(a.odd, f)};
}
SIM_HD vw high_half(vw a) { return {_mm512_srli_epi64(a.even, 32), _mm512_srli_epi64(a.odd, 32)}; }
SIM_HD vw mixed(vw a, vw b, u32 key) {
    const __m512i k = _mm512_set1_epi64(key);
    return {_mm512_ternarylogic_epi64(a.even, b.even, k, 0x96), _mm512_ternarylogic_epi64(a.odd, b.odd, k, 0x96)};
}
SIM_HD vu population(vu a) {
#if defined(__AVX512VPOPCNTDQ__)
    return (vu)_mm512_popcnt_epi32((__m512i)a);
#else
    return counted_bits(a);
#endif
}
SIM_HD vu shift_left(vu a, vu by) { return (vu)_mm512_sllv_epi32((__m512i)a, (__m512i)by); }  // 0 for 32 and above
SIM_HD vs load_first(const float* p, int n) { return (vs)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p); }
SIM_HD void scatter_first(float* p, vu index, vs x, int n) {
    _mm512_mask_i32scatter_ps(p, static_cast<__mmask16>(n < 16 ? (1u << n) - 1u : 0xFFFFu), (__m512i)index, (__m512)x, 4);
}
SIM_HD void store_first(float* p, vs x, int n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), (__m512)x); }
#else
#if defined(SIM_AVX2)
SIM_HD vs root(vs x) { return (vs)_mm256_sqrt_ps((__m256)x); }
SIM_HD vs round_even(vs x) { return (vs)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SIM_HD vs gather(const float* p, vu index) { return (vs)_mm256_i32gather_ps(p, (__m256i)index, 4); }
SIM_HD vs multiply_add(vs a, vs b, vs c) { return (vs)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
SIM_HD bool any(vi m) { return _mm256_movemask_ps((__m256)m) != 0; }
struct vw {
    __m256i even, odd;
};
SIM_HD vw widen(vu a) { return {(__m256i)a, _mm256_srli_epi64((__m256i)a, 32)}; }
SIM_HD vu narrow(vw a) { return (vu)_mm256_blend_epi32(a.even, _mm256_slli_epi64(a.odd, 32), 0xAA); }
SIM_HD vw product(vw a, u32 b) {
    const __m256i f = _mm256_set1_epi64x(b);
    return {_mm256_mul_epu32(a.even, f), _mm256_mul_epu32(a.odd, f)};
}
SIM_HD vw high_half(vw a) { return {_mm256_srli_epi64(a.even, 32), _mm256_srli_epi64(a.odd, 32)}; }
SIM_HD vw mixed(vw a, vw b, u32 key) {
    const __m256i k = _mm256_set1_epi64x(key);
    return {_mm256_xor_si256(_mm256_xor_si256(a.even, b.even), k), _mm256_xor_si256(_mm256_xor_si256(a.odd, b.odd), k)};
}
SIM_HD vu population(vu a) { return counted_bits(a); }
SIM_HD vu shift_left(vu a, vu by) { return (vu)_mm256_sllv_epi32((__m256i)a, (__m256i)by); }
#else
SIM_HD vs root(vs x) {
    for (int k = 0; k < LANES; ++k) x[k] = root(x[k]);
    return x;
}
SIM_HD vs round_even(vs x) {
    for (int k = 0; k < LANES; ++k) x[k] = round_even(x[k]);
    return x;
}
SIM_HD vs gather(const float* p, vu index) {
    vs x{};
    for (int k = 0; k < LANES; ++k) x[k] = p[index[k]];
    return x;
}
SIM_HD vs multiply_add(vs a, vs b, vs c) { return a * b + c; }
SIM_HD bool any(vi m) {
    int r = 0;
    for (int k = 0; k < LANES; ++k) r |= m[k];
    return r != 0;
}
struct vw {
    u64 lane[LANES];
};
SIM_HD vw widen(vu a) {
    vw w;
    for (int k = 0; k < LANES; ++k) w.lane[k] = a[k];
    return w;
}
SIM_HD vu narrow(vw a) {
    vu v{};
    for (int k = 0; k < LANES; ++k) v[k] = static_cast<u32>(a.lane[k]);
    return v;
}
SIM_HD vw product(vw a, u32 b) {
    for (int k = 0; k < LANES; ++k) a.lane[k] = product(a.lane[k], b);
    return a;
}
SIM_HD vw high_half(vw a) {
    for (int k = 0; k < LANES; ++k) a.lane[k] >>= 32;
    return a;
}
SIM_HD vw mixed(vw a, vw b, u32 key) {
    for (int k = 0; k < LANES; ++k) a.lane[k] ^= b.lane[k] ^ key;
    return a;
}
SIM_HD vu population(vu a) { return counted_bits(a); }
SIM_HD vu shift_left(vu a, vu by) {
    for (int k = 0; k < LANES; ++k) a[k] = static_cast<u32>(static_cast<u64>(a[k]) << by[k]);
    return a;
}
#endif
SIM_HD vf load_first(const real* p, int n) {
    vf x{};
    for (int k = 0; k < n; ++k) x[k] = p[k];
    return x;
}
SIM_HD void scatter_first(real* p, vu index, vf x, int n) {
    for (int k = 0; k < (n < LANES ? n : LANES); ++k) p[index[k]] = x[k];
}
SIM_HD void store_first(real* p, vf x, int n) {
    for (int k = 0; k < n; ++k) p[k] = x[k];
}
#endif

SIM_HD vs absolute(vs x) { return float_of(bits_of(x) & 0x7FFFFFFFu); }

#ifdef SIM_DOUBLE
// What single precision has in front of this, lane by lane: g++ makes vectors of it where there are any.
template <class Function> SIM_HD vf each(vf x, Function f) {
    for (int k = 0; k < LANES; ++k) x[k] = f(x[k]);
    return x;
}
SIM_HD vf root(vf x) { return each(x, [](double v) { return root(v); }); }
SIM_HD vf round_even(vf x) { return each(x, [](double v) { return round_even(v); }); }
SIM_HD vf absolute(vf x) { return each(x, [](double v) { return __builtin_fabs(v); }); }
SIM_HD vf gather(const double* p, vu index) {
    vf x{};
    for (int k = 0; k < LANES; ++k) x[k] = p[index[k]];
    return x;
}
SIM_HD vf multiply_add(vf a, vf b, vf c) {
#if defined(__FMA__)
    for (int k = 0; k < LANES; ++k) a[k] = __builtin_fma(a[k], b[k], c[k]);
    return a;
#else
    return a * b + c;
#endif
}
SIM_HD bool any(vm m) { return any(of_mask(m)); }
#endif

// p[k] of `size` numbers: those that fit into registers are permuted there, which costs a tenth of a gather.
SIM_HD vf pick(const real* p, int size, vu k) {
#if defined(SIM_AVX512)
    if (size <= 32) {
        const vs low = load_first(p, size < 16 ? size : 16), high = size <= 16 ? vs{} : load_first(p + 16, size - 16);
        return (vs)_mm512_permutex2var_ps((__m512)low, (__m512i)k, (__m512)high);
    }
#elif defined(SIM_AVX2)
    if (size <= 8) return (vs)_mm256_permutevar8x32_ps((__m256)load_first(p, size), (__m256i)k);
#else
    (void)size;
#endif
    return gather(p, k);
}

template <> struct number<vf> {
    using mask = vm;
    using index = vu;
    static SIM_HD vu truncated(vf x) { return to_unsigned(to_int(x)); }
    static SIM_HD vf from(vu k) { return to_real(to_signed(k)); }
    static SIM_HD vf picked(const real* p, int size, vu k) { return pick(p, size, k); }
};

// Sum and maximum over the lanes, always in the same tree.
SIM_HD real sum_lanes(vf x) {
    real t[LANES];
    store(t, x);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; ++k) t[k] += t[k + half];
    return t[0];
}
SIM_HD real max_lanes(vf x) {
    real m = x[0];
    for (int k = 1; k < LANES; ++k) m = x[k] > m ? x[k] : m;
    return m;
}

}  // namespace sim
