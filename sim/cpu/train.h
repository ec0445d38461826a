// Pulse trains of a mini-batch, for every line (column or row) and sample: words of 32 bits and a sign where pulses are
// random, a signed number where they are not (update.md, section 5).
#pragma once
#include "field.h"
#include "kernels.h"
#include "pulse_train.h"
#include "scratch.h"

namespace sim {
namespace {

constexpr int padded(int n) { return (n + 63) / 64 * 64; }

struct Lines {
    u32* bits;      // (B, words, padded n); deterministic types: a number in the place of the words
    u32* negative;  // (B, padded n): all ones where the value is below 0
    int n, words;
    u32* sample_bits(int b) const { return bits + static_cast<size_t>(b) * words * padded(n); }
    real* sample_numbers(int b) const { return reinterpret_cast<real*>(sample_bits(b)); }
    u32* sample_negative(int b) const { return negative + static_cast<size_t>(b) * padded(n); }
};

// Of the finite entries.
SIM_HD real largest_magnitude(const real* v, int n) {
    vf m{};
    const vf top = vf{} + LARGEST;
    const auto size = [&](vf x) { return select(absolute(x) <= top, absolute(x), vf{}); };
    int k = 0;
    for (; k + LANES <= n; k += LANES) m = maximum(m, size(load(v + k)));
    if (k < n) m = maximum(m, size(load_first(v + k, n - k)));
    return max_lanes(m);
}

SIM_HD vf load_padded(const real* v, int j, int n) { return j + LANES <= n ? load(v + j) : j < n ? load_first(v + j, n - j) : vf{}; }

// One side of one sample.
struct Side {
    const real* value;
    real scale;        // A or B of the train
    real resolution;   // bin width of the probabilities; 0: continuous
    Stream train, rounding;
};

// Probabilities of LANES lines from j on.
SIM_HD vf probability(const Side& side, vf value, int j, u32 sample, u32 step, bool sto_round) {
    vf shift{};
    if (sto_round && side.resolution > 0.0f) {
        vf u[64 / LANES];
        uniforms64(side.rounding, static_cast<u32>(j) / 64, sample, 0, step, u);
        shift = u[(j % 64) / LANES] - 0.5f;
    }
    return line_probability(value, side.scale, side.resolution, shift);
}

void draw_bits(const Side& side, int length, u32 sample, u32 step, bool sto_round, Lines& lines) {
    const int width = padded(lines.n);
    u32* bits = lines.sample_bits(static_cast<int>(sample));
    u32* negative = lines.sample_negative(static_cast<int>(sample));
    for (int j = 0; j < width; j += LANES) {
        const vf value = load_padded(side.value, j, lines.n);
        store(negative + j, to_unsigned(of_mask(value < vf{})));
        const vf p = probability(side, value, j, sample, step, sto_round);
        const vu threshold = pulse_threshold(p), line = lane_index() + static_cast<u32>(j);
        for (int word = 0; word < lines.words; ++word) {
            const vu w = pulse_bits(side.train, line, sample, static_cast<u32>(word), step, threshold, length - 32 * word);
            store(bits + static_cast<size_t>(word) * width + j, w);
        }
    }
}

// Deterministic types: the number of each line, in the place of its bits.
void draw_numbers(const Side& side, int length, bool row, bool counts, u32 sample, u32 step, bool sto_round, Lines& lines) {
    const int width = padded(lines.n);
    real* number = lines.sample_numbers(static_cast<int>(sample));
    u32* negative = lines.sample_negative(static_cast<int>(sample));
    for (int j = 0; j < width; j += LANES) {
        const vf value = load_padded(side.value, j, lines.n);
        store(negative + j, to_unsigned(of_mask(value < vf{})));
        const vf p = probability(side, value, j, sample, step, sto_round);
        store(number + j, line_number(p, length, row, counts));
    }
}

// Trains of sample b of replica r, for both sides.
void draw_trains(const UpdateArgs& a, int r, int b, Lines& columns, Lines& rows) {
    const real* s = a.settings + static_cast<size_t>(r) * N_TRAIN_SETTINGS;
    const real* x = a.x + (static_cast<size_t>(r) * a.batch + b) * a.in;
    const real* d = a.d + (static_cast<size_t>(r) * a.batch + b) * a.out;
    const real rate = a.rates ? a.rates[static_cast<size_t>(r) * a.batch + b] : a.rate[r];
    const TrainSettings settings{absolute(rate),      a.granularity[r],    s[DESIRED_BL],         s[UM_GRAD_SCALE],
                                 a.fixed_bl,          a.update_management, a.update_bl_management};
    const Train train = plan_train(settings, largest_magnitude(x, a.in), largest_magnitude(d, a.out));
    const u64 key = static_cast<u64>(a.train_keys[r]);
    const bool implicit = a.pulse_type == PULSES_IMPLICIT, sto_round = a.stochastic_rounding;
    const Side column{x, train.column, implicit ? s[X_RESOLUTION] : s[RESOLUTION], stream_of(key, PURPOSE_COLUMN_TRAIN), stream_of(key, PURPOSE_ROUND_COLUMN)};
    const Side row{d, train.row, implicit ? s[D_RESOLUTION] : s[RESOLUTION], stream_of(key, PURPOSE_ROW_TRAIN), stream_of(key, PURPOSE_ROUND_ROW)};
    const u32 sample = static_cast<u32>(b);
    if (a.pulse_type == PULSES_STOCHASTIC) {
        const int length = train.length < 32 * columns.words ? train.length : 32 * columns.words;
        draw_bits(column, length, sample, a.step, sto_round, columns);
        draw_bits(row, length, sample, a.step, sto_round, rows);
    } else {
        draw_numbers(column, train.length, false, !implicit, sample, a.step, sto_round, columns);
        draw_numbers(row, train.length, true, !implicit, sample, a.step, sto_round, rows);
    }
}

}  // namespace
}  // namespace sim
