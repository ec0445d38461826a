// Linear step: the change is linear in the state (devices.md, 5.3).
//
//     s_up = dwmin_up + slope_up w,   s_dn = dwmin_down + slope_down w
//     n    = s with multiplicative noise, dwmin_up or dwmin_down with additive noise
//
// slope = -gamma dwmin / reference bound; normally slope_up <= 0 <= slope_down. The bracket is not floored at 0.
// Source: M. J. Rasch, T. Gokmen and W. Haensch, IEEE Design & Test (2019), arXiv:1906.02698.
#pragma once
#include "../linear_law.h"

namespace sim::device {

struct linear_step {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "slope_up", "slope_down", "mult_noise"};
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, slope_up, slope_down, mult_noise;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) { return {p(0), p(1), p(2), p(3), p(4), p(5), p(6)}; }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) { return linear_mean(c, w, up); }
    template <class F> static SIM_HD F noise_scale(const Cell<F>& c, F, mask_t<F> up, F mean) { return linear_noise(c, up, mean); }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
