// Transfers between the arrays of a cell, and from a digital matrix to an array (compounds.md).
//
// An update of a mini-batch has three parts: the plan (when what is transferred, with which choppers and rates; none of it
// depends on a weight), the pulses of the fast array, which note what the transfers will read (look.h), and the transfers,
// in order.
#pragma once
#include <vector>

#include "buffer.h"
#include "converter.h"
#include "update.h"

namespace sim {
namespace {

SIM_HD float uniform_at(u64 key, u32 purpose, u32 element, u32 draw, u32 step) {
    const Stream s = stream_of(key, purpose);
    return uniform<float>(philox(Words4<u32>{element, 0u, draw, step}, s.key0, s.key1).x);
}

// Part one.

struct Planner {
    const TransferPlanArgs& a;
    int r, slices, lines;
    const float *s, *stages;
    const double* every;
    long long* counters;
    float *in_choppers, *out_choppers, *maxima;
    unsigned char* switched;
    u64 key;
    TransferEvent* events;
    int n = 0;

    Planner(const TransferPlanArgs& args, int replica)
        : a(args), r(replica), slices(args.flags.columns ? args.in : args.out), lines(args.flags.columns ? args.out : args.in),
          s(args.settings + static_cast<size_t>(r) * N_TRANSFER_SETTINGS),
          stages(args.stages + static_cast<size_t>(r) * args.arrays * N_STAGE_SETTINGS), every(args.every + static_cast<size_t>(r) * args.arrays),
          counters(args.counters + static_cast<size_t>(r) * args.arrays * 3), in_choppers(args.in_choppers + static_cast<size_t>(r) * slices),
          out_choppers(args.out_choppers + static_cast<size_t>(r) * lines), maxima(args.maxima + static_cast<size_t>(r) * 3),
          switched(args.switched + static_cast<size_t>(r) * slices), key(static_cast<u64>(args.keys[r])),
          events(args.events + static_cast<size_t>(r) * args.max_events) {}

    bool chopped() const { return a.flags.mode >= TRANSFER_CHOPPED; }

    // Period of a stage in vectors. Where it counts mini-batches and their size has changed, what has passed is scaled.
    void set_period(int stage) {
        const double period = every[stage] < 0.0            ? -every[stage]
                              : a.flags.in_batches          ? std::ceil(every[stage] * a.whole_batch * (1.0 - 1e-12))
                                                            : std::round(every[stage]);
        const long long vectors = period < 9e15 ? static_cast<long long>(period) : 9000000000000000LL;
        long long* c = counters + 3 * stage;
        if (c[1] > 0 && vectors > 0 && c[1] != vectors) c[0] = static_cast<long long>(static_cast<double>(c[0]) * vectors / c[1] + 1e-9);
        c[1] = vectors;
    }

    float fast_rate(const float* x, const float* d, float rate) {
        const float scale = a.flags.scale_fast ? rate : 1.0f;
        if (a.flags.auto_scale) {
            const float tau = (1.0f - s[AUTO_MOMENTUM]) / static_cast<float>(a.whole_batch);
            maxima[0] = running_maximum(maxima[0], largest_magnitude(x, a.in), tau);
            maxima[1] = running_maximum(maxima[1], largest_magnitude(d, a.out), tau);
            if (s[FAST_RATE] > 0.0f) {
                const float full = s[FAST_RATE] * s[FAST_BL] * s[FAST_GRANULARITY];
                return (maxima[0] > 0.0f && maxima[1] > 0.0f ? full / (maxima[0] * maxima[1]) : full) * scale;
            }
        }
        return s[FAST_RATE] > 0.0f ? s[FAST_RATE] * scale : rate;
    }

    void transfer(int stage, int sample, float rate, float fast) {
        long long& next = counters[3 * stage + 2];
        const u32 step = a.step + static_cast<u32>(sample);
        int start = static_cast<int>(next);
        if (a.flags.random_start) {
            const float u = uniform_at(key, PURPOSE_START_SLICE, static_cast<u32>(stage), 0, step);
            start = static_cast<int>(u * static_cast<float>(slices));
            start = start < slices ? start : slices - 1;
        }
        const int reads = a.flags.reads < slices ? a.flags.reads : slices;
        const float learning = stages[stage * N_STAGE_SETTINGS + STAGE_RATE] * (a.flags.scale_transfer ? rate : 1.0f);
        if (learning != 0.0f)
            for (int k = 0; k < reads; ++k) event(stage, sample, (start + k) % slices, k, learning, fast, step);
        next = (start + reads) % slices;
    }

    void event(int stage, int sample, int slice, int read, float learning, float fast, u32 step) {
        TransferEvent& e = events[n];
        e = {sample, stage, slice, read, 0, 1, learning, 1.0f};
        if (a.flags.mode != TRANSFER_DIRECT) e.scale = absolute(learning);
        if (chopped()) chop(e, fast, step);
        const size_t at = static_cast<size_t>(r) * a.max_events + n++;
        a.look_line[at] = stage == 0 ? slice : -1;
        a.look_sample[at] = sample;
    }

    void chop(TransferEvent& e, float fast, u32 step) {
        long long& sweep = a.sweeps[r];
        const long long phase = static_cast<long long>(s[PHASE]), now = sweep % phase + 1;
        float unit = s[BUFFER_UNIT];
        if (s[AUTO_GRANULARITY] > 0.0f) unit *= s[AUTO_GRANULARITY] / (static_cast<float>(slices) * static_cast<float>(counters[1]));
        e.scale /= a.flags.correct_magnitudes ? unit * fast : unit;
        e.chopper = in_choppers[e.slice];
        if (a.signs) memcpy(a.signs + (static_cast<size_t>(r) * a.max_events + n) * lines, out_choppers, sizeof(float) * lines);
        const bool dynamic = a.flags.mode == TRANSFER_DYNAMIC;
        if (dynamic) {
            e.switched = switched[e.slice];
            switched[e.slice] = 0;
            e.active = sweep > phase;
            if (a.flags.correct_accumulation) e.scale /= minimum(static_cast<float>(now), 1.0f / s[FAST_GRANULARITY]);
        }
        const bool random = a.flags.chop_random && uniform_at(key, PURPOSE_IN_CHOPPER, static_cast<u32>(e.slice), 0, step) < s[IN_CHOP_PROB];
        const bool regular = now == phase && (dynamic || (!a.flags.chop_random && s[IN_CHOP_PROB] > 0.0f));
        if (random || regular) {
            in_choppers[e.slice] = -in_choppers[e.slice];
            switched[e.slice] = dynamic;
        }
        if (e.slice != slices - 1) return;
        if (s[OUT_CHOP_PROB] > 0.0f)
            for (int i = 0; i < lines; ++i)
                if (uniform_at(key, PURPOSE_OUT_CHOPPER, static_cast<u32>(i), 0, step) < s[OUT_CHOP_PROB]) out_choppers[i] = -out_choppers[i];
        ++sweep;
    }

    void run() {
        const float rate = a.rate[r];
        for (int k = 0; k < a.arrays - 1; ++k)
            if (rate > 0.0f) set_period(k);
        for (int b = 0; b < a.batch; ++b) {
            const size_t sample = static_cast<size_t>(r) * a.batch + b;
            const size_t given = static_cast<size_t>(r) * a.samples + a.first + b;
            const float *x = a.x + given * a.in, *d = a.d + given * a.out;
            a.rates[sample] = 0.0f;
            if (a.signed_x) {
                const float *cx = a.flags.columns ? in_choppers : out_choppers, *cd = a.flags.columns ? out_choppers : in_choppers;
                const bool signs = chopped();
                for (int j = 0; j < a.in; ++j) a.signed_x[sample * a.in + j] = signs ? x[j] * cx[j] : x[j];
                for (int i = 0; i < a.out; ++i) a.signed_d[sample * a.out + i] = signs ? d[i] * cd[i] : d[i];
            }
            if (!(rate > 0.0f)) continue;
            const float fast = fast_rate(x, d, rate);
            a.rates[sample] = maxima[2] = fast;
            for (int k = 0; k < a.arrays - 1; ++k) {
                long long* c = counters + 3 * k;
                if (c[1] > 0 && ++c[0] >= c[1]) {
                    c[0] = 0;
                    transfer(k, b, rate, fast);
                }
            }
        }
        a.n_events[r] = n;
        for (int e = n; e < a.max_events; ++e) a.look_line[static_cast<size_t>(r) * a.max_events + e] = a.look_sample[static_cast<size_t>(r) * a.max_events + e] = -1;
    }
};

void transfer_plan(const TransferPlanArgs& a) {
    for (int r = 0; r < a.replicas; ++r) Planner(a, r).run();
}

// Part three.

// Pulses that wait for crosspoints of one replica, given by their element in the array.
struct Write {
    Scratch<u32> column, low, high, left, done;
    int n = 0;
    explicit Write(int lines) : column(lines + MARGIN), low(lines + MARGIN), high(lines + MARGIN), left(lines + MARGIN), done(lines + MARGIN) {}
};

constexpr u32 AT_ONCE = 60;  // pulses of a crosspoint, a multiple of four

template <class Device> void write_pulses(const UpdateArgs& a, int r, Write& w) {
    const Row row(a, r, 0, Noise(a, r));
    const size_t cells = static_cast<size_t>(a.out) * a.in;
    for (int k = 0; k < LANES; ++k) w.column[w.n + k] = w.column[0], w.left[w.n + k] = 0;
    for (int first = 0; first < w.n; first += LANES) {
        const vu column = load(w.column.get() + first);
        vu left = load(w.left.get() + first);
        const vu up = load(w.low.get() + first);
        const int n = w.n - first < LANES ? w.n - first : LANES;
        vf weight = gather(row.weight, column);
        const auto lookup = [&](int k, int) {
            return a.field_of[k] < 0 ? broadcast(row.values[k])
                                     : gather(a.fields + (static_cast<size_t>(r) * a.n_fields + a.field_of[k]) * cells, column);
        };
        for (u32 done = 0; any(left != 0u); done += AT_ONCE) {
            Taken t{up, up, left, broadcast(done), 0};
            t.left = select(to_signed(left) > static_cast<int>(AT_ONCE), broadcast(AT_ONCE), left);
            apply_pulses<Device, 1>(row, lookup, &weight, &column, &t, most(t.left));
            if (row.down) count_pulses(row, w.column.get() + first, n, t);
            left -= t.left;
        }
        for (int k = 0; k < n; ++k) row.weight[w.column[first + k]] = weight[k];
        if (!row.apparent) continue;
        const Words2<vu> words = philox(pair_words(row.write, column, vu{}), row.write.key);
        vf z, unused;
        box_muller<vf>(words.x, words.y, z, unused);
        const vf shown = weight + z * row.noise[WRITE_NOISE];
        for (int k = 0; k < n; ++k) row.apparent[w.column[first + k]] = shown[k];
    }
}

// The exact change of n crosspoints, within the bounds of the devices if they are kept; no pulses.
template <class Device> void write_exactly(const UpdateArgs& a, int r, bool bounds, const u32* element, const float* change, int n) {
    const Row row(a, r, 0, Noise(a, r));
    const size_t cells = static_cast<size_t>(a.out) * a.in;
    for (int first = 0; first < n; first += LANES) {
        const int lanes = n - first < LANES ? n - first : LANES;
        vu column{};
        for (int k = 0; k < LANES; ++k) column[k] = element[k < lanes ? first + k : first];
        vf weight = gather(row.weight, column) + (lanes == LANES ? load(change + first) : load_first(change + first, lanes));
        if (bounds) {
            const auto cell = Device::template load<vf>(parameters(
                [&](int k) {
                    return a.field_of[k] < 0 ? broadcast(row.values[k])
                                             : gather(a.fields + (static_cast<size_t>(r) * a.n_fields + a.field_of[k]) * cells, column);
                },
                row.data, a.n_data));
            const vf reference = Device::reference(cell);
            weight = clamp(weight + reference, Device::lower(cell), Device::upper(cell)) - reference;
        }
        const Words2<vu> words = philox(pair_words(row.write, column, vu{}), row.write.key);
        vf z, unused;
        box_muller<vf>(words.x, words.y, z, unused);
        for (int k = 0; k < lanes; ++k) row.weight[element[first + k]] = weight[k];
        if (row.apparent)
            for (int k = 0; k < lanes; ++k) row.apparent[element[first + k]] = weight[k] + z[k] * row.noise[WRITE_NOISE];
    }
}

constexpr int PULSES_EXACT = PULSES_NONE_WITH_DEVICE + 1;  // no pulses and no bounds

void write_changes(int device, const UpdateArgs& a, int r, const u32* element, const float* change, int n) {
    using Function = void (*)(const UpdateArgs&, int, bool, const u32*, const float*, int);
#define SIM_ENTRY(name) &write_exactly<device::name>,
    static const Function table[] = {SIM_FOR_EACH_DEVICE(SIM_ENTRY)};
#undef SIM_ENTRY
    table[device](a, r, a.pulse_type == PULSES_NONE_WITH_DEVICE, element, change, n);
}
void write_waiting(int device, const UpdateArgs& a, int r, Write& w) {
    using Function = void (*)(const UpdateArgs&, int, Write&);
#define SIM_ENTRY(name) &write_pulses<device::name>,
    static const Function table[] = {SIM_FOR_EACH_DEVICE(SIM_ENTRY)};
#undef SIM_ENTRY
    if (w.n) table[device](a, r, w);
}

// Numbers of coincidences of a dense line v (n entries) with a line that holds a single 1.
struct OneHot {
    bool dense_is_row;      // v is the error side
    float granularity;
    u64 key;
    u32 sample, step;
};
void coincidences(const UpdateArgs& a, const float* s, float rate, const OneHot& how, const float* v, int n, u32* count) {
    const float most_v = largest_magnitude(v, n);
    const TrainSettings settings{rate,       how.granularity,     s[DESIRED_BL],         s[UM_GRAD_SCALE],
                                 a.fixed_bl, a.update_management, a.update_bl_management};
    const Train train = how.dense_is_row ? plan_train(settings, 1.0f, most_v) : plan_train(settings, most_v, 1.0f);
    memset(count, 0, sizeof(u32) * static_cast<size_t>(padded(n)));
    if (train.length < 1) return;
    const bool implicit = a.pulse_type == PULSES_IMPLICIT;
    const float row_bins = implicit ? s[D_RESOLUTION] : s[RESOLUTION], column_bins = implicit ? s[X_RESOLUTION] : s[RESOLUTION];
    const auto stream = [&](u32 row, u32 column) { return stream_of(how.key, how.dense_is_row ? row : column); };
    const Side dense{v, how.dense_is_row ? train.row : train.column, how.dense_is_row ? row_bins : column_bins,
                     stream(PURPOSE_ROW_TRAIN, PURPOSE_COLUMN_TRAIN), stream(PURPOSE_ROUND_ROW, PURPOSE_ROUND_COLUMN)};
    const Side single{nullptr, how.dense_is_row ? train.column : train.row, how.dense_is_row ? column_bins : row_bins,
                      stream(PURPOSE_COLUMN_TRAIN, PURPOSE_ROW_TRAIN), stream(PURPOSE_ROUND_COLUMN, PURPOSE_ROUND_ROW)};
    const float certain_value = probability(single, broadcast(1.0f), 0, how.sample, how.step, a.stochastic_rounding)[0];
    const float bl = static_cast<float>(train.length);
    if (a.pulse_type != PULSES_STOCHASTIC) {
        const auto number = [&](auto p, bool row) {
            auto k = implicit ? minimum(p, p - p + 1.0f) : minimum(round_even(p * bl), p - p + bl);
            return implicit ? (row ? k * bl : k) : (row ? k / bl : k);
        };
        const float other = number(certain_value, !how.dense_is_row);
        for (int j = 0; j < n; j += LANES) {
            const vf p = probability(dense, load_padded(v, j, n), j, how.sample, how.step, a.stochastic_rounding);
            store(count + j, to_unsigned(to_int(round_even(number(p, how.dense_is_row) * other))));
        }
        return;
    }
    const int single_threshold = pulse_threshold(certain_value);
    for (int j = 0; j < n; j += LANES) {
        const vf p = probability(dense, load_padded(v, j, n), j, how.sample, how.step, a.stochastic_rounding);
        const vi certain = p >= vf{} + 1.0f;
        const vi threshold = certain ? vi{} + 0x7FFFFFFF : to_int(select(certain, vf{}, p) * 2147483648.0f) - 1;
        if (!any(threshold >= vi{})) continue;
        vu total{};
        if (single_threshold == 0x7FFFFFFF && !any((threshold >= vi{}) & (threshold != 0x7FFFFFFF))) {
            total = select(threshold >= vi{}, broadcast(static_cast<u32>(train.length)), vu{});
        } else {
            for (int slot = 0; slot < train.length; slot += 4) {
                const u32 draw = static_cast<u32>(slot / 4);
                const Words4<u32> o = philox(Words4<u32>{0u, how.sample, draw, how.step}, single.train.key0, single.train.key1);
                const Words4<vu> u = philox(Words4<vu>{lane_index() + static_cast<u32>(j), broadcast(how.sample), broadcast(draw), broadcast(how.step)},
                                            dense.train.key0, dense.train.key1);
                const vu words[4] = {u.x, u.y, u.z, u.w};
                const u32 others[4] = {o.x, o.y, o.z, o.w};
                for (int k = 0; k < 4 && slot + k < train.length; ++k)
                    if (static_cast<int>(others[k] >> 1) <= single_threshold) total += to_unsigned(to_signed(words[k] >> 1) <= threshold) & 1u;
            }
        }
        store(count + j, total);
    }
}

// Room of one thread.
struct SliceScratch {
    Scratch<float> held, read, noise;
    Scratch<u32> count, element;
    Write write;
    explicit SliceScratch(int lines)
        : held(padded(lines)), read(padded(lines)), noise(padded(lines)), count(padded(lines)), element(padded(lines)), write(padded(lines)) {}
};

// Lists the crosspoints that get pulses: count of each line, up where the value is not negative (or the reverse).
SIM_HD void list_pulses(const u32* count, const float* value, bool reverse, const u32* element, int n, Write& w) {
    w.n = 0;
    for (int i = 0; i < n; ++i) {
        w.column[w.n] = element[i];
        w.left[w.n] = count[i];
        w.low[w.n] = (value[i] > 0.0f) != reverse ? ~0u : 0u;
        w.n += count[i] != 0;
    }
}

// What a read of one line gives: a product with a one-hot input.
SIM_HD void read_slice(const TransferArgs& a, int r, int lines, u64 key, u32 sample, u32 step, SliceScratch& s) {
    const float* io = a.io + static_cast<size_t>(r) * N_IO_SETTINGS;
    if (a.io_perfect) {
        for (int i = 0; i < lines; i += LANES) store(s.read.get() + i, load(s.held.get() + i) * io[OUT_SCALE]);
        return;
    }
    const float input = input_imperfections(dac(1.0f, 1.0f, io[INP_STEP], 0.0f, io[INP_BOUND]), 0.0f, 0.0f, io[INP_ASYMMETRY]);
    const bool noisy = io[OUT_NOISE] > 0.0f;
    if (noisy) normal_row(stream_of(key, PURPOSE_OUTPUT_NOISE), sample, 0, step, lines, s.noise.get());
    for (int i = 0; i < lines; i += LANES) {
        vf shift{};
        if (a.io_out_sto_round) {
            vf u[64 / LANES];
            uniforms64(stream_of(key, PURPOSE_OUTPUT_ROUND), static_cast<u32>(i) / 64, sample, 0, step, u);
            shift = u[(i % 64) / LANES] - 0.5f;
        }
        vf t = output_asymmetry(load(s.held.get() + i) * input, io[OUT_ASYMMETRY]);
        if (noisy) t = t + load(s.noise.get() + i) * io[OUT_NOISE];
        const Adc<vf> q = adc(t, io[OUT_STEP], shift, io[OUT_BOUND]);
        store(s.read.get() + i, q.value * io[OUT_SCALE]);
    }
}

// Adds what was read to the buffer; s.read becomes the steps to write. Returns whether there are any.
SIM_HD bool through_buffer(const TransferArgs& a, const TransferEvent& e, int r, int slices, int lines, const float* signs, SliceScratch& s) {
    const float* settings = a.settings + static_cast<size_t>(r) * N_TRANSFER_SETTINGS;
    const float* stage = a.stages + (static_cast<size_t>(r) * (a.n_arrays + 1) + e.stage) * N_STAGE_SETTINGS;
    const BufferRule rule{a.flags.mode == TRANSFER_BUFFERED ? stage[STAGE_THRESHOLD] : 1.0f, settings[WRITE_LIMIT], settings[BUFFER_MOMENTUM],
                          settings[BUFFER_CAP] * settings[WRITE_LIMIT], a.flags.forget};
    const size_t at = ((static_cast<size_t>(r) * a.n_arrays + e.stage) * slices + e.slice) * lines;
    const bool dynamic = a.flags.mode == TRANSFER_DYNAMIC;
    const float scale = e.scale * e.chopper, tail = settings[TAIL];
    vi some{};
    for (int i = 0; i < lines; i += LANES) {
        const int n = lines - i < LANES ? lines - i : LANES;
        const vf o = load(s.read.get() + i);
        vf signal = o;
        if (dynamic) {
            const vf mean = load_padded(a.mean + at, i, lines);
            vf reference = load_padded(a.reference + at, i, lines);
            if (e.switched) {
                reference = mean;
                store_first(a.reference + at + i, reference, n);
            }
            signal = o - reference;
            store_first(a.mean + at + i, mean * (1.0f - tail) + o * tail, n);
        }
        if (signs) signal = signal * load_padded(signs, i, lines);
        vf steps{};
        if (e.active) {
            const vf held = a.flags.no_buffer ? vf{} : load_padded(a.buffer + at, i, lines);
            const vf w = held + signal * scale;
            steps = fired(rule, w);
            store_first(a.buffer + at + i, after_firing(rule, w, steps), n);
        }
        some |= (steps != vf{}) & (to_signed(lane_index()) < n);
        store(s.read.get() + i, steps);
    }
    return any(some);
}

void run_event(const TransferArgs& a, int r, int index, SliceScratch& s) {
    const TransferEvent& e = a.events[static_cast<size_t>(r) * a.max_events + index];
    const int device = a.arrays[e.stage].device;
    UpdateArgs target = a.arrays[e.stage].args;
    const int lines = a.flags.columns ? target.out : target.in, slices = a.flags.columns ? target.in : target.out;
    const u32 step = a.step + static_cast<u32>(e.sample);
    target.step = step;
    const size_t cells = static_cast<size_t>(target.out) * target.in;
    for (int i = 0; i < lines; ++i)
        s.element[i] = static_cast<u32>(a.flags.columns ? static_cast<size_t>(i) * target.in + e.slice : static_cast<size_t>(e.slice) * target.in + i);
    const float* given = a.values + (static_cast<size_t>(r) * a.max_events + index) * lines;
    if (a.done) memcpy(s.read.get(), given, sizeof(float) * lines);
    else {
        if (e.stage == 0) memcpy(s.held.get(), given, sizeof(float) * lines);
        else {
            const UpdateArgs& source = a.arrays[e.stage - 1].args;
            const float* shown = (source.apparent ? source.apparent : source.weight) + r * cells;
            for (int i = 0; i < lines; ++i) s.held[i] = shown[s.element[i]];
        }
        read_slice(a, r, lines, static_cast<u64>(a.read_keys[static_cast<size_t>(r) * (a.n_arrays + 1) + e.stage]), static_cast<u32>(e.read), step, s);
    }
    const float* settings = target.settings + static_cast<size_t>(r) * N_TRAIN_SETTINGS;
    const float granularity = target.granularity[r];
    const u64 train_key = static_cast<u64>(a.train_keys[static_cast<size_t>(r) * (a.n_arrays + 1) + e.stage]);
    const bool exact = target.pulse_type >= PULSES_NONE_WITH_DEVICE;
    if (a.flags.mode == TRANSFER_DIRECT) {
        if (exact) {
            for (int i = 0; i < lines; ++i) s.noise[i] = e.scale * s.read[i];
            write_changes(device, target, r, s.element.get(), s.noise.get(), lines);
            return;
        }
        coincidences(target, settings, absolute(e.scale), {a.flags.columns, granularity, train_key, static_cast<u32>(e.read), step}, s.read.get(), lines, s.count.get());
        list_pulses(s.count.get(), s.read.get(), e.scale < 0.0f, s.element.get(), lines, s.write);
        write_waiting(device, target, r, s.write);
        return;
    }
    const float* signs = a.signs ? a.signs + (static_cast<size_t>(r) * a.max_events + index) * lines : nullptr;
    if (!through_buffer(a, e, r, slices, lines, signs, s)) return;
    const float size = a.settings[static_cast<size_t>(r) * N_TRANSFER_SETTINGS + WRITE_STEP];
    if (exact) {
        for (int i = 0; i < lines; ++i) s.noise[i] = size * granularity * s.read[i];
        write_changes(device, target, r, s.element.get(), s.noise.get(), lines);
        return;
    }
    // Exactly so many pulses; what is left of a step that is no whole pulse decides at random.
    for (int i = 0; i < lines; ++i) {
        const float wanted = minimum(absolute(s.read[i]) * size, settings[DESIRED_BL]);
        u32 whole = static_cast<u32>(wanted);
        const float rest = wanted - static_cast<float>(whole);
        if (rest > 0.0f) whole += uniform_at(train_key, PURPOSE_PART_STEP, static_cast<u32>(i), static_cast<u32>(e.read), step) < rest;
        s.count[i] = whole;
    }
    list_pulses(s.count.get(), s.read.get(), false, s.element.get(), lines, s.write);
    write_waiting(device, target, r, s.write);
}

void transfer(const TransferArgs& a) {
    const UpdateArgs& first = a.arrays[0].args;
    const int lines = a.flags.columns ? first.out : first.in;
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
    {
        SliceScratch s(lines);
#pragma omp for schedule(dynamic)
        for (int r = 0; r < a.replicas; ++r)
            for (int e = 0; e < a.n_events[r]; ++e) run_event(a, r, e, s);
    }
}

// A whole mini-batch.
void transfer_update(const TransferUpdateArgs& given) {
    const UpdateArgs& fast = given.fast.args;
    const size_t replicas = static_cast<size_t>(fast.replicas), out = static_cast<size_t>(fast.out), in = static_cast<size_t>(fast.in);
    const TransferFlags& flags = given.plan.flags;
    const size_t slices = flags.columns ? in : out, lines = flags.columns ? out : in;
    const int part = given.part < given.batch ? given.part : given.batch;
    const size_t reads = static_cast<size_t>(flags.reads) < slices ? static_cast<size_t>(flags.reads) : slices;
    const size_t most = static_cast<size_t>(part) * (given.plan.arrays - 1) * reads;
    const bool copied = flags.mode >= TRANSFER_CHOPPED || part < given.batch;
    const size_t samples = replicas * static_cast<size_t>(part);
    Scratch<float> x(copied ? samples * in : 0), d(copied ? samples * out : 0), rates(samples), largest(replicas), seen(replicas * most * lines),
        signs(given.with_signs ? replicas * most * lines : 0);
    Scratch<TransferEvent> events(replicas * most);
    Scratch<int> n_events(replicas), line(replicas * most), sample(replicas * most);
    TransferPlanArgs plan = given.plan;
    plan.rates = rates.get(), plan.events = events.get(), plan.n_events = n_events.get(), plan.look_line = line.get(), plan.look_sample = sample.get();
    plan.signed_x = copied ? x.get() : nullptr, plan.signed_d = copied ? d.get() : nullptr;
    plan.signs = given.with_signs ? signs.get() : nullptr;
    plan.whole_batch = plan.samples = given.batch;
    UpdateArgs pulses = fast;
    TransferArgs transfers = given.transfer;
    transfers.events = events.get(), transfers.n_events = n_events.get(), transfers.signs = plan.signs, transfers.values = seen.get();
    for (int first = 0; first < given.batch; first += part) {
        plan.first = first;
        plan.batch = given.batch - first < part ? given.batch - first : part;
        plan.max_events = transfers.max_events = static_cast<int>(static_cast<size_t>(plan.batch) * (given.plan.arrays - 1) * reads);
        plan.step = transfers.step = given.vectors + static_cast<u32>(first);
        transfer_plan(plan);
        for (size_t r = 0; r < replicas; ++r) {
            largest[r] = 0.0f;
            for (int b = 0; b < plan.batch; ++b) largest[r] = maximum(largest[r], rates[r * plan.batch + b]);
        }
        pulses.x = copied ? x.get() : plan.x, pulses.d = copied ? d.get() : plan.d;
        pulses.rate = largest.get(), pulses.rates = rates.get();
        pulses.batch = plan.batch, pulses.step = given.step + static_cast<u32>(first / part);
        pulses.look_line = line.get(), pulses.look_sample = sample.get(), pulses.looks = seen.get();
        pulses.n_looks = plan.max_events, pulses.look_rows = !flags.columns;
        pulsed_update(given.fast.device, pulses);
        transfer(transfers);
    }
}

// How much larger a probability would have to be than it can be.
SIM_HD vf saturation(vf p) { return select(p > vf{} + 1.00001f, p, vf{} + 1.0f); }

// Rows of a digital matrix: whole steps of epsilon go to the array, on average; the matrix keeps the rest.
void digital_transfer(const DigitalTransferArgs& a) {
    const UpdateArgs& target = a.array.args;
    const int n = target.in;
    const bool exact = target.pulse_type >= PULSES_NONE_WITH_DEVICE;
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
    {
        SliceScratch s(n);
#pragma omp for collapse(2) schedule(dynamic, 16)
        for (int r = 0; r < a.replicas; ++r)
            for (int k = 0; k < a.n_rows; ++k) {
                const int row = a.rows[static_cast<size_t>(r) * a.n_rows + k];
                if (row < 0) continue;
                float* digital = a.digital + (static_cast<size_t>(r) * target.out + row) * n;
                const float unit = a.unit[r];
                vf top{};
                for (int j = 0; j < n; j += LANES) {
                    const vf steps = load_padded(digital, j, n) / unit;
                    const vf size = absolute(steps);  // what is not finite stays where it is
                    const vf t = select((size >= vf{} + 1.0f) & (size < vf{} + 1e9f), to_float(to_int(select(size < vf{} + 1e9f, steps, vf{}))), vf{});
                    store(s.read.get() + j, t);
                    top = maximum(top, absolute(t));
                }
                const float most_steps = max_lanes(top);
                if (most_steps == 0.0f) continue;
                const float* settings = target.settings + static_cast<size_t>(r) * N_TRAIN_SETTINGS;
                const float size = a.rate[r] < 0.0f ? -a.rate[r] : a.rate[r];
                const Train train = plan_train({size, target.granularity[r], settings[DESIRED_BL], settings[UM_GRAD_SCALE], target.fixed_bl,
                                                target.update_management, target.update_bl_management}, most_steps, 1.0f);
                for (int j = 0; j < n; j += LANES) {  // what a full train cannot write stays in the matrix
                    const vf t = load(s.read.get() + j);
                    vf written = t * unit;
                    if (!exact) written = written / (saturation(absolute(t) * train.column) * saturation(broadcast(train.row)));
                    store_first(digital + j, load_padded(digital, j, n) - written, n - j < LANES ? n - j : LANES);
                }
                for (int j = 0; j < n; ++j) s.element[j] = static_cast<u32>(static_cast<size_t>(row) * n + j);
                UpdateArgs write = target;
                write.step = a.step;
                if (exact) {
                    for (int j = 0; j < n; ++j) s.noise[j] = -a.rate[r] * s.read[j];
                    write_changes(a.array.device, write, r, s.element.get(), s.noise.get(), n);
                    continue;
                }
                coincidences(write, settings, size, {false, target.granularity[r], static_cast<u64>(target.train_keys[r]), static_cast<u32>(row), a.step}, s.read.get(), n, s.count.get());
                list_pulses(s.count.get(), s.read.get(), a.rate[r] > 0.0f, s.element.get(), n, s.write);
                write_waiting(a.array.device, write, r, s.write);
            }
    }
}

}  // namespace
}  // namespace sim
