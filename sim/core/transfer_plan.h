// When, in a mini-batch, what moves from one array of a cell to the next, with which choppers and rates (compounds.md,
// sections 3 to 6). None of it depends on a weight.
//
//     every vector: the rate of the first array; a stage whose period is over gives an event for each slice that it reads
//     chopped:      a slice's chopper may switch after its read; at the end of a sweep those of the lines may
#pragma once
#include "buffer.h"
#include "normal.h"

namespace sim {

enum TransferMode { TRANSFER_DIRECT, TRANSFER_BUFFERED, TRANSFER_CHOPPED, TRANSFER_DYNAMIC };
enum TransferSetting {
    FAST_RATE, AUTO_MOMENTUM, FAST_GRANULARITY, FAST_BL, IN_CHOP_PROB, OUT_CHOP_PROB, AUTO_GRANULARITY, BUFFER_UNIT, WRITE_STEP,
    BUFFER_MOMENTUM, BUFFER_CAP, TAIL, PHASE, WRITE_LIMIT, N_TRANSFER_SETTINGS
};
enum StageSetting { STAGE_RATE, STAGE_THRESHOLD, N_STAGE_SETTINGS };
struct TransferFlags {
    int mode, reads;
    bool columns, in_batches, random_start, scale_fast, scale_transfer, auto_scale, correct_magnitudes, chop_random, no_buffer,
        forget, correct_accumulation;
};
// Of one word: bit k is the k-th of the switches.
SIM_HD TransferFlags transfer_flags(int mode, int reads, u32 switches) {
    const auto flag = [&](int k) { return ((switches >> k) & 1u) != 0; };
    return {mode, reads, flag(0), flag(1), flag(2), flag(3), flag(4), flag(5), flag(6), flag(7), flag(8), flag(9), flag(10)};
}
// One transfer of one slice (column or row): of which array, after which sample.
struct TransferEvent {
    int sample, stage, slice, read;
    int switched;           // dynamic: the chopper has switched since the last read
    int active;             // dynamic: the first phase is over
    real scale;             // rate of a direct transfer; else what a read counts in the buffer
    real chopper;           // of the slice
    int switches;           // the chopper of the slice switches after this read
    int sweep_ends;         // the choppers of the lines may switch after this read
};

SIM_HD real uniform_at(u64 key, u32 purpose, u32 element, u32 draw, u32 step) {
    const Stream s = stream_of(key, purpose);
    return uniform<real>(philox(Words4<u32>{element, 0u, draw, step}, s.key0, s.key1).x);
}

// Whether the chopper of a line switches at the end of a sweep.
SIM_HD bool line_switches(u64 key, const real* settings, int line, u32 step) {
    return uniform_at(key, PURPOSE_OUT_CHOPPER, static_cast<u32>(line), 0, step) < settings[OUT_CHOP_PROB];
}

// The plan of one replica. `Lines` knows the inputs: begin(b) before a sample, largest_x(b) and largest_d(b), event(n, event),
// end_of_sweep(step).
struct TransferPlan {
    const real *settings, *stages;   // (N_TRANSFER_SETTINGS), (N, N_STAGE_SETTINGS)
    const double* every;             // (N): periods; below 0: minus a period in vectors
    long long *counters, *sweep;     // (N, 3): vectors since the last transfer, period, next slice; sweeps done
    real *choppers, *maxima;         // (slices); (3): running maxima of x and d, the last fast rate
    unsigned char* switched;         // (slices)
    TransferEvent* events;
    u64 key;
    u32 step;                        // number of the first vector
    int arrays, slices, whole_batch;
    TransferFlags flags;
    int n = 0;                       // events so far

    // Period of a stage in vectors. Where it counts mini-batches and their size has changed, what has passed is scaled.
    SIM_HD void set_period(int stage) {
        const double period = every[stage] < 0.0 ? -every[stage]
                              : flags.in_batches ? ceil(every[stage] * whole_batch * (1.0 - 1e-12))
                                                 : round(every[stage]);
        const long long vectors = period < 9e15 ? static_cast<long long>(period) : 9000000000000000LL;
        long long* c = counters + 3 * stage;
        if (c[1] > 0 && vectors > 0 && c[1] != vectors) c[0] = static_cast<long long>(static_cast<double>(c[0]) * static_cast<double>(vectors) / static_cast<double>(c[1]) + 1e-9);
        c[1] = vectors;
    }

    template <class Lines> SIM_HD real fast_rate(Lines& lines, int b, real rate) {
        const real scale = flags.scale_fast ? rate : 1.0f;
        if (flags.auto_scale) {
            const real tau = (1.0f - settings[AUTO_MOMENTUM]) / static_cast<real>(whole_batch);
            maxima[0] = running_maximum(maxima[0], lines.largest_x(b), tau);
            maxima[1] = running_maximum(maxima[1], lines.largest_d(b), tau);
            if (settings[FAST_RATE] > 0.0f) {
                const real full = settings[FAST_RATE] * settings[FAST_BL] * settings[FAST_GRANULARITY];
                return (maxima[0] > 0.0f && maxima[1] > 0.0f ? full / (maxima[0] * maxima[1]) : full) * scale;
            }
        }
        return settings[FAST_RATE] > 0.0f ? settings[FAST_RATE] * scale : rate;
    }

    template <class Lines> SIM_HD void transfer(Lines& lines, int stage, int b, real rate, real fast) {
        long long& next = counters[3 * stage + 2];
        const u32 now = step + static_cast<u32>(b);
        int start = static_cast<int>(next);
        if (flags.random_start) {
            start = static_cast<int>(uniform_at(key, PURPOSE_START_SLICE, static_cast<u32>(stage), 0, now) * static_cast<real>(slices));
            start = start < slices ? start : slices - 1;
        }
        const int reads = flags.reads < slices ? flags.reads : slices;
        const real learning = stages[stage * N_STAGE_SETTINGS + STAGE_RATE] * (flags.scale_transfer ? rate : 1.0f);
        if (learning != 0.0f) {
            for (int k = 0; k < reads; ++k) {
                TransferEvent e = {b, stage, (start + k) % slices, k, 0, 1, learning, 1.0f, 0, 0};
                if (flags.mode != TRANSFER_DIRECT) e.scale = absolute(learning);
                if (flags.mode >= TRANSFER_CHOPPED) chop(e, fast, now);
                events[n] = e;
                lines.event(n++, e);
                if (e.sweep_ends) lines.end_of_sweep(now);
            }
        }
        next = (start + reads) % slices;
    }

    SIM_HD void chop(TransferEvent& e, real fast, u32 now) {
        const long long phase = static_cast<long long>(settings[PHASE]), in_phase = *sweep % phase + 1;
        real unit = settings[BUFFER_UNIT];
        if (settings[AUTO_GRANULARITY] > 0.0f) unit *= settings[AUTO_GRANULARITY] / (static_cast<real>(slices) * static_cast<real>(counters[1]));
        e.scale /= flags.correct_magnitudes ? unit * fast : unit;
        e.chopper = choppers[e.slice];
        const bool dynamic = flags.mode == TRANSFER_DYNAMIC;
        if (dynamic) {
            e.switched = switched[e.slice];
            switched[e.slice] = 0;
            e.active = *sweep > phase;
            if (flags.correct_accumulation) e.scale /= minimum(static_cast<real>(in_phase), 1.0f / settings[FAST_GRANULARITY]);
        }
        const bool random = flags.chop_random && uniform_at(key, PURPOSE_IN_CHOPPER, static_cast<u32>(e.slice), 0, now) < settings[IN_CHOP_PROB];
        const bool regular = in_phase == phase && (dynamic || (!flags.chop_random && settings[IN_CHOP_PROB] > 0.0f));
        e.switches = random || regular;
        if (e.switches) {
            choppers[e.slice] = -choppers[e.slice];
            switched[e.slice] = dynamic;
        }
        e.sweep_ends = e.slice == slices - 1;
        *sweep += e.sweep_ends;
    }

    template <class Lines> SIM_HD void run(Lines& lines, int batch, real rate, real* rates) {
        for (int k = 0; k < arrays - 1; ++k)
            if (rate > 0.0f) set_period(k);
        for (int b = 0; b < batch; ++b) {
            lines.begin(b);
            rates[b] = 0.0f;
            if (!(rate > 0.0f)) continue;
            const real fast = fast_rate(lines, b, rate);
            rates[b] = maxima[2] = fast;
            for (int k = 0; k < arrays - 1; ++k) {
                long long* c = counters + 3 * k;
                if (c[1] > 0 && ++c[0] >= c[1]) {
                    c[0] = 0;
                    transfer(lines, k, b, rate, fast);
                }
            }
        }
    }
};

}  // namespace sim
