// Measured steps: a table of the change over the state and over the quantile of its distribution (fitting.md, 1.3).
//
//     s(q) = dwmin mean(q),   drawn step = dwmin (mean(q) + sigma (T(q, xi) - mean(q))),   n = dwmin std(q) / 1
//
// q = (w - min_bound) / (max_bound - min_bound) is the row coordinate; xi, a standard normal, the column coordinate: its
// distribution function is a uniform number, so T(q, .) at the nodes z is the quantile of the change at Phi(z). Columns
// are evenly spread over z = -Z ... Z; beyond, the last column. sigma (dw_min_std) scales the deviation from the mean.
//
// Shared data: rows, columns, Z; then for up and for down: mean of each row, standard deviation of each row, T row by row.
// Source: T. P. Xiao et al., CrossSim (2022), for the look-up table of measured updates.
#pragma once
#include "../lookup.h"
#include "../pulse.h"

namespace sim::device {

struct table {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "dw_min_std"};
    static constexpr int minimum_data = 3 + 2 * (2 + 2 + 4);
    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, sigma, per_weight;
        const float *up, *down;
        int rows, columns;
        float reach;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        const F max_bound = p(0), min_bound = p(1), zero = F{} + 0, range = max_bound - min_bound;
        const int rows = static_cast<int>(p.data[0]), columns = static_cast<int>(p.data[1]);
        const auto moves = range > zero;
        const F per_weight = select(moves, (zero + static_cast<float>(rows - 1)) / select(moves, range, zero + 1), zero);
        return {max_bound, min_bound, p(2), p(3), p(4), per_weight, p.data + 3, p.data + 3 + rows * (2 + columns), rows, columns, p.data[2]};
    }

    template <class F> static SIM_HD Node<F> row(const Cell<F>& c, F w) {
        return node((w - c.min_bound) * c.per_weight, F{} + static_cast<float>(c.rows - 1));
    }
    // Statistic number k of each row (0: mean, 1: standard deviation) in units of the step.
    template <class F> static SIM_HD F moment(const Cell<F>& c, const Node<F>& at, mask_t<F> up, int k) {
        const F v = select(up, between(c.up + k * c.rows, at.index, at.fraction), between(c.down + k * c.rows, at.index, at.fraction));
        return select(up, c.step_up, c.step_down) * v;
    }
    template <class F> static SIM_HD F quantile(const Cell<F>& c, const float* t, const Node<F>& at, const Node<F>& z) {
        const index_t<F> first = at.index * static_cast<u32>(c.columns) + z.index;
        const F below = between(t + 2 * c.rows, first, z.fraction), above = between(t + 2 * c.rows + c.columns, first, z.fraction);
        return below + (above - below) * at.fraction;
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) { return moment(c, row(c, w), up, 0); }
    template <class F> static SIM_HD F noise_scale(const Cell<F>& c, F w, mask_t<F> up, F) { return absolute(moment(c, row(c, w), up, 1)); }
    template <class F> static SIM_HD F drawn(const Cell<F>& c, F w, mask_t<F> up, F sigma_xi) {
        const F zero = F{} + 0, last = zero + static_cast<float>(c.columns - 1);
        const Node<F> at = row(c, w);
        const F xi = sigma_xi / select(c.sigma > zero, c.sigma, zero + 1);
        const Node<F> z = node((xi + c.reach) * (0.5f * static_cast<float>(c.columns - 1) / c.reach), last);
        const F t = select(up, quantile(c, c.up, at, z), quantile(c, c.down, at, z)) * select(up, c.step_up, c.step_down);
        const F mean = moment(c, at, up, 0);
        return mean + c.sigma * (t - mean);
    }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
