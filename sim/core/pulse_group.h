// Several pulses in one step, where that is exact.
//
// Some models step alike in every state (`steps_alike`). While no bound is within reach, u pulses up and d down, in any order, give
//
//     w <- w + (u s_up - d s_dn) + S,   S = sigma sqrt(u n_up^2 + d n_dn^2) xi
//
// since a sum of independent normals is a normal (names as in pulse.h). The pulses of a crosspoint in a call are worked in groups of
// 32, by their number. A single pulse, and a group from which a bound could be reached, go pulse by pulse.
//
// What stands in the middle of a group, where a product looks there, is drawn given its end, so that looks change nothing: with
// V the variance up to a pulse, and S known at a and b, at c between them
//
//     S_c = S_a + (S_b - S_a) p + sigma sqrt((V_c - V_a)(1 - p)) xi,   p = (V_c - V_a)/(V_b - V_a)
//
// halved until the pulse is met (P. Levy's construction of Brownian motion, 1948). The normal at c has a number of its own, so that all
// looks agree.
#pragma once
#include "normal.h"
#include "pulse.h"

namespace sim {

constexpr u32 GROUP = 32;         // pulses
constexpr float FARTHEST = 6.7f;  // no normal is larger (normal.h)

// The normal in the middle of a group after so many pulses of a call: behind the pairs of all pulses.
template <class F, class U> SIM_HD F normal_within(Pairs noise, U element, U pulses) {
    const Words2<U> words = philox(pair_words(noise, element, pulses | 0x80000000u), noise.key);
    return first_normal<F>(words.x, words.y);
}
// The normal of a group that starts after so many pulses, or of its only pulse.
template <class F, class U> SIM_HD F group_normal(Pairs noise, U element, U pulses) {
    const Words2<U> words = philox(pair_words(noise, element, pulses >> 1), noise.key);
    return first_normal<F>(words.x, words.y);
}

template <class Device> SIM_HD constexpr auto steps_alike(int) -> decltype(Device::steps_alike) { return Device::steps_alike; }
template <class Device> SIM_HD constexpr bool steps_alike(long) { return false; }

// The first n <= 32 bits.
template <class U> SIM_HD U first_bits(U n) { return shift_left(U{} + 1u, n) - 1u; }

// Steps of a crosspoint, with what u of them up and d down make of its weight.
template <class F> struct GroupLaw {
    F low, high, up, down, noise_up, noise_down;
    real sigma;

    SIM_HD F variance(F u, F d) const { return u * (noise_up * noise_up) + d * (noise_down * noise_down); }
    SIM_HD F noise(F u, F d, F xi) const { return root(variance(u, d)) * (xi * sigma); }
    SIM_HD F after(F w, F u, F d, F noise) const { return clamp(w + (u * up - d * down + noise), low, high); }
    SIM_HD mask_t<F> is_exact(F w, F u, F d) const {
        const real far = FARTHEST * sigma;
        const F reach = u * (absolute(up) + far * absolute(noise_up)) + d * (absolute(down) + far * absolute(noise_down));
        return (w + reach <= high) & (w - reach >= low);
    }
};
template <class Device, class F> SIM_HD GroupLaw<F> group_law(const typename Device::template Cell<F>& cell, real sigma) {
    static_assert(!refers<Device>(0) && !draws_itself<Device>(0), "a law of steps that are normal, on the weight itself");
    const F w{};
    const mask_t<F> yes = w == w, no = w != w;
    const F up = Device::step(cell, w, yes), down = Device::step(cell, w, no);
    return {Device::lower(cell), Device::upper(cell), up, down, Device::noise_scale(cell, w, yes, up), Device::noise_scale(cell, w, no, down), sigma};
}

// Pulses up and down among the first m, whose directions are `ups`.
template <class F> struct Directions {
    F up, down;
};
template <class F, class U> SIM_HD Directions<F> directions(U ups, U m) {
    const U up = population(ups & first_bits(m));
    return {number<F>::from(up), number<F>::from(m - up)};
}

// S after the first m of n pulses, given S after all; normal(c) is a fresh one for 0 < c < n.
template <class F, class U, class Normal> SIM_HD F noise_within(const GroupLaw<F>& law, U ups, U n, U m, F whole, Normal normal) {
    const auto variance = [&](U k) {
        const Directions<F> to = directions<F>(ups, k);
        return law.variance(to.up, to.down);
    };
    U a{}, b = n;
    F s_a{}, s_b = whole, v_a{}, v_b = variance(n);
    for (;;) {
        const auto open = (a != m) & (b != m);
        if (!any(open)) return select(to_mask(a == m), s_a, s_b);
        const U c = (a + b) >> 1;
        const F v_c = variance(c), span = v_b - v_a, part = select(span > F{}, (v_c - v_a) / span, F{});
        const F s_c = s_a + (s_b - s_a) * part + root((v_c - v_a) * (1.0f - part)) * (normal(c) * law.sigma);
        const auto left = open & (m <= c), right = open & (m > c);
        b = select(left, c, b), s_b = select(to_mask(left), s_c, s_b), v_b = select(to_mask(left), v_c, v_b);
        a = select(right, c, a), s_a = select(to_mask(right), s_c, s_a), v_a = select(to_mask(right), v_c, v_a);
    }
}

}  // namespace sim
