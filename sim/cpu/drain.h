// Pulses on the devices of some rows: crosspoints that have some are listed, and pulsed in whole vectors.
#pragma once
#include "columns.h"
#include "device_list.h"
#include "field.h"
#include "kept.h"
#include "queue.h"
#include "records.h"

namespace sim {
namespace {

// Crosspoints that wait for pulses: planes of words.
struct Waiting {
    u32 *left, *low;          // their number (bits 0 to 5), at most a group, and the crosspoint; directions
    real* weight;
    u32* done;                // pulses applied before
    bool drained;             // whether some had pulses before: `done` holds
    int n;
    u32 most;                 // pulses of a crosspoint
    // An empty list behind the first k.
    Waiting from(int k) const { return {left + k, low + k, weight + k, done + k, false, 0, 0}; }
};

constexpr int NUMBER_BITS = 6;
SIM_HD vu crosspoint_of(vu left) { return left >> NUMBER_BITS; }
SIM_HD vu number_of(vu left) { return left & ((1u << NUMBER_BITS) - 1u); }

// Columns that have a pulse wherever a row has one bit: those of a row that has no other.
struct OneBit {
    const u32* bits;          // of the columns
    u32 row_bits;
    u32 *left, *low, *hits;   // as of Waiting; which of the kept columns these are
    int n;
};

struct RowScratch {
    u64* queue;               // directions of queued pulses, bit 1 = up; the next pulse is bit 0
    u64* count;               // their number
    u32* done;                // pulses applied before the end of the batch
    u32* hits;                // which columns of a row have pulses, of those that are kept
    u32* spread;              // and of all columns
    Waiting list;             // of some rows, next to each other
    OneBit one;
    u32* touched;             // crosspoints that had a pulse
    int n_touched;
    bool drained;             // queues were drained before the end of the batch
    Words words;
    const u32* every;         // number of each column
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
    const real* noise;
    const real* values;       // parameters without spread
    const real* records;      // parameters with spread, of the first column
    const real* data;
    Pairs cycle, write;       // noise of pulses, and of writing
    real *weight, *apparent;
    long long *down, *up;     // pulse counts, or null
    u32 first;                // element of the first column
    int replica;
    Row(const UpdateArgs& args, int r, int row, const Noise& streams) : a(args), cycle(streams.cycle), write(streams.write) {
        const size_t cells = static_cast<size_t>(a.out) * a.in, at = static_cast<size_t>(row) * a.in;
        noise = a.noise + static_cast<size_t>(r) * N_NOISE_SETTINGS;
        values = a.values + static_cast<size_t>(r) * a.n_parameters;
        records = a.fields + (r * cells + at) * a.n_fields;
        data = a.data + static_cast<size_t>(r) * a.n_data;
        weight = a.weight + r * cells + at;
        apparent = a.apparent ? a.apparent + r * cells + at : nullptr;
        down = a.counts ? a.counts + 2 * r * cells + at : nullptr;
        up = a.counts ? down + cells : nullptr;
        first = static_cast<u32>(at);
        replica = r;
    }
    // Number among those of all replicas of a crosspoint from the first column on.
    size_t crosspoint(u32 k) const { return static_cast<size_t>(weight - a.weight) + k; }
};

// One crosspoint that will have pulses, of those of all replicas.
SIM_HD void fetch_crosspoint(const UpdateArgs& a, size_t crosspoint) {
    fetch(a.fields + crosspoint * a.n_fields);
    fetch(a.weight + crosspoint);
}

// The devices of LANES columns.
template <class Device> SIM_HD typename Device::template Cell<vf> devices_at(const Row& row, vu column) {
    vf fields[MOST_FIELDS];
    load_records(row.records, row.a.n_fields, column, fields);
    const auto lookup = [&](int k) { return row.a.field_of[k] < 0 ? broadcast(row.values[k]) : fields[row.a.field_of[k]]; };
    return Device::template load<vf>(parameters(lookup, row.data, row.a.n_data));
}

// What products see of LANES columns after a write; `draw` is 0 at the end of an update (devices.md, 4.2).
SIM_HD vf shown_weight(const Row& row, vu column, vf weight, vu draw = vu{}) {
    const Words2<vu> w = philox(pair_words(row.write, column + row.first, draw), row.write.key);
    return weight + first_normal<vf>(w.x, w.y) * row.noise[WRITE_NOISE];
}

// Pulses number `from` to `rounds` of U vectors of crosspoints, one after the other; weight holds theirs before and after.
// The vectors do not depend on each other: worked together, one fills the waits of the other.
template <class Device, int U> SIM_HD void apply_pulses(const Row& row, vf* weight, const vu* column, const Taken* t, u32 from, u32 rounds) {
    typename Device::template Cell<vf> cell[U];
    const real sigma = row.noise[DW_MIN_STD];
    for (int u = 0; u < U; ++u) cell[u] = devices_at<Device>(row, column[u]);
    const auto pulse = [&](u32 n, const vf* xi) {
        for (int u = 0; u < U; ++u) {
            const vf next = weight_pulse<Device, vf>(cell[u], weight[u], to_mask(to_signed((t[u].low >> n) & 1u) != 0), xi[u] * sigma);
            weight[u] = select(to_mask(to_signed(t[u].left) > static_cast<int>(n)), next, weight[u]);
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

// Whether groups of pulses are worked in one step where they can be.
template <class Device> SIM_HD bool merges(const Row& row) {
    if constexpr (steps_alike<Device>(0)) return row.noise[DW_MIN_STD] > 0.0f;
    return false;
}

// At most one group of each of U vectors of crosspoints, in one step; where that is not exact its number stays in t.left.
template <class Device, int U> SIM_HD void merge_pulses(const Row& row, vf* weight, const vu* column, Taken* t) {
    Words2<vu> words[U];
    for (int u = 0; u < U; ++u) words[u] = pair_words(row.cycle, column[u] + row.first, t[u].done >> 1);
    philox<U>(words, row.cycle.key);
    for (int u = 0; u < U; ++u) {
        const auto cell = devices_at<Device>(row, column[u]);
        const auto law = group_law<Device, vf>(cell, row.noise[DW_MIN_STD]);
        const vf xi = first_normal<vf>(words[u].x, words[u].y);
        const auto [ups, downs] = directions<vf>(t[u].low, t[u].left);
        const vm one = to_mask(to_signed(t[u].left) == 1), group = law.is_exact(weight[u], ups, downs);
        const vf single = weight_pulse<Device, vf>(cell, weight[u], ups > vf{}, xi * law.sigma);
        const vf next = select(one, single, law.after(weight[u], ups, downs, law.noise(ups, downs, xi)));
        const vm taken = (one | group) & to_mask(to_signed(t[u].left) > 0);
        weight[u] = select(taken, next, weight[u]);
        t[u].left = select(of_mask(taken), vu{}, t[u].left);
    }
}

// At most one group of pulses of a vector of crosspoints.
template <class Device> SIM_HD void apply_group(const Row& row, vf& weight, vu column, Taken t) {
    if constexpr (steps_alike<Device>(0))
        if (merges<Device>(row)) merge_pulses<Device, 1>(row, &weight, &column, &t);
    if (const u32 rounds = most(t.left)) apply_pulses<Device, 1>(row, &weight, &column, &t, 0, rounds);
}

SIM_HD void count_pulses(const Row& row, vu column, const Taken& t) {
    const vu ups = population(t.low & first_bits(t.left));
    for (int k = 0; k < LANES; ++k) {
        if (t.left[k] == 0) continue;
        row.up[column[k]] += ups[k];
        row.down[column[k]] += t.left[k] - ups[k];
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

// Brings together the masked ones of `width` crosspoints that wait.
SIM_HD void pack_waiting(const Waiting& list, const u32* hits, int width) {
    u32* planes[4] = {list.left, list.low};
    int n = 2;
    if constexpr (sizeof(real) == sizeof(u32)) planes[n++] = reinterpret_cast<u32*>(list.weight);
    else pack(list.weight, list.weight, hits, width);
    if (list.drained) planes[n++] = list.done;
    pack(planes, planes, n, hits, width);
}

// Pulses number `from` to `until` of U vectors of crosspoints.
template <class Device, int U> SIM_HD void pulse_vectors(const Row& row, const Waiting& list, int first, u32 from, u32 until) {
    Taken t[U];
    vu at[U];
    vf w[U];
    u32 rounds = 0;
    for (int u = 0; u < U; ++u) {
        const int k = first + u * LANES;
        const vu left = load(list.left + k);
        t[u] = {load(list.low + k), number_of(left), list.drained ? load(list.done + k) : vu{}};
        at[u] = crosspoint_of(left);
        w[u] = load(list.weight + k);
        rounds = until - from == 1 ? until : maximum(rounds, most(t[u].left));
    }
    apply_pulses<Device, U>(row, w, at, t, from, rounds < until ? rounds : until);
    for (int u = 0; u < U; ++u) store(list.weight + first + u * LANES, w[u]);
}

// The same groups of U vectors of a list as merge_pulses, none of them longer than one.
template <class Device, int U> SIM_HD void merge_vectors(const Row& row, const Waiting& list, int first) {
    Taken t[U];
    vu at[U];
    vf w[U];
    for (int u = 0; u < U; ++u) {
        const int k = first + u * LANES;
        const vu left = load(list.left + k);
        t[u] = {load(list.low + k), number_of(left), list.drained ? load(list.done + k) : vu{}};
        at[u] = crosspoint_of(left);
        w[u] = load(list.weight + k);
    }
    merge_pulses<Device, U>(row, w, at, t);
    for (int u = 0; u < U; ++u) {
        store(list.weight + first + u * LANES, w[u]);
        store(list.left + first + u * LANES, (at[u] << NUMBER_BITS) | t[u].left);
    }
}

// The pulses of a list. After some, where fewer than half of the crosspoints have any left, these are brought together, so that
// few lanes idle. A list of columns of a single row, in their order, comes with what they are there; else `weight` is null.
template <class Device> void pulse_list(const Row& row, RowScratch& s, const Waiting& list, real* weight, const u32* hits) {
    if (row.apparent)
        for (int k = 0; k < list.n; ++k) s.touched[s.n_touched++] = list.left[k] >> NUMBER_BITS;
    int n = list.n, left = 0;
    const auto fill = [&] {
        for (int k = n; k % MARGIN; ++k) list.left[k] = list.left[0] >> NUMBER_BITS << NUMBER_BITS;  // no pulse
    };
    const auto write = [&] {
        if (weight) unpack(list.weight, weight, hits, whole_vectors(row.a.in));
        else
            for (int k = 0; k < n; k += LANES) scatter_first(row.weight, crosspoint_of(load(list.left + k)), load(list.weight + k), n - k);
        weight = nullptr;
    };
    const auto keep_above = [&](u32 pulses) {
        for (int k = 0; k < n; k += LANES) s.hits[k / LANES] = mask_of(to_unsigned(to_signed(number_of(load(list.left + k))) > static_cast<int>(pulses)));
        pack_waiting(list, s.hits, whole_vectors(n));
        n = left;
    };
    if constexpr (steps_alike<Device>(0)) {
        if (list.most > 1 && merges<Device>(row)) {
            fill();
            int k = 0;
            for (; k + LANES < n; k += TOGETHER * LANES) merge_vectors<Device, TOGETHER>(row, list, k);
            if (k < n) merge_vectors<Device, 1>(row, list, k);
            write();
            left = number_above(list.left, n, 0);
            keep_above(0);
        }
    }
    for (u32 from = 0, until; n; from = until) {
        fill();
        until = list.most;
        if (n > LANES && list.most - from > 2)
            for (until = from + 2; until < list.most && 2 * (left = number_above(list.left, n, until)) > n; until += 2) {}
        int k = 0;
        for (; k + LANES < n; k += TOGETHER * LANES) pulse_vectors<Device, TOGETHER>(row, list, k, from, until);
        if (k < n) pulse_vectors<Device, 1>(row, list, k, from, until);
        write();
        if (until >= list.most) return;
        keep_above(until);
    }
}

// Whether n columns of a row are so many that to go through all of it is faster than to find each of them.
SIM_HD bool is_dense(const Row& row, int n) { return 4 * n >= row.a.in; }

// Weights of the masked columns.
SIM_HD void pack_weights(const Row& row, const u32* hits, const Waiting& list) {
    pack(row.weight, list.weight, hits, whole_vectors(row.a.in));
}

// Those of some columns of a row that get pulses, at most a group each, as a list without weights whose first row is `above`
// crosspoints before; source(j, t) takes those of LANES columns from number j on.
template <class Source> SIM_HD void wait_for(const Row& row, const Kept& columns, u32 above, RowScratch& s, Waiting& list, Source source) {
    const int width = whole_vectors(columns.lines.n);
    const u32* const line = columns.line;
    vu longest{};
    const auto list_with = [&](auto packer) {
        for (int j = 0; j < width; j += LANES) {
            Taken t;
            s.hits[j / LANES] = 0;
            if (!source(j, t)) continue;
            const vu column = load(line + j);
            longest = select(to_signed(t.left) > to_signed(longest), t.left, longest);
            if (row.down) count_pulses(row, column, t);
            vu planes[] = {t.left | ((column + above) << NUMBER_BITS), t.low, t.done};
            packer.add(s.hits[j / LANES] = mask_of(t.left), planes);
        }
        list.n = packer.finish();
    };
    if (list.drained) list_with(Packer<3>{{list.left, list.low, list.done}});
    else list_with(Packer<2>{{list.left, list.low}});
    list.most = sim::most(longest);
}

// The same for a row with one pulse: each column that shares its bit gets one. Which these are is kept, for rows often share it.
SIM_HD void wait_for_one(const Row& row, const Kept& columns, u32 above, const Words::Word& word, RowScratch& s, Waiting& list) {
    OneBit& one = s.one;
    const bool ups_only = row.a.side != 0;
    const int width = whole_vectors(columns.lines.n);
    const u32* const line = columns.line;
    if (one.bits != word.bits || one.row_bits != word.row_bits || ups_only) {
        Packer<2> packer{{one.left, one.low}};
        for (int j = 0; j < width; j += LANES) {
            const vu up = load(word.negative + j) ^ (ups_only ? word.up_if : 0u), shared = load(word.bits + j) & word.row_bits & (ups_only ? up : ~vu{});
            vu planes[] = {(load(line + j) << NUMBER_BITS) | 1u, up & 1u};
            packer.add(one.hits[j / LANES] = mask_of(shared), planes);
        }
        one.n = packer.finish();
        for (int k = one.n; k % LANES; ++k) one.left[k] = one.left[0];
        one.bits = word.bits, one.row_bits = word.row_bits;
    }
    list.n = one.n, list.most = 1;
    const u32 turn = ups_only ? 0u : word.up_if & 1u;
    for (int k = 0; k < one.n; k += LANES) {
        store(list.left + k, load(one.left + k) + (above << NUMBER_BITS));
        store(list.low + k, load(one.low + k) ^ turn);
    }
}

// Applies what is queued, as `take` takes it.
template <class Device> void drain_queues(const Row& row, u32 unit, bool more, RowScratch& s) {
    if (more && !s.drained) memset(s.done, 0, sizeof(u32) * padded(row.a.in));
    const auto source = [&](int j, Taken& t) { return take(j, unit, more, s.drained, s.queue, s.count, s.done, t); };
    Waiting list = s.list.from(0);
    list.drained = s.drained;
    wait_for(row, {{nullptr, nullptr, row.a.in, 0}, s.every, nullptr}, 0, s, list, source);
    pack_weights(row, s.hits, list);
    pulse_list<Device>(row, s, list, row.weight, s.hits);
    if (more) {
        s.drained = true;
        s.n_touched = 0;  // found again by what is done
    }
}

// Every crosspoint that had a pulse shows a new apparent weight.
SIM_HD void write_noise(const Row& row, RowScratch& s) {
    for (int first = 0; first < s.n_touched; first += LANES) {
        for (int k = s.n_touched; k < first + LANES; ++k) s.touched[k] = s.touched[first];
        const vu column = load(s.touched + first);
        scatter_first(row.apparent, column, shown_weight(row, column, gather(row.weight, column)), s.n_touched - first);
    }
}

}  // namespace
}  // namespace sim
