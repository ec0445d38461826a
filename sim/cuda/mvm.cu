// The stages around a matrix product on the GPU (mvm.md): DAC before, analog non-idealities, noise and ADC after. The product
// itself is a library's, batched over the replicas. Threads take elements as random fields lie: four of a block of 64 each, which
// share one block of random words.
#include "analog.h"
#include "converter.h"
#include "quad.h"
#include "settings.h"

using namespace sim;

namespace {

// What one thread has of a row: four elements of sample `sample` of replica `r`.
struct Four : Quad {
    int row, r;  // row: r * batch + sample
    u32 sample;
};
__device__ __forceinline__ bool four_of(int n, int batch, int rows, Four& e) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int in_row = (n + 63) / 64 * 16;
    if (at >= static_cast<long long>(rows) * in_row) return false;
    static_cast<Quad&>(e) = quad_at(at % in_row);
    e.row = static_cast<int>(at / in_row);
    e.r = e.row / batch, e.sample = static_cast<u32>(e.row % batch);
    return true;
}

}  // namespace

// u (R B, n): the inputs of a pass as they leave the DAC, 0 for samples that are done. x (R B, n), alpha (R B), active (R B).
extern "C" __global__ void prepare_inputs(const float* x, const float* alpha, const int* active, const float* settings, const float* values,
                                          const long long* keys, const long long* step_at, float* u, int replicas, int batch, int n, int passes,
                                          float reduction, u32 round, u32 input_draw, int sto_round, int sign, int shift, int bits) {
    Four e;
    if (!four_of(n, batch, replicas * batch, e)) return;
    const float* s = settings + e.r * N_IO_SETTINGS;
    const float* v = values + static_cast<size_t>(e.r) * passes * N_PASS_VALUES;
    const u64 key = static_cast<u64>(keys[e.r]);
    const u32 step = static_cast<u32>(*step_at);
    const bool on = active[e.row] != 0, noisy = s[INP_NOISE] > 0.0f;
    Normals4<float> noise{};
    float rounding[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    if (on && noisy) noise = e.normals(stream_of(key, PURPOSE_INPUT_NOISE), e.sample, input_draw, step);
    if (on && sto_round) e.uniforms(stream_of(key, PURPOSE_INPUT_ROUND), e.sample, round, step, rounding);
    const float scale = 1.0f / (alpha[e.row] * reduction);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        const int j = static_cast<int>(e.element(c));
        if (j >= n) continue;
        const size_t at = static_cast<size_t>(e.row) * n + j;
        float value = 0.0f;
        if (on) {
            value = dac(x[at], scale, s[INP_STEP], rounding[c] - 0.5f, s[INP_BOUND]);
            if (bits) value = input_digit(value, s[INP_STEP], shift, bits, v[AMPLITUDE], v[TIME_SCALE]);
            value = input_imperfections(value, s[INP_NOISE], noise.z[c], s[INP_ASYMMETRY]);
            if (sign > 0) value = maximum(value, 0.0f);
            if (sign < 0) value = minimum(value, 0.0f);
        }
        u[at] = value;
    }
}

// z (R B, m) in place, from the product to the converter. current, drop, held (R B, m); square: sum of u^2 (R B), or for
// the read noise of PCM sum of |A| u^2 (R B, m); total (R B): sum of u;
// outputs (R, N_OUTPUT_FIELDS, m), offset (R, matrices, m) of this pass's matrix on: each may be null where nothing needs it.
extern "C" __global__ void analog_outputs(float* z, const float* current, const float* drop, const float* held, const float* square, const float* total,
                                          const int* active, const float* outputs, const float* offset, const float* settings, const float* values,
                                          const long long* keys, const long long* step_at, int replicas, int batch, int n, int m, int passes,
                                          int matrices, u32 draw, int weight_noise, int last) {
    Four e;
    if (!four_of(m, batch, replicas * batch, e) || !active[e.row]) return;
    const float* s = settings + e.r * N_IO_SETTINGS;
    const float* v = values + static_cast<size_t>(e.r) * passes * N_PASS_VALUES;
    const float* own = outputs ? outputs + static_cast<size_t>(e.r) * N_OUTPUT_FIELDS * m : nullptr;
    const u64 key = static_cast<u64>(keys[e.r]);
    const u32 step = static_cast<u32>(*step_at);
    const OutputPath path = output_path(s, static_cast<WeightNoise>(weight_noise), last != 0, held != nullptr, offset != nullptr, own != nullptr);
    Normals4<float> read{}, added{};
    if (path.read_apart()) read = e.normals(stream_of(key, PURPOSE_WEIGHT_NOISE), e.sample, draw, step);
    if (path.noisy) added = e.normals(stream_of(key, PURPOSE_OUTPUT_NOISE), e.sample, draw, step);
    const bool pcm = weight_noise == WN_PCM_READ;
    const float strength = s[W_NOISE] * s[W_NOISE];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        const int i = static_cast<int>(e.element(c));
        if (i >= m) continue;
        const size_t at = static_cast<size_t>(e.row) * m + i;
        const float here = path.ir_drop ? current[at] : 0.0f;
        float value = array_output(path, s, v, z[at], offset ? offset[static_cast<size_t>(e.r) * matrices * m + i] : 0.0f, here,
                                   path.ir_drop ? drop[at] : 0.0f, own ? own[OUTPUT_V_OFFSET * m + i] : 0.0f, path.series ? total[e.row] : 0.0f, n);
        const float variance = path.read_noise ? (pcm ? square[at] : square[e.row]) * strength : 0.0f;
        z[at] = noisy_output(path, s, value, variance, read.z[c], added.z[c], held ? held[at] : 0.0f, own ? own[OUTPUT_NONLINEARITY * m + i] : 0.0f,
                             own ? own[OUTPUT_NOISE * m + i] : s[OUT_NOISE]);
    }
}

// y (R B, m): what the ADC gives, added to the passes before; clipped (R B, m) or null; exceeded (R B) is set where bound
// management has to act; lift (R B) or null is added in front of the converter.
extern "C" __global__ void convert_outputs(const float* z, const float* lift, const float* alpha, const int* active, const float* settings,
                                           const float* values, const long long* keys, const long long* step_at, float* y, unsigned char* clipped,
                                           int* exceeded, int replicas, int batch, int m, int passes, float reduction, u32 draw, int sto_round,
                                           int test_negative, int first) {
    Four e;
    if (!four_of(m, batch, replicas * batch, e) || !active[e.row]) return;
    const float* s = settings + e.r * N_IO_SETTINGS;
    const float factor = values[static_cast<size_t>(e.r) * passes * N_PASS_VALUES + COEFFICIENT], scale = s[OUT_SCALE] * alpha[e.row] * reduction;
    float rounding[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    if (sto_round)
        e.uniforms(stream_of(static_cast<u64>(keys[e.r]), PURPOSE_OUTPUT_ROUND), e.sample, draw, static_cast<u32>(*step_at), rounding);
    bool outside = false;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        const int i = static_cast<int>(e.element(c));
        if (i >= m) continue;
        const size_t at = static_cast<size_t>(e.row) * m + i;
        float t = z[at];
        if (lift && lift[e.row] != 0.0f) t = t + lift[e.row];
        const Adc<float> q = adc(t, s[OUT_STEP], rounding[c] - 0.5f, s[OUT_BOUND]);
        const float result = q.value * factor * scale;
        y[at] = first ? result : result + y[at];
        if (clipped) clipped[at] = (!first && clipped[at]) || q.above || q.below;
        outside |= q.above || (test_negative && q.below);
    }
    if (outside) exceeded[e.row] = 1;
}

// z (R B, m) of the samples that are active: products of u (R B, n) with matrices (out, in), `stride` apart from replica to
// replica. For the rounds of bound management after the first, in which few samples take part.
extern "C" __global__ void few_products(const float* u, const float* weight, long long stride, const int* active, float* z, int replicas, int batch,
                                        int n, int m, int transposed) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int row = static_cast<int>(at / m), i = static_cast<int>(at % m);
    if (row >= replicas * batch || !active[row]) return;
    const float *x = u + static_cast<size_t>(row) * n, *w = weight + row / batch * stride + (transposed ? i : static_cast<long long>(i) * n);
    const long long step = transposed ? m : 1;
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    int j = 0;
    for (; j + 4 <= n; j += 4) {
        a = a + x[j] * w[j * step], b = b + x[j + 1] * w[(j + 1) * step];
        c = c + x[j + 2] * w[(j + 2) * step], d = d + x[j + 3] * w[(j + 3) * step];
    }
    for (; j < n; ++j) a = a + x[j] * w[j * step];
    z[at] = (a + b) + (c + d);
}

// After a round: active and exceeded (R B) become those of the next. worst (R B): the scale that a sample which exceeded the range
// goes on with; peak (R B): the largest input, beyond which a reduction is of no use; each may be null.
extern "C" __global__ void next_round(int* active, int* exceeded, float* alpha, const float* settings, const float* worst, const float* peak,
                                      int replicas, int batch, float reduction) {
    const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (row >= replicas * batch) return;
    const float most = settings[row / batch * N_IO_SETTINGS + MAX_REDUCTION];
    bool again = exceeded[row] != 0 && reduction <= most;
    if (again && worst) alpha[row] = worst[row];
    if (peak) again = again && reduction * alpha[row] < peak[row] * most;
    active[row] = again;
    exceeded[row] = 0;
}
