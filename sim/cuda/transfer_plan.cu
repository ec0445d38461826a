// The plan of the transfers of a mini-batch, and the choppers on its inputs (sim/core/transfer_plan.h).
#include "transfer_plan.h"

using namespace sim;

namespace {

__device__ __forceinline__ int thread_index() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

// What the plan asks of the inputs of a replica: their largest magnitudes are known, the lines see to their choppers themselves.
struct KnownLines {
    const u32* peak;  // (batch, 2)
    int *look_line, *look_sample;

    __device__ __forceinline__ float largest_x(int b) const { return float_of(peak[2 * b]); }
    __device__ __forceinline__ float largest_d(int b) const { return float_of(peak[2 * b + 1]); }
    __device__ __forceinline__ void begin(int) const {}
    __device__ __forceinline__ void end_of_sweep(u32) const {}
    __device__ __forceinline__ void event(int n, const TransferEvent& e) const {
        look_line[n] = e.stage == 0 ? e.slice : -1;
        look_sample[n] = e.sample;
    }
};

}  // namespace

// One thread a replica. peak (R, samples, 2) of the whole mini-batch, of which `batch` vectors from `first` on are planned; the
// number of its first vector is in `vectors`. events (R, max_events), rates (R, batch), largest (R): largest of them.
extern "C" __global__ void plan_transfers(const u32* peak, const float* rate, const float* settings, const float* stages, const double* every,
                                          long long* counters, long long* sweeps, float* choppers, float* maxima, unsigned char* switched,
                                          const long long* keys, const long long* vectors, u32* events, int* n_events, int* look_line,
                                          int* look_sample, float* rates, float* largest, int replicas, int arrays, int slices, int batch,
                                          int samples, int first, int whole_batch, int max_events, int mode, int reads, u32 switches) {
    const int r = thread_index();
    if (r >= replicas) return;
    const size_t replica = static_cast<size_t>(r), room = replica * max_events;
    TransferPlan plan{settings + replica * N_TRANSFER_SETTINGS, stages + replica * arrays * N_STAGE_SETTINGS, every + replica * arrays,
                      counters + replica * arrays * 3, sweeps + r, choppers + replica * slices, maxima + replica * 3, switched + replica * slices,
                      reinterpret_cast<TransferEvent*>(events) + room, static_cast<u64>(keys[r]), static_cast<u32>(*vectors) + static_cast<u32>(first),
                      arrays, slices, whole_batch,
                      transfer_flags(mode, reads, switches)};
    KnownLines lines{peak + 2 * (replica * samples + first), look_line + room, look_sample + room};
    plan.run(lines, batch, rate[r], rates + replica * batch);
    n_events[r] = plan.n;
    for (int e = plan.n; e < max_events; ++e) look_line[room + e] = look_sample[room + e] = -1;
    float top = 0.0f;
    for (int b = 0; b < batch; ++b) top = maximum(top, rates[replica * batch + b]);
    largest[r] = top;
}

// One thread a line of either side. Choppers of the slices are those after the plan: they are followed backwards; those of the
// lines are followed from before it, and kept. signed_x, signed_d (R, batch, .); signs (R, max_events, lines) or null.
extern "C" __global__ void chop_inputs(const float* x, const float* d, const float* settings, const float* slice_choppers, float* line_choppers,
                                       const long long* keys, const long long* vectors, const u32* events, const int* n_events,
                                       float* signed_x, float* signed_d, float* signs, int replicas, int batch, int samples, int first, int in,
                                       int out, int max_events, int columns) {
    const int at = thread_index(), both = in + out;
    if (at >= replicas * both) return;
    const int r = at / both, line = at % both;
    const bool row = line >= in, slice = row != (columns != 0);
    const int k = row ? line - in : line, n = row ? out : in, slices = columns ? in : out, lines = columns ? out : in;
    const float* v = (row ? d : x) + (static_cast<size_t>(r) * samples + first) * n + k;
    float* to = (row ? signed_d : signed_x) + static_cast<size_t>(r) * batch * n + k;
    const TransferEvent* list = reinterpret_cast<const TransferEvent*>(events) + static_cast<size_t>(r) * max_events;
    if (slice) {
        float sign = slice_choppers[static_cast<size_t>(r) * slices + k];
        int e = n_events[r] - 1;
        for (int b = batch - 1; b >= 0; --b) {
            for (; e >= 0 && list[e].sample == b; --e)
                if (list[e].switches && list[e].slice == k) sign = -sign;
            to[static_cast<size_t>(b) * n] = v[static_cast<size_t>(b) * n] * sign;
        }
        return;
    }
    const float* s = settings + static_cast<size_t>(r) * N_TRANSFER_SETTINGS;
    float sign = line_choppers[static_cast<size_t>(r) * lines + k];
    int e = 0;
    for (int b = 0; b < batch; ++b) {
        to[static_cast<size_t>(b) * n] = v[static_cast<size_t>(b) * n] * sign;
        for (; e < n_events[r] && list[e].sample == b; ++e) {
            if (signs) signs[(static_cast<size_t>(r) * max_events + e) * lines + k] = sign;
            const u32 step = static_cast<u32>(*vectors) + static_cast<u32>(first + b);
            if (list[e].sweep_ends && s[OUT_CHOP_PROB] > 0.0f && line_switches(static_cast<u64>(keys[r]), s, k, step)) sign = -sign;
        }
    }
    line_choppers[static_cast<size_t>(r) * lines + k] = sign;
}
