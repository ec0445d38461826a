// What crosspoints of a line hold in the middle of a mini-batch, without cutting it: their pulses up to that sample are applied
// to a copy. Noise is a function of a pulse's number, so the copy is what the array will have been.
#pragma once
#include <vector>

#include "drain.h"

namespace sim {
namespace {

// All ones where lines of the same sign give up pulses: a pulse lowers the weight where lr x d > 0. One side of a cell takes one
// direction only, as up pulses.
SIM_HD u32 turned(const UpdateArgs& a, real rate) { return (rate < 0.0f ? ~0u : 0u) ^ (a.side < 0 ? ~0u : 0u); }

// All ones where a column that is not negative gets up pulses.
SIM_HD u32 up_mask(const UpdateArgs& a, real rate, int row, int b, Lines& rows) { return rows.sample_negative(b)[row] ^ turned(a, rate); }

// Pulses of LANES crosspoints up to a sample: whole groups are applied, those of the last one wait in order.
template <class Device> struct Prefix {
    const Row& row;
    vu at;                // crosspoints, counted from those of the row
    vf weight;            // after `done` pulses
    vu low{}, left{}, done{};

    SIM_HD Prefix(const Row& r, vu crosspoints) : row(r), at(crosspoints), weight(gather(r.weight, crosspoints)) {}

    // One for each bit of `hits`, up where `up` is all ones.
    SIM_HD void add(vu hits, vu up) {
        const vu n = population(hits), run = first_bits(n) & up, next = (run >> 1) >> (31u - left);  // those of the next group
        low |= shift_left(run, left), left += n;
        const vi full = to_signed(left) >= static_cast<int>(GROUP);
        if (!any(full)) return;
        const vu group = select(full, broadcast(GROUP), vu{});
        apply_group<Device>(row, weight, at, {low, group, done});
        low = select(full, next, low), left -= group, done += group;
    }
    // The same where a look has been: only the rest of its group is of interest.
    SIM_HD void complete(vu hits, vu up) {
        const vu n = population(hits) + left;
        low |= shift_left(first_bits(population(hits)) & up, left);
        left = select(to_signed(n) > static_cast<int>(GROUP), broadcast(GROUP), n);
    }
    // The weight after m pulses of the group that waits.
    SIM_HD vf after(vu m) const {
        vf w = weight;
        vi open = to_signed(m) > 0;
        if constexpr (steps_alike<Device>(0)) {
            const vi several = open & (to_signed(left) > 1);
            if (merges<Device>(row) && any(several)) {
                const auto law = group_law<Device, vf>(devices_at<Device>(row, at), row.noise[DW_MIN_STD]);
                const auto [ups, downs] = directions<vf>(low, left);
                const vi merged = of_mask(law.is_exact(w, ups, downs)) & several;
                const vu element = at + row.first, here = select(merged, m, vu{});
                const vf whole = law.noise(ups, downs, group_normal<vf>(row.cycle, element, done));
                const auto fresh = [&](vu c) { return normal_within<vf>(row.cycle, element, done + c); };
                const auto [up, down] = directions<vf>(low, m);
                w = select(to_mask(merged), law.after(w, up, down, noise_within(law, low, left, here, whole, fresh)), w);
                open &= ~merged;
            }
        }
        const Taken t{low, select(open, m, vu{}), done};
        if (const u32 rounds = most(t.left)) apply_pulses<Device, 1>(row, &w, &at, &t, 0, rounds);
        return w;
    }
};

// The looks of a replica, each with the words of its line that have bits: most have none, and all rows ask for them.
struct Look {
    struct Word {
        const u32 *bits, *negative;  // of the lines that cross it
        u32 line_bits, up_if;        // up_if: all ones where a line that is not negative gets up pulses
        int sample;
    };
    int line, after;                 // after that sample
    real* seen;
    std::vector<Word> words;
};
std::vector<Look> looks_of(const UpdateArgs& a, int r, const Lines& columns, const Lines& rows) {
    const Lines &along = a.look_rows ? columns : rows, &across = a.look_rows ? rows : columns;
    std::vector<Look> looks;
    for (int e = 0; e < a.n_looks; ++e) {
        const size_t at = static_cast<size_t>(r) * a.n_looks + e;
        const int line = a.look_line[at];
        if (line < 0) continue;
        Look look{line, a.look_sample[at], a.looks + at * (a.look_rows ? a.in : a.out), {}};
        for (int b = 0; b < a.batch; ++b)
            for (size_t word = 0; word < static_cast<size_t>(along.words); ++word)
                if (const u32 bits = across.sample_bits(b)[word * padded(across.n) + line])
                    look.words.push_back({along.sample_bits(b) + word * padded(along.n), along.sample_negative(b), bits,
                                          across.sample_negative(b)[line] ^ turned(a, a.rate[r]), b});
        looks.push_back(std::move(look));
    }
    return looks;
}

// What products see of n crosspoints on the line of a look: they are its entries from `first` on, those of the array at `at`. With
// write noise it depends on the number of all pulses.
template <class Device> void look_at(const Row& row, vu at, int n, const Look& look, int first) {
    Prefix<Device> p(row, at);
    const bool whole = row.apparent || merges<Device>(row);
    vu total{}, here{};
    size_t k = 0;
    const auto next = [&](auto take) {
        const Look::Word& word = look.words[k++];
        const vu hits = load(word.bits + first) & word.line_bits;
        total += population(hits);
        take(hits, load(word.negative + first) ^ word.up_if);
    };
    while (k < look.words.size() && look.words[k].sample <= look.after) next([&](vu hits, vu up) { p.add(hits, up); });
    here = p.left;
    while (whole && k < look.words.size()) next([&](vu hits, vu up) { p.complete(hits, up); });
    vf weight = p.after(here);
    if (row.apparent) {
        const vu pulses = p.done + here;
        const vf written = shown_weight(row, at, weight, select(pulses == total, vu{}, pulses));
        weight = select(to_mask(pulses == 0u), gather(row.apparent, at), written);
    }
    store_first(look.seen + first, weight, n);
}

// All looks at some rows from `first` on, before any pulse of theirs.
template <class Device> void look_at_rows(const Row& top, int first, int n_rows, const std::vector<Look>& looks) {
    const UpdateArgs& a = top.a;
    const u32 in = static_cast<u32>(a.in);
    for (size_t e = 0; !a.look_rows && e < looks.size(); ++e)
        for (int k = 0; k < n_rows; ++k) {
            const size_t crosspoint = top.crosspoint(static_cast<u32>(k) * in + static_cast<u32>(looks[e].line));
            if (looks[e].words.empty()) fetch(a.weight + crosspoint);
            else fetch_crosspoint(a, crosspoint);
        }
    for (const Look& look : looks) {
        if (a.look_rows && (look.line < first || look.line >= first + n_rows)) continue;
        const int n = a.look_rows ? a.in : n_rows;
        for (int j = 0; j < n; j += LANES) {
            const int lanes = n - j < LANES ? n - j : LANES;
            const vu here = indices(static_cast<u32>(j), static_cast<u32>(n));
            if (a.look_rows) look_at<Device>(top, here + static_cast<u32>(look.line - first) * in, lanes, look, j);
            else look_at<Device>(top, here * in + static_cast<u32>(look.line), lanes, look, first + j);
        }
    }
}

}  // namespace
}  // namespace sim
