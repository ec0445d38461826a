// Piecewise linear step: the change interpolates nodes spread evenly over the range of the crosspoint (devices.md, 5.10).
//
//     s_up = dwmin_up v_up(q),   s_dn = dwmin_down v_down(q),   q = n (w - min_bound) / (max_bound - min_bound),   n = s
//
// Shared data: n + 1 nodes up, then n + 1 nodes down, from min_bound to max_bound; n >= 1. Outside of the bounds, the
// node there; where they coincide, the first node.
#pragma once
#include "../lookup.h"
#include "../pulse.h"

namespace sim::device {

struct piecewise_step {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down"};
    static constexpr int minimum_data = 4;
    static constexpr bool smooth_data = true;
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, per_weight;
        const shared_t<F>* nodes;
        int n;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        const F max_bound = p(0), min_bound = p(1), zero = F{} + 0, range = max_bound - min_bound;
        const int n = p.n_data / 2 - 1;
        const auto moves = range > zero;
        const F per_weight = select(moves, (zero + static_cast<real>(n)) / select(moves, range, zero + 1), zero);
        return {max_bound, min_bound, p(2), p(3), per_weight, p.data, n};
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) {
        const Node<F> at = node((w - c.min_bound) * c.per_weight, F{} + static_cast<real>(c.n));
        const index_t<F> k = of_direction<F>(at.index, static_cast<u32>(c.n + 1), up);
        return select(up, c.step_up, c.step_down) * between(c.nodes, 2 * (c.n + 1), k, at.fraction);
    }
    template <class F> static SIM_HD F noise_scale(const Cell<F>&, F, mask_t<F>, F mean) { return mean; }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
