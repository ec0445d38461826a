// Transfers between the arrays of a cell, and from a digital matrix to an array (compounds.md).
//
// An update of a mini-batch has three parts: the plan (when what is transferred, with which choppers and rates; none of it
// depends on a weight), the pulses of the fast array, which note what the transfers will read (look.h), and the transfers,
// in order.
#pragma once
#include "transfer_law.h"
#include "update.h"

namespace sim {
namespace {

// Part one.

// The inputs of a replica, for the plan: choppers go onto copies, and events onto what the pulses look at.
struct PlannedLines {
    const TransferPlanArgs& a;
    int r, lines;
    real *in_choppers, *out_choppers;
    u64 key;
    const real* settings;

    const real* x(int b) const { return a.x + (static_cast<size_t>(r) * a.samples + a.first + b) * a.in; }
    const real* d(int b) const { return a.d + (static_cast<size_t>(r) * a.samples + a.first + b) * a.out; }
    real largest_x(int b) const { return largest_magnitude(x(b), a.in); }
    real largest_d(int b) const { return largest_magnitude(d(b), a.out); }
    void begin(int b) {
        if (!a.signed_x) return;
        const size_t sample = static_cast<size_t>(r) * a.batch + b;
        chopped(x(b), a.flags.columns ? in_choppers : out_choppers, a.in, a.signed_x + sample * a.in);
        chopped(d(b), a.flags.columns ? out_choppers : in_choppers, a.out, a.signed_d + sample * a.out);
    }
    void chopped(const real* v, const real* choppers, int n, real* to) const {
        const bool signs = a.flags.mode >= TRANSFER_CHOPPED;
        for (int k = 0; k < n; ++k) to[k] = signs ? v[k] * choppers[k] : v[k];
    }
    void event(int n, const TransferEvent& e) {
        const size_t at = static_cast<size_t>(r) * a.max_events + n;
        a.look_line[at] = e.stage == 0 ? e.slice : -1;
        a.look_sample[at] = e.sample;
        if (a.signs && a.flags.mode >= TRANSFER_CHOPPED) memcpy(a.signs + at * lines, out_choppers, sizeof(real) * lines);
    }
    void end_of_sweep(u32 step) {
        if (!(settings[OUT_CHOP_PROB] > 0.0f)) return;
        for (int i = 0; i < lines; ++i)
            if (line_switches(key, settings, i, step)) out_choppers[i] = -out_choppers[i];
    }
};

void plan_replica(const TransferPlanArgs& a, int r) {
    const int slices = a.flags.columns ? a.in : a.out, lines = a.flags.columns ? a.out : a.in;
    const size_t replica = static_cast<size_t>(r), room = static_cast<size_t>(a.max_events);
    TransferPlan plan{a.settings + replica * N_TRANSFER_SETTINGS, a.stages + replica * a.arrays * N_STAGE_SETTINGS, a.every + replica * a.arrays,
                      a.counters + replica * a.arrays * 3, a.sweeps + r, a.in_choppers + replica * slices, a.maxima + replica * 3,
                      a.switched + replica * slices, a.events + replica * room, static_cast<u64>(a.keys[r]), a.step, a.arrays, slices, a.whole_batch,
                      a.flags};
    PlannedLines known{a, r, lines, plan.choppers, a.out_choppers + replica * lines, plan.key, plan.settings};
    plan.run(known, a.batch, a.rate[r], a.rates + replica * a.batch);
    a.n_events[r] = plan.n;
    for (size_t e = static_cast<size_t>(plan.n); e < room; ++e) a.look_line[replica * room + e] = a.look_sample[replica * room + e] = -1;
}

void transfer_plan(const TransferPlanArgs& a) {
    for (int r = 0; r < a.replicas; ++r) plan_replica(a, r);
}

// Part three.

// Pulses that wait for crosspoints of one replica, given by their element in the array.
struct Write {
    Scratch<u32> column, low, left;
    int n = 0;
    explicit Write(int lines) : column(lines + MARGIN), low(lines + MARGIN), left(lines + MARGIN) {}
};

template <class Device> void write_pulses(const UpdateArgs& a, int r, Write& w) {
    const Row row(a, r, 0, Noise(a, r));
    for (int k = 0; k < LANES; ++k) w.column[w.n + k] = w.column[0], w.left[w.n + k] = 0;
    for (int first = 0; first < w.n; first += LANES) {
        const vu column = load(w.column.get() + first);
        vu left = load(w.left.get() + first);
        const vu up = load(w.low.get() + first);
        const int n = w.n - first < LANES ? w.n - first : LANES;
        vf weight = gather(row.weight, column);
        for (u32 done = 0; any(left != 0u); done += GROUP) {
            const Taken t{up, select(to_signed(left) > static_cast<int>(GROUP), broadcast(GROUP), left), broadcast(done)};
            apply_group<Device>(row, weight, column, t);
            for (int k = 0; row.down && k < n; ++k) (up[k] ? row.up : row.down)[w.column[first + k]] += t.left[k];
            left -= t.left;
        }
        scatter_first(row.weight, column, weight, n);
        if (row.apparent) scatter_first(row.apparent, column, shown_weight(row, column, weight), n);
    }
}

// The exact change of n crosspoints, within the bounds of the devices if they are kept; no pulses. Where it is 0 nothing is
// written.
template <class Device> void write_exactly(const UpdateArgs& a, int r, bool bounds, const u32* element, const real* change, int n) {
    const Row row(a, r, 0, Noise(a, r));
    for (int first = 0; first < n; first += LANES) {
        const int lanes = n - first < LANES ? n - first : LANES;
        vu column{};
        for (int k = 0; k < LANES; ++k) column[k] = element[k < lanes ? first + k : first];
        vf weight = gather(row.weight, column) + (lanes == LANES ? load(change + first) : load_first(change + first, lanes));
        if (bounds) {
            const auto cell = devices_at<Device>(row, column);
            const vf reference = Device::reference(cell);
            weight = clamp(weight + reference, Device::lower(cell), Device::upper(cell)) - reference;
        }
        const vf shown = row.apparent ? shown_weight(row, column, weight) : vf{};
        for (int k = 0; k < lanes; ++k) {
            if (change[first + k] == 0.0f) continue;
            row.weight[element[first + k]] = weight[k];
            if (row.apparent) row.apparent[element[first + k]] = shown[k];
        }
    }
}

constexpr int PULSES_EXACT = PULSES_NONE_WITH_DEVICE + 1;  // no pulses and no bounds

void write_changes(int device, const UpdateArgs& a, int r, const u32* element, const real* change, int n) {
    using Function = void (*)(const UpdateArgs&, int, bool, const u32*, const real*, int);
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
    real granularity;
    u64 key;
    u32 sample, step;
};
void coincidences(const UpdateArgs& a, const real* s, real rate, const OneHot& how, const real* v, int n, u32* count) {
    const real most_v = largest_magnitude(v, n);
    const TrainSettings settings{rate,       how.granularity,     s[DESIRED_BL],         s[UM_GRAD_SCALE],
                                 a.fixed_bl, a.update_management, a.update_bl_management};
    const Train train = how.dense_is_row ? plan_train(settings, 1.0f, most_v) : plan_train(settings, most_v, 1.0f);
    memset(count, 0, sizeof(u32) * static_cast<size_t>(padded(n)));
    if (train.length < 1) return;
    const bool implicit = a.pulse_type == PULSES_IMPLICIT;
    const real row_bins = implicit ? s[D_RESOLUTION] : s[RESOLUTION], column_bins = implicit ? s[X_RESOLUTION] : s[RESOLUTION];
    const auto stream = [&](u32 row, u32 column) { return stream_of(how.key, how.dense_is_row ? row : column); };
    const Side dense{v, how.dense_is_row ? train.row : train.column, how.dense_is_row ? row_bins : column_bins,
                     stream(PURPOSE_ROW_TRAIN, PURPOSE_COLUMN_TRAIN), stream(PURPOSE_ROUND_ROW, PURPOSE_ROUND_COLUMN)};
    const Side single{nullptr, how.dense_is_row ? train.column : train.row, how.dense_is_row ? column_bins : row_bins,
                      stream(PURPOSE_COLUMN_TRAIN, PURPOSE_ROW_TRAIN), stream(PURPOSE_ROUND_COLUMN, PURPOSE_ROUND_ROW)};
    const real certain_value = probability(single, broadcast(1.0f), 0, how.sample, how.step, a.stochastic_rounding)[0];
    if (a.pulse_type != PULSES_STOCHASTIC) {
        const real other = line_number(certain_value, train.length, !how.dense_is_row, !implicit);
        for (int j = 0; j < n; j += LANES) {
            const vf p = probability(dense, load_padded(v, j, n), j, how.sample, how.step, a.stochastic_rounding);
            store(count + j, to_unsigned(to_int(round_even(line_number(p, train.length, how.dense_is_row, !implicit) * other))));
        }
        return;
    }
    for (int word = 0; 32 * word < train.length; ++word) {
        const u32 number = static_cast<u32>(word);
        const int slots = train.length - 32 * word;
        const u32 other = pulse_bits(single.train, 0u, how.sample, number, how.step, pulse_threshold(certain_value), slots);
        for (int j = 0; j < n; j += LANES) {
            const vf p = probability(dense, load_padded(v, j, n), j, how.sample, how.step, a.stochastic_rounding);
            const vu line = lane_index() + static_cast<u32>(j);
            const vu bits = pulse_bits(dense.train, line, how.sample, number, how.step, pulse_threshold(p), slots);
            store(count + j, load(count + j) + population(bits & other));
        }
    }
}

// Room of one thread.
struct SliceScratch {
    Scratch<real> held, read, noise;
    Scratch<u32> count, element;
    Write write;
    explicit SliceScratch(int lines)
        : held(padded(lines)), read(padded(lines)), noise(padded(lines)), count(padded(lines)), element(padded(lines)), write(padded(lines)) {}
};

// Lists the crosspoints that get pulses: count of each line, up where the value is not negative (or the reverse).
SIM_HD void list_pulses(const UpdateArgs& a, int r, const u32* count, const real* value, bool reverse, const u32* element, int n, Write& w) {
    const size_t first = static_cast<size_t>(r) * a.out * a.in;
    w.n = 0;
    for (int i = 0; i < n; ++i) {
        if (count[i]) fetch_crosspoint(a, first + element[i]);
        w.column[w.n] = element[i];
        w.left[w.n] = count[i];
        w.low[w.n] = (value[i] > 0.0f) != reverse ? ~0u : 0u;
        w.n += count[i] != 0;
    }
}

// What a read of one line gives: a product with a one-hot input.
SIM_HD void read_slice(const TransferArgs& a, int r, int lines, u64 key, u32 sample, u32 step, SliceScratch& s) {
    const real* io = a.io + static_cast<size_t>(r) * N_IO_SETTINGS;
    if (a.io_perfect) {
        for (int i = 0; i < lines; i += LANES) store(s.read.get() + i, load(s.held.get() + i) * io[OUT_SCALE]);
        return;
    }
    const real input = one_hot_input(io);
    const bool noisy = io[OUT_NOISE] > 0.0f;
    if (noisy) normal_row(stream_of(key, PURPOSE_OUTPUT_NOISE), sample, 0, step, lines, s.noise.get());
    for (int i = 0; i < lines; i += LANES) {
        vf shift{};
        if (a.io_out_sto_round) {
            vf u[64 / LANES];
            uniforms64(stream_of(key, PURPOSE_OUTPUT_ROUND), static_cast<u32>(i) / 64, sample, 0, step, u);
            shift = u[(i % 64) / LANES] - 0.5f;
        }
        store(s.read.get() + i, read_line(io, input, load(s.held.get() + i), noisy ? load(s.noise.get() + i) : vf{}, shift));
    }
}

// Adds what was read to the buffer; s.read becomes the steps to write. Returns whether there are any.
SIM_HD bool through_buffers(const TransferArgs& a, const TransferEvent& e, int r, int slices, int lines, const real* signs, SliceScratch& s) {
    const real* settings = a.settings + static_cast<size_t>(r) * N_TRANSFER_SETTINGS;
    const BufferRule rule = buffer_rule(a.flags, settings, a.stages + (static_cast<size_t>(r) * (a.n_arrays + 1) + e.stage) * N_STAGE_SETTINGS);
    const size_t at = ((static_cast<size_t>(r) * a.n_arrays + e.stage) * slices + e.slice) * lines;
    const bool dynamic = a.flags.mode == TRANSFER_DYNAMIC;
    vi some{};
    for (int i = 0; i < lines; i += LANES) {
        const int n = lines - i < LANES ? lines - i : LANES;
        BufferedLine<vf> line{load_padded(a.buffer + at, i, lines), {}, {}};
        if (dynamic) line.mean = load_padded(a.mean + at, i, lines), line.reference = load_padded(a.reference + at, i, lines);
        const vf sign = signs ? load_padded(signs, i, lines) : vf{} + 1.0f;
        const vf steps = through_buffer(a.flags, rule, e, settings[TAIL], load(s.read.get() + i), sign, line);
        if (dynamic) store_first(a.mean + at + i, line.mean, n);
        if (dynamic && e.switched) store_first(a.reference + at + i, line.reference, n);
        if (e.active) store_first(a.buffer + at + i, line.held, n);
        some |= of_mask(steps != vf{}) & (to_signed(lane_index()) < n);
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
    const real* given = a.values + (static_cast<size_t>(r) * a.max_events + index) * lines;
    if (a.done) memcpy(s.read.get(), given, sizeof(real) * lines);
    else {
        if (e.stage == 0) memcpy(s.held.get(), given, sizeof(real) * lines);
        else {
            const UpdateArgs& source = a.arrays[e.stage - 1].args;
            const real* shown = (source.apparent ? source.apparent : source.weight) + r * cells;
            for (int i = 0; i < lines; ++i) s.held[i] = shown[s.element[i]];
        }
        read_slice(a, r, lines, static_cast<u64>(a.read_keys[static_cast<size_t>(r) * (a.n_arrays + 1) + e.stage]), static_cast<u32>(e.read), step, s);
    }
    const real* settings = target.settings + static_cast<size_t>(r) * N_TRAIN_SETTINGS;
    const real granularity = target.granularity[r];
    const u64 train_key = static_cast<u64>(a.train_keys[static_cast<size_t>(r) * (a.n_arrays + 1) + e.stage]);
    const bool exact = target.pulse_type >= PULSES_NONE_WITH_DEVICE;
    if (a.flags.mode == TRANSFER_DIRECT) {
        if (exact) {
            for (int i = 0; i < lines; ++i) s.noise[i] = e.scale * s.read[i];
            write_changes(device, target, r, s.element.get(), s.noise.get(), lines);
            return;
        }
        coincidences(target, settings, absolute(e.scale), {a.flags.columns, granularity, train_key, static_cast<u32>(e.read), step}, s.read.get(), lines, s.count.get());
        list_pulses(target, r, s.count.get(), s.read.get(), e.scale < 0.0f, s.element.get(), lines, s.write);
        write_waiting(device, target, r, s.write);
        return;
    }
    const real* signs = a.signs ? a.signs + (static_cast<size_t>(r) * a.max_events + index) * lines : nullptr;
    if (!through_buffers(a, e, r, slices, lines, signs, s)) return;
    const real size = a.settings[static_cast<size_t>(r) * N_TRANSFER_SETTINGS + WRITE_STEP];
    if (exact) {
        for (int i = 0; i < lines; ++i) s.noise[i] = size * granularity * s.read[i];
        write_changes(device, target, r, s.element.get(), s.noise.get(), lines);
        return;
    }
    for (int i = 0; i < lines; ++i)
        s.count[i] = pulses_of_steps(s.read[i], size, settings[DESIRED_BL], train_key, static_cast<u32>(i), static_cast<u32>(e.read), step);
    list_pulses(target, r, s.count.get(), s.read.get(), false, s.element.get(), lines, s.write);
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
    Scratch<real> x(copied ? samples * in : 0), d(copied ? samples * out : 0), rates(samples), largest(replicas), seen(replicas * most * lines),
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
                real* digital = a.digital + (static_cast<size_t>(r) * target.out + row) * n;
                const real unit = a.unit[r];
                vf top{};
                for (int j = 0; j < n; j += LANES) {
                    const vf t = whole_steps(load_padded(digital, j, n), unit);
                    store(s.read.get() + j, t);
                    top = maximum(top, absolute(t));
                }
                const real most_steps = max_lanes(top);
                if (most_steps == 0.0f) continue;
                const real* settings = target.settings + static_cast<size_t>(r) * N_TRAIN_SETTINGS;
                const real size = a.rate[r] < 0.0f ? -a.rate[r] : a.rate[r];
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
                list_pulses(write, r, s.count.get(), s.read.get(), a.rate[r] > 0.0f, s.element.get(), n, s.write);
                write_waiting(a.array.device, write, r, s.write);
            }
    }
}

}  // namespace
}  // namespace sim
