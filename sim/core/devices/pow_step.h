// Power step: the change is a power of the distance to the bound it moves to (devices.md, 5.8).
//
//     s_up = dwmin_up   ((max_bound - w) / R)^gamma_up,     R = max_bound - min_bound
//     s_dn = dwmin_down ((w - min_bound) / R)^gamma_down,   n = s
//
// The base is clamped to [0, 1]. A crosspoint whose bounds coincide does not move. Source: the response of
// filamentary and ferroelectric devices as collected by P.-Y. Chen, X. Peng and S. Yu, IEEE TCAD 37, 3067 (2018), with
// a power in place of the exponential.
#pragma once
#include "../elementary.h"
#include "../pulse.h"

namespace sim::device {

struct pow_step {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "gamma_up", "gamma_down"};
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, gamma_up, gamma_down, inverse_range;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        const F max_bound = p(0), min_bound = p(1), zero = F{} + 0, range = max_bound - min_bound;
        const auto moves = range > zero;
        return {max_bound, min_bound, select(moves, p(2), zero), select(moves, p(3), zero), p(4), p(5),
                1.0f / select(moves, range, zero + 1)};
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) {
        const F distance = select(up, c.max_bound - w, w - c.min_bound);
        const F base = clamp(distance * c.inverse_range, F{} + 0, F{} + 1);
        return select(up, c.step_up, c.step_down) * power(base, select(up, c.gamma_up, c.gamma_down));
    }
    template <class F> static SIM_HD F noise_scale(const Cell<F>&, F, mask_t<F>, F mean) { return mean; }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
