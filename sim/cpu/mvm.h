// The analog matrix-vector product (mvm.md): noise management, DAC, product, weight noise, ADC, bound management.
// A batch is worked in blocks of samples, each stage on a block at a time.
#pragma once
#include "converter.h"
#include "field.h"
#include "product.h"
#include "scratch.h"
#include "train.h"

namespace sim {
namespace {

constexpr int SAMPLES = 16;  // in a block

SIM_HD float largest(const float* v, int n) {
    float m = v[0];
    for (int k = 1; k < n; ++k) m = v[k] > m ? v[k] : m;
    return m;
}

SIM_HD bool any_nan(const float* v, int n) {
    bool found = false;
    for (int k = 0; k < n; ++k) found |= v[k] != v[k];
    return found;
}

SIM_HD float input_scale(int management, const float* s, const float* x, int n) {
    const float limit = s[NM_THRES];
    if (management == NM_NONE) return 1.0f;
    if (management == NM_CONSTANT) return limit > 0.0f ? limit : 1.0f;
    const float m = management == NM_MAX ? largest(x, n) : largest_magnitude(x, n);
    return limit > 0.0f && m > limit ? limit : m;
}

struct Block {
    float *u, *z, *noise;  // prepared inputs (samples, padded n), products (samples, padded m), one row of noise
    int sample[SAMPLES];   // index in the batch
    float alpha[SAMPLES];  // noise management
    float norm[SAMPLES];   // |u|, for the weight noise
};

SIM_HD void input_stage(const MvmArgs& a, const float* s, u64 key, int b, u32 round, float scale, int n, const float* x,
                        float* u, float* noise, float* norm) {
    const int width = padded(n);
    const bool noisy = s[INP_NOISE] > 0.0f;
    if (noisy) normal_row(stream_of(key, PURPOSE_INPUT_NOISE), static_cast<u32>(b), round, a.step, n, noise);
    const Stream rounding = stream_of(key, PURPOSE_INPUT_ROUND);
    vf square{};
    for (int j = 0; j < width; j += LANES) {
        vf shift{};
        if (a.inp_sto_round) {
            vf r[64 / LANES];
            uniforms64(rounding, static_cast<u32>(j) / 64, static_cast<u32>(b), round, a.step, r);
            shift = r[(j % 64) / LANES] - 0.5f;
        }
        const vf value = j + LANES <= n ? load(x + j) : j < n ? load_first(x + j, n - j) : vf{};
        vf v = dac(value, scale, s[INP_STEP], shift, s[INP_BOUND]);
        v = input_imperfections(v, s[INP_NOISE], noisy ? load(noise + j) : vf{}, s[INP_ASYMMETRY]);
        if (j + LANES > n) v = j < n ? load_first(reinterpret_cast<const float*>(&v), n - j) : vf{};  // padding stays 0
        store(u + j, v);
        square = square + v * v;
    }
    *norm = root(sum_lanes(square));
}

// Returns whether an output exceeded the range in a way that bound management acts on.
SIM_HD bool output_stage(const MvmArgs& a, const float* s, u64 key, int b, u32 round, float scale, float norm, int m,
                         const float* z, float* noise, float* y, unsigned char* clipped) {
    const bool noisy = s[OUT_NOISE] > 0.0f, weight_noise = a.weight_noise && s[W_NOISE] > 0.0f;
    if (noisy) normal_row(stream_of(key, PURPOSE_OUTPUT_NOISE), static_cast<u32>(b), round, a.step, m, noise);
    const Stream rounding = stream_of(key, PURPOSE_OUTPUT_ROUND), reading = stream_of(key, PURPOSE_WEIGHT_NOISE);
    const float read_noise = s[W_NOISE] * norm;
    vi above{}, below{};
    for (int i = 0; i < m; i += LANES) {
        vf shift{}, v = load(z + i);
        if (weight_noise) {
            vf r[64 / LANES];
            normals64(reading, static_cast<u32>(i) / 64, static_cast<u32>(b), round, a.step, r);
            v = v + r[(i % 64) / LANES] * read_noise;
        }
        if (a.out_sto_round) {
            vf r[64 / LANES];
            uniforms64(rounding, static_cast<u32>(i) / 64, static_cast<u32>(b), round, a.step, r);
            shift = r[(i % 64) / LANES] - 0.5f;
        }
        const Adc<vf> q = adc(v, s[OUT_NOISE], noisy ? load(noise + i) : vf{}, s[OUT_ASYMMETRY], s[OUT_STEP], shift, s[OUT_BOUND]);
        const vf result = q.value * scale;
        const int left = m - i;
        vi inside = to_signed(lane_index()) < left;
        above |= q.above & inside;
        below |= q.below & inside;
        if (left >= LANES) store(y + i, result);
        else store_first(y + i, result, left);
        if (clipped) {
            const vi outside = q.above | q.below;
            for (int k = 0; k < LANES && k < left; ++k) clipped[i + k] = outside[k] != 0;
        }
    }
    return any(above) || (a.test_negative_bound && any(below));
}

void mvm_block(const MvmArgs& a, int r, int first, int samples, Block& block) {
    const int n = a.transposed ? a.out : a.in, m = a.transposed ? a.in : a.out;
    const size_t n_stride = padded(n), m_stride = padded(m), base = static_cast<size_t>(r) * a.batch;
    const float* s = a.settings + static_cast<size_t>(r) * N_IO_SETTINGS;
    const float* w = a.weight + static_cast<size_t>(r) * a.out * a.in;
    const u64 key = static_cast<u64>(a.keys[r]);
    int active = 0;
    for (int b = first; b < first + samples; ++b) {
        const float alpha = input_scale(a.noise_management, s, a.x + (base + b) * n, n);
        if (a.noise_management != NM_NONE && alpha <= 0.0f && s[INP_NOISE] <= 0.0f && !any_nan(a.x + (base + b) * n, n)) {
            memset(a.y + (base + b) * m, 0, sizeof(float) * m);
            if (a.clipped) memset(a.clipped + (base + b) * m, 0, m);
            continue;
        }
        block.sample[active] = b;
        block.alpha[active++] = alpha > 0.0f ? alpha : 1.0f;
    }
    float reduction = 1.0f;
    for (u32 round = 0; active > 0; ++round) {
        for (int k = 0; k < active; ++k) {
            const int b = block.sample[k];
            input_stage(a, s, key, b, round, 1.0f / (block.alpha[k] * reduction), n, a.x + (base + b) * n, block.u + k * n_stride,
                        block.noise, &block.norm[k]);
        }
        product(block.u, n_stride, active, w, a.out, a.in, a.transposed, block.z, m_stride);
        int failed = 0;
        for (int k = 0; k < active; ++k) {
            const int b = block.sample[k];
            const float alpha = block.alpha[k];
            const bool exceeded = output_stage(a, s, key, b, round, s[OUT_SCALE] * alpha * reduction, block.norm[k], m,
                                               block.z + k * m_stride, block.noise, a.y + (base + b) * m,
                                               a.clipped ? a.clipped + (base + b) * m : nullptr);
            if (exceeded) {
                block.sample[failed] = b;
                block.alpha[failed++] = alpha;
            }
        }
        if (a.bound_management == BM_NONE || reduction > s[MAX_REDUCTION]) break;
        active = failed;
        reduction *= 2.0f;
    }
}

void perfect_block(const MvmArgs& a, int r, int first, int samples, Block& block) {
    const int n = a.transposed ? a.out : a.in, m = a.transposed ? a.in : a.out;
    const size_t n_stride = padded(n), at = static_cast<size_t>(r) * a.batch + first;
    for (int k = 0; k < samples; ++k) {
        memcpy(block.u + k * n_stride, a.x + (at + k) * n, sizeof(float) * n);
        memset(block.u + k * n_stride + n, 0, sizeof(float) * (n_stride - n));
    }
    float* y = a.y + at * m;
    product(block.u, n_stride, samples, a.weight + static_cast<size_t>(r) * a.out * a.in, a.out, a.in, a.transposed, y, m);
    const float scale = a.settings[static_cast<size_t>(r) * N_IO_SETTINGS + OUT_SCALE];
    if (scale != 1.0f)
        for (size_t k = 0; k < static_cast<size_t>(samples) * m; ++k) y[k] *= scale;
    if (a.clipped) memset(a.clipped + at * m, 0, static_cast<size_t>(samples) * m);
}

void mvm(const MvmArgs& a) {
    const int n = a.transposed ? a.out : a.in, m = a.transposed ? a.in : a.out;
    const int blocks = (a.batch + SAMPLES - 1) / SAMPLES;
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
    {
        const int widest = padded(n) > padded(m) ? padded(n) : padded(m);
        Scratch<float> u(static_cast<size_t>(SAMPLES) * padded(n)), z(static_cast<size_t>(SAMPLES) * padded(m)), noise(widest);
        Block block{u.get(), z.get(), noise.get(), {}, {}, {}};
#pragma omp for collapse(2) schedule(dynamic)
        for (int r = 0; r < a.replicas; ++r)
            for (int q = 0; q < blocks; ++q) {
                const int first = q * SAMPLES, samples = a.batch - first < SAMPLES ? a.batch - first : SAMPLES;
                if (a.perfect) perfect_block(a, r, first, samples, block);
                else mvm_block(a, r, first, samples, block);
            }
    }
}

}  // namespace
}  // namespace sim
