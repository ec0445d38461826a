// Queued pulses on the devices of a row: columns that have some are brought together in vectors, pulsed, and put back.
#pragma once
#include "device_list.h"
#include "field.h"
#include "queue.h"
#include "train.h"

namespace sim {
namespace {

// Columns that have a pulse wherever a row has one bit: `take_words` of a row that has no other.
struct OneBit {
    const u32* bits;          // of the columns
    u32 row_bits;
    u32 *list, *hit;          // packed columns, and which those are of each vector
    int n;
};

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
    OneBit one;
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
    const auto pulse = [&](u32 n, const vf* xi) {
        for (int u = 0; u < U; ++u) {
            const vu direction = n < 32 ? t[u].low >> n : t[u].high >> (n - 32);
            const vf next = weight_pulse<Device, vf>(cell[u], weight[u], to_signed(direction & 1u) != 0, xi[u] * sigma);
            weight[u] = select(to_signed(t[u].left) > static_cast<int>(n), next, weight[u]);
        }
    };
    for (u32 n = 0; n < rounds; n += 2) {
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
// Brings together what P planes hold in the columns of a row that have few pulses; hits_of tells which of each vector. That
// costs far less than to gather them. Vectors are filled in registers: stores that overlap would take longer than the rest.
template <int P> SIM_HD void pack_planes(const float* const* from, float* const* to, const u32* hits_of, int width) {
    vf filled[P] = {};
    u32 n = 0, at = 0;
    for (int j = 0; j < width; j += LANES) {
        const __mmask16 hit = static_cast<__mmask16>(hits_of[j / LANES]);
        if (!hit) continue;
        const u32 more = static_cast<u32>(__builtin_popcount(hit));
        const vu behind = lane_index() - n;  // lane n takes the first
        vf v[P];
        for (int p = 0; p < P; ++p) {
            v[p] = compress(load_masked(from[p] + j, hit), hit);
            filled[p] = permute(filled[p], behind, v[p], static_cast<__mmask16>(0xFFFFu << n));
        }
        n += more;
        if (n < LANES) continue;
        n -= LANES;
        const vu rest = lane_index() + (more - n);
        for (int p = 0; p < P; ++p) {
            store(to[p] + at, filled[p]);
            filled[p] = permute(v[p], rest);
        }
        at += LANES;
    }
    for (int p = 0; p < P; ++p) store(to[p] + at, filled[p]);
}

// Weights and varying parameters of the columns of a row.
SIM_HD void pack_columns(const Row& row, RowScratch& s, const u32* hits_of) {
    constexpr int most = 5;
    const int width = padded(row.a.in);
    const float* from[most] = {row.weight};
    float* to[most] = {s.packed};
    int planes = 1;
    for (int v = 0; v < s.n_varying; ++v) {
        const int k = s.varying[v];
        if (planes == most) {
            pack_planes<most>(from, to, hits_of, width);
            planes = 0;
        }
        from[planes] = s.parameter[k];
        to[planes++] = s.packed + (k + 1) * s.stride;
    }
    switch (planes) {
        case 1: return pack_planes<1>(from, to, hits_of, width);
        case 2: return pack_planes<2>(from, to, hits_of, width);
        case 3: return pack_planes<3>(from, to, hits_of, width);
        case 4: return pack_planes<4>(from, to, hits_of, width);
        default: return pack_planes<most>(from, to, hits_of, width);
    }
}

// Their weights back to where they were.
SIM_HD void unpack_columns(const Row& row, RowScratch& s, const u32* hits_of) {
    const int in = row.a.in, width = padded(in);
    const float* from = s.packed;
    for (int j = 0; j < width; j += LANES) {
        const __mmask16 hit = static_cast<__mmask16>(hits_of[j / LANES]);
        if (!hit) continue;
        store_first(row.weight + j, expand(load_padded(row.weight, j, in), hit, from), in - j < LANES ? in - j : LANES);
        from += __builtin_popcount(hit);
    }
}

// Pulses of U vectors of packed columns. With Once all of them have one pulse.
template <class Device, int U, bool Once> SIM_HD void pulse_packed(const Row& row, RowScratch& s, const u32* list, int n, int first, u32 turn) {
    Taken t[U];
    vu column[U];
    vf w[U];
    u32 rounds = 0;
    for (int u = 0; u < U; ++u) {
        const vu waiting = load(list + first + u * LANES) ^ turn;
        t[u] = unpack(waiting);
        column[u] = waiting >> 12;
        w[u] = load(s.packed + first + u * LANES);
        rounds = Once ? 1 : maximum(rounds, most(t[u].left));
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

template <class Device, bool Once> SIM_HD void pulse_columns(const Row& row, RowScratch& s, u32* list, int n, u32 turn) {
    for (int k = n; k % LANES; ++k) list[k] = list[0] & ~4095u;  // no pulse
    int first = 0;
    for (; first + LANES < n; first += TOGETHER * LANES) pulse_packed<Device, TOGETHER, Once>(row, s, list, n, first, turn);
    if (first < n) pulse_packed<Device, 1, Once>(row, s, list, n, first, turn);
    if (row.apparent)
        for (int k = 0; k < n; ++k) s.touched[s.n_touched++] = list[k] >> 12;
}

template <class Device, class Source> void drain_few(const Row& row, RowScratch& s, Source source) {
    const int width = padded(row.a.in);
    int n = 0;
    for (int j = 0; j < width; j += LANES) {
        Taken t;
        s.hit[j / LANES] = 0;
        if (!source(j, t)) continue;
        const __mmask16 hit = hits(t);
        s.hit[j / LANES] = hit;
        compress(pack(j, t), hit, s.waiting.column + n);
        n += static_cast<int>(t.columns);
    }
    pack_columns(row, s, s.hit);
    pulse_columns<Device, false>(row, s, s.waiting.column, n, 0);
    unpack_columns(row, s, s.hit);
}

// A row with one pulse: each column that shares its bit gets one. Which these are is kept, for rows often share the bit.
template <class Device> void drain_one(const Row& row, const Words::Word& word, RowScratch& s) {
    OneBit& one = s.one;
    const bool ups_only = row.a.side != 0;
    if (one.bits != word.bits || one.row_bits != word.row_bits || ups_only) {
        const int width = padded(row.a.in);
        const vu bit = broadcast(word.row_bits);
        one.n = 0;
        for (int j = 0; j < width; j += LANES) {
            const vu negative = load(word.negative + j), up = negative ^ (ups_only ? word.up_if : 0u);
            vu shared = load(word.bits + j) & bit;
            if (ups_only) shared &= up;
            const __mmask16 hit = _mm512_test_epi32_mask((__m512i)shared, (__m512i)shared);
            one.hit[j / LANES] = hit;
            compress((up & 1u) | (1u << 8) | ((lane_index() + static_cast<u32>(j)) << 12), hit, one.list + one.n);
            one.n += __builtin_popcount(hit);
        }
        one.bits = word.bits, one.row_bits = word.row_bits;
    }
    pack_columns(row, s, one.hit);
    pulse_columns<Device, true>(row, s, one.list, one.n, ups_only ? 0u : word.up_if & 1u);
    unpack_columns(row, s, one.hit);
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
