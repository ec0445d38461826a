// Queued pulses on the devices of a row: columns that have some are brought together in vectors, pulsed, and put back.
#pragma once
#include "columns.h"
#include "device_list.h"
#include "field.h"
#include "queue.h"
#include "train.h"

namespace sim {
namespace {

// Columns that wait for pulses: planes of `stride` words.
struct Waiting {
    u32 *left, *low, *high, *done;  // their number (bits 0 to 5) and the column; directions (two halves); applied before
    u32 *hits;                // which columns of the row these are
    int n;
};
SIM_HD vu column_of(vu left) { return left >> 6; }
SIM_HD vu number_of(vu left) { return left & 63u; }

constexpr int LEVELS = 32;    // each has at most half of the columns of the one before

// Columns that have a pulse wherever a row has one bit: those of a row that has no other.
struct OneBit {
    const u32* bits;          // of the columns
    u32 row_bits;
    Waiting waiting;
};

struct RowScratch {
    u64* queue;               // directions of queued pulses, bit 1 = up; the next pulse is bit 0
    u64* count;               // their number
    u32* done;                // pulses applied before the end of the batch
    Waiting waiting;
    OneBit one;
    float* weights;           // of waiting columns; then of those that still wait after some pulses, and so on
    u32* hits;                // which these are of the ones before
    float* parameters;        // (n_parameters, stride), of waiting columns
    u32* touched;             // columns that had a pulse
    int n_touched;
    bool drained;             // queues were drained before the end of the batch
    const float** parameter;  // row of each parameter of the device; null: without spread
    const float** from;       // planes that are packed, and where to
    float** to;
    int stride;
    Words words;
};

// Random streams of one replica in this call.
struct Noise {
    Pairs cycle, write;
    Noise(const UpdateArgs& a, int r)
        : cycle(pairs_of(stream_of(static_cast<u64>(a.keys[r]), PURPOSE_CYCLE), a.step)),
          write(pairs_of(stream_of(static_cast<u64>(a.keys[r]), PURPOSE_WRITE), a.step)) {}
};

// One row of one replica.
struct Row {
    const UpdateArgs& a;
    const float* noise;
    const float* values;      // parameters without spread
    const float* data;
    Pairs cycle, write;       // noise of pulses, and of writing
    float *weight, *apparent;
    long long *down, *up;     // pulse counts, or null
    u32 first;                // element of the first column
    int replica;
    Row(const UpdateArgs& args, int r, int row, const Noise& streams) : a(args), cycle(streams.cycle), write(streams.write) {
        const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
        noise = a.noise + static_cast<size_t>(r) * N_NOISE_SETTINGS;
        values = a.values + static_cast<size_t>(r) * a.n_parameters;
        data = a.data + static_cast<size_t>(r) * a.n_data;
        weight = a.weight + r * cells + at;
        apparent = a.apparent ? a.apparent + r * cells + at : nullptr;
        down = a.counts ? a.counts + 2 * r * cells + at : nullptr;
        up = a.counts ? down + cells : nullptr;
        first = static_cast<u32>(at);
        replica = r;
    }
};

// Pulses number `from` to `rounds` of U vectors of crosspoints, one after the other; weight holds theirs before and after.
// lookup(k, u) gives parameter k of vector u. The vectors do not depend on each other: worked together, one fills the waits of the other.
template <class Device, int U, class Lookup>
SIM_HD void apply_pulses(const Row& row, Lookup lookup, vf* weight, const vu* column, const Taken* t, u32 from, u32 rounds) {
    typename Device::template Cell<vf> cell[U];
    const float sigma = row.noise[DW_MIN_STD];
    for (int u = 0; u < U; ++u) cell[u] = Device::template load<vf>(parameters([&](int k) { return lookup(k, u); }, row.data, row.a.n_data));
    const auto pulse = [&](u32 n, const vf* xi) {
        for (int u = 0; u < U; ++u) {
            const vu direction = n < 32 ? t[u].low >> n : t[u].high >> (n - 32);
            const vf next = weight_pulse<Device, vf>(cell[u], weight[u], to_signed(direction & 1u) != 0, xi[u] * sigma);
            weight[u] = select(to_signed(t[u].left) > static_cast<int>(n), next, weight[u]);
        }
    };
    for (u32 n = from; n < rounds; n += 2) {
        const bool both = rounds - n > 1;
        vf first[U] = {}, second[U] = {};
        if (sigma > 0.0f) {
            Words2<vu> w[U];
            for (int u = 0; u < U; ++u) w[u] = pair_words(row.cycle, column[u] + row.first, (t[u].done + n) >> 1);
            philox<U>(w, row.cycle.key);
            for (int u = 0; u < U; ++u) {
                if (both) box_muller<vf>(w[u].x, w[u].y, first[u], second[u]);
                else first[u] = first_normal<vf>(w[u].x, w[u].y);
            }
        }
        pulse(n, first);
        if (both) pulse(n + 1, second);
    }
}

SIM_HD void count_pulses(const Row& row, int j, const Taken& t) {
    const vi full = to_signed(t.left) > 31;
    const auto taken = [](vu bits, vu n) { return bits & (shift_left(broadcast(1u), n) - 1u); };
    const vu ups = population(select(full, t.low, taken(t.low, t.left & 31u))) + population(select(full, taken(t.high, t.left & 31u), vu{}));
    for (int k = 0; k < LANES && j + k < row.a.in; ++k) {
        row.up[j + k] += ups[k];
        row.down[j + k] += t.left[k] - ups[k];
    }
}

// How many of n columns have more than `pulses`.
SIM_HD int number_above(const u32* left, int n, u32 pulses) {
    vi above{};
    for (int k = 0; k < n; k += LANES) above -= to_signed(number_of(load(left + k))) > static_cast<int>(pulses);
    int sum = 0;
    for (int k = 0; k < LANES; ++k) sum += above[k];
    return sum;
}

// Columns that will show a new apparent weight.
SIM_HD void touch(const Row& row, RowScratch& s, const Waiting& w) {
    for (int j = 0; j < padded(row.a.in); j += LANES)
        for (u32 hit = w.hits[j / LANES]; hit; hit &= hit - 1) s.touched[s.n_touched++] = static_cast<u32>(j + __builtin_ctz(hit));
}

// Planes to be packed.
struct Planes {
    const float** from;
    float** to;
    int n = 0;
    void add(const void* source, void* target) {
        from[n] = static_cast<const float*>(source);
        to[n++] = static_cast<float*>(target);
    }
    void lists(const Waiting& w, u32 most, bool drained) {
        add(w.left, w.left), add(w.low, w.low);
        if (most > 32) add(w.high, w.high);
        if (drained) add(w.done, w.done);
    }
};

// Pulses number `from` to `until` of U vectors of packed columns.
template <class Device, int U> SIM_HD void pulse_packed(const Row& row, RowScratch& s, const Waiting& waiting, float* weights, int first, u32 from, u32 until, bool high, u32 turn) {
    Taken t[U];
    vu column[U];
    vf w[U];
    u32 rounds = 0;
    for (int u = 0; u < U; ++u) {
        const int at = first + u * LANES;
        const vu left = load(waiting.left + at);
        t[u] = {load(waiting.low + at) ^ turn, high ? load(waiting.high + at) : vu{}, number_of(left), s.drained ? load(waiting.done + at) : vu{}};
        column[u] = column_of(left);
        w[u] = load(weights + at);
        rounds = until == 1 ? 1 : maximum(rounds, most(t[u].left));
    }
    const auto lookup = [&](int k, int u) { return s.parameter[k] ? load(s.parameters + k * s.stride + first + u * LANES) : broadcast(row.values[k]); };
    apply_pulses<Device, U>(row, lookup, w, column, t, from, rounds < until ? rounds : until);
    for (int u = 0; u < U; ++u) store(weights + first + u * LANES, w[u]);
}

// The pulses of the columns that wait, at most `most` of each. Where fewer than half of them have any left, these are brought
// together again, so that few lanes idle. With packed lists only weights and parameters are still where the row has them.
template <class Device> void pulse_columns(const Row& row, RowScratch& s, Waiting& waiting, u32 most, bool packed, u32 turn) {
    struct Level {
        float* weights;
        u32* hits;
        int n;                // columns, of which the next level has some
    } level[LEVELS];
    int levels = 0, n = waiting.n;
    const bool high = most > 32;
    float* weights = s.weights;
    Planes first{s.from, s.to};
    if (!packed) first.lists(waiting, most, s.drained);
    first.add(row.weight, weights);
    for (int k = 0; k < row.a.n_parameters; ++k)
        if (s.parameter[k]) first.add(s.parameter[k], s.parameters + k * s.stride);
    pack(first.from, first.to, first.n, waiting.hits, padded(row.a.in));
    u32* hits = s.hits;
    for (u32 from = 0;;) {
        for (int k = n; k % MARGIN; ++k) waiting.left[k] = waiting.left[0] & ~63u;  // no pulse
        u32 until = most;
        int left = 0;
        if (n > LANES && most - from > 4)
            for (until = from + 2; until < most && 2 * (left = number_above(waiting.left, n, until)) > n; until += 2) {}
        int at = 0;
        for (; at + LANES < n; at += TOGETHER * LANES) pulse_packed<Device, TOGETHER>(row, s, waiting, weights, at, from, until, high, turn);
        if (at < n) pulse_packed<Device, 1>(row, s, waiting, weights, at, from, until, high, turn);
        if (until >= most || !left) break;
        for (int k = 0; k < n; k += LANES) hits[k / LANES] = mask_of(to_unsigned(to_signed(number_of(load(waiting.left + k))) > static_cast<int>(until)));
        level[levels++] = {weights, hits, n};
        float* next = weights + (n + MARGIN - 1) / MARGIN * MARGIN;
        Planes again{s.from, s.to};
        again.lists(waiting, most, s.drained);
        again.add(weights, next);
        for (int k = 0; k < row.a.n_parameters; ++k)
            if (s.parameter[k]) again.add(s.parameters + k * s.stride, s.parameters + k * s.stride);
        pack(again.from, again.to, again.n, hits, (n + LANES - 1) / LANES * LANES);
        hits += (n + LANES - 1) / LANES;
        weights = next;
        n = left;
        from = until;
    }
    while (levels--) {
        unpack(weights, level[levels].weights, level[levels].hits, (level[levels].n + LANES - 1) / LANES * LANES);
        weights = level[levels].weights;
    }
    unpack(weights, row.weight, waiting.hits, padded(row.a.in));
}

// Applies pulses of a row, at most `most` of a column; source(j, t) takes those of LANES columns from j on.
template <class Device, class Source> void drain(const Row& row, u32 most, RowScratch& s, Source source) {
    Waiting& w = s.waiting;
    const int width = padded(row.a.in);
    vu longest{};
    w.n = 0;
    for (int j = 0; j < width; j += LANES) {
        Taken t;
        w.hits[j / LANES] = 0;
        if (!source(j, t)) continue;
        store(w.left + j, t.left | ((lane_index() + static_cast<u32>(j)) << 6));
        store(w.low + j, t.low);
        if (most > 32) store(w.high + j, t.high);
        if (s.drained) store(w.done + j, t.done);
        w.n += count_of(w.hits[j / LANES] = mask_of(t.left));
        longest = select(to_signed(t.left) > to_signed(longest), t.left, longest);
        if (row.down) count_pulses(row, j, t);
    }
    if (!w.n) return;
    pulse_columns<Device>(row, s, w, sim::most(longest), false, 0);
    if (row.apparent) touch(row, s, w);
}

// A row with one pulse: each column that shares its bit gets one. Which these are is kept, for rows often share the bit.
template <class Device> void drain_one(const Row& row, const Words::Word& word, RowScratch& s) {
    OneBit& one = s.one;
    Waiting& w = one.waiting;
    const bool ups_only = row.a.side != 0;
    const int width = padded(row.a.in);
    if (one.bits != word.bits || one.row_bits != word.row_bits || ups_only) {
        w.n = 0;
        for (int j = 0; j < width; j += LANES) {
            const vu up = load(word.negative + j) ^ (ups_only ? word.up_if : 0u), shared = load(word.bits + j) & word.row_bits & (ups_only ? up : ~vu{});
            store(w.left + j, ((lane_index() + static_cast<u32>(j)) << 6) | 1u);
            store(w.low + j, up & 1u);
            w.n += count_of(w.hits[j / LANES] = mask_of(shared));
        }
        const float* from[] = {reinterpret_cast<float*>(w.left), reinterpret_cast<float*>(w.low)};
        float* to[] = {reinterpret_cast<float*>(w.left), reinterpret_cast<float*>(w.low)};
        pack(from, to, 2, w.hits, width);
        one.bits = word.bits, one.row_bits = word.row_bits;
    }
    if (!w.n) return;
    pulse_columns<Device>(row, s, w, 1, true, ups_only ? 0u : word.up_if & 1u);
    if (row.apparent) touch(row, s, w);
}

template <class Device> void drain_queues(const Row& row, bool all, u64 bound, RowScratch& s) {
    const auto source = [&](int j, Taken& t) { return take(j, all, s.drained, s.queue, s.count, s.done, t); };
    drain<Device>(row, static_cast<u32>(bound), s, source);
    if (!all) {
        s.drained = true;
        s.n_touched = 0;  // found again by what is done
    }
}

// Write noise: every crosspoint that had a pulse shows a new apparent weight (devices.md, 4.2).
SIM_HD void write_noise(const Row& row, RowScratch& s) {
    const float kappa = row.noise[WRITE_NOISE];
    for (int first = 0; first < s.n_touched; first += LANES) {
        for (int k = s.n_touched; k < first + LANES; ++k) s.touched[k] = s.touched[first];
        const vu column = load(s.touched + first);
        const Words2<vu> w = philox(pair_words(row.write, column + row.first, vu{}), row.write.key);
        const vf shown = gather(row.weight, column) + first_normal<vf>(w.x, w.y) * kappa;
        for (int k = 0; k < LANES && first + k < s.n_touched; ++k) row.apparent[s.touched[first + k]] = shown[k];
    }
}

}  // namespace
}  // namespace sim
