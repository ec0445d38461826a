// Constant step: the change does not depend on the state (devices.md, 5.2).
//
//     s_up = dwmin_up,   s_dn = dwmin_down,   n = s
//
// Source: T. Gokmen and Y. Vlasov, Front. Neurosci. 10, 333 (2016). Leaves out saturation other than the hard bounds.
#pragma once
#include "../pulse.h"

namespace sim::device {

struct constant_step {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down"};
    static constexpr bool steps_alike = true;
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) { return {p(0), p(1), p(2), p(3)}; }

    template <class F> static SIM_HD F step(const Cell<F>& c, F, mask_t<F> up) { return select(up, c.step_up, c.step_down); }
    template <class F> static SIM_HD F noise_scale(const Cell<F>&, F, mask_t<F>, F mean) { return mean; }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
