// Dual numbers: a value and its first derivatives with respect to N variables (forward differentiation).
//
// The physics headers are functions over a number type, so a Dual in place of a double gives exact derivatives of any
// device model, and a Dual of Duals gives derivatives of derivatives. Comparisons look at the value only.
#pragma once
#include <type_traits>

#include "elementary.h"

namespace sim {

template <class T, int N> struct Dual {
    T v{};
    T d[N]{};

    Dual() = default;
    Dual(const T& value) : v(value) {}
    template <class U, class = std::enable_if_t<std::is_arithmetic_v<U> && !std::is_same_v<U, T>>>
    Dual(U value) : v(static_cast<double>(value)) {}

    friend SIM_HD Dual operator+(const Dual& a, const Dual& b) {
        Dual r(a.v + b.v);
        for (int i = 0; i < N; ++i) r.d[i] = a.d[i] + b.d[i];
        return r;
    }
    friend SIM_HD Dual operator-(const Dual& a, const Dual& b) {
        Dual r(a.v - b.v);
        for (int i = 0; i < N; ++i) r.d[i] = a.d[i] - b.d[i];
        return r;
    }
    friend SIM_HD Dual operator-(const Dual& a) {
        Dual r(-a.v);
        for (int i = 0; i < N; ++i) r.d[i] = -a.d[i];
        return r;
    }
    friend SIM_HD Dual operator*(const Dual& a, const Dual& b) {
        Dual r(a.v * b.v);
        for (int i = 0; i < N; ++i) r.d[i] = a.v * b.d[i] + a.d[i] * b.v;
        return r;
    }
    friend SIM_HD Dual operator/(const Dual& a, const Dual& b) {
        const T inverse = T(1.0) / b.v;
        Dual r(a.v * inverse);
        for (int i = 0; i < N; ++i) r.d[i] = (a.d[i] - r.v * b.d[i]) * inverse;
        return r;
    }
    friend SIM_HD bool operator<(const Dual& a, const Dual& b) { return a.v < b.v; }
    friend SIM_HD bool operator>(const Dual& a, const Dual& b) { return a.v > b.v; }
    friend SIM_HD bool operator==(const Dual& a, const Dual& b) { return a.v == b.v; }
};

// f(x) for a function with value f and derivative slope at x.v
template <class T, int N> SIM_HD Dual<T, N> chain(const Dual<T, N>& x, const T& f, const T& slope) {
    Dual<T, N> r(f);
    for (int i = 0; i < N; ++i) r.d[i] = slope * x.d[i];
    return r;
}

template <class T, int N> SIM_HD Dual<T, N> select(bool m, const Dual<T, N>& a, const Dual<T, N>& b) { return m ? a : b; }
template <class T, int N> SIM_HD Dual<T, N> root(const Dual<T, N>& x) {
    const T f = root(x.v);
    return chain(x, f, T(0.5) / f);
}

template <class T, int N> SIM_HD Dual<T, N> absolute(const Dual<T, N>& x) { return x.v < T(0.0) ? -x : x; }
template <class T, int N> SIM_HD Dual<T, N> logarithm(const Dual<T, N>& x) {
    return chain(x, logarithm(x.v), T(1.0) / x.v);
}
template <class T, int N> SIM_HD Dual<T, N> exponential(const Dual<T, N>& x) {
    const T f = exponential(x.v);
    return chain(x, f, f);
}
template <class T, int N> SIM_HD Dual<T, N> two_to(const Dual<T, N>& x) {
    const T f = two_to(x.v);
    return chain(x, f, T(0.6931471805599453) * f);
}
template <class T, int N> SIM_HD Dual<T, N> octaves(const Dual<T, N>& x) { return x * Dual<T, N>(1.4426950408889634); }
// d(b^e) = e b^(e - 1) db + b^e ln(b) de
template <class T, int N> SIM_HD Dual<T, N> power(const Dual<T, N>& base, const Dual<T, N>& exponent) {
    const T f = power(base.v, exponent.v), by_base = exponent.v * power(base.v, exponent.v - T(1.0));
    const T by_exponent = base.v > T(0.0) ? f * logarithm(base.v) : T(0.0);
    Dual<T, N> r(f);
    for (int i = 0; i < N; ++i) r.d[i] = by_base * base.d[i] + by_exponent * exponent.d[i];
    return r;
}

// Density and distribution function of the standard normal.
SIM_HD double normal_density(double x) { return 0.3989422804014327 * std::exp(-0.5 * x * x); }
template <class T, int N> SIM_HD Dual<T, N> normal_density(const Dual<T, N>& x) {
    const T f = normal_density(x.v);
    return chain(x, f, -x.v * f);
}
SIM_HD double normal_below(double x) { return 0.5 * std::erfc(-0.7071067811865476 * x); }
template <class T, int N> SIM_HD Dual<T, N> normal_below(const Dual<T, N>& x) {
    return chain(x, normal_below(x.v), normal_density(x.v));
}

SIM_HD double value_of(double x) { return x; }
template <class T, int N> SIM_HD double value_of(const Dual<T, N>& x) { return value_of(x.v); }

template <class T, int N> struct number<Dual<T, N>> {
    using mask = bool;
    using index = u32;
    static SIM_HD u32 truncated(const Dual<T, N>& x) { return static_cast<u32>(value_of(x)); }
    static SIM_HD Dual<T, N> from(u32 k) { return Dual<T, N>(static_cast<int>(k)); }
    static SIM_HD Dual<T, N> picked(const float* p, int, u32 k) { return Dual<T, N>(p[k]); }
    static SIM_HD Dual<T, N> picked(const Dual<T, N>* p, int, u32 k) { return p[k]; }
};
template <class T, int N> struct shared_of<Dual<T, N>> { using type = Dual<T, N>; };

}  // namespace sim
