// The pulsed update of a mini-batch: outer product of pulse trains, then pulses on devices (update.md, sections 5 to 7).
//
// Crosspoints do not interact, and the n-th pulse of a crosspoint in a call has its noise by that n. So a row is worked
// in two phases. First every column queues the directions of its pulses, sample by sample (queue.h). Then columns are
// gathered a vector at a time, pulsed, and scattered: few lanes idle, few normals are wasted, and columns without a pulse
// cost nothing.
#pragma once
#include "device_list.h"
#include "field.h"
#include "queue.h"
#include "train.h"

namespace sim {
namespace {

// Applies queued pulses of a row: all of them, or (not at the end) a multiple of four a column, so that a block of four
// normals is never split.
template <class Device>
void drain(const UpdateArgs& a, int r, int row, bool all, RowScratch& s) {
    const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
    const float* settings = a.settings + static_cast<size_t>(r) * N_UPDATE_SETTINGS;
    const Stream cycle = stream_of(static_cast<u64>(a.keys[r]), PURPOSE_CYCLE);
    float* weight = a.weight + r * cells + at;
    long long* down = a.counts ? a.counts + 2 * r * cells + at : nullptr;
    const u64 mask = all ? ~u64(0) : ~u64(3);
    const int active = active_columns(padded(a.in), s.count, mask, s.column);
    s.active = active;
    const u32* order = s.column;
    if (active > LANES) {
        sort_columns(active, s.count, mask, s.column, s.order);
        order = s.order;
    }
    const float sigma = settings[DW_MIN_STD];
    for (int first = 0; first < active; first += LANES) {
        const int n = active - first < LANES ? active - first : LANES;
        vu column, applied, remaining, direction_low, direction_high;
        alignas(64) u32 low[LANES], high[LANES], left[LANES], done[LANES], index[LANES];
        for (int k = 0; k < LANES; ++k) {
            const u32 j = order[first + (k < n ? k : 0)];
            const u64 c = s.count[j] & mask;
            index[k] = j;
            low[k] = static_cast<u32>(s.queue[j]);
            high[k] = static_cast<u32>(s.queue[j] >> 32);
            left[k] = k < n ? static_cast<u32>(c) : 0u;
            done[k] = s.done[j];
        }
        column = load(index), applied = load(done), remaining = load(left), direction_low = load(low), direction_high = load(high);
        const auto cell = Device::template load<vf>(
            parameters([&](int k) { return gather(s.parameter[k], column); }, a.data + static_cast<size_t>(r) * a.n_data, a.n_data));
        const vf reference = Device::reference(cell);
        vf g = gather(weight, column) + reference;
        const vu element = column + static_cast<u32>(row) * static_cast<u32>(a.in);
        u32 rounds = left[0];  // sorted: the first lane has the most
        if (order == s.column)
            for (int k = 1; k < n; ++k) rounds = left[k] > rounds ? left[k] : rounds;
        for (u32 t = 0; t < rounds; t += 4) {
            Normals4<vf> xi{};
            if (sigma > 0.0f) {
                const Words4<vu> w = philox(Words4<vu>{element, vu{}, (applied + t) >> 2, broadcast(a.step)}, cycle.key0, cycle.key1);
                box_muller<vf>(w.x, w.y, xi.z[0], xi.z[1]);
                if (rounds - t > 2) box_muller<vf>(w.z, w.w, xi.z[2], xi.z[3]);
            }
            const vu direction = t < 32 ? direction_low >> t : direction_high >> (t - 32);
            for (u32 k = 0; k < 4 && t + k < rounds; ++k) {
                const vi up = to_signed((direction >> k) & 1u) != 0;
                const vf next = pulse<Device, vf>(cell, g, up, xi.z[k] * sigma);
                g = select(to_signed(remaining) > static_cast<int>(t + k), next, g);
            }
        }
        const vf w = g - reference;
        for (int k = 0; k < n; ++k) {
            const u32 j = index[k];
            weight[j] = w[k];
            if (down) {
                const u64 ups = static_cast<u64>(__builtin_popcountll(s.queue[j] & ((u64(1) << left[k]) - 1)));
                down[j] += static_cast<long long>(left[k] - ups);
                down[j + cells] += static_cast<long long>(ups);
            }
            s.queue[j] >>= left[k];
            s.count[j] -= left[k];
            s.done[j] += left[k];
        }
    }
}

// Write noise: every crosspoint that had a pulse shows a new apparent weight (devices.md, 4.2).
SIM_HD void write_noise(const UpdateArgs& a, float kappa, Stream write, const float* weight, float* apparent, int row, RowScratch& s) {
    int active = s.active;
    if (s.drained) {  // some of the columns were done before the last drain
        active = 0;
        for (int j = 0; j < a.in; ++j) {
            s.column[active] = static_cast<u32>(j);
            active += s.done[j] > 0;
        }
    }
    for (int first = 0; first < active; first += LANES) {
        alignas(64) u32 index[LANES];
        for (int k = 0; k < LANES; ++k) index[k] = s.column[first + k < active ? first + k : first];
        const vu column = load(index);
        const vu element = column + static_cast<u32>(row) * static_cast<u32>(a.in);
        const Words4<vu> w = philox(Words4<vu>{element, vu{}, vu{}, broadcast(a.step)}, write.key0, write.key1);
        vf z, unused;
        box_muller<vf>(w.x, w.y, z, unused);
        const vf shown = gather(weight, column) + z * kappa;
        for (int k = 0; k < LANES && first + k < active; ++k) apparent[index[k]] = shown[k];
    }
}

// Makes room for `most` more pulses in every queue; `bound` is the length that no queue exceeds.
template <class Device> void make_room(const UpdateArgs& a, int r, int row, u64 most, u64& bound, RowScratch& s) {
    if (bound + most > QUEUE) {
        bound = longest(a.in, s.count);
        if (bound + most > QUEUE) {
            drain<Device>(a, r, row, false, s);
            s.drained = true;
            bound = 3;
        }
    }
    bound += most;
}

// Queues what sample b brings to a row; a pulse lowers the weight where lr x d > 0: up where one of x, d is negative.
template <class Device> bool queue_sample(const UpdateArgs& a, int r, int row, int b, Lines& columns, Lines& rows, u64& bound, RowScratch& s) {
    const int width = padded(a.in), row_width = padded(a.out);
    const u32 flip = a.settings[static_cast<size_t>(r) * N_UPDATE_SETTINGS + LEARNING_RATE] < 0.0f ? ~0u : 0u;
    // one-sided: only coincidences of that direction, as up pulses
    const u32 row_negative = rows.sample_negative(b)[row] ^ flip ^ (a.side < 0 ? ~0u : 0u);
    const bool ups_only = a.side != 0;
    bool any_pulse = false;
    if (a.pulse_type != PULSES_STOCHASTIC) {
        const float number = rows.sample_numbers(b)[row];
        float most = 0.0f;
        for (int j = 0; j < width; ++j) most = maximum(most, round_even(number * columns.sample_numbers(b)[j]));
        for (float skip = 0.0f; skip < most; skip += 31.0f) {
            make_room<Device>(a, r, row, 31, bound, s);
            enqueue_numbers(width, number, row_negative, ups_only, columns.sample_numbers(b), columns.sample_negative(b), skip, s.queue, s.count);
            any_pulse = true;
        }
        return any_pulse;
    }
    for (int word = 0; word < rows.words; ++word) {
        const u32 row_bits = rows.sample_bits(b)[static_cast<size_t>(word) * row_width + row];
        if (!row_bits) continue;
        make_room<Device>(a, r, row, static_cast<u64>(__builtin_popcount(row_bits)), bound, s);
        enqueue(width, row_bits, row_negative, ups_only, columns.sample_bits(b) + static_cast<size_t>(word) * width, columns.sample_negative(b),
                s.queue, s.count);
        any_pulse = true;
    }
    return any_pulse;
}

SIM_HD void point_to_fields(const UpdateArgs& a, int r, int row, RowScratch& s) {
    const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
    for (int k = 0; k < a.n_parameters; ++k)
        if (a.field_of[k] >= 0) s.parameter[k] = a.fields + (static_cast<size_t>(r) * a.n_fields + a.field_of[k]) * cells + at;
}

template <class Device> void update_row(const UpdateArgs& a, int r, int row, Lines& columns, Lines& rows, RowScratch& s) {
    const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
    point_to_fields(a, r, row, s);
    bool touched = false;
    u64 bound = 0;
    for (int b = 0; b < a.batch; ++b) touched |= queue_sample<Device>(a, r, row, b, columns, rows, bound, s);
    if (!touched) return;
    drain<Device>(a, r, row, true, s);
    if (a.apparent)
        write_noise(a, a.settings[static_cast<size_t>(r) * N_UPDATE_SETTINGS + WRITE_NOISE],
                    stream_of(static_cast<u64>(a.keys[r]), PURPOSE_WRITE), a.weight + r * cells + at, a.apparent + r * cells + at, row, s);
    if (s.drained) memset(s.done, 0, sizeof(u32) * padded(a.in));
    else
        for (int k = 0; k < s.active; ++k) s.done[s.column[k]] = 0;
    s.drained = false;  // all queues are empty again, as the next row expects them
}

// No pulses: the exact step of each sample, then the bounds of the device (update.md, 5.5), on the persistent weight.
template <class Device> void clip_row(const UpdateArgs& a, int r, int row, RowScratch& s) {
    const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
    const float* settings = a.settings + static_cast<size_t>(r) * N_UPDATE_SETTINGS;
    float* weight = a.weight + r * cells + at;
    point_to_fields(a, r, row, s);
    for (int j = 0; j < a.in; j += LANES) {
        const int n = a.in - j < LANES ? a.in - j : LANES;
        const auto cell = Device::template load<vf>(
            parameters([&](int k) { return load_padded(s.parameter[k], j, a.in); }, a.data + static_cast<size_t>(r) * a.n_data, a.n_data));
        const vf reference = Device::reference(cell), low = Device::lower(cell), high = Device::upper(cell);
        vf g = load_first(weight + j, n) + reference;
        for (int b = 0; b < a.batch; ++b) {
            const size_t sample = static_cast<size_t>(r) * a.batch + b;
            const float f = settings[LEARNING_RATE] * a.d[sample * a.out + row];
            if (f != 0.0f) g = clamp(g - load_padded(a.x + sample * a.in, j, a.in) * f, low, high);
        }
        store_first(weight + j, g - reference, n);
    }
    for (int j = 0; j < a.in; ++j) s.column[j] = static_cast<u32>(j);
    s.active = a.in;
    if (a.apparent)
        write_noise(a, settings[WRITE_NOISE], stream_of(static_cast<u64>(a.keys[r]), PURPOSE_WRITE), weight, a.apparent + r * cells + at, row, s);
}

template <class Device> void update_device(const UpdateArgs& a) {
    float longest_train = 1.0f;
    for (int r = 0; r < a.replicas; ++r) {
        const float* s = a.settings + static_cast<size_t>(r) * N_UPDATE_SETTINGS;
        const float rate = s[LEARNING_RATE] < 0.0f ? -s[LEARNING_RATE] : s[LEARNING_RATE];
        float length = s[DESIRED_BL];
        if (!a.fixed_bl && !a.update_bl_management) length = maximum(length, ceiling(rate / s[GRANULARITY]));
        longest_train = maximum(longest_train, length);
    }
    const int words = a.pulse_type == PULSES_STOCHASTIC ? (static_cast<int>(longest_train) + 31) / 32 : 1;
    const size_t width = padded(a.in), row_width = padded(a.out), samples = static_cast<size_t>(a.replicas) * a.batch;
    Scratch<u32> bits(samples * words * (width + row_width)), negative(samples * (width + row_width));
    Scratch<float> constants(static_cast<size_t>(a.replicas) * a.n_parameters * width);
    auto lines = [&](int r) {
        u32* b = bits.get() + static_cast<size_t>(r) * a.batch * words * (width + row_width);
        u32* s = negative.get() + static_cast<size_t>(r) * a.batch * (width + row_width);
        struct Both {
            Lines columns, rows;
        };
        return Both{{b, s, a.in, words}, {b + static_cast<size_t>(a.batch) * words * width, s + static_cast<size_t>(a.batch) * width, a.out, words}};
    };
    const int block = 8, blocks = (a.out + block - 1) / block;
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
    {
        Scratch<u64> queue(width), count(width);
        Scratch<u32> done(width), column(width + 16), order(width + 16);
        Scratch<const float*> parameter(a.n_parameters);
        RowScratch scratch{queue.get(), count.get(), done.get(), column.get(), order.get(), parameter.get(), 0, false};
        memset(queue.get(), 0, sizeof(u64) * width);
        memset(count.get(), 0, sizeof(u64) * width);
        memset(done.get(), 0, sizeof(u32) * width);
#pragma omp for schedule(static)
        for (int k = 0; k < a.replicas * a.n_parameters; ++k)
            for (size_t j = 0; j < width; ++j) constants[k * width + j] = a.values[k];
#pragma omp for collapse(2) schedule(dynamic)
        for (int r = 0; r < a.replicas; ++r)
            for (int b = 0; b < a.batch; ++b) {
                auto l = lines(r);
                if (a.pulse_type != PULSES_NONE_WITH_DEVICE) draw_trains(a, r, b, l.columns, l.rows);
            }
#pragma omp for collapse(2) schedule(dynamic)
        for (int r = 0; r < a.replicas; ++r)
            for (int q = 0; q < blocks; ++q) {
                auto l = lines(r);
                for (int k = 0; k < a.n_parameters; ++k)
                    scratch.parameter[k] = constants.get() + (static_cast<size_t>(r) * a.n_parameters + k) * width;
                for (int row = q * block; row < a.out && row < (q + 1) * block; ++row) {
                    if (a.pulse_type == PULSES_NONE_WITH_DEVICE) clip_row<Device>(a, r, row, scratch);
                    else update_row<Device>(a, r, row, l.columns, l.rows, scratch);
                }
            }
    }
}

void pulsed_update(int device, const UpdateArgs& a) {
    using Function = void (*)(const UpdateArgs&);
#define SIM_ENTRY(name) &update_device<device::name>,
    static const Function table[] = {SIM_FOR_EACH_DEVICE(SIM_ENTRY)};
#undef SIM_ENTRY
    table[device](a);
}

// W <- W - rate sum_b d_b x_b^T, sample by sample: the update of an ideal device and of pulse type None.
void exact_update(const ExactUpdateArgs& a) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(a.threads) if (a.threads > 1)
    for (int r = 0; r < a.replicas; ++r)
        for (int i = 0; i < a.out; ++i) {
            float* w = a.weight + (static_cast<size_t>(r) * a.out + i) * a.in;
            for (int b = 0; b < a.batch; ++b) {
                const size_t sample = static_cast<size_t>(r) * a.batch + b;
                const float f = -a.rate[r] * a.d[sample * a.out + i];
                if (f == 0.0f) continue;
                const float* x = a.x + sample * a.in;
                int j = 0;
                for (; j + LANES <= a.in; j += LANES) store(w + j, load(w + j) + load(x + j) * f);
                for (; j < a.in; ++j) w[j] += x[j] * f;
            }
        }
}

}  // namespace
}  // namespace sim
