// True standard normals by the transform of Box and Muller (Ann. Math. Stat. 29, 610, 1958):
//
//     z0 = sqrt(-2 ln u) cos(2 pi v),    z1 = sqrt(-2 ln u) sin(2 pi v)
//
// u has 31 bits with full resolution towards 0, so |z| reaches 6.6. The elementary functions are short polynomials in
// + - * / so that every compiler and the GPU give the same bits.
#pragma once
#include "philox.h"

namespace sim {

// Random numbers have single precision whatever is computed with them, so that both precisions see the same: F is wider than
// `type`, or the same.
template <class F> struct single {
    using type = F;
    static SIM_HD F wide(F x) { return x; }
};
template <> struct single<double> {
    using type = float;
    static SIM_HD double wide(float x) { return x; }
};
#if defined(SIM_SIMD) && defined(SIM_DOUBLE)
template <> struct single<vf> {
    using type = vs;
    static SIM_HD vf wide(vs x) { return __builtin_convertvector(x, vf); }
};
#endif

// 31 bits to (0, 1]: never 0.
template <class U> SIM_HD auto uniform_positive(U bits) { return (to_float(to_signed(bits >> 1)) + 0.5f) * 4.656612873077393e-10f; }
// 24 bits to [0, 1).
template <class U> SIM_HD auto uniform_single(U bits) { return to_float(to_signed(bits >> 8)) * 5.9604644775390625e-8f; }
template <class F, class U> SIM_HD F uniform(U bits) { return single<F>::wide(uniform_single(bits)); }

// Natural logarithm on (0, 1]; relative error below 1e-7.
// x = 2^e m, m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(s), s = (m - 1)/(m + 1).
template <class F> SIM_HD F log_unit(F x) {
    auto b = bits_of(x);
    auto e = to_signed((b + (0x3F800000u - 0x3F3504F3u)) >> 23) - 127;
    const F m = float_of(b - (to_unsigned(e) << 23));
    const F s = (m - 1.0f) / (m + 1.0f);
    const F q = s * s;
    const F p = ((0.14798198f * q + 0.19998914f) * q + 0.33333347f) * q;
    const F two_s = s + s;
    return (two_s * p + two_s) + to_float(e) * 0.69314718056f;
}

// Cosine and sine of a full turn, t in [0, 1); absolute error below 2e-7.
template <class F> SIM_HD void cos_sin_turn(F t, F& c, F& s) {
    const auto quadrant = to_int(t * 4.0f + 0.5f);         // 0 .. 4, nearest multiple of a quarter turn
    const F a = (t - to_float(quadrant) * 0.25f) * 6.28318530718f;  // -pi/4 .. pi/4
    const F q = a * a;
    const F sine = a + a * q * (-0.16666654611f + q * (8.3321608736e-3f - q * 1.9515295891e-4f));
    const F cosine = 1.0f - 0.5f * q + q * q * (4.166664568298827e-2f + q * (-1.388731625493765e-3f + q * 2.443315711809948e-5f));
    const auto swap = (quadrant & 1) != 0;
    const F cc = select(swap, sine, cosine);
    const F ss = select(swap, cosine, sine);
    c = select(((quadrant + 1) & 2) != 0, -cc, cc);
    s = select((quadrant & 2) != 0, -ss, ss);
}

template <class F, class U> SIM_HD void box_muller(U a, U b, F& z0, F& z1) {
    using S = typename single<F>::type;
    const S r = root(-2.0f * log_unit(uniform_positive(a)));
    S c, s;
    cos_sin_turn(uniform_single(b), c, s);
    z0 = single<F>::wide(r * c);
    z1 = single<F>::wide(r * s);
}

// The first of the two alone.
template <class F, class U> SIM_HD F first_normal(U a, U b) {
    F z0, z1;
    box_muller(a, b, z0, z1);
    return z0;
}

template <class F> struct Normals4 {
    F z[4];
};
template <class F, class U> SIM_HD Normals4<F> normals(Words4<U> words) {
    Normals4<F> n;
    box_muller<F>(words.x, words.y, n.z[0], n.z[1]);
    box_muller<F>(words.z, words.w, n.z[2], n.z[3]);
    return n;
}

// Pairs of normals of an element, where an element needs few of them: those of its pulses. Key and start of the counter are a
// block of (stream, step), so that they differ in 64 bits between tiles, purposes and steps.
struct Pairs {
    u32 key, start;
};
SIM_HD Pairs pairs_of(Stream s, u32 step) {
    const Words4<u32> w = philox(Words4<u32>{0, 0, 0, step}, s.key0, s.key1);
    return {w.x, w.y};
}
template <class U> SIM_HD Words2<U> pair_words(Pairs p, U element, U pair) {
    return {element, pair + p.start};
}

// Fields. Element e of a field of numbers (one purpose, sample, draw and step) is component (e / 16) % 4 of the block
// 16 (e / 64) + e % 16: the four components of 16 neighbouring blocks are 64 neighbouring elements, whatever the width
// of a vector.
SIM_HD u32 field_block(u32 e) { return ((e >> 6) << 4) | (e & 15u); }
SIM_HD u32 field_component(u32 e) { return (e >> 4) & 3u; }

SIM_HD Words4<u32> field_words(Stream s, u32 e, u32 sample, u32 draw, u32 step) {
    return philox(Words4<u32>{field_block(e), sample, draw, step}, s.key0, s.key1);
}
template <class T> SIM_HD T component(u32 k, T a, T b, T c, T d) { return k == 0 ? a : k == 1 ? b : k == 2 ? c : d; }
SIM_HD real normal_element(Stream s, u32 e, u32 sample, u32 draw, u32 step) {
    const Normals4<real> n = normals<real>(field_words(s, e, sample, draw, step));
    return component(field_component(e), n.z[0], n.z[1], n.z[2], n.z[3]);
}
SIM_HD real uniform_element(Stream s, u32 e, u32 sample, u32 draw, u32 step) {
    const Words4<u32> w = field_words(s, e, sample, draw, step);
    return uniform<real>(component(field_component(e), w.x, w.y, w.z, w.w));
}

}  // namespace sim
