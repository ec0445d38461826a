// From a learning rate to pulse trains: train length and pulse probabilities (update.md, section 4).
//
//     p_j = |x_j| B,   q_i = |d_i| A,   train length BL,   delta BL p_j q_i = lr |x_j d_i|  where nothing saturates
//
// Source: T. Gokmen and Y. Vlasov, Front. Neurosci. 10, 333 (2016), eq. 2; update management: T. Gokmen, M. Onen and
// W. Haensch, Front. Neurosci. 11, 538 (2017). A and B are sqrt(lr / (delta BL)) in every branch, and the number of
// pulses is capped by the length of the train.
#pragma once
#include "normal.h"
#include "settings.h"

namespace sim {

struct TrainSettings {
    real learning_rate;   // magnitude
    real granularity;     // delta: assumed weight change of one pulse
    real desired_bl;
    real um_grad_scale;
    bool fixed_bl, update_management, update_bl_management;
};

// Of the numbers of a replica (N_TRAIN_SETTINGS) and TrainFlag.
SIM_HD TrainSettings train_settings(const real* s, real learning_rate, real granularity, u32 flags) {
    return {learning_rate, granularity, s[DESIRED_BL], s[UM_GRAD_SCALE], (flags & FIXED_BL) != 0, (flags & UPDATE_MANAGEMENT) != 0,
            (flags & UPDATE_BL_MANAGEMENT) != 0};
}

struct Train {
    int length;           // BL; 0: no pulses for this sample
    real row, column;     // A multiplies d, B multiplies x
};

SIM_HD real ceiling(real x) {
    const real t = to_real(to_int(x));
    return t < x ? t + 1.0f : t;
}

// x_max, d_max: largest magnitudes of the two vectors.
SIM_HD Train plan_train(const TrainSettings& s, real x_max, real d_max) {
    Train train{0, 0.0f, 0.0f};
    if (!(x_max > 0.0f) || !(d_max > 0.0f)) return train;
    real length = s.desired_bl;
    if (!s.fixed_bl && !s.update_bl_management && s.granularity * s.desired_bl < s.learning_rate) {
        length = ceiling(s.learning_rate / s.granularity);
    }
    const real cap = length;
    real d_scaled = s.um_grad_scale * d_max;
    const real pulses = minimum(s.learning_rate * x_max * d_scaled / s.granularity, real(3e38));  // wanted at the largest crosspoint
    if (s.update_bl_management) length = minimum(ceiling(minimum(pulses, s.desired_bl)), s.desired_bl);
    train.length = to_int(length);
    if (train.length < 1) return train;
    train.row = train.column = root(s.learning_rate / (s.granularity * length));
    if (s.update_management || s.update_bl_management) {
        if (pulses > cap) d_scaled = d_scaled * (cap / pulses);
        train.row = train.row * root(x_max / d_scaled);
        train.column = train.column * root(d_scaled / x_max);
    }
    return train;
}

// Probability of a line: |value| scale, rounded to bins of the resolution (0: continuous). What is not a number gets no pulses.
template <class F> SIM_HD F line_probability(F value, real scale, real resolution, F shift) {
    const F raw = absolute(value) * scale;
    const F p = select(raw > F{}, raw, F{} + 0);
    return resolution > 0.0f ? round_even(p / resolution + shift) * resolution : p;
}

// The same for one line, whose rounding may be random.
SIM_HD real line_probability_at(real value, real scale, real resolution, bool rounding, Stream stream, u32 line, u32 sample, u32 step) {
    const real shift = rounding && resolution > 0.0f ? uniform_element(stream, line, sample, 0, step) - 0.5f : 0.0f;
    return line_probability(value, scale, resolution, shift);
}

// A slot has a pulse where its random number of 31 binary places is below the threshold: never for probability 0, always for 1.
// The threshold is in units of 2^-31.
template <class F> SIM_HD auto pulse_threshold(F probability) {
    const auto certain = probability >= F{} + 1.0f;
    const auto threshold = to_unsigned(to_int(select(certain, F{} + 0, probability) * 2147483648.0f));
    return select(of_mask(certain), threshold - threshold + 0x80000000u, threshold);
}

// Word number `word` of a train: up to 32 slots, a bit each.
//
// A number of a few slots is a word of random bits. Those of many are compared place by place, from the first binary place on, until
// they differ from the threshold: after k places one slot in 2^k is undecided. A block of 128 random bits holds the next places of all
// slots, so about three decide 31 slots of 16 lines, where a word for each slot would take eight.
template <class U> SIM_HD U pulse_bits(Stream stream, U line, u32 sample, u32 word, u32 step, U threshold, int slots) {
    if (slots <= 0) return U{};
    const int room = slots > 16 ? 32 : slots > 8 ? 16 : 8;  // bits of a place
    const u32 train = slots < 32 ? (1u << slots) - 1u : ~0u;
    const U certain = to_unsigned(to_signed(threshold) >> 31);
    U pulses = certain & train, open = ~certain & train;
    const auto below = [&](U number) { return ((number >> 1) - threshold) >> 31; };
    const auto places = [&](U drawn) {
        for (int used = 0; used < 32; used += room) {
            threshold = threshold + threshold;
            const U digit = to_unsigned(to_signed(threshold) >> 31);
            pulses = pulses | (open & digit & ~(drawn >> used));
            open = open & ~(digit ^ (drawn >> used));
        }
    };
    for (u32 block = 8 * word;; ++block) {
        open = select(threshold + threshold == 0u, U{}, open);  // no place is left in which the threshold is larger
        if (!any(open != 0u)) return pulses;
        const Words4<U> random = philox(Words4<U>{line, U{} + sample, U{} + block, U{} + step}, stream.key0, stream.key1);
        if (slots <= 4) return (below(random.x) | (below(random.y) << 1) | (below(random.z) << 2) | (below(random.w) << 3)) & train;
        places(random.x), places(random.y), places(random.z), places(random.w);
    }
}

// Deterministic types: a number a line, so that a crosspoint gets round(row number * column number) pulses.
//     mean count:  column min(round(BL p), BL), row min(round(BL q), BL) / BL
//     implicit:    column min(p, 1),            row BL min(q, 1)
template <class F> SIM_HD F line_number(F p, int length, bool row, bool counts) {
    const real bl = to_real(length);
    if (length <= 0) return F{} + 0;
    if (counts) {
        const F v = minimum(round_even(p * bl), F{} + bl);
        return row ? v / bl : v;
    }
    const F v = minimum(p, F{} + 1.0f);
    return row ? v * bl : v;
}

}  // namespace sim
