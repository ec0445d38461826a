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

struct RowScratch {
    u64* queue;               // directions of queued pulses, bit 1 = up; the next pulse is bit 0
    u64* count;               // their number
    u32* done;                // pulses applied before the end of the batch
    Waiting waiting, sorted;
    u32* touched;             // columns that had a pulse
    int n_touched;
    bool drained;             // queues were drained before the end of the batch
    const float** parameter;  // row of each parameter of the device; null: without spread
    float* packed;            // (1 + n_parameters, stride): weights and parameters of waiting columns
    u32* hit;                 // which columns of a vector wait
    int stride;
};

// One row of one replica.
struct Row {
    const UpdateArgs& a;
    const float* settings;
    const float* values;      // parameters without spread
    const float* data;
    Stream cycle, write;
    float *weight, *apparent;
    long long *down, *up;     // pulse counts, or null
    u32 first;                // element of the first column
    Row(const UpdateArgs& args, int r, int row) : a(args) {
        const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
        const u64 key = static_cast<u64>(a.keys[r]);
        settings = a.settings + static_cast<size_t>(r) * N_UPDATE_SETTINGS;
        values = a.values + static_cast<size_t>(r) * a.n_parameters;
        data = a.data + static_cast<size_t>(r) * a.n_data;
        cycle = stream_of(key, PURPOSE_CYCLE), write = stream_of(key, PURPOSE_WRITE);
        weight = a.weight + r * cells + at;
        apparent = a.apparent ? a.apparent + r * cells + at : nullptr;
        down = a.counts ? a.counts + 2 * r * cells + at : nullptr;
        up = a.counts ? down + cells : nullptr;
        first = static_cast<u32>(at);
    }
};

// The pulses of U vectors of crosspoints, one after the other; weight holds theirs before and after. lookup(k, u) gives
// parameter k of vector u. The vectors do not depend on each other: worked together, one fills the waits of the other.
template <class Device, int U, class Lookup>
SIM_HD void apply_pulses(const Row& row, Lookup lookup, vf* weight, const vu* column, const Taken* t, u32 rounds) {
    typename Device::template Cell<vf> cell[U];
    vf g[U];
    const float sigma = row.settings[DW_MIN_STD];
    for (int u = 0; u < U; ++u) {
        cell[u] = Device::template load<vf>(parameters([&](int k) { return lookup(k, u); }, row.data, row.a.n_data));
        g[u] = weight[u] + Device::reference(cell[u]);
    }
    for (u32 n = 0; n < rounds; n += 4) {
        Normals4<vf> xi[U] = {};
        if (sigma > 0.0f) {
            Words4<vu> w[U];
            for (int u = 0; u < U; ++u) w[u] = {column[u] + row.first, vu{}, (t[u].done + n) >> 2, broadcast(row.a.step)};
            philox<U>(w, row.cycle.key0, row.cycle.key1);
            for (int u = 0; u < U; ++u) box_muller<vf>(w[u].x, w[u].y, xi[u].z[0], xi[u].z[1]);
            if (rounds - n > 2)
                for (int u = 0; u < U; ++u) box_muller<vf>(w[u].z, w[u].w, xi[u].z[2], xi[u].z[3]);
        }
        for (u32 k = 0; k < 4 && n + k < rounds; ++k) {
            for (int u = 0; u < U; ++u) {
                const vu direction = n < 32 ? t[u].low >> n : t[u].high >> (n - 32);
                const vi up = to_signed((direction >> k) & 1u) != 0;
                const vf next = pulse<Device, vf>(cell[u], g[u], up, xi[u].z[k] * sigma);
                g[u] = select(to_signed(t[u].left) > static_cast<int>(n + k), next, g[u]);
            }
        }
    }
    for (int u = 0; u < U; ++u)  // what had no pulse keeps its bits
        weight[u] = select(t[u].left != 0u, g[u] - Device::reference(cell[u]), weight[u]);
}

SIM_HD void count_pulses(const Row& row, const u32* column, int n, const Taken& t) {
    for (int k = 0; k < n; ++k) {
        const u64 taken = (u64(1) << t.left[k]) - 1, bits = static_cast<u64>(t.low[k]) | (static_cast<u64>(t.high[k]) << 32);
        const long long ups = __builtin_popcountll(bits & taken);
        row.up[column[k]] += ups;
        row.down[column[k]] += static_cast<long long>(t.left[k]) - ups;
    }
}

// Applies pulses of a row; source(j, t) takes those of LANES columns from j on. Neighbours that nearly all have a few are
// worked in place, other columns gathered.
template <class Device, class Source> void drain(const Row& row, RowScratch& s, Source source) {
    const int width = padded(row.a.in);
    s.waiting.n = 0;
    u32 most_waiting = 0;
    for (int j = 0; j < width; j += LANES) {
        Taken t;
        if (!source(j, t)) continue;
        const vu column = lane_index() + static_cast<u32>(j);
        const u32 m = most(t.left);
        if (row.apparent) {
            for (int k = 0; k < LANES; ++k) {
                s.touched[s.n_touched] = static_cast<u32>(j + k);
                s.n_touched += t.left[k] != 0;
            }
        }
        if (t.columns * 4 >= 3 * LANES && m <= 4) {
            const int n = row.a.in - j < LANES ? row.a.in - j : LANES;
            vf w = load_padded(row.weight, j, row.a.in);
            const auto lookup = [&](int k, int) { return s.parameter[k] ? load_padded(s.parameter[k], j, row.a.in) : broadcast(row.values[k]); };
            apply_pulses<Device, 1>(row, lookup, &w, &column, &t, m);
            store_first(row.weight + j, w, n);
            alignas(64) u32 index[LANES];
            store(index, column);
            if (row.down) count_pulses(row, index, n, t);
        } else {
            append(j, t, s.waiting);
            most_waiting = m > most_waiting ? m : most_waiting;
        }
    }
    Waiting* list = &s.waiting;
    if (most_waiting > 4 && list->n > LANES) {
        sort(s.waiting, s.sorted);
        list = &s.sorted;
    }
    pad(*list);
    for (int first = 0; first < list->n; first += TOGETHER * LANES) {
        Taken t[TOGETHER];
        vu column[TOGETHER];
        vf w[TOGETHER];
        u32 rounds = 0;
        for (int u = 0; u < TOGETHER; ++u) {
            t[u] = waiting_at(*list, first + u * LANES);
            column[u] = load(list->column + first + u * LANES);
            w[u] = gather(row.weight, column[u]);
            rounds = maximum(rounds, most(t[u].left));
        }
        const auto lookup = [&](int k, int u) { return s.parameter[k] ? gather(s.parameter[k], column[u]) : broadcast(row.values[k]); };
        apply_pulses<Device, TOGETHER>(row, lookup, w, column, t, rounds);
        for (int u = 0; u < TOGETHER; ++u) {
            const int at = first + u * LANES, n = list->n - at < LANES ? list->n - at : LANES;
            for (int k = 0; k < n; ++k) row.weight[list->column[at + k]] = w[u][k];
            if (row.down) count_pulses(row, list->column + at, n, t[u]);
        }
    }
}

#if defined(__AVX512F__)
// The same where no column has many pulses: what the waiting columns need is packed vector by vector instead of gathered,
// which costs far less.
template <class Device, class Source> void drain_few(const Row& row, RowScratch& s, Source source) {
    const int width = padded(row.a.in), parameters_of = row.a.n_parameters;
    s.waiting.n = 0;
    for (int j = 0; j < width; j += LANES) {
        Taken t;
        s.hit[j / LANES] = 0;
        if (!source(j, t)) continue;
        const __mmask16 hit = hits(t);
        const int at = s.waiting.n;
        s.hit[j / LANES] = hit;
        compress(load_padded(row.weight, j, row.a.in), hit, s.packed + at);
        for (int k = 0; k < parameters_of; ++k)
            if (s.parameter[k]) compress(load_padded(s.parameter[k], j, row.a.in), hit, s.packed + (k + 1) * s.stride + at);
        append(j, t, s.waiting);
    }
    const Waiting& list = s.waiting;
    pad(list);
    for (int first = 0; first < list.n; first += TOGETHER * LANES) {
        Taken t[TOGETHER];
        vu column[TOGETHER];
        vf w[TOGETHER];
        u32 rounds = 0;
        for (int u = 0; u < TOGETHER; ++u) {
            t[u] = waiting_at(list, first + u * LANES);
            column[u] = load(list.column + first + u * LANES);
            w[u] = load(s.packed + first + u * LANES);
            rounds = maximum(rounds, most(t[u].left));
        }
        const auto lookup = [&](int k, int u) {
            return s.parameter[k] ? load(s.packed + (k + 1) * s.stride + first + u * LANES) : broadcast(row.values[k]);
        };
        apply_pulses<Device, TOGETHER>(row, lookup, w, column, t, rounds);
        for (int u = 0; u < TOGETHER; ++u) {
            const int at = first + u * LANES, n = list.n - at < LANES ? list.n - at : LANES;
            store(s.packed + at, w[u]);
            if (row.down && n > 0) count_pulses(row, list.column + at, n, t[u]);
        }
    }
    int at = 0;
    for (int j = 0; j < width; j += LANES) {
        const __mmask16 hit = static_cast<__mmask16>(s.hit[j / LANES]);
        if (!hit) continue;
        const vf w = expand(load_padded(row.weight, j, row.a.in), hit, s.packed + at);
        store_first(row.weight + j, w, row.a.in - j < LANES ? row.a.in - j : LANES);
        at += __builtin_popcount(hit);
    }
    if (row.apparent)
        for (int k = 0; k < list.n; ++k) s.touched[s.n_touched++] = list.column[k];
}
#else
template <class Device, class Source> void drain_few(const Row& row, RowScratch& s, Source source) { drain<Device>(row, s, source); }
#endif

constexpr u64 FEW = 8;  // pulses; above, columns are sorted so that the lanes of a vector have about as many

template <class Device> void drain_queues(const Row& row, bool all, u64 bound, RowScratch& s) {
    const auto source = [&](int j, Taken& t) { return take(j, all, s.drained, s.queue, s.count, s.done, t); };
    if (bound <= FEW) drain_few<Device>(row, s, source);
    else drain<Device>(row, s, source);
    if (!all) {
        s.drained = true;
        s.n_touched = 0;  // found again by what is done
    }
}

// Write noise: every crosspoint that had a pulse shows a new apparent weight (devices.md, 4.2).
SIM_HD void write_noise(const Row& row, RowScratch& s) {
    const float kappa = row.settings[WRITE_NOISE];
    for (int first = 0; first < s.n_touched; first += LANES) {
        for (int k = s.n_touched; k < first + LANES; ++k) s.touched[k] = s.touched[first];
        const vu column = load(s.touched + first);
        const Words4<vu> w = philox(Words4<vu>{column + row.first, vu{}, vu{}, broadcast(row.a.step)}, row.write.key0, row.write.key1);
        vf z, unused;
        box_muller<vf>(w.x, w.y, z, unused);
        const vf shown = gather(row.weight, column) + z * kappa;
        for (int k = 0; k < LANES && first + k < s.n_touched; ++k) row.apparent[s.touched[first + k]] = shown[k];
    }
}

// Makes room for `more` pulses in every queue; `bound` is the length that no queue exceeds.
template <class Device> void make_room(const Row& row, u64 more, u64& bound, RowScratch& s) {
    if (bound + more > QUEUE) {
        bound = longest(row.a.in, s.count);
        if (bound + more > QUEUE) {
            if (!s.drained) memset(s.done, 0, sizeof(u32) * padded(row.a.in));
            drain_queues<Device>(row, false, bound, s);
            bound = 3;
        }
    }
    bound += more;
}

// All ones where a column that is not negative gets up pulses: a pulse lowers the weight where lr x d > 0. One side of a
// cell takes one direction only, as up pulses.
SIM_HD u32 up_mask(const Row& work, int row, int b, Lines& rows) {
    return rows.sample_negative(b)[row] ^ (work.settings[LEARNING_RATE] < 0.0f ? ~0u : 0u) ^ (work.a.side < 0 ? ~0u : 0u);
}

// Whether at most one word of a row has bits, and where it is (b < 0: none has).
SIM_HD bool single_word(const UpdateArgs& a, int row, Lines& rows, int& where_b, int& where_word) {
    where_b = -1;
    for (int b = 0; b < a.batch; ++b)
        for (int word = 0; word < rows.words; ++word)
            if (rows.sample_bits(b)[static_cast<size_t>(word) * padded(a.out) + row]) {
                if (where_b >= 0) return false;
                where_b = b, where_word = word;
            }
    return true;
}

// Queues what sample b brings to a row.
template <class Device> bool queue_sample(const Row& work, int row, int b, Lines& columns, Lines& rows, u64& bound, RowScratch& s) {
    const UpdateArgs& a = work.a;
    const int width = padded(a.in), row_width = padded(a.out);
    const u32 row_negative = up_mask(work, row, b, rows);
    const bool ups_only = a.side != 0;
    bool any_pulse = false;
    if (a.pulse_type != PULSES_STOCHASTIC) {
        const float number = rows.sample_numbers(b)[row];
        float most = 0.0f;
        for (int j = 0; j < width; ++j) most = maximum(most, round_even(number * columns.sample_numbers(b)[j]));
        for (float skip = 0.0f; skip < most; skip += 31.0f) {
            make_room<Device>(work, 31, bound, s);
            enqueue_numbers(width, number, row_negative, ups_only, columns.sample_numbers(b), columns.sample_negative(b), skip, s.queue, s.count);
            any_pulse = true;
        }
        return any_pulse;
    }
    for (int word = 0; word < rows.words; ++word) {
        const u32 row_bits = rows.sample_bits(b)[static_cast<size_t>(word) * row_width + row];
        if (!row_bits) continue;
        make_room<Device>(work, static_cast<u64>(__builtin_popcount(row_bits)), bound, s);
        enqueue(width, row_bits, row_negative, ups_only, columns.sample_bits(b) + static_cast<size_t>(word) * width, columns.sample_negative(b),
                s.queue, s.count);
        any_pulse = true;
    }
    return any_pulse;
}

SIM_HD void point_to_fields(const UpdateArgs& a, int r, int row, RowScratch& s) {
    const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
    for (int k = 0; k < a.n_parameters; ++k)
        s.parameter[k] = a.field_of[k] < 0 ? nullptr : a.fields + (static_cast<size_t>(r) * a.n_fields + a.field_of[k]) * cells + at;
}

template <class Device> void update_row(const UpdateArgs& a, int r, int index, Lines& columns, Lines& rows, RowScratch& s) {
    const Row row(a, r, index);
    point_to_fields(a, r, index, s);
    bool any_pulse = false;
    u64 bound = 0;
    s.drained = false;
    s.n_touched = 0;
    int b = 0, word = 0;
    if (a.pulse_type == PULSES_STOCHASTIC && single_word(a, index, rows, b, word)) {
        if (b < 0) return;
        const int width = padded(a.in);
        const u32 bits = rows.sample_bits(b)[static_cast<size_t>(word) * padded(a.out) + index];
        const u32 negative = up_mask(row, index, b, rows);
        const u32* column_bits = columns.sample_bits(b) + static_cast<size_t>(word) * width;
        const auto source = [&](int j, Taken& t) {
            return take_word(j, bits, negative, a.side != 0, column_bits, columns.sample_negative(b), t);
        };
        if (static_cast<u64>(__builtin_popcount(bits)) <= FEW) drain_few<Device>(row, s, source);
        else drain<Device>(row, s, source);
        if (row.apparent) write_noise(row, s);
        return;
    }
    for (b = 0; b < a.batch; ++b) any_pulse |= queue_sample<Device>(row, index, b, columns, rows, bound, s);
    if (!any_pulse) return;
    drain_queues<Device>(row, true, bound, s);  // all queues are empty again, as the next row expects them
    if (!row.apparent) return;
    if (s.drained) {  // some columns had their last pulse before the last drain
        u32 n = 0;
        for (int k = 0; k < s.n_touched; ++k) s.done[s.touched[k]] = 1;
        for (int j = 0; j < a.in; ++j) {
            s.touched[n] = static_cast<u32>(j);
            n += s.done[j] > 0;
        }
        s.n_touched = static_cast<int>(n);
    }
    write_noise(row, s);
}

// No pulses: the exact step of each sample, then the bounds of the device (update.md, 5.5), on the persistent weight.
template <class Device> void clip_row(const UpdateArgs& a, int r, int index, RowScratch& s) {
    const Row row(a, r, index);
    point_to_fields(a, r, index, s);
    for (int j = 0; j < a.in; j += LANES) {
        const auto cell = Device::template load<vf>(
            parameters([&](int k) { return s.parameter[k] ? load_padded(s.parameter[k], j, a.in) : broadcast(row.values[k]); }, row.data, a.n_data));
        const vf reference = Device::reference(cell), low = Device::lower(cell), high = Device::upper(cell);
        vf g = load_padded(row.weight, j, a.in) + reference;
        for (int b = 0; b < a.batch; ++b) {
            const size_t sample = static_cast<size_t>(r) * a.batch + b;
            const float f = row.settings[LEARNING_RATE] * a.d[sample * a.out + index];
            if (f != 0.0f) g = clamp(g - load_padded(a.x + sample * a.in, j, a.in) * f, low, high);
        }
        store_first(row.weight + j, g - reference, a.in - j < LANES ? a.in - j : LANES);
    }
    s.n_touched = a.in;
    for (int j = 0; j < a.in; ++j) s.touched[j] = static_cast<u32>(j);
    if (row.apparent) write_noise(row, s);
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
        Scratch<u32> done(width), touched(width + LANES), lists(10 * (width + MARGIN));
        Scratch<const float*> parameter(a.n_parameters);
        Scratch<float> packed((1 + a.n_parameters) * (width + MARGIN));
        Scratch<u32> hit(width / LANES);
        const auto list = [&](size_t k) { return lists.get() + k * (width + MARGIN); };
        RowScratch scratch{queue.get(), count.get(), done.get(), {list(0), list(1), list(2), list(3), list(4), 0},
                           {list(5), list(6), list(7), list(8), list(9), 0}, touched.get(), 0, false, parameter.get(),
                           packed.get(), hit.get(), static_cast<int>(width) + MARGIN};
        memset(queue.get(), 0, sizeof(u64) * width);
        memset(count.get(), 0, sizeof(u64) * width);
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
