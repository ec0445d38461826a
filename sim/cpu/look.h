// What crosspoints of a line hold in the middle of a mini-batch, without cutting it: their pulses up to that sample are applied
// to a copy. Noise is a function of a pulse's number, so the copy is what the array will have been.
#pragma once
#include "drain.h"

namespace sim {
namespace {

// All ones where lines of the same sign give up pulses: a pulse lowers the weight where lr x d > 0. One side of a cell takes one
// direction only, as up pulses.
SIM_HD u32 turned(const UpdateArgs& a, real rate) { return (rate < 0.0f ? ~0u : 0u) ^ (a.side < 0 ? ~0u : 0u); }

// All ones where a column that is not negative gets up pulses.
SIM_HD u32 up_mask(const UpdateArgs& a, real rate, int row, int b, Lines& rows) { return rows.sample_negative(b)[row] ^ turned(a, rate); }

// Pulses of LANES crosspoints up to a sample: those that are not yet applied wait in order.
template <class Device> struct Prefix {
    const Row& row;
    vu at;                // crosspoints, counted from those of the row
    vf weight;
    vu low{}, left{}, done{};
    u32 longest = 0;      // no crosspoint waits for more

    SIM_HD Prefix(const Row& r, vu crosspoints) : row(r), at(crosspoints), weight(gather(r.weight, crosspoints)) {}

    SIM_HD void apply(bool all) {
        const Taken t{low, vu{}, all ? left : left & ~3u, done};  // a block of four normals is never split
        const u32 rounds = most(t.left);
        if (!rounds) return;
        apply_pulses<Device, 1>(row, &weight, &at, &t, 0, rounds);
        low = select(to_signed(t.left) > 31, vu{}, low >> (t.left & 31u));
        left -= t.left, done += t.left;
        longest = most(left);
    }
    // One for each bit of `hits`, of which `bits` has all; up where `up` is all ones.
    SIM_HD void add(vu hits, u32 bits, vu up) {
        longest += static_cast<u32>(count_of(bits));
        if (longest <= 32 || (longest = most(left + population(hits))) <= 32) return append(hits, up);
        apply(false);
        append(hits & 0xFFFFu, up);
        apply(false);  // then at most 3 wait
        append(hits & 0xFFFF0000u, up);
        longest = most(left);
    }

  private:
    SIM_HD void append(vu hits, vu up) {
        const vu n = population(hits);
        low |= shift_left((shift_left(broadcast(1u), n) - 1u) & up, left);
        left += n;
    }
};

// What products see of n crosspoints on one line after sample `after`: they are entries of `along` from `first` on, those of the
// array at `at`. With write noise it depends on the number of all pulses.
template <class Device> void look_at(const Row& row, vu at, int n, Lines& along, int first, Lines& across, int line, int after, bool pulsed, real* seen) {
    const UpdateArgs& a = row.a;
    const size_t along_width = padded(along.n), across_width = padded(across.n);
    Prefix<Device> p(row, at);
    vu total{};
    const int until = !pulsed ? -1 : row.apparent ? a.batch - 1 : after;
    for (int b = 0; b <= until; ++b)
        for (int word = 0; word < along.words; ++word) {
            const u32 bits = across.sample_bits(b)[static_cast<size_t>(word) * across_width + line];
            if (!bits) continue;
            const vu hits = load(along.sample_bits(b) + static_cast<size_t>(word) * along_width + first) & bits;
            total += population(hits);
            if (b <= after) p.add(hits, bits, load(along.sample_negative(b) + first) ^ across.sample_negative(b)[line] ^ turned(a, a.rate[row.replica]));
        }
    p.apply(true);
    if (row.apparent) {
        const vf written = shown_weight(row, at, p.weight, select(p.done == total, vu{}, p.done));
        p.weight = select(to_mask(p.done == 0u), gather(row.apparent, at), written);
    }
    store_first(seen, p.weight, n);
}

// All looks at some rows from `first` on, before any pulse of theirs; pulsed tells whether they have any in the batch.
template <class Device> void look_at_rows(const Row& top, int first, int n_rows, bool pulsed, Lines& columns, Lines& rows) {
    const UpdateArgs& a = top.a;
    const size_t at = static_cast<size_t>(top.replica) * a.n_looks;
    const u32 in = static_cast<u32>(a.in);
    for (int e = 0; !a.look_rows && e < a.n_looks; ++e)
        for (int k = 0; a.look_line[at + e] >= 0 && k < n_rows; ++k) fetch_crosspoint(a, top.crosspoint(static_cast<u32>(k) * in + static_cast<u32>(a.look_line[at + e])));
    for (int e = 0; e < a.n_looks; ++e) {
        const int line = a.look_line[at + e], after = a.look_sample[at + e];
        if (line < 0) continue;
        const int n = a.look_rows ? a.in : n_rows;
        if (a.look_rows && (line < first || line >= first + n_rows)) continue;
        real* seen = a.looks + (at + e) * (a.look_rows ? a.in : a.out) + (a.look_rows ? 0 : first);
        for (int j = 0; j < n; j += LANES) {
            const int lanes = n - j < LANES ? n - j : LANES;
            const vu here = indices(static_cast<u32>(j), static_cast<u32>(n));
            if (a.look_rows) look_at<Device>(top, here + static_cast<u32>(line - first) * in, lanes, columns, j, rows, line, after, pulsed, seen + j);
            else look_at<Device>(top, here * in + static_cast<u32>(line), lanes, rows, first + j, columns, line, after, pulsed, seen + j);
        }
    }
}

}  // namespace
}  // namespace sim
