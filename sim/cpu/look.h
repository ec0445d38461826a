// What crosspoints hold in the middle of a mini-batch, without cutting it: their pulses up to that sample are applied to a
// copy. Noise is a function of a pulse's number, so the copy is what the array will have been.
#pragma once
#include "drain.h"

namespace sim {
namespace {

// All ones where a column that is not negative gets up pulses: a pulse lowers the weight where lr x d > 0. One side of a
// cell takes one direction only, as up pulses.
SIM_HD u32 up_mask(const UpdateArgs& a, float rate, int row, int b, Lines& rows) {
    return rows.sample_negative(b)[row] ^ (rate < 0.0f ? ~0u : 0u) ^ (a.side < 0 ? ~0u : 0u);
}

SIM_HD void point_to_fields(const UpdateArgs& a, int r, int row, RowScratch& s) {
    const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
    for (int k = 0; k < a.n_parameters; ++k)
        s.parameter[k] = a.field_of[k] < 0 ? nullptr : a.fields + (static_cast<size_t>(r) * a.n_fields + a.field_of[k]) * cells + at;
}

// Pulses of LANES columns of a row, those up to a sample of each; the rest is only counted.
struct Prefix {
    u64 queue[LANES], count[LANES], total[LANES];
    u32 done[LANES];
};

template <class Device> SIM_HD void apply_prefix(const Row& row, Prefix& p, bool all, vu column, vf* weight, RowScratch& s) {
    alignas(64) u32 low[LANES], high[LANES], left[LANES], done[LANES];
    u32 rounds = 0;
    for (int k = 0; k < LANES; ++k) {
        const u64 c = p.count[k] & (all ? ~u64(0) : ~u64(3));  // a block of four normals is never split
        low[k] = static_cast<u32>(p.queue[k]), high[k] = static_cast<u32>(p.queue[k] >> 32);
        left[k] = static_cast<u32>(c), done[k] = p.done[k];
        rounds = c > rounds ? static_cast<u32>(c) : rounds;
        p.queue[k] >>= c, p.count[k] -= c, p.done[k] += static_cast<u32>(c);
    }
    if (!rounds) return;
    const Taken t{load(low), load(high), load(left), load(done)};
    const auto lookup = [&](int k, int) { return s.parameter[k] ? gather(s.parameter[k], column) : broadcast(row.values[k]); };
    apply_pulses<Device, 1>(row, lookup, weight, &column, &t, 0, rounds);
}

// Shown weights of n columns of a row, each after its own sample.
template <class Device>
void look_at(const Row& row, int index, bool pulsed, const int* column_of, const int* sample_of, int n, Lines& columns, Lines& rows, float* seen, size_t stride, RowScratch& s) {
    const UpdateArgs& a = row.a;
    const size_t width = padded(a.in), row_width = padded(a.out);
    for (int first = 0; first < n; first += LANES) {
        Prefix p{};
        vu column{};
        int last = -1;
        const int lanes = n - first < LANES ? n - first : LANES;
        for (int k = 0; k < lanes; ++k) {
            column[k] = static_cast<u32>(column_of[first + k] < 0 ? 0 : column_of[first + k]);
            last = sample_of[first + k] > last ? sample_of[first + k] : last;
        }
        vf weight = gather(row.weight, column);
        const int until = !pulsed ? -1 : row.apparent ? a.batch - 1 : last;  // write noise needs the number of all pulses
        for (int b = 0; b <= until; ++b) {
            const u32 up = up_mask(a, a.rate[row.replica], index, b, rows);
            for (int word = 0; word < rows.words; ++word) {
                const u32 bits = rows.sample_bits(b)[static_cast<size_t>(word) * row_width + index];
                if (!bits) continue;
                const u32* line = columns.sample_bits(b) + static_cast<size_t>(word) * width;
                bool full = false;
                for (int k = 0; k < lanes; ++k) {
                    const u32 hit = bits & line[column[k]];
                    const u64 c = static_cast<u64>(__builtin_popcount(hit));
                    p.total[k] += c;
                    if (!c || b > sample_of[first + k]) continue;
                    if (up ^ columns.sample_negative(b)[column[k]]) p.queue[k] |= ((u64(1) << c) - 1) << p.count[k];
                    p.count[k] += c;
                    full |= p.count[k] + 32 > 63;
                }
                if (full) apply_prefix<Device>(row, p, false, column, &weight, s);
            }
        }
        apply_prefix<Device>(row, p, true, column, &weight, s);
        for (int k = 0; k < lanes; ++k) {
            float shown = weight[k];
            if (row.apparent) {
                if (!p.done[k]) shown = row.apparent[column[k]];
                else {  // as after the last pulse, or by the number of pulses so far
                    const u32 draw = p.done[k] == p.total[k] ? 0u : p.done[k];
                    const Words2<u32> w = philox(pair_words(row.write, column[k] + row.first, draw), row.write.key);
                    float z, unused;
                    box_muller<float>(w.x, w.y, z, unused);
                    shown = shown + z * row.noise[WRITE_NOISE];
                }
            }
            if (column_of[first + k] >= 0) seen[static_cast<size_t>(first + k) * stride] = shown;
        }
    }
}

// All looks at a row; pulsed tells whether it has any pulse in the batch.
template <class Device>
void look_at_row(const UpdateArgs& a, int r, int index, bool pulsed, const Noise& noise, Lines& columns, Lines& rows, RowScratch& s) {
    const Row row(a, r, index, noise);
    point_to_fields(a, r, index, s);
    const int *line = a.look_line + static_cast<size_t>(r) * a.n_looks, *sample = a.look_sample + static_cast<size_t>(r) * a.n_looks;
    if (!a.look_rows) {
        int n = a.n_looks;
        while (n && line[n - 1] < 0) --n;
        look_at<Device>(row, index, pulsed, line, sample, n, columns, rows, a.looks + static_cast<size_t>(r) * a.n_looks * a.out + index, a.out, s);
        return;
    }
    for (int e = 0; e < a.n_looks; ++e) {
        if (line[e] != index) continue;
        for (int j = 0; j < a.in; j += LANES) {
            int column[LANES], after[LANES];
            const int n = a.in - j < LANES ? a.in - j : LANES;
            for (int k = 0; k < n; ++k) column[k] = j + k, after[k] = sample[e];
            look_at<Device>(row, index, pulsed, column, after, n, columns, rows, a.looks + (static_cast<size_t>(r) * a.n_looks + e) * a.in + j, 1, s);
        }
    }
}

}  // namespace
}  // namespace sim
