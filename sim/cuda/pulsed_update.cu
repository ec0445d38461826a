// The pulsed update of a mini-batch (update.md, sections 4 to 7) in three kernels, with the bits of sim/cpu/update.h:
//
//     largest_magnitudes   of the inputs and of the errors of every sample
//     draw_trains          pulse bits (or numbers) of every line
//     pulsed_update        one thread a crosspoint, its state in registers over the whole mini-batch: read once, written once
//
// Compiled once for each device model: SIM_DEVICE is its name, SIM_DEVICE_HEADER its header. What changes between calls of
// a captured graph (the step) is read from device memory.
#include SIM_DEVICE_HEADER
#include "crosspoint.h"
#include "pulse_train.h"
#include "settings.h"

using namespace sim;
using Device = device::SIM_DEVICE;

namespace {

constexpr u32 RATE_OF_SAMPLE = 16;  // beside TrainFlag

__device__ __forceinline__ int thread_index() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

// Pulses of a crosspoint that wait, less than a group: their directions in order, bit 1 = up. Threads of a warp fill them at
// different samples and empty them together, so that few idle.
struct Queue {
    u64 up;
    u32 count;

    // n <= 32 pulses of one direction.
    __device__ __forceinline__ void add(u32 n, bool rising) {
        if (rising) up |= ((1ull << n) - 1ull) << count;
        count += n;
    }
};

__device__ __forceinline__ void drain(Crosspoint<Device>& point, Queue& q) {
    const u32 n = q.count < GROUP ? q.count : GROUP;
    point.pulse_group(static_cast<u32>(q.up), n, n);
    q.up >>= GROUP;
    q.count -= n;
}
__device__ __forceinline__ void add(Crosspoint<Device>& point, Queue& q, u32 n, bool up) {
    q.add(n, up);
    if (q.count >= GROUP) drain(point, q);
}

// What crosspoints read in the middle of the mini-batch: look n of a replica is at column line[n] (row, with rows) after sample
// sample[n]; they are in order of the samples, and a line below 0 is none. seen (R, n, out), of rows (R, n, in).
struct Looks {
    const int *line, *sample;
    float* seen;
    int n, rows;
};

template <bool LOOKS>
__device__ __forceinline__ void update_crosspoint(const Looks& looks, float* weight, float* apparent, long long* counts, const float* fields, const float* values,
                                                  const float* shared, const float* x, const float* d, const float* rate, const float* noise,
                                                  const long long* keys, const long long* step_at, const u32* bits, const u32* negative, u32 varying,
                                                  int n_fields, int n_shared, int batch, int in, int out, int words, int side, int pulse_type) {
    const int i = static_cast<int>(blockIdx.x), j = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x), r = static_cast<int>(blockIdx.z);
    if (j >= in) return;
    const size_t cells = static_cast<size_t>(out) * in, element = static_cast<size_t>(i) * in + j, at = r * cells + element;
    const int lines = in + out;
    const u64 key = static_cast<u64>(keys[r]);
    const u32 step = static_cast<u32>(*step_at);
    const DeviceRecords<Device> devices{fields, values, shared, varying, n_fields, n_shared, cells};
    Crosspoint<Device> point = devices.at(r, static_cast<u32>(element), weight[at]);
    point.noise = pairs_of(stream_of(key, PURPOSE_CYCLE), step);
    point.sigma = noise[r * N_NOISE_SETTINGS + DW_MIN_STD];
    bool touched = false;
    if (pulse_type == PULSES_NONE_WITH_DEVICE) {
        const float reference = Device::reference(point.cell);
        float g = point.w + reference;
        for (int b = 0; b < batch; ++b) {
            const size_t sample = static_cast<size_t>(r) * batch + b;
            const float f = rate[r] * d[sample * out + i];
            if (f == 0.0f) continue;
            g = clamp(g - x[sample * in + j] * f, Device::lower(point.cell), Device::upper(point.cell));
            touched = true;
        }
        if (touched) weight[at] = g - reference;
    } else {
        Queue queue{0, 0};
        u32 ups = 0;
        int look = 0;
        const u32 turned = (rate[r] < 0.0f ? ~0u : 0u) ^ (side < 0 ? ~0u : 0u);
        for (int b = 0; b < batch; ++b) {
            const size_t task = static_cast<size_t>(r) * batch + b;
            const u32 *sample_bits = bits + task * words * lines, *sample_negative = negative + task * lines;
            const bool up = (sample_negative[in + i] ^ turned ^ sample_negative[j]) != 0;
            if (pulse_type != PULSES_STOCHASTIC) {
                const float number = round_even(float_of(sample_bits[in + i]) * float_of(sample_bits[j]));
                if (side != 0 && !up) continue;
                for (float left = number; left > 0.0f; left -= 31.0f) {
                    const u32 n = static_cast<u32>(to_int(left < 31.0f ? left : 31.0f));
                    add(point, queue, n, up);
                    ups += up ? n : 0;
                }
                continue;
            }
            for (int word = 0; word < words; ++word) {
                const u32 row_bits = sample_bits[static_cast<size_t>(word) * lines + in + i];
                if (!row_bits) continue;
                const u32 n = population(row_bits & sample_bits[static_cast<size_t>(word) * lines + j]);
                if (n == 0 || (side != 0 && !up)) continue;
                add(point, queue, n, up);
                ups += up ? n : 0;
            }
            for (; LOOKS && look < looks.n && looks.sample[r * looks.n + look] == b; ++look) {
                if (looks.line[r * looks.n + look] != (looks.rows ? i : j)) continue;
                if constexpr (!steps_alike<Device>(0)) drain(point, queue);
                Queue group = queue;  // with the pulses that come later
                u32 later = 0;
                for (int s = b + 1; s < (apparent || steps_alike<Device>(0) ? batch : 0); ++s) {
                    const size_t other = static_cast<size_t>(r) * batch + s;
                    const bool rises = (negative[other * lines + in + i] ^ turned ^ negative[other * lines + j]) != 0;
                    for (int word = 0; word < words; ++word) {
                        const size_t first = (other * words + word) * lines;
                        const u32 n = population(bits[first + in + i] & bits[first + j]);
                        if (group.count < GROUP) group.add(n, rises);
                        later += n;
                    }
                }
                Crosspoint<Device> seen = point;
                if constexpr (steps_alike<Device>(0)) seen.pulse_group(static_cast<u32>(group.up), group.count < GROUP ? group.count : GROUP, queue.count);
                float shown = seen.w;
                if (apparent && seen.done) {  // as after the last pulse, or by the number of pulses so far
                    const Pairs write = pairs_of(stream_of(key, PURPOSE_WRITE), step);
                    shown = shown + write_normal(write, seen.element, later ? seen.done : 0u) * noise[r * N_NOISE_SETTINGS + WRITE_NOISE];
                } else if (apparent) {
                    shown = apparent[at];
                }
                looks.seen[(static_cast<size_t>(r) * looks.n + look) * (looks.rows ? in : out) + (looks.rows ? j : i)] = shown;
            }
        }
        drain(point, queue);
        touched = point.done > 0;
        if (touched) weight[at] = point.w;
        if (touched && counts) {
            long long* count = counts + 2 * r * cells + element;
            count[0] += point.done - ups;
            count[cells] += ups;
        }
    }
    if (touched && apparent)
        apparent[at] = weight[at] + write_normal(pairs_of(stream_of(key, PURPOSE_WRITE), step), point.element, 0u) * noise[r * N_NOISE_SETTINGS + WRITE_NOISE];
}

}  // namespace

// peak (R B, 2), zero before: largest finite |x| and |d| of every sample, as bits. 32 threads a sample and side.
extern "C" __global__ void largest_magnitudes(const float* x, const float* d, u32* peak, int samples, int in, int out) {
    const int lane = thread_index() & 31, task = thread_index() >> 5;
    if (task >= 2 * samples) return;
    const int side = task & 1, n = side ? out : in;
    const float* v = (side ? d : x) + static_cast<size_t>(task >> 1) * n;
    float largest = 0.0f;
    for (int k = lane; k < n; k += 32) {
        const float size = absolute(v[k]);
        if (size <= 3.4028235e38f) largest = maximum(largest, size);
    }
    atomicMax(&peak[task], bits_of(largest));
}

// rate (R), or (R, B) with RATE_OF_SAMPLE. Trains of every line: bits (R B, words, in + out), inputs before errors, a float in the place of the first word for
// deterministic types; negative (R B, in + out): all ones where the value is below 0.
extern "C" __global__ void draw_trains(const float* x, const float* d, const u32* peak, const float* rate, const float* granularity,
                                       const float* settings, const long long* keys, const long long* step_at, u32* bits, u32* negative,
                                       int replicas, int batch, int in, int out, int words, u32 flags, int pulse_type) {
    const int lines = in + out, total = replicas * batch * lines;
    for (int at = thread_index(); at < total; at += static_cast<int>(gridDim.x * blockDim.x)) {
        const int task = at / lines, line = at % lines, r = task / batch;
        const bool row = line >= in;
        const u32 j = static_cast<u32>(row ? line - in : line), sample = static_cast<u32>(task % batch), step = static_cast<u32>(*step_at);
        const float* s = settings + r * N_TRAIN_SETTINGS;
        const TrainSettings plan = train_settings(s, absolute(rate[flags & RATE_OF_SAMPLE ? task : r]), granularity[r], flags);
        const Train train = plan_train(plan, float_of(peak[2 * task]), float_of(peak[2 * task + 1]));
        const u64 key = static_cast<u64>(keys[r]);
        const float value = row ? d[static_cast<size_t>(task) * out + j] : x[static_cast<size_t>(task) * in + j];
        const float resolution = pulse_type == PULSES_IMPLICIT ? s[row ? D_RESOLUTION : X_RESOLUTION] : s[RESOLUTION];
        const float p = line_probability_at(value, row ? train.row : train.column, resolution, (flags & STOCHASTIC_ROUNDING) != 0,
                                            stream_of(key, row ? PURPOSE_ROUND_ROW : PURPOSE_ROUND_COLUMN), j, sample, step);
        negative[at] = value < 0.0f ? ~0u : 0u;
        u32* out_bits = bits + static_cast<size_t>(task) * words * lines + line;
        if (pulse_type != PULSES_STOCHASTIC) {
            *out_bits = bits_of(line_number(p, train.length, row, pulse_type == PULSES_MEAN_COUNT));
            continue;
        }
        const u32 threshold = pulse_threshold(p);
        const int length = train.length < 32 * words ? train.length : 32 * words;
        const Stream stream = stream_of(key, row ? PURPOSE_ROW_TRAIN : PURPOSE_COLUMN_TRAIN);
        for (int word = 0; word < words; ++word)
            out_bits[static_cast<size_t>(word) * lines] = pulse_bits(stream, j, sample, static_cast<u32>(word), step, threshold, length - 32 * word);
    }
}

// weight (R, out, in); apparent and counts may be null. A grid of (out, columns / threads, R).
extern "C" __global__ void pulsed_update(float* weight, float* apparent, long long* counts, const float* fields, const float* values,
                                         const float* shared, const float* x, const float* d, const float* rate, const float* noise,
                                         const long long* keys, const long long* step_at, const u32* bits, const u32* negative, u32 varying,
                                         int n_fields, int n_shared, int batch, int in, int out, int words, int side, int pulse_type) {
    update_crosspoint<false>({}, weight, apparent, counts, fields, values, shared, x, d, rate, noise, keys, step_at, bits, negative, varying, n_fields,
                             n_shared, batch, in, out, words, side, pulse_type);
}

// The same with a look at some crosspoints in the middle: Looks.
extern "C" __global__ void watched_update(float* weight, float* apparent, long long* counts, const float* fields, const float* values,
                                         const float* shared, const float* x, const float* d, const float* rate, const float* noise,
                                         const long long* keys, const long long* step_at, const u32* bits, const u32* negative, u32 varying,
                                         int n_fields, int n_shared, int batch, int in, int out, int words, int side, int pulse_type,
                                          const int* look_line, const int* look_sample, float* looks, int n_looks, int look_rows) {
    update_crosspoint<true>({look_line, look_sample, looks, n_looks, look_rows}, weight, apparent, counts, fields, values, shared, x, d, rate, noise, keys,
                            step_at, bits, negative, varying, n_fields, n_shared, batch, in, out, words, side, pulse_type);
}
