// The analog matrix-vector product (mvm.md): noise management, DAC, product, analog non-idealities, ADC, bound management.
// A batch is worked in blocks of samples, each stage on a block at a time.
#pragma once
#include "analog.h"
#include "converter.h"
#include "field.h"
#include "product.h"
#include "scratch.h"
#include "train.h"

namespace sim {
namespace {

constexpr int SAMPLES = 16;  // in a block
constexpr real ASSUMED_MEAN_WEIGHT = real(0.6);  // of the worst-case estimate, mvm.md, section 2

SIM_HD real largest(const real* v, int n) {
    real m = v[0];
    for (int k = 1; k < n; ++k) m = v[k] > m ? v[k] : m;
    return m;
}

SIM_HD bool any_nan(const real* v, int n) {
    bool found = false;
    for (int k = 0; k < n; ++k) found |= v[k] != v[k];
    return found;
}

SIM_HD real limited(real m, real limit) { return limit > 0.0f && m > limit ? limit : m; }

// Worst case of an output: the scale at which all inputs of one sign, on weights of an assumed mean, reach the bound of the ADC.
SIM_HD real np_sum_scale(const real* s, const real* x, int n) {
    vf positive{}, negative{};
    const vf top = vf{} + LARGEST;
    for (int j = 0; j < n; j += LANES) {
        const vf v = load_padded(x, j, n), finite = select(absolute(v) <= top, v, vf{});
        positive = positive + maximum(finite, vf{});
        negative = negative - minimum(finite, vf{});
    }
    const real p = sum_lanes(positive), q = sum_lanes(negative), bound = s[OUT_BOUND] <= LARGEST ? s[OUT_BOUND] : 1.0f;
    const real peak = limited(largest_magnitude(x, n), s[NM_THRES]);
    const real worst = minimum((p > q ? p : q) * ASSUMED_MEAN_WEIGHT / bound, peak * s[MAX_LEVELS]);
    return worst > peak ? worst : peak;
}

SIM_HD real input_scale(int management, const real* s, const real* x, int n) {
    const real limit = s[NM_THRES];
    switch (management) {
        case NM_NONE: return 1.0f;
        case NM_CONSTANT: return limit > 0.0f ? limit : 1.0f;
        case NM_AVERAGE_ABS_MAX: return limit;  // the average itself
        case NM_ABS_MAX_NP_SUM: return np_sum_scale(s, x, n);
        case NM_MAX: return limited(largest(x, n), limit);
        default: return limited(largest_magnitude(x, n), limit);
    }
}

// Sums over the prepared input of a pass that the analog stages use.
struct InputSums {
    real square, total;  // sum u^2, sum u
};

struct Block {
    real *u, *z;           // prepared inputs (samples, padded n), outputs (samples, padded m)
    real *noise;           // one row
    real *current, *drop;  // sums of the IR drop; the first also those of the read noise (samples, padded m)
    real *held;            // outputs that wait for the next pass (samples, padded m)
    real *profile;         // of the IR drop (padded n)
    int sample[SAMPLES];   // index in the batch
    real alpha[SAMPLES];   // noise management
    InputSums sums[SAMPLES];
};

// One pass of one replica and round.
struct Stage {
    const MvmArgs& a;
    const real* s;        // settings
    const real* values;   // PassValue
    const MvmPass& pass;
    u64 key;
    u32 round, draw, input_draw;
    const real *v_offset, *nonlinearity, *noise_values, *offset;  // of the outputs, or null
    bool first;           // first pass that is digitised
    OutputPath path;
};

SIM_HD InputSums input_stage(const Stage& g, int b, real scale, int n, const real* x, real* u, real* noise) {
    const real* s = g.s;
    const u32 sample = static_cast<u32>(b), step = g.a.step;
    const bool noisy = s[INP_NOISE] > 0.0f;
    if (noisy) normal_row(stream_of(g.key, PURPOSE_INPUT_NOISE), sample, g.input_draw, step, n, noise);
    const Stream rounding = stream_of(g.key, PURPOSE_INPUT_ROUND);
    vf square{}, total{}, shift[64 / LANES] = {};
    for (int j = 0; j < padded(n); j += LANES) {
        const int part = (j % 64) / LANES;
        if (g.a.inp_sto_round && part == 0) uniforms64(rounding, static_cast<u32>(j) / 64, sample, g.round, step, shift);
        const vf half = g.a.inp_sto_round ? vf{} + 0.5f : vf{};
        vf v = dac(load_padded(x, j, n), scale, s[INP_STEP], shift[part] - half, s[INP_BOUND]);
        if (g.pass.bits) v = input_digit(v, s[INP_STEP], g.pass.shift, g.pass.bits, g.values[AMPLITUDE], g.values[TIME_SCALE]);
        v = input_imperfections(v, s[INP_NOISE], noisy ? load(noise + j) : vf{}, s[INP_ASYMMETRY]);
        if (g.pass.sign > 0) v = maximum(v, vf{});
        if (g.pass.sign < 0) v = minimum(v, vf{});
        if (j + LANES > n) v = j < n ? load_first(reinterpret_cast<const real*>(&v), n - j) : vf{};  // padding stays 0
        store(u + j, v);
        square = square + v * v;
        total = total + v;
    }
    return {sum_lanes(square), sum_lanes(total)};
}

// What the array does to one row of outputs before the read noise.
SIM_HD void analog_stage(const Stage& g, const real* current, const real* drop, real total, int n, int m, real* z) {
    const auto field = [&](const real* v, int i) { return v ? load_padded(v, i, m) : vf{}; };
    for (int i = 0; i < m; i += LANES) {
        const vf c = g.path.ir_drop ? load(current + i) : vf{}, d = g.path.ir_drop ? load(drop + i) : vf{};
        store(z + i, array_output(g.path, g.s, g.values, load(z + i), field(g.offset, i), c, d, field(g.v_offset, i), total, n));
    }
}

// Noise of one row and what follows it up to the converter, in place.
SIM_HD void noise_stage(const Stage& g, int b, real square, const real* current, const real* held, int m, real* z) {
    const real* s = g.s;
    const OutputPath& p = g.path;
    const u32 sample = static_cast<u32>(b), step = g.a.step;
    const bool pcm = g.a.weight_noise == WN_PCM_READ;
    const real strength = s[W_NOISE] * s[W_NOISE];
    const Stream reading = stream_of(g.key, PURPOSE_WEIGHT_NOISE), adding = stream_of(g.key, PURPOSE_OUTPUT_NOISE);
    for (int e = 0; e < m; e += 64) {
        const u32 q = static_cast<u32>(e) / 64;
        vf read[64 / LANES] = {}, added[64 / LANES] = {};
        if (p.read_apart()) normals64(reading, q, sample, g.draw, step, read);
        if (p.noisy) normals64(adding, q, sample, g.draw, step, added);
        for (int k = 0; k < 64 / LANES; ++k) {
            const int i = e + k * LANES;
            if (i >= m) break;
            const vf variance = p.read_noise ? (pcm ? load(current + i) : vf{} + square) * strength : vf{};
            const vf size = g.noise_values ? load_padded(g.noise_values, i, m) : vf{} + s[OUT_NOISE];
            const vf nonlinearity = g.nonlinearity ? load_padded(g.nonlinearity, i, m) : vf{};
            store(z + i, noisy_output(p, s, load(z + i), variance, read[k], added[k], p.held ? load(held + i) : vf{}, nonlinearity, size));
        }
    }
}

// Converts one row and adds it to y. Returns whether an output exceeded the range in a way that bound management acts on.
SIM_HD bool output_stage(const Stage& g, int b, real scale, int m, const real* z, real* y, unsigned char* clipped) {
    const real* s = g.s;
    const MvmArgs& a = g.a;
    const real factor = g.values[COEFFICIENT];
    const Stream rounding = stream_of(g.key, PURPOSE_OUTPUT_ROUND);
    real lift = 0.0f;  // brings the largest output into the range
    if (a.bound_management == BM_SHIFT) {
        const real top = largest(z, m);
        if (top > s[OUT_BOUND]) lift = s[OUT_BOUND] - top;
    }
    vf shift[64 / LANES] = {};
    vi above{}, below{};
    for (int i = 0; i < m; i += LANES) {
        const int part = (i % 64) / LANES, left = m - i;
        if (a.out_sto_round && part == 0) uniforms64(rounding, static_cast<u32>(i) / 64, static_cast<u32>(b), g.draw, a.step, shift);
        const vf half = a.out_sto_round ? vf{} + 0.5f : vf{};
        vf v = load(z + i);
        if (lift != 0.0f) v = v + lift;
        const Adc<vf> q = adc(v, s[OUT_STEP], shift[part] - half, s[OUT_BOUND]);
        vf result = q.value * factor * scale;
        if (!g.first) result = result + load_padded(y, i, m);
        const vi inside = to_signed(lane_index()) < left;
        above |= of_mask(q.above) & inside;
        below |= of_mask(q.below) & inside;
        if (left >= LANES) store(y + i, result);
        else store_first(y + i, result, left);
        if (clipped) {
            const vm outside = q.above | q.below;
            for (int k = 0; k < LANES && k < left; ++k) clipped[i + k] = (!g.first && clipped[i + k]) || outside[k] != 0;
        }
    }
    return any(above) || (a.test_negative_bound && any(below));
}

// Whether weights are so many that they do not stay in the second level of the cache.
SIM_HD bool is_far(const MvmArgs& a) { return static_cast<size_t>(a.replicas) * a.out * a.in > (1u << 19); }

// The outputs of a pass for the samples of a block, up to the converter; for a pass that is held, these wait in `held`.
void analog_pass(const Stage& g, Block& block, int active, int n, int m, const real* w) {
    const MvmArgs& a = g.a;
    const size_t n_stride = padded(n), m_stride = padded(m);
    if (g.path.ir_drop) {
        drop_product(block.u, n_stride, active, block.profile, w, a.out, a.in, a.transposed, {block.z, block.current, block.drop}, m_stride);
    } else {
        product(block.u, n_stride, active, w, a.out, a.in, a.transposed, block.z, m_stride, is_far(a));
    }
    if (g.path.ir_drop || g.path.series || g.path.offset || g.values[QUANTUM] > 0.0f)
        for (int k = 0; k < active; ++k)
            analog_stage(g, block.current + k * m_stride, block.drop + k * m_stride, block.sums[k].total, n, m, block.z + k * m_stride);
    if (g.path.read_noise && a.weight_noise == WN_PCM_READ) {
        for (size_t j = 0; j < active * n_stride; ++j) block.u[j] *= block.u[j];
        product<MAGNITUDE>(block.u, n_stride, active, w, a.out, a.in, a.transposed, block.current, m_stride, false);
    }
    for (int k = 0; k < active; ++k) {
        const size_t row = k * m_stride;
        noise_stage(g, block.sample[k], block.sums[k].square, block.current + row, block.held + row, m, block.z + row);
    }
    if (g.pass.hold) memcpy(block.held, block.z, sizeof(real) * active * m_stride);
}

void mvm_block(const MvmArgs& a, int r, int first, int samples, Block& block) {
    const int n = a.transposed ? a.out : a.in, m = a.transposed ? a.in : a.out;
    const size_t n_stride = padded(n), m_stride = padded(m), base = static_cast<size_t>(r) * a.batch, replica = static_cast<size_t>(r);
    const real* s = a.settings + replica * N_IO_SETTINGS;
    const real* outputs = a.outputs ? a.outputs + replica * N_OUTPUT_FIELDS * m : nullptr;
    const auto output_field = [&](OutputField f) { return outputs ? outputs + f * m : nullptr; };
    const size_t cells = static_cast<size_t>(a.out) * a.in;
    const u64 key = static_cast<u64>(a.keys[r]);
    const auto input = [&](int b) { return a.x + (base + b) * n; };
    int active = 0;
    for (int b = first; b < first + samples; ++b) {
        const real alpha = input_scale(a.noise_management, s, input(b), n);
        if (a.noise_management != NM_NONE && alpha <= 0.0f && s[INP_NOISE] <= 0.0f && !any_nan(input(b), n)) {
            memset(a.y + (base + b) * m, 0, sizeof(real) * m);
            if (a.clipped) memset(a.clipped + (base + b) * m, 0, m);
            continue;
        }
        block.sample[active] = b;
        block.alpha[active++] = alpha > 0.0f ? alpha : 1.0f;
    }
    const bool worst_case = a.bound_management == BM_ITERATIVE_WORST_CASE;
    real reduction = 1.0f;
    for (u32 round = 0; active > 0; ++round) {
        bool exceeded[SAMPLES] = {}, digitised = false;
        for (int p = 0; p < a.n_passes; ++p) {
            const MvmPass& pass = a.passes[p];
            const u32 draw = round * static_cast<u32>(a.n_passes) + static_cast<u32>(p);
            const real* offset = a.offsets ? a.offsets + (replica * a.n_matrices + pass.matrix) * m : nullptr;
            const real* noise_values = output_field(OUTPUT_NOISE);
            const Stage g{a, s, a.pass_values + (replica * a.n_passes + p) * N_PASS_VALUES, pass, key, round, draw,
                          pass.bits ? draw : draw - static_cast<u32>(p),  // both signs of one noisy input
                          output_field(OUTPUT_V_OFFSET), output_field(OUTPUT_NONLINEARITY), noise_values, offset, !digitised,
                          output_path(s, static_cast<WeightNoise>(a.weight_noise), !pass.hold, p > 0 && a.passes[p - 1].hold, offset, noise_values)};
            for (int k = 0; k < active; ++k)
                block.sums[k] = input_stage(g, block.sample[k], 1.0f / (block.alpha[k] * reduction), n, input(block.sample[k]),
                                            block.u + k * n_stride, block.noise);
            const real* w = a.matrices ? a.matrices + (replica * a.n_matrices + pass.matrix) * cells : a.weight + replica * cells;
            analog_pass(g, block, active, n, m, w);
            if (pass.hold) continue;
            digitised = true;
            for (int k = 0; k < active; ++k) {
                const size_t at = (base + block.sample[k]) * m;
                exceeded[k] |= output_stage(g, block.sample[k], s[OUT_SCALE] * block.alpha[k] * reduction, m, block.z + k * m_stride,
                                            a.y + at, a.clipped ? a.clipped + at : nullptr);
            }
        }
        if ((a.bound_management != BM_ITERATIVE && !worst_case) || reduction > s[MAX_REDUCTION]) break;
        // The second round of the worst case rests on its estimate; later ones halve further, up to the limits of the whole reduction.
        const bool estimate = worst_case && round == 0 && a.noise_management != NM_ABS_MAX_NP_SUM;
        int failed = 0;
        for (int k = 0; k < active; ++k) {
            const int b = block.sample[k];
            real alpha = block.alpha[k];
            if (!exceeded[k]) continue;
            if (worst_case && a.noise_management != NM_NONE) {
                const real peak = limited(largest_magnitude(input(b), n), s[NM_THRES]);
                if (estimate) alpha = np_sum_scale(s, input(b), n);
                else if (reduction * alpha >= peak * s[MAX_REDUCTION]) continue;
            }
            block.sample[failed] = b;
            block.alpha[failed++] = alpha;
        }
        active = failed;
        if (!estimate) reduction *= 2.0f;
    }
}

void perfect_block(const MvmArgs& a, int r, int first, int samples, Block& block) {
    const int n = a.transposed ? a.out : a.in, m = a.transposed ? a.in : a.out;
    const size_t n_stride = padded(n), at = static_cast<size_t>(r) * a.batch + first;
    for (int k = 0; k < samples; ++k) {
        memcpy(block.u + k * n_stride, a.x + (at + k) * n, sizeof(real) * n);
        memset(block.u + k * n_stride + n, 0, sizeof(real) * (n_stride - n));
    }
    real* y = a.y + at * m;
    product(block.u, n_stride, samples, a.weight + static_cast<size_t>(r) * a.out * a.in, a.out, a.in, a.transposed, y, m, is_far(a));
    const real scale = a.settings[static_cast<size_t>(r) * N_IO_SETTINGS + OUT_SCALE];
    if (scale != 1.0f)
        for (size_t k = 0; k < static_cast<size_t>(samples) * m; ++k) y[k] *= scale;
    if (a.clipped) memset(a.clipped + at * m, 0, static_cast<size_t>(samples) * m);
}

void mvm(const MvmArgs& a) {
    const int n = a.transposed ? a.out : a.in, m = a.transposed ? a.in : a.out;
    const int blocks = (a.batch + SAMPLES - 1) / SAMPLES;
    bool ir_drop = false;
    for (int r = 0; r < a.replicas; ++r) ir_drop |= !a.perfect && a.settings[static_cast<size_t>(r) * N_IO_SETTINGS + IR_DROP] > 0.0f;
    bool hold = false;
    for (int p = 0; p < a.n_passes; ++p) hold |= a.passes[p].hold != 0;
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
    {
        const int widest = padded(n) > padded(m) ? padded(n) : padded(m), rows = a.batch < SAMPLES ? a.batch : SAMPLES;
        const size_t all = static_cast<size_t>(rows) * padded(m);
        Scratch<real> u(static_cast<size_t>(rows) * padded(n)), z(all), noise(widest);
        Scratch<real> current(ir_drop || a.weight_noise == WN_PCM_READ ? all : 0), drop(ir_drop ? all : 0), held(hold ? all : 0),
            profile(ir_drop ? padded(n) : 0);
        if (ir_drop)
            for (int j = 0; j < padded(n); ++j) profile[j] = j < n ? ir_profile(j, n) : 0.0f;
        Block block{u.get(), z.get(), noise.get(), current.get(), drop.get(), held.get(), profile.get(), {}, {}, {}};
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
