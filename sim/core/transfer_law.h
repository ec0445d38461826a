// What one transfer does with what it reads, line by line (compounds.md, sections 3 to 6).
//
//     read:     the ADC's answer to a one-hot input
//     buffered: w <- w + (read - reference) chopper scale; whole steps fire (buffer.h)
//     dynamic:  reference = running mean of the phase before
#pragma once
#include "analog.h"
#include "converter.h"
#include "pulse_train.h"
#include "transfer_plan.h"

namespace sim {

// The input of a read: 1 through the DAC.
SIM_HD real one_hot_input(const real* io) {
    return input_imperfections(dac(real(1), 1.0f, io[INP_STEP], real(0), io[INP_BOUND]), 0.0f, real(0), io[INP_ASYMMETRY]);
}
template <class F> SIM_HD F read_line(const real* io, real input, F held, F noise, F shift) {
    F t = output_asymmetry(held * input, io[OUT_ASYMMETRY]);
    if (io[OUT_NOISE] > 0.0f) t = t + noise * io[OUT_NOISE];
    return adc(t, io[OUT_STEP], shift, io[OUT_BOUND]).value * io[OUT_SCALE];
}

SIM_HD BufferRule buffer_rule(const TransferFlags& flags, const real* settings, const real* stage) {
    return {flags.mode == TRANSFER_BUFFERED ? stage[STAGE_THRESHOLD] : 1.0f, settings[WRITE_LIMIT], settings[BUFFER_MOMENTUM],
            settings[BUFFER_CAP] * settings[WRITE_LIMIT], flags.forget};
}

// Digital state of a line between two arrays.
template <class F> struct BufferedLine {
    F held, mean, reference;
};
// Adds what was read; returns the steps to write. `sign` is the chopper of the line.
template <class F> SIM_HD F through_buffer(const TransferFlags& flags, const BufferRule& rule, const TransferEvent& e, real tail, F read, F sign, BufferedLine<F>& line) {
    F signal = read;
    if (flags.mode == TRANSFER_DYNAMIC) {
        if (e.switched) line.reference = line.mean;
        signal = read - line.reference;
        line.mean = line.mean * (1.0f - tail) + read * tail;
    }
    signal = signal * sign;
    if (!e.active) return F{};
    const F w = (flags.no_buffer ? F{} : line.held) + signal * (e.scale * e.chopper);
    const F steps = fired(rule, w);
    line.held = after_firing(rule, w, steps);
    return steps;
}

// Pulses for a number of steps: exactly so many; what is left of a step that is no whole pulse decides at random.
SIM_HD u32 pulses_of_steps(real steps, real size, real most, u64 key, u32 line, u32 read, u32 step) {
    const real wanted = minimum(absolute(steps) * size, most);
    const u32 whole = static_cast<u32>(wanted);
    const real rest = wanted - static_cast<real>(whole);
    return rest > 0.0f ? whole + (uniform_at(key, PURPOSE_PART_STEP, line, read, step) < rest) : whole;
}

// The trains of a dense vector against one that holds a single 1, line by line.
struct OneHotTrains {
    Train train;
    u64 key;
    bool dense_is_row, rounding;
    real row_resolution, column_resolution;
    int pulse_type;
    u32 sample, step;

    SIM_HD real probability_of(real value, bool row, u32 line) const {
        const real resolution = row ? row_resolution : column_resolution;
        const Stream stream = stream_of(key, row ? PURPOSE_ROUND_ROW : PURPOSE_ROUND_COLUMN);
        return line_probability_at(value, row ? train.row : train.column, resolution, rounding, stream, line, sample, step);
    }
    // Pulses of a line.
    SIM_HD u32 pulses(real value, u32 line) const {
        if (train.length < 1) return 0;
        const real p = probability_of(value, dense_is_row, line), single = probability_of(1.0f, !dense_is_row, 0);
        if (pulse_type != PULSES_STOCHASTIC) {
            const bool counts = pulse_type == PULSES_MEAN_COUNT;
            return to_unsigned(to_int(round_even(line_number(p, train.length, dense_is_row, counts) * line_number(single, train.length, !dense_is_row, counts))));
        }
        const u32 threshold = pulse_threshold(p), other = pulse_threshold(single);
        const Stream dense = stream_of(key, dense_is_row ? PURPOSE_ROW_TRAIN : PURPOSE_COLUMN_TRAIN);
        const Stream one = stream_of(key, dense_is_row ? PURPOSE_COLUMN_TRAIN : PURPOSE_ROW_TRAIN);
        u32 total = 0;
        for (int word = 0; 32 * word < train.length; ++word) {
            const u32 number = static_cast<u32>(word);
            const int slots = train.length - 32 * word;
            total += population(pulse_bits(dense, line, sample, number, step, threshold, slots) & pulse_bits(one, 0u, sample, number, step, other, slots));
        }
        return total;
    }
};

// How much larger a probability would have to be than it can be.
template <class F> SIM_HD F saturation(F p) { return select(p > F{} + 1.00001f, p, F{} + 1.0f); }
// Whole steps in a digital number; what is not finite stays where it is.
template <class F> SIM_HD F whole_steps(F value, real unit) {
    const F steps = value / unit, size = absolute(steps);
    return select((size >= F{} + 1.0f) & (size < F{} + 1e9f), to_real(to_int(select(size < F{} + 1e9f, steps, F{}))), F{});
}

}  // namespace sim
