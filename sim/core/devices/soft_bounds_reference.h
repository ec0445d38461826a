// Soft bounds around a subtracted, static reference (devices.md, 5.6): with the device state g = w + reference,
//
//     s_up = dwmin_up (1 - g / max_bound),   s_dn = dwmin_down (1 - g / min_bound)
//     n    = s with multiplicative noise, dwmin_up or dwmin_down with additive noise
//
// A bound on the wrong side of 0 (or at 0) leaves its step constant. Bounds act on g, not on w.
// Source: J. Frascaroli et al., Sci. Rep. 8, 7178 (2018), for the soft bounds; M. J. Rasch et al., Nat. Commun. 15,
// 7133 (2024), for the reference.
#pragma once
#include "../linear_law.h"

namespace sim::device {

struct soft_bounds_reference {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "reference", "mult_noise"};
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, slope_up, slope_down, reference, mult_noise;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        const F max_bound = p(0), min_bound = p(1), up = p(2), down = p(3), zero = F{} + 0;
        return {max_bound, min_bound, up, down, select(max_bound > zero, -up / max_bound, zero),
                select(min_bound < zero, -down / min_bound, zero), p(4), p(5)};
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F g, mask_t<F> up) { return linear_mean(c, g, up); }
    template <class F> static SIM_HD F noise_scale(const Cell<F>& c, F, mask_t<F> up, F mean) { return linear_noise(c, up, mean); }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    static constexpr bool has_reference = true;
    template <class F> static SIM_HD F reference(const Cell<F>& c) { return c.reference; }
};

}  // namespace sim::device
