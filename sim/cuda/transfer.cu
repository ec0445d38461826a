// Transfers between arrays, and from a digital matrix to an array (compounds.md, sections 3 to 7), with the bits of
// sim/cpu/transfer.h. A thread owns a line of a replica and goes through the events in order; events of other lines never touch it.
//
//     read_slices   what events read, and the largest of it
//     write_slices  through the buffer, and pulses on the next array
//     digital_steps, digital_write   the same for rows of a digital matrix
//
// Compiled once for each model of the devices that are written.
#include SIM_DEVICE_HEADER
#include "crosspoint.h"
#include "transfer_law.h"

using namespace sim;
using Device = device::SIM_DEVICE;

namespace {

__device__ __forceinline__ int thread_index() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

// The array that is written, of one replica.
struct Target {
    DeviceRecords<Device> devices;
    float *weight, *apparent;
    long long* counts;
    const float* noise;
    u64 key;
    u32 step;
    int r;

    __device__ __forceinline__ void show(u32 element, float w) const {
        if (apparent) apparent[element] = w + write_normal(pairs_of(stream_of(key, PURPOSE_WRITE), step), element, 0u) * noise[WRITE_NOISE];
    }
    __device__ __forceinline__ void pulses(u32 element, u32 n, bool up) const {
        if (n == 0) return;
        Crosspoint<Device> point = devices.at(r, element, weight[element]);
        point.noise = pairs_of(stream_of(key, PURPOSE_CYCLE), step);
        point.sigma = noise[DW_MIN_STD];
        point.pulses(up, n);
        weight[element] = point.w;
        if (counts) counts[up ? devices.cells + element : element] += n;
        show(element, weight[element]);
    }
    __device__ __forceinline__ void change(u32 element, float by, bool bounds) const {
        if (by == 0.0f) return;
        float w = weight[element] + by;
        if (bounds) w = devices.at(r, element, w).clamped(w);
        weight[element] = w;
        show(element, w);
    }
};

__device__ __forceinline__ Target target_of(float* weight, float* apparent, long long* counts, const float* fields, const float* values,
                                            const float* shared, const float* noise, const long long* keys, u32 varying, int n_fields,
                                            int n_shared, int in, int out, int r, u32 step) {
    const size_t cells = static_cast<size_t>(in) * out, from = static_cast<size_t>(r) * cells;
    return {{fields, values, shared, varying, n_fields, n_shared, cells}, weight + from, apparent ? apparent + from : nullptr,
            counts ? counts + 2 * from : nullptr, noise + r * N_NOISE_SETTINGS, static_cast<u64>(keys[r]), step, r};
}

__device__ __forceinline__ OneHotTrains trains_of(const float* s, float rate, float granularity, u64 key, bool dense_is_row, float most, u32 flags,
                                                  int pulse_type, u32 sample, u32 step) {
    const TrainSettings settings = train_settings(s, rate, granularity, flags);
    const bool implicit = pulse_type == PULSES_IMPLICIT;
    return {dense_is_row ? plan_train(settings, 1.0f, most) : plan_train(settings, most, 1.0f), key, dense_is_row, (flags & STOCHASTIC_ROUNDING) != 0,
            implicit ? s[D_RESOLUTION] : s[RESOLUTION], implicit ? s[X_RESOLUTION] : s[RESOLUTION], pulse_type, sample, step};
}

}  // namespace

// values (R, max_events, lines): what array 0 holds where an event reads it; becomes what is read. source: shown weights of the
// array that stage `stage` reads, for stages above 0. peak (R, max_events): bits of the largest finite magnitude. Events
// first_event ... last_event - 1 of the stage.
extern "C" __global__ void read_slices(const float* source, float* values, u32* peak, const float* io, const long long* read_keys,
                                       const long long* vectors, const u32* events, const int* n_events, int replicas, int in, int out, int arrays,
                                       int max_events, int first_event, int last_event, int stage, int first, int columns, int perfect, int rounded,
                                       int done) {
    const int at = thread_index(), lines = columns ? out : in;
    if (at >= replicas * lines) return;
    const int r = at / lines, i = at % lines;
    const float* s = io + r * N_IO_SETTINGS;
    for (int e = first_event; e < last_event && e < n_events[r]; ++e) {
        const size_t which = static_cast<size_t>(r) * max_events + e;
        const TransferEvent event = reinterpret_cast<const TransferEvent*>(events)[which];
        if (event.stage != stage) continue;
        float read = values[which * lines + i];
        if (!done) {
            if (stage > 0) read = source[static_cast<size_t>(r) * in * out + (columns ? static_cast<size_t>(i) * in + event.slice : static_cast<size_t>(event.slice) * in + i)];
            const u64 key = static_cast<u64>(read_keys[r * arrays + stage]);
            const u32 step = static_cast<u32>(*vectors) + static_cast<u32>(first + event.sample), sample = static_cast<u32>(event.read), line = static_cast<u32>(i);
            if (perfect) {
                read = read * s[OUT_SCALE];
            } else {
                const float noise = s[OUT_NOISE] > 0.0f ? normal_element(stream_of(key, PURPOSE_OUTPUT_NOISE), line, sample, 0, step) : 0.0f;
                const float shift = rounded ? uniform_element(stream_of(key, PURPOSE_OUTPUT_ROUND), line, sample, 0, step) - 0.5f : 0.0f;
                read = read_line(s, one_hot_input(s), read, noise, shift);
            }
            values[which * lines + i] = read;
        }
        const float size = absolute(read);
        if (size > 0.0f && size <= 3.4028235e38f) atomicMax(&peak[which], bits_of(size));  // the bits of -0 are not small
    }
}

// read: values of read_slices. settings ... reference are those of the transfers; train_settings, granularity and the rest of the
// array that stage `stage` writes.
extern "C" __global__ void write_slices(float* weight, float* apparent, long long* counts, const float* fields, const float* values,
                                        const float* shared, const float* noise, const float* granularity, const float* train_settings,
                                        const long long* keys, const long long* train_keys, const float* settings, const float* stages,
                                        const float* read, const u32* peak, const float* signs, float* buffer, float* mean, float* reference,
                                        const long long* vectors, const u32* events, const int* n_events, u32 varying, int n_fields, int n_shared,
                                        int replicas, int in, int out, int arrays, int max_events, int first_event, int last_event, int stage,
                                        int first, int mode, int reads, u32 switches, u32 train_flags, int pulse_type) {
    const TransferFlags flags = transfer_flags(mode, reads, switches);
    const int at = thread_index(), lines = flags.columns ? out : in, slices = flags.columns ? in : out;
    if (at >= replicas * lines) return;
    const int r = at / lines, i = at % lines;
    const float* transfer = settings + r * N_TRANSFER_SETTINGS;
    const BufferRule rule = buffer_rule(flags, transfer, stages + (r * arrays + stage) * N_STAGE_SETTINGS);
    const float* s = train_settings + r * N_TRAIN_SETTINGS;
    const u64 train_key = static_cast<u64>(train_keys[r * arrays + stage]);
    const bool exact = pulse_type >= PULSES_NONE_WITH_DEVICE, bounds = pulse_type == PULSES_NONE_WITH_DEVICE;
    for (int e = first_event; e < last_event && e < n_events[r]; ++e) {
        const size_t which = static_cast<size_t>(r) * max_events + e;
        const TransferEvent event = reinterpret_cast<const TransferEvent*>(events)[which];
        if (event.stage != stage) continue;
        const u32 step = static_cast<u32>(*vectors) + static_cast<u32>(first + event.sample), line = static_cast<u32>(i), sample = static_cast<u32>(event.read);
        const Target target = target_of(weight, apparent, counts, fields, values, shared, noise, keys, varying, n_fields, n_shared, in, out, r, step);
        const u32 element = static_cast<u32>(flags.columns ? static_cast<size_t>(i) * in + event.slice : static_cast<size_t>(event.slice) * in + i);
        const float seen = read[which * lines + i];
        if (mode == TRANSFER_DIRECT) {
            if (exact) {
                target.change(element, event.scale * seen, bounds);
                continue;
            }
            const OneHotTrains trains = trains_of(s, absolute(event.scale), granularity[r], train_key, flags.columns, float_of(peak[which]), train_flags,
                                                  pulse_type, sample, step);
            target.pulses(element, trains.pulses(seen, line), (seen > 0.0f) != (event.scale < 0.0f));
            continue;
        }
        const size_t digital = ((static_cast<size_t>(r) * (arrays - 1) + stage) * slices + event.slice) * lines + i;
        const bool dynamic = mode == TRANSFER_DYNAMIC;
        BufferedLine<float> held{buffer[digital], dynamic ? mean[digital] : 0.0f, dynamic ? reference[digital] : 0.0f};
        const float steps = through_buffer(flags, rule, event, transfer[TAIL], seen, signs ? signs[which * lines + i] : 1.0f, held);
        if (dynamic) mean[digital] = held.mean, reference[digital] = held.reference;
        if (event.active) buffer[digital] = held.held;
        const float size = transfer[WRITE_STEP];
        if (exact) target.change(element, size * granularity[r] * steps, bounds);
        else target.pulses(element, pulses_of_steps(steps, size, s[DESIRED_BL], train_key, line, sample, step), steps > 0.0f);
    }
}

// rows (R, n_rows) of digital (R, out, in), below 0: none; peak (R, n_rows): bits of the largest number of whole steps.
extern "C" __global__ void digital_steps(const float* digital, const int* rows, const float* unit, u32* peak, int replicas, int n_rows, int in, int out) {
    const int at = thread_index();
    if (at >= replicas * n_rows * in) return;
    const int task = at / in, j = at % in, r = task / n_rows, row = rows[task];
    if (row < 0) return;
    const float size = absolute(whole_steps(digital[(static_cast<size_t>(r) * out + row) * in + j], unit[r]));
    if (size > 0.0f) atomicMax(&peak[task], bits_of(size));
}

extern "C" __global__ void digital_write(float* weight, float* apparent, long long* counts, const float* fields, const float* values,
                                         const float* shared, const float* noise, const float* granularity, const float* train_settings,
                                         const long long* keys, const long long* train_keys, float* digital, const int* rows, const float* unit,
                                         const float* rate, const u32* peak, const long long* step_at, u32 varying, int n_fields, int n_shared,
                                         int replicas, int n_rows, int in, int out, u32 train_flags, int pulse_type) {
    const int at = thread_index();
    if (at >= replicas * n_rows * in) return;
    const int task = at / in, j = at % in, r = task / n_rows, row = rows[task];
    const float most = float_of(peak[task]);
    if (row < 0 || most == 0.0f) return;
    const u32 step = static_cast<u32>(*step_at), element = static_cast<u32>(static_cast<size_t>(row) * in + j);
    const Target target = target_of(weight, apparent, counts, fields, values, shared, noise, keys, varying, n_fields, n_shared, in, out, r, step);
    const OneHotTrains trains = trains_of(train_settings + r * N_TRAIN_SETTINGS, absolute(rate[r]), granularity[r], static_cast<u64>(train_keys[r]), false,
                                          most, train_flags, pulse_type, static_cast<u32>(row), step);
    float& held = digital[static_cast<size_t>(r) * in * out + element];
    const float steps = whole_steps(held, unit[r]);
    const bool exact = pulse_type >= PULSES_NONE_WITH_DEVICE;
    float written = steps * unit[r];
    if (!exact) written = written / (saturation(absolute(steps) * trains.train.column) * saturation(trains.train.row));
    held = held - written;
    if (exact) target.change(element, -rate[r] * steps, pulse_type == PULSES_NONE_WITH_DEVICE);
    else target.pulses(element, trains.pulses(steps, static_cast<u32>(j)), (steps > 0.0f) != (rate[r] > 0.0f));
}
