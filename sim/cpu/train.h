// Pulse trains of a mini-batch: for every line (column or row) and sample one word of bits a 32 slots, and its sign.
#pragma once
#include "field.h"
#include "kernels.h"
#include "pulse_train.h"
#include "scratch.h"

namespace sim {
namespace {

constexpr int padded(int n) { return (n + 63) / 64 * 64; }

struct Lines {
    u32* bits;      // (B, words, padded n)
    u32* negative;  // (B, padded n): all ones where the value is below 0
    int n, words;
    u32* sample_bits(int b) { return bits + static_cast<size_t>(b) * words * padded(n); }
    u32* sample_negative(int b) { return negative + static_cast<size_t>(b) * padded(n); }
};

SIM_HD float largest_magnitude(const float* v, int n) {
    vf m{};
    int k = 0;
    for (; k + LANES <= n; k += LANES) m = maximum(m, absolute(load(v + k)));
    if (k < n) m = maximum(m, absolute(load_first(v + k, n - k)));
    return max_lanes(m);
}

// Bits of all lines of one vector in one sample. scale: A or B of the train; resolution 0: probabilities continuous.
void draw_bits(const float* v, float scale, int length, float resolution, bool sto_round, Stream train, Stream rounding,
               u32 sample, u32 step, Lines& lines) {
    const int n = lines.n, width = padded(n);
    u32* bits = lines.sample_bits(static_cast<int>(sample));
    u32* negative = lines.sample_negative(static_cast<int>(sample));
    for (int j = 0; j < width; j += LANES) {
        const vf value = j + LANES <= n ? load(v + j) : j < n ? load_first(v + j, n - j) : vf{};
        store(negative + j, to_unsigned(value < vf{}));
        vf p = absolute(value) * scale;
        if (resolution > 0.0f) {
            vf shift{};
            if (sto_round) {
                vf u[64 / LANES];
                uniforms64(rounding, static_cast<u32>(j) / 64, sample, 0, step, u);
                shift = u[(j % 64) / LANES] - 0.5f;
            }
            p = round_even(p / resolution + shift) * resolution;
        }
        const vi certain = p >= vf{} + 1.0f;
        const vi threshold = certain ? vi{} + 0x7FFFFFFF : to_int(select(certain, vf{}, p) * 2147483648.0f) - 1;
        if (!any(threshold >= vi{})) {
            for (int word = 0; word < lines.words; ++word) store(bits + static_cast<size_t>(word) * width + j, vu{});
            continue;
        }
        for (int word = 0; word < lines.words; ++word) {
            vu w{};
            for (int slot = 0; slot < 32 && word * 32 + slot < length; slot += 4) {
                const Words4<vu> u = philox(Words4<vu>{lane_index() + static_cast<u32>(j), broadcast(sample),
                                                       broadcast(static_cast<u32>(word * 8 + slot / 4)), broadcast(step)},
                                            train.key0, train.key1);
                const int left = length - word * 32 - slot;
                w |= (to_unsigned(to_signed(u.x >> 1) <= threshold) & 1u) << slot;
                if (left > 1) w |= (to_unsigned(to_signed(u.y >> 1) <= threshold) & 1u) << (slot + 1);
                if (left > 2) w |= (to_unsigned(to_signed(u.z >> 1) <= threshold) & 1u) << (slot + 2);
                if (left > 3) w |= (to_unsigned(to_signed(u.w >> 1) <= threshold) & 1u) << (slot + 3);
            }
            store(bits + static_cast<size_t>(word) * width + j, w);
        }
    }
}

// Trains of sample b of replica r, for both sides.
void draw_trains(const UpdateArgs& a, int r, int b, Lines& columns, Lines& rows) {
    const float* s = a.settings + static_cast<size_t>(r) * N_UPDATE_SETTINGS;
    const float* x = a.x + (static_cast<size_t>(r) * a.batch + b) * a.in;
    const float* d = a.d + (static_cast<size_t>(r) * a.batch + b) * a.out;
    const float rate = s[LEARNING_RATE] < 0.0f ? -s[LEARNING_RATE] : s[LEARNING_RATE];
    const TrainSettings settings{rate,      s[GRANULARITY],      s[DESIRED_BL],         s[UM_GRAD_SCALE],
                                 a.fixed_bl, a.update_management, a.update_bl_management};
    const Train train = plan_train(settings, largest_magnitude(x, a.in), largest_magnitude(d, a.out));
    const int length = train.length < 32 * columns.words ? train.length : 32 * columns.words;
    const u64 key = static_cast<u64>(a.keys[r]);
    draw_bits(x, train.column, length, s[RESOLUTION], a.stochastic_rounding, stream_of(key, PURPOSE_COLUMN_TRAIN),
              stream_of(key, PURPOSE_ROUND_COLUMN), static_cast<u32>(b), a.step, columns);
    draw_bits(d, train.row, length, s[RESOLUTION], a.stochastic_rounding, stream_of(key, PURPOSE_ROW_TRAIN),
              stream_of(key, PURPOSE_ROUND_ROW), static_cast<u32>(b), a.step, rows);
}

}  // namespace
}  // namespace sim
