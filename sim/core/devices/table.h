// Measured steps: a table of the change over the state and over the quantile of its distribution (fitting.md, 1.3).
//
//     s(q) = dwmin mean(q),   drawn step = dwmin T(q, xi),   n = dwmin std(q)
//
// q = (w - min_bound) / (max_bound - min_bound) is the row coordinate; xi, a standard normal, the column coordinate: its
// distribution function is a uniform number, so T(q, .) at the nodes z is the quantile of the change at Phi(z). Columns
// are evenly spread over z = -Z ... Z; beyond, the last column.
//
// Shared data: rows, columns, Z; then mean of each row up and down, standard deviation of each row up and down (both of
// the table as measured), and T row by row, up and down, whose deviations from the mean are already scaled by dw_min_std.
// Source: T. P. Xiao et al., CrossSim (2022), for the look-up table of measured updates.
#pragma once
#include "../lookup.h"
#include "../pulse.h"

namespace sim::device {

struct table {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "dw_min_std"};
    static constexpr int minimum_data = 3 + 2 * (2 + 2 + 4);
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, per_weight, per_sigma;
        const real* data;
        int rows, columns;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        const F max_bound = p(0), min_bound = p(1), sigma = p(4), zero = F{} + 0, one = zero + 1, range = max_bound - min_bound;
        const int rows = static_cast<int>(p.data[0]), columns = static_cast<int>(p.data[1]);
        const real per_z = 0.5f * static_cast<real>(columns - 1) / p.data[2];
        const auto moves = range > zero;
        const F per_weight = select(moves, (zero + static_cast<real>(rows - 1)) / select(moves, range, one), zero);
        const F per_sigma = select(sigma > zero, (zero + per_z) / select(sigma > zero, sigma, one), zero);
        return {max_bound, min_bound, p(2), p(3), per_weight, per_sigma, p.data + 3, rows, columns};
    }

    template <class F> static SIM_HD Node<F> row(const Cell<F>& c, F w) {
        return node((w - c.min_bound) * c.per_weight, F{} + static_cast<real>(c.rows - 1));
    }
    // Statistic of each row, from `data` on.
    template <class F> static SIM_HD F moment(const Cell<F>& c, const real* data, F w, mask_t<F> up) {
        const Node<F> at = row(c, w);
        const index_t<F> k = of_direction<F>(at.index, static_cast<u32>(c.rows), up);
        return select(up, c.step_up, c.step_down) * between(data, 2 * c.rows, k, at.fraction);
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) { return moment(c, c.data, w, up); }
    template <class F> static SIM_HD F noise_scale(const Cell<F>& c, F w, mask_t<F> up, F) {
        return absolute(moment(c, c.data + 2 * c.rows, w, up));
    }
    template <class F> static SIM_HD F drawn(const Cell<F>& c, F w, mask_t<F> up, F sigma_xi) {
        const F last = F{} + static_cast<real>(c.columns - 1);
        const Node<F> at = row(c, w), z = node(sigma_xi * c.per_sigma + 0.5f * last, last);
        const index_t<F> k = of_direction<F>(at.index, static_cast<u32>(c.rows), up) * static_cast<u32>(c.columns) + z.index;
        const real* quantiles = c.data + 4 * c.rows;
        const int size = 2 * c.rows * c.columns;
        const F below = between(quantiles, size, k, z.fraction), above = between(quantiles, size, k + static_cast<u32>(c.columns), z.fraction);
        return select(up, c.step_up, c.step_down) * (below + (above - below) * at.fraction);
    }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
