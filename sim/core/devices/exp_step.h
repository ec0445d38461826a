// Exponential step: the change falls off exponentially towards the bound it moves to (devices.md, 5.7).
//
//     z = 2 a w / (max_bound - min_bound) + b
//     s_up = dwmin_up   max(1 - A_up   exp( gamma_up   z), 0)
//     s_dn = dwmin_down max(1 - A_down exp(-gamma_down z), 0)
//     n    = |s| + (dw_min_std_add + dw_min_std_slope |w|)
//
// A crosspoint whose bounds coincide does not move at all. Source: N. Gong et al., Nat. Commun. 9, 2102 (2018), for the
// exponential response; S. R. Nandakumar et al., Front. Neurosci. 14, 406 (2020), for noise that depends on the state.
#pragma once
#include "../elementary.h"
#include "../pulse.h"

namespace sim::device {

struct exp_step {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "A_up", "A_down", "gamma_up", "gamma_down", "a", "b", "dw_min_std_add", "dw_min_std_slope"};
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, amplitude_up, amplitude_down, slope_up, slope_down, offset_up, offset_down, noise_add, noise_slope;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        const F max_bound = p(0), min_bound = p(1), zero = F{} + 0, range = max_bound - min_bound;
        const auto moves = range > zero;
        const F scale = 2.0f * p(8) / select(moves, range, zero + 1), up = octaves(p(6)), down = -octaves(p(7)), b = p(9);
        return {max_bound, min_bound, select(moves, p(2), zero), select(moves, p(3), zero), p(4), p(5), up * scale, down * scale,
                up * b, down * b, select(moves, p(10), zero), select(moves, p(11), zero)};
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) {
        const F exponent = select(up, c.slope_up, c.slope_down) * w + select(up, c.offset_up, c.offset_down);
        const F y = 1.0f - select(up, c.amplitude_up, c.amplitude_down) * two_to(exponent);
        return select(up, c.step_up, c.step_down) * maximum(y, F{} + 0);
    }
    template <class F> static SIM_HD F noise_scale(const Cell<F>& c, F w, mask_t<F>, F mean) {
        return absolute(mean) + (c.noise_add + c.noise_slope * absolute(w));
    }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
