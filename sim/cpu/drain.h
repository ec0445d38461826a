// Queued pulses on the devices of a row: columns that have some are brought together in vectors, pulsed, and put back.
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
    int* varying;             // which parameters have one
    int n_varying;
    float* packed;            // (1 + n_parameters, stride): weights and parameters of waiting columns
    u32* hit;                 // which columns of a vector wait
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

// The pulses of U vectors of crosspoints, one after the other; weight holds theirs before and after. lookup(k, u) gives
// parameter k of vector u. The vectors do not depend on each other: worked together, one fills the waits of the other.
template <class Device, int U, class Lookup>
SIM_HD void apply_pulses(const Row& row, Lookup lookup, vf* weight, const vu* column, const Taken* t, u32 rounds) {
    typename Device::template Cell<vf> cell[U];
    const float sigma = row.noise[DW_MIN_STD];
    for (int u = 0; u < U; ++u) cell[u] = Device::template load<vf>(parameters([&](int k) { return lookup(k, u); }, row.data, row.a.n_data));
    for (u32 n = 0; n < rounds; n += 4) {
        Normals4<vf> xi[U] = {};
        if (sigma > 0.0f) {
            Words2<vu> w[2 * U];
            const auto pair = [&](int u, u32 k) { return pair_words(row.cycle, column[u] + row.first, ((t[u].done + n) >> 1) + k); };
            for (int u = 0; u < U; ++u) w[u] = pair(u, 0);
            if (rounds - n > 2) {
                for (int u = 0; u < U; ++u) w[U + u] = pair(u, 1);
                philox<2 * U>(w, row.cycle.key);
                for (int u = 0; u < U; ++u) box_muller<vf>(w[U + u].x, w[U + u].y, xi[u].z[2], xi[u].z[3]);
            } else {
                philox<U>(w, row.cycle.key);
            }
            for (int u = 0; u < U; ++u) {
                if (rounds - n == 1) xi[u].z[0] = first_normal<vf>(w[u].x, w[u].y);
                else box_muller<vf>(w[u].x, w[u].y, xi[u].z[0], xi[u].z[1]);
            }
        }
        for (u32 k = 0; k < 4 && n + k < rounds; ++k) {
            for (int u = 0; u < U; ++u) {
                const vu direction = n < 32 ? t[u].low >> n : t[u].high >> (n - 32);
                const vi up = to_signed((direction >> k) & 1u) != 0;
                const vf next = weight_pulse<Device, vf>(cell[u], weight[u], up, xi[u].z[k] * sigma);
                weight[u] = select(to_signed(t[u].left) > static_cast<int>(n + k), next, weight[u]);
            }
        }
    }
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
// Pulses of U vectors of the packed columns of `drain_few`.
template <class Device, int U> SIM_HD void pulse_packed(const Row& row, RowScratch& s, const u32* list, int n, int first) {
    Taken t[U];
    vu column[U];
    vf w[U];
    u32 rounds = 0;
    for (int u = 0; u < U; ++u) {
        const vu waiting = load(list + first + u * LANES);
        t[u] = unpack(waiting);
        column[u] = waiting >> 12;
        w[u] = load(s.packed + first + u * LANES);
        rounds = maximum(rounds, most(t[u].left));
    }
    const auto lookup = [&](int k, int u) {
        return s.parameter[k] ? load(s.packed + (k + 1) * s.stride + first + u * LANES) : broadcast(row.values[k]);
    };
    apply_pulses<Device, U>(row, lookup, w, column, t, rounds);
    for (int u = 0; u < U; ++u) {
        const int at = first + u * LANES, left = n - at < LANES ? n - at : LANES;
        store(s.packed + at, w[u]);
        if (row.down) {
            alignas(64) u32 index[LANES];
            store(index, column[u]);
            count_pulses(row, index, left, t[u]);
        }
    }
}

// The same where no column has many pulses: what the waiting columns need is packed vector by vector instead of gathered,
// which costs far less.
template <class Device, class Source> void drain_few(const Row& row, RowScratch& s, Source source) {
    const int in = row.a.in, width = padded(in), n_varying = s.n_varying, stride = s.stride;
    u32 *list = s.waiting.column, *hits_of = s.hit;
    const float* const* parameter = s.parameter;
    const int* varying = s.varying;
    float *packed = s.packed, *weight = row.weight;
    int n = 0;
    for (int j = 0; j < width; j += LANES) {
        Taken t;
        hits_of[j / LANES] = 0;
        if (!source(j, t)) continue;
        const __mmask16 hit = hits(t);
        hits_of[j / LANES] = hit;
        compress(pack(j, t), hit, list + n);
        compress(load_padded(weight, j, in), hit, packed + n);
        for (int k = 0; k < n_varying; ++k)
            compress(load_padded(parameter[varying[k]], j, in), hit, packed + (varying[k] + 1) * stride + n);
        n += static_cast<int>(t.columns);
    }
    for (int k = n; k % LANES; ++k) list[k] = list[0] & ~4095u;  // no pulse
    int first = 0;
    for (; first + LANES < n; first += TOGETHER * LANES) pulse_packed<Device, TOGETHER>(row, s, list, n, first);
    if (first < n) pulse_packed<Device, 1>(row, s, list, n, first);
    int at = 0;
    for (int j = 0; j < width; j += LANES) {
        const __mmask16 hit = static_cast<__mmask16>(s.hit[j / LANES]);
        if (!hit) continue;
        const vf w = expand(load_padded(row.weight, j, in), hit, s.packed + at);
        store_first(row.weight + j, w, in - j < LANES ? in - j : LANES);
        at += __builtin_popcount(hit);
    }
    if (row.apparent)
        for (int k = 0; k < n; ++k) s.touched[s.n_touched++] = list[k] >> 12;
}
#endif

// Columns with many pulses are sorted, so that the lanes of a vector have about as many.
template <class Device, class Source> void drain_most(const Row& row, u64 pulses, RowScratch& s, Source source) {
#if defined(__AVX512F__)
    if (pulses <= FEW && row.a.in <= FEW_COLUMNS) return drain_few<Device>(row, s, source);
#endif
    (void)pulses;
    drain<Device>(row, s, source);
}

template <class Device> void drain_queues(const Row& row, bool all, u64 bound, RowScratch& s) {
    const auto source = [&](int j, Taken& t) { return take(j, all, s.drained, s.queue, s.count, s.done, t); };
    drain_most<Device>(row, bound, s, source);
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
