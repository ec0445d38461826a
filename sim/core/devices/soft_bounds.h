// Soft bounds: the step shrinks linearly and vanishes at the bound it moves to (devices.md, 5.4).
//
//     s_up = dwmin_up (1 - w / max_bound),   s_dn = dwmin_down (1 - w / min_bound)
//     n    = s with multiplicative noise, dwmin_up or dwmin_down with additive noise
//
// Reversed, a step grows instead: its reference is the other bound, reverse_offset beyond it. A reference of 0 leaves
// the step constant. Source: J. Frascaroli et al., Sci. Rep. 8, 7178 (2018), eq. 1.
#pragma once
#include "../linear_law.h"

namespace sim::device {

struct soft_bounds {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "mult_noise", "reverse_up", "reverse_down", "reverse_offset"};
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, slope_up, slope_down, mult_noise;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        const F max_bound = p(0), min_bound = p(1), up = p(2), down = p(3), zero = F{} + 0, offset = p(7);
        const F ref_up = select(p(5) > zero, min_bound - offset, max_bound);
        const F ref_down = select(p(6) > zero, max_bound + offset, min_bound);
        return {max_bound, min_bound, up, down, select(ref_up == zero, zero, -up / ref_up),
                select(ref_down == zero, zero, -down / ref_down), p(4)};
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) { return linear_mean(c, w, up); }
    template <class F> static SIM_HD F noise_scale(const Cell<F>& c, F, mask_t<F> up, F mean) { return linear_noise(c, up, mean); }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
