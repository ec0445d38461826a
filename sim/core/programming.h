// Programming and drift of weights on one or more devices each (inference.md, sections 2 and 3), crosspoint by crosspoint.
//
//     target:   g = clip(a w + b, low, high) of each device;   back: w = offset + sum_d c_d (g_d - base)
//     program:  g_prog = max(floor, g + sigma(g) xi), and a number nu of each device that drift depends on
//     drift:    by the law of the replica
//
//     power law    nu = a |mu(r) + s(r) xi|,  g_d = g_prog exp(-nu ln((t + t_0) / t_0)),  g(t) = max(0, g_d (1 + q(r_prog) strength xi))
//     snapshots    nu = g,   g(t) = max(0, g + sigma_t(r) xi), variances interpolated between two times
//     relaxation   nu = xi,  g_d = g_prog + s(t) nu + m(t),  g(t) = clip(g_d + strength log10(max(g_d, 1)) xi, low, high)
//     tables       nu = xi,  g_d = g_prog + m l + s sqrt(l) nu, or g_prog exp(-(m + s nu) l),  g(t) = max(0, g_d + q xi)
//
// with r = g / g_max; numbers of a replica are made by sim/inference/programming.py: the numbers of all laws, then a line for each
// device of a weight, then the knots of a table.
#pragma once
#include "elementary.h"

namespace sim {

constexpr int N_PROGRAM_COEFFICIENTS = 6, N_PIECE = 9;
enum DriftKind { POWER_LAW, SNAPSHOTS, RELAXATION, TABLES };
enum ProgramNumber { LAW, INVERSE_G_MAX, WEIGHT_OFFSET, BASE, PROGRAM_FLOOR, N_KNOTS, SPREAD_COEFFICIENTS, LAW_NUMBERS = SPREAD_COEFFICIENTS + N_PROGRAM_COEFFICIENTS };
enum PowerLawNumber { NU_MEAN = LAW_NUMBERS, NU_SPREAD = NU_MEAN + N_PIECE, READ = NU_SPREAD + N_PIECE, READ_FACTOR = READ + N_PIECE, READ_FLOOR, READ_POWER,
                      DRIFT_FACTOR, LOG_TIME, READ_STRENGTH, N_PROGRAM_NUMBERS };
enum SnapshotNumber { SNAPSHOT_PART = LAW_NUMBERS, SNAPSHOT_LATER, SNAPSHOT_BEFORE = SNAPSHOT_LATER + N_PROGRAM_COEFFICIENTS };
enum RelaxationNumber { RELAXES = LAW_NUMBERS, RELAXATION_SPREAD, RELAXATION_MEAN, RELAXATION_READ, RELAXATION_LOW, RELAXATION_HIGH };
enum TableNumber { TABLE_IS_POWER = LAW_NUMBERS, TABLE_MEAN_FACTOR, TABLE_SPREAD_FACTOR };
enum LineNumber { LINE_SLOPE, LINE_OFFSET, LINE_LOW, LINE_HIGH, LINE_BACK, N_LINE };
// Of a knot: the conductance, then value and slope to the next knot of each column.
enum TableColumn { SIGMA_COLUMN, MEAN_COLUMN, SPREAD_COLUMN, READ_COLUMN, N_TABLE_COLUMNS };
constexpr int KNOT = 1 + 2 * N_TABLE_COLUMNS;

struct ProgramArgs {
    const real* weight;       // (R, cells): programmed; null for drift
    real* noisy;              // (R, cells): weights that the devices make
    real *conductance, *nu;   // (R, devices, cells): made by programming, read by drift
    const real* numbers;      // (R, stride)
    const long long *keys, *step;
    long long cells;
    int replicas, devices, stride;
};

SIM_HD int law_of(const real* p) { return static_cast<int>(p[LAW]); }
// Draws of a programming and of a drift call: of device d of a weight.
SIM_HD u32 program_purpose(int law, int d) { return PURPOSE_FIELD + 1u + (law == SNAPSHOTS ? 1u : 2u) * static_cast<u32>(d); }
SIM_HD u32 drift_purpose(int d) { return PURPOSE_FIELD + 1u + static_cast<u32>(d); }

template <class F> struct ProgrammedDevice {
    F conductance, nu;
};
template <class F> SIM_HD F spread_polynomial(const real* c, F r) {
    F sigma = F{};
    for (int k = N_PROGRAM_COEFFICIENTS - 1; k >= 0; --k) sigma = sigma * r + c[k];
    return sigma;
}
// A clipped line of ln r below a threshold, a cubic of r from there on.
template <class F> SIM_HD F piece(const real* p, F r, F log_r) {
    const F low = clip(log_r * p[0] + p[1], F{} + p[2], F{} + p[3]);
    const F high = ((r * p[8] + p[7]) * r + p[6]) * r + p[5];
    return select(r < F{} + p[4], low, high);
}
// Between the knots of a table; outside, its end values.
template <class F> SIM_HD F in_table(const real* table, int knots, int column, F g) {
    const real* last = table + KNOT * (knots - 1);
    g = clip(g, F{} + table[0], F{} + last[0]);
    F value = F{};
    for (int k = 0; k < knots; ++k) {
        const real* knot = table + KNOT * k;
        value = select(g < F{} + knot[0], value, (g - knot[0]) * knot[2 + 2 * column] + knot[1 + 2 * column]);
    }
    return value;
}

template <class F> SIM_HD ProgrammedDevice<F> programmed(const real* p, const real* line, const real* table, F w, F xi, F xi_nu) {
    const int law = law_of(p), knots = static_cast<int>(p[N_KNOTS]);
    const F g = clip(w * line[LINE_SLOPE] + line[LINE_OFFSET], F{} + line[LINE_LOW], F{} + line[LINE_HIGH]), r = g * p[INVERSE_G_MAX];
    const F sigma = law == TABLES ? in_table(table, knots, SIGMA_COLUMN, g) : spread_polynomial(p + SPREAD_COEFFICIENTS, r);
    F nu = law == SNAPSHOTS ? g : xi_nu;
    if (law == POWER_LAW) {
        const F s = maximum(absolute(r), F{} + 1e-7f), log_r = logarithm(s);
        const F mean = knots ? in_table(table, knots, MEAN_COLUMN, g) : piece(p + NU_MEAN, s, log_r);
        const F spread = knots ? in_table(table, knots, SPREAD_COLUMN, g) : piece(p + NU_SPREAD, s, log_r);
        nu = absolute(spread * xi_nu + mean) * p[DRIFT_FACTOR];
    }
    return {maximum(sigma * xi + g, F{} + p[PROGRAM_FLOOR]), nu};
}

template <class F> SIM_HD F by_power_law(const real* p, F g, F nu, F xi) {
    F d = g;
    if (p[LOG_TIME] > 0.0f) d = exponential(nu * -p[LOG_TIME]) * g;
    if (p[READ_STRENGTH] == 0.0f) return d;
    const F s = absolute(g * p[INVERSE_G_MAX]), log_s = logarithm(maximum(s, F{} + p[READ_FLOOR]));
    const F q = p[READ_POWER] == 0.0f ? piece(p + READ, s, log_s) : exponential(log_s * p[READ_POWER]) * p[READ_FACTOR];
    return maximum((q * xi * p[READ_STRENGTH] + 1.0f) * d, F{});
}
template <class F> SIM_HD F by_snapshots(const real* p, F target, F xi) {
    const F r = target * p[INVERSE_G_MAX], later = spread_polynomial(p + SNAPSHOT_LATER, r);
    const real part = p[SNAPSHOT_PART];
    if (part == 1.0f) return maximum(later * xi + target, F{});
    const F before = spread_polynomial(p + SNAPSHOT_BEFORE, r);
    return maximum(root(later * later * part + before * before * (1.0f - part)) * xi + target, F{});
}
template <class F> SIM_HD F by_relaxation(const real* p, F g, F nu, F xi) {
    if (p[RELAXES] == 0.0f) return g;
    const F d = nu * p[RELAXATION_SPREAD] + g + p[RELAXATION_MEAN];
    const F log_10 = logarithm(maximum(d, F{} + 1.0f)) * real(0.4342944819032518);
    return clip(log_10 * p[RELAXATION_READ] * xi + d, F{} + p[RELAXATION_LOW], F{} + p[RELAXATION_HIGH]);
}
template <class F> SIM_HD F by_tables(const real* p, const real* table, F g, F nu, F xi) {
    const int knots = static_cast<int>(p[N_KNOTS]);
    const F moved = in_table(table, knots, MEAN_COLUMN, g) * p[TABLE_MEAN_FACTOR] + in_table(table, knots, SPREAD_COLUMN, g) * p[TABLE_SPREAD_FACTOR] * nu;
    const F d = p[TABLE_IS_POWER] == 0.0f ? g + moved : exponential(F{} - moved) * g;
    return maximum(in_table(table, knots, READ_COLUMN, g) * xi + d, F{});
}
template <class F> SIM_HD F drifted_device(const real* p, const real* table, F g, F nu, F xi) {
    const int law = law_of(p);
    if (law == SNAPSHOTS) return by_snapshots(p, nu, xi);
    if (law == RELAXATION) return by_relaxation(p, g, nu, xi);
    if (law == TABLES) return by_tables(p, table, g, nu, xi);
    return by_power_law(p, g, nu, xi);
}
// What a device adds to its weight, which starts at WEIGHT_OFFSET.
template <class F> SIM_HD F part_of_weight(const real* p, const real* line, F g) { return (g - p[BASE]) * line[LINE_BACK]; }

}  // namespace sim
