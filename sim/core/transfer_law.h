// What one transfer does with what it reads, line by line (compounds.md, sections 3 to 6).
//
//     read:     the ADC's answer to a one-hot input
//     buffered: w <- w + (read - reference) chopper scale; whole steps fire (buffer.h)
//     dynamic:  reference = running mean of the phase before
#pragma once
#include "analog.h"
#include "converter.h"
#include "pulse_train.h"
#include "settings.h"
#include "transfer_plan.h"

namespace sim {

// The input of a read: 1 through the DAC.
SIM_HD float one_hot_input(const float* io) {
    return input_imperfections(dac(1.0f, 1.0f, io[INP_STEP], 0.0f, io[INP_BOUND]), 0.0f, 0.0f, io[INP_ASYMMETRY]);
}
template <class F> SIM_HD F read_line(const float* io, float input, F held, F noise, F shift) {
    F t = output_asymmetry(held * input, io[OUT_ASYMMETRY]);
    if (io[OUT_NOISE] > 0.0f) t = t + noise * io[OUT_NOISE];
    return adc(t, io[OUT_STEP], shift, io[OUT_BOUND]).value * io[OUT_SCALE];
}

SIM_HD BufferRule buffer_rule(const TransferFlags& flags, const float* settings, const float* stage) {
    return {flags.mode == TRANSFER_BUFFERED ? stage[STAGE_THRESHOLD] : 1.0f, settings[WRITE_LIMIT], settings[BUFFER_MOMENTUM],
            settings[BUFFER_CAP] * settings[WRITE_LIMIT], flags.forget};
}

// Digital state of a line between two arrays.
template <class F> struct BufferedLine {
    F held, mean, reference;
};
// Adds what was read; returns the steps to write. `sign` is the chopper of the line.
template <class F> SIM_HD F through_buffer(const TransferFlags& flags, const BufferRule& rule, const TransferEvent& e, float tail, F read, F sign, BufferedLine<F>& line) {
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
SIM_HD u32 pulses_of_steps(float steps, float size, float most, u64 key, u32 line, u32 read, u32 step) {
    const float wanted = minimum(absolute(steps) * size, most);
    const u32 whole = static_cast<u32>(wanted);
    const float rest = wanted - static_cast<float>(whole);
    return rest > 0.0f ? whole + (uniform_at(key, PURPOSE_PART_STEP, line, read, step) < rest) : whole;
}

// How much larger a probability would have to be than it can be.
template <class F> SIM_HD F saturation(F p) { return select(p > F{} + 1.00001f, p, F{} + 1.0f); }
// Whole steps in a digital number; what is not finite stays where it is.
template <class F> SIM_HD F whole_steps(F value, float unit) {
    const F steps = value / unit, size = absolute(steps);
    return select((size >= F{} + 1.0f) & (size < F{} + 1e9f), to_float(to_int(select(size < F{} + 1e9f, steps, F{}))), F{});
}

}  // namespace sim
