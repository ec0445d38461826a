// The pulsed update of a mini-batch: outer product of pulse trains, then pulses on devices (update.md, sections 5 to 7).
//
// Crosspoints do not interact, and the n-th pulse of a crosspoint in a call has its noise by that n (so have groups of pulses that
// are worked in one step, pulse_group.h). So a row is worked in two phases. First every column that has any in the mini-batch (kept.h) queues the directions of its pulses, sample by sample
// (queue.h). Then columns that have some are listed, where a row has few together with those of the next rows, and pulsed in
// whole vectors (columns.h, drain.h): few lanes idle, few normals are wasted, and columns without a pulse cost next to nothing.
#pragma once
#include "look.h"

namespace sim {
namespace {

// Makes room for `more` pulses in every queue; `bound` is the length that no queue exceeds.
template <class Device> void make_room(const Row& row, u64 more, u64& bound, RowScratch& s) {
    if (bound + more > QUEUE) {
        bound = longest(row.a.in, s.count);
        if (bound + more > QUEUE) {
            drain_queues<Device>(row, steps_alike<Device>(0) ? GROUP : 4, true, s);  // groups and pairs of normals stay whole
            bound = GROUP - 1;
        }
    }
    bound += more;
}

// Bits that each of some rows has in any word of any sample: most rows have none where pulses are few.
SIM_HD void join_words(const UpdateArgs& a, int first, int n, Lines& rows, u32* joined) {
    for (int k = 0; k < n; ++k) joined[k] = 0;
    for (int b = 0; b < a.batch; ++b)
        for (int word = 0; word < rows.words; ++word) {
            const u32* bits = rows.sample_bits(b) + static_cast<size_t>(word) * padded(a.out) + first;
            for (int k = 0; k < n; ++k) joined[k] |= bits[k];
        }
}

// Brings together the words of a row that have bits; false where they have more than 32.
SIM_HD bool collect(const UpdateArgs& a, real rate, int row, const Lines& columns, Lines& rows, Words& list) {
    list.n = 0;
    list.pulses = 0;
    const size_t width = padded(columns.n), row_width = padded(a.out);
    for (int b = 0; b < a.batch; ++b) {
        const u32* bits = rows.sample_bits(b) + row;
        for (int word = 0; word < rows.words; ++word) {
            const u32 row_bits = bits[word * row_width];
            if (!row_bits) continue;
            list.pulses += static_cast<u32>(__builtin_popcount(row_bits));
            if (list.pulses > 32) return false;
            list.word[list.n++] = {columns.sample_bits(b) + word * width, columns.sample_negative(b), row_bits, up_mask(a, rate, row, b, rows)};
        }
    }
    return true;
}

// Queues what sample b brings to a row.
template <class Device> bool queue_sample(const Row& work, int row, int b, Lines& columns, Lines& rows, u64& bound, RowScratch& s) {
    const UpdateArgs& a = work.a;
    const int width = padded(a.in), row_width = padded(a.out);
    const u32 row_negative = up_mask(a, a.rate[work.replica], row, b, rows);
    const bool ups_only = a.side != 0;
    bool any_pulse = false;
    if (a.pulse_type != PULSES_STOCHASTIC) {
        const real number = rows.sample_numbers(b)[row];
        real most = 0.0f;
        for (int j = 0; j < width; ++j) most = maximum(most, round_even(number * columns.sample_numbers(b)[j]));
        for (real skip = 0.0f; skip < most; skip += 31.0f) {
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

constexpr int BLOCK = 16;    // rows whose crosspoints are listed together
constexpr int ENOUGH = 512;  // crosspoints of a list

// Pulses a list whose crosspoints are counted from those of `top`.
template <class Device> void finish_list(const Row& top, RowScratch& s, const Waiting& list, real* weight, const u32* hits) {
    s.n_touched = 0;
    pulse_list<Device>(top, s, list, weight, hits);
    if (top.apparent) write_noise(top, s);
}
template <class Device> void finish_rows(const Row& top, RowScratch& s) {
    Waiting& list = s.list;
    for (int k = list.n; k % LANES; ++k) list.left[k] = list.left[0];
    for (int k = 0; k < list.n; k += LANES) store(list.weight + k, gather(top.weight, crosspoint_of(load(list.left + k))));
    if (list.n) finish_list<Device>(top, s, list, nullptr, nullptr);
    list.n = 0, list.most = 0;
}

// The kept columns of a row that will have pulses in most.
SIM_HD void fetch_row(const Row& row, const Kept& columns) {
    for (int j = 0; j < row.a.in; j += LANES) {
        if (columns.mask && !columns.mask[j / LANES]) continue;
        fetch(row.records + static_cast<size_t>(j) * row.a.n_fields, LANES * row.a.n_fields);
        fetch(row.weight + j);
    }
}

// Lists the columns of a row that get pulses behind those of the rows from `top` on, unless any may get more than 32.
template <class Device> bool list_row(const Row& top, int index, const Noise& noise, const Kept& columns, Lines& rows, RowScratch& s) {
    const UpdateArgs& a = top.a;
    if (a.pulse_type != PULSES_STOCHASTIC || !collect(a, a.rate[top.replica], index, columns.lines, rows, s.words)) return false;
    const Row row(a, top.replica, index, noise);
    const u32 above = row.first - top.first;
    Waiting& list = s.list;
    Waiting more = list.from(list.n);
    const bool one = s.words.pulses == 1 && !row.down;
    if (one) wait_for_one(row, columns, above, s.words.word[0], s, more);
    else if (a.side) wait_for(row, columns, above, s, more, [&](int j, Taken& t) { return take_words<true>(j, s.words, t); });
    else wait_for(row, columns, above, s, more, [&](int j, Taken& t) { return take_words<false>(j, s.words, t); });
    if (is_dense(row, more.n)) {
        if (index + 1 < a.out) fetch_row(Row(a, top.replica, index + 1, noise), columns);
        const u32* hits = one ? s.one.hits : s.hits;
        if (columns.mask) spread_hits(hits, columns.mask, s.spread, whole_vectors(a.in)), hits = s.spread;
        pack_weights(row, hits, more);
        finish_list<Device>(top, s, more, row.weight, hits);
        return true;
    }
    for (int k = 0; k < more.n; ++k) fetch_crosspoint(a, top.crosspoint(more.left[k] >> NUMBER_BITS));
    list.n += more.n, list.most = maximum(list.most, more.most);
    if (list.n >= ENOUGH) finish_rows<Device>(top, s);
    return true;
}

template <class Device> void update_row(const UpdateArgs& a, int r, int index, const Noise& noise, Lines& columns, Lines& rows, RowScratch& s) {
    const Row row(a, r, index, noise);
    s.drained = false;
    s.n_touched = 0;
    bool any_pulse = false;
    u64 bound = 0;
    for (int b = 0; b < a.batch; ++b) any_pulse |= queue_sample<Device>(row, index, b, columns, rows, bound, s);
    if (!any_pulse) return;
    if (bound > GROUP && longest(a.in, s.count) > GROUP) drain_queues<Device>(row, 1, true, s);
    drain_queues<Device>(row, 1, false, s);  // all queues are empty again, as the next row expects them
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
template <class Device> void clip_row(const UpdateArgs& a, int r, int index, const Noise& noise, RowScratch& s) {
    const Row row(a, r, index, noise);
    bool moves = false;
    for (int b = 0; b < a.batch; ++b) {
        const size_t sample = static_cast<size_t>(r) * a.batch + b;
        moves |= (a.rates ? a.rates[sample] : a.rate[r]) * a.d[sample * a.out + index] != 0.0f;
    }
    if (!moves) return;
    for (int j = 0; j < a.in; j += LANES) {
        const auto cell = devices_at<Device>(row, indices(static_cast<u32>(j), static_cast<u32>(a.in)));
        const vf reference = Device::reference(cell), low = Device::lower(cell), high = Device::upper(cell);
        vf g = load_padded(row.weight, j, a.in) + reference;
        for (int b = 0; b < a.batch; ++b) {
            const size_t sample = static_cast<size_t>(r) * a.batch + b;
            const real f = (a.rates ? a.rates[sample] : a.rate[r]) * a.d[sample * a.out + index];
            if (f != 0.0f) g = clamp(g - load_padded(a.x + sample * a.in, j, a.in) * f, low, high);
        }
        store_first(row.weight + j, g - reference, a.in - j < LANES ? a.in - j : LANES);
    }
    s.n_touched = a.in;
    for (int j = 0; j < a.in; ++j) s.touched[j] = static_cast<u32>(j);
    if (row.apparent) write_noise(row, s);
}

template <class Device> void update_device(const UpdateArgs& a) {
    real longest_train = 1.0f;
    for (int r = 0; r < a.replicas; ++r) {
        real length = a.settings[static_cast<size_t>(r) * N_TRAIN_SETTINGS + DESIRED_BL];
        if (!a.fixed_bl && !a.update_bl_management) length = maximum(length, ceiling(absolute(a.rate[r]) / a.granularity[r]));
        longest_train = maximum(longest_train, length);
    }
    const int words = a.pulse_type == PULSES_STOCHASTIC ? (static_cast<int>(longest_train) + 31) / 32 : static_cast<int>(sizeof(real) / sizeof(u32));
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
    const int blocks = (a.out + BLOCK - 1) / BLOCK;
    const bool stochastic = a.pulse_type == PULSES_STOCHASTIC;
    const size_t kept_words = stochastic ? static_cast<size_t>(a.batch) * (words + 1) + 2 : 0;  // of a column: bits, signs, its number, the mask
    Scratch<u32> kept_planes(a.replicas * kept_words * (width + MARGIN)), every(width);
    Scratch<Kept> kept(a.replicas);
    std::vector<std::vector<Look>> looks(a.n_looks ? static_cast<size_t>(a.replicas) : 0);
    for (size_t j = 0; j < width; ++j) every[j] = static_cast<u32>(j);
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
    {
        Scratch<u64> queue(width), count(width);
        const size_t plane = width + MARGIN, room = ENOUGH + plane;
        Scratch<u32> done(width), touched(room), list(3 * room), one(2 * plane), hits(room / LANES), spread(plane / LANES), one_hits(plane / LANES);
        RowScratch scratch{};
        scratch.queue = queue.get(), scratch.count = count.get(), scratch.done = done.get(), scratch.touched = touched.get(), scratch.hits = hits.get(), scratch.spread = spread.get();
        Scratch<real> weights(room);
        scratch.list = {list.get(), list.get() + room, weights.get(), list.get() + 2 * room, false, 0, 0};
        scratch.one = {nullptr, 0, one.get(), one.get() + plane, one_hits.get(), 0};
        scratch.every = every.get();
        memset(queue.get(), 0, sizeof(u64) * width);
        memset(count.get(), 0, sizeof(u64) * width);
#pragma omp for collapse(2) schedule(dynamic)
        for (int r = 0; r < a.replicas; ++r)
            for (int b = 0; b < a.batch; ++b) {
                auto l = lines(r);
                if (a.pulse_type != PULSES_NONE_WITH_DEVICE) draw_trains(a, r, b, l.columns, l.rows);
            }
#pragma omp for schedule(dynamic)
        for (int r = 0; r < (stochastic ? a.replicas : 0); ++r) {
            u32* planes = kept_planes.get() + r * kept_words * (width + MARGIN);
            u32 *signs = planes + static_cast<size_t>(a.batch) * words * width, *line = signs + static_cast<size_t>(a.batch) * width;
            u32* mask = line + width + MARGIN;
            auto l = lines(r);
            kept[r] = keep_pulsed(l.columns, a.batch, planes, signs, line, mask, every.get());
            if (a.n_looks) looks[static_cast<size_t>(r)] = looks_of(a, r, l.columns, l.rows);
        }
#pragma omp for collapse(2) schedule(dynamic)
        for (int r = 0; r < a.replicas; ++r)
            for (int q = 0; q < blocks; ++q) {
                auto l = lines(r);
                const Noise noise(a, r);
                const int first = q * BLOCK, rows = a.out - first < BLOCK ? a.out - first : BLOCK;
                u32 joined[BLOCK];
                if (stochastic) join_words(a, first, rows, l.rows, joined);
                const Row top(a, r, first, noise);
                if (a.n_looks) look_at_rows<Device>(top, first, rows, looks[static_cast<size_t>(r)]);
                for (int k = 0; k < rows; ++k) {
                    if (stochastic && !joined[k]) continue;
                    const int row = first + k;
                    if (a.pulse_type == PULSES_NONE_WITH_DEVICE) clip_row<Device>(a, r, row, noise, scratch);
                    else if (!list_row<Device>(top, row, noise, kept[static_cast<size_t>(r)], l.rows, scratch)) {
                        finish_rows<Device>(top, scratch);
                        update_row<Device>(a, r, row, noise, l.columns, l.rows, scratch);
                    }
                }
                finish_rows<Device>(top, scratch);
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

}  // namespace
}  // namespace sim
