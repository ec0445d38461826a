// Power step around a subtracted, static reference (devices.md, 5.9): with the device state g = w + reference,
//
//     s_up = dwmin_up   ((max_bound - g) / R)^gamma_up,     R = max_bound - min_bound
//     s_dn = dwmin_down ((g - min_bound) / R)^gamma_down,   n = s
//
// Bounds act on g, not on w. Source: as pow_step.h; M. J. Rasch et al., Nat. Commun. 15, 7133 (2024), for the reference.
#pragma once
#include "pow_step.h"

namespace sim::device {

struct pow_step_reference {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "gamma_up", "gamma_down", "reference"};
    template <class F> struct Cell {
        pow_step::Cell<F> step;
        F reference;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) { return {pow_step::load<F>(p), p(6)}; }

    template <class F> static SIM_HD F step(const Cell<F>& c, F g, mask_t<F> up) { return pow_step::step(c.step, g, up); }
    template <class F> static SIM_HD F noise_scale(const Cell<F>&, F, mask_t<F>, F mean) { return mean; }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.step.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.step.min_bound; }
    static constexpr bool has_reference = true;
    template <class F> static SIM_HD F reference(const Cell<F>& c) { return c.reference; }
};

}  // namespace sim::device
