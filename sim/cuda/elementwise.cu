// Kernels of one thread an element: fields of random numbers, the exact update, the logistic function. Bits as on the CPU.
#include "activation.h"
#include "elementary.h"
#include "normal.h"

using namespace sim;

namespace {
__device__ __forceinline__ long long thread_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ long long stride() { return static_cast<long long>(gridDim.x) * blockDim.x; }
}  // namespace

// field (R, n): element e of replica r, standard normal or uniform in [0, 1).
extern "C" __global__ void random_field(float* field, const long long* keys, const long long* step_at, u32 purpose, long long n, int replicas, int normal) {
    for (long long at = thread_index(); at < n * replicas; at += stride()) {
        const Stream s = stream_of(static_cast<u64>(keys[at / n]), purpose);
        const u32 e = static_cast<u32>(at % n), step = static_cast<u32>(*step_at);
        field[at] = normal ? normal_element(s, e, 0, 0, step) : uniform_element(s, e, 0, 0, step);
    }
}

// W <- W - rate sum_b d_b x_b^T, sample by sample.
extern "C" __global__ void exact_update(float* weight, const float* x, const float* d, const float* rate, int replicas, int batch, int out, int in) {
    const long long cells = static_cast<long long>(out) * in;
    for (long long at = thread_index(); at < cells * replicas; at += stride()) {
        const long long r = at / cells, i = at % cells / in, j = at % in;
        float w = weight[at];
        for (int b = 0; b < batch; ++b) {
            const long long sample = r * batch + b;
            const float f = -rate[r] * d[sample * out + i];
            if (f != 0.0f) w = w + x[sample * in + j] * f;
        }
        weight[at] = w;
    }
}

// Numbers above 0; what is below the smallest normal one counts as that.
extern "C" __global__ void natural_log(const float* x, float* y, long long n) {
    for (long long at = thread_index(); at < n; at += stride()) y[at] = sim::logarithm(maximum(x[at], 1.17549435e-38f));
}

extern "C" __global__ void logistic(const float* x, float* y, long long n) {
    for (long long at = thread_index(); at < n; at += stride()) y[at] = sigmoid(x[at]);
}
