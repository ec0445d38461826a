// What every physics header needs from its compiler: g++ (scalar or SIMD number types) and NVRTC.
//
// The physics is written once, as functions over a number type F. F is float or double, a dual number
// (derivatives, for fitting), or a SIMD vector (sim/cpu/simd.h). Only + - * / and sqrt are used, and no compiler may
// fuse them (-ffp-contract=off, --fmad=false), so all of them agree in bits.
#pragma once

#ifdef __CUDACC__
#define SIM_HD __host__ __device__ __forceinline__
#define SIM_ROLLED _Pragma("unroll 1")  // a loop that takes too many registers unrolled
#else
#define SIM_HD inline __attribute__((always_inline))
#define SIM_ROLLED
#endif

#ifndef __CUDACC_RTC__
#include <cmath>
#include <cstdint>
#include <cstring>
#endif

namespace sim {

using u32 = unsigned int;
using u64 = unsigned long long;

// What arrays hold and kernels compute with. Double precision is a build of its own (CMakeLists.txt).
#ifdef SIM_DOUBLE
using real = double;
constexpr real LARGEST = 1.7976931348623157e308;
#else
using real = float;
constexpr real LARGEST = 3.4028235e38f;
#endif

// What goes with a number type: its comparisons, its indices, and what they pick from data that is shared.
template <class F> struct number {
    using mask = bool;
    using index = u32;
    static SIM_HD index truncated(F x) { return static_cast<u32>(x); }  // x >= 0
    static SIM_HD F from(index k) { return F(static_cast<int>(k)); }
    template <class D> static SIM_HD F picked(const D* p, int, index k) { return F(p[k]); }  // of `size` numbers
};
template <class F> using mask_t = typename number<F>::mask;
template <class F> using index_t = typename number<F>::index;
// Numbers that all crosspoints share: those of an array, but of the type itself where it is finer (double, dual numbers).
template <class F> struct shared_of { using type = real; };
template <> struct shared_of<double> { using type = double; };
template <class F> using shared_t = typename shared_of<F>::type;

SIM_HD float select(bool m, float a, float b) { return m ? a : b; }
SIM_HD double select(bool m, double a, double b) { return m ? a : b; }
SIM_HD u32 select(bool m, u32 a, u32 b) { return m ? a : b; }
SIM_HD int select(bool m, int a, int b) { return m ? a : b; }
SIM_HD float root(float x) { return sqrtf(x); }
SIM_HD double root(double x) { return sqrt(x); }
SIM_HD float round_even(float x) { return rintf(x); }
SIM_HD double round_even(double x) { return rint(x); }

SIM_HD float absolute(float x) { return x < 0.0f ? -x : x; }
SIM_HD double absolute(double x) { return x < 0.0 ? -x : x; }
SIM_HD bool any(bool m) { return m; }
// A mask of numbers as one of whole numbers, and back.
SIM_HD bool of_mask(bool m) { return m; }
SIM_HD bool to_mask(bool m) { return m; }

SIM_HD int to_signed(u32 x) { return static_cast<int>(x); }
SIM_HD u32 to_unsigned(int x) { return static_cast<u32>(x); }
SIM_HD float to_float(int x) { return static_cast<float>(x); }
SIM_HD real to_real(int x) { return static_cast<real>(x); }
SIM_HD int to_int(float x) { return static_cast<int>(x); }
SIM_HD int to_int(double x) { return static_cast<int>(x); }
SIM_HD u32 bits_of(float x) {
#ifdef __CUDA_ARCH__
    return __float_as_uint(x);
#else
    u32 u;
    memcpy(&u, &x, 4);
    return u;
#endif
}
SIM_HD float float_of(u32 u) {
#ifdef __CUDA_ARCH__
    return __uint_as_float(u);
#else
    float x;
    memcpy(&x, &u, 4);
    return x;
#endif
}
// Number of set bits.
SIM_HD u32 population(u32 a) {
#ifdef __CUDA_ARCH__
    return static_cast<u32>(__popc(a));
#else
    return static_cast<u32>(__builtin_popcount(a));
#endif
}
SIM_HD u32 shift_left(u32 a, u32 by) { return by < 32 ? a << by : 0; }
// A 32-bit number on its way through products of twice its width: the low half of a u64 counts, the high half is anything.
SIM_HD u64 widen(u32 a) { return a; }
SIM_HD u32 narrow(u64 a) { return static_cast<u32>(a); }
SIM_HD u64 product(u64 a, u32 b) { return static_cast<u64>(static_cast<u32>(a)) * b; }
SIM_HD u64 high_half(u64 a) { return a >> 32; }
SIM_HD u64 mixed(u64 a, u64 b, u32 key) { return a ^ b ^ key; }

}  // namespace sim

// The vector types have to be known before the first template: their functions are not found by argument.
#ifdef SIM_SIMD
#include SIM_SIMD
#endif

namespace sim {

template <class F> SIM_HD F minimum(F a, F b) { return select(b < a, b, a); }
template <class F> SIM_HD F maximum(F a, F b) { return select(b > a, b, a); }
// Bounds of a value that has to stay one: not a number becomes the lower end (a step may overflow where a bound is next to 0).
template <class F> SIM_HD F clamp(F x, F low, F high) { return minimum(select(x > low, x, low), high); }
// The same for a signal: what is not a number stays so.
template <class F> SIM_HD F clip(F x, F low, F high) { return minimum(maximum(x, low), high); }

}  // namespace sim
