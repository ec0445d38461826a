// Events beside pulses (sim/core/events.h), with the bits of sim/cpu/crosspoint_events.h: a thread takes four crosspoints of a block
// of 64, which share a block of random words. Grids are (blocks of threads, R).
#include "events.h"
#include "quad.h"

using namespace sim;

namespace {

// Four crosspoints of a replica.
struct Four : Quad {
    int r;
    long long from;  // where the replica starts
};
__device__ __forceinline__ bool four_of(long long cells, Four& at) {
    static_cast<Quad&>(at) = quad_at(static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x);
    at.r = static_cast<int>(blockIdx.y), at.from = at.r * cells;
    return at.element(0) < cells;
}
__device__ __forceinline__ Normals4<float> four_normals(const long long* keys, const Four& at, u32 purpose, long long step) {
    return at.normals(stream_of(static_cast<u64>(keys[at.r]), purpose), 0, 0, static_cast<u32>(step));
}
// Parameter k of a crosspoint: `p` of the first replica, `stride` to the next.
__device__ __forceinline__ float parameter(const float* p, long long stride, u64 steps, int k, int r, long long e) {
    return p[r * stride + e * event_step(steps, k)];
}

}  // namespace

extern "C" __global__ void age(float* weight, float* apparent, const float* min_bound, const float* max_bound, const float* reference, const float* scale,
                               const float* rate, const float* target, long long min_stride, long long max_stride, long long reference_stride,
                               long long scale_stride, long long rate_stride, long long target_stride, u64 steps, const float* write_noise,
                               int write_stride, const long long* keys, long long cells, const long long* numbers, const unsigned char* diffusing,
                               const unsigned char* decaying) {
    Four at;
    if (!four_of(cells, at)) return;
    const int r = at.r;
    const bool diffuses = diffusing[r] != 0, decays = decaying[r] != 0;
    if (!diffuses && !decays) return;
    Normals4<float> moved{}, seen{};
    if (diffuses) moved = four_normals(keys, at, event_purpose(EVENT_DIFFUSION, DRAW_VALUE), numbers[EVENT_DIFFUSION]);
    const Event last = decays ? EVENT_DECAY : EVENT_DIFFUSION;
    if (apparent) seen = four_normals(keys, at, event_purpose(last, DRAW_WRITE_NOISE), numbers[last]);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        const long long e = at.element(c);
        if (e >= cells) continue;
        const WeightBounds<float> within =
            weight_bounds(parameter(min_bound, min_stride, steps, E_MIN_BOUND, r, e), parameter(max_bound, max_stride, steps, E_MAX_BOUND, r, e),
                          parameter(reference, reference_stride, steps, E_REFERENCE, r, e));
        float w = weight[at.from + e];
        if (diffuses) w = within(diffused(w, parameter(rate, rate_stride, steps, E_DIFFUSION_RATE, r, e), moved.z[c]));
        if (decays)
            w = within(decayed(w, parameter(scale, scale_stride, steps, E_DECAY_SCALE, r, e), parameter(target, target_stride, steps, E_RESET_TARGET, r, e)));
        weight[at.from + e] = w;
        if (apparent) apparent[at.from + e] = shown(w, write_noise[r * write_stride], seen.z[c]);
    }
}

// Fields of Changing (sim/core/events.h) one by one.
extern "C" __global__ void change(float* weight, float* apparent, const float* min_bound, const float* max_bound, const float* reference,
                                  const float* target, long long min_stride, long long max_stride, long long reference_stride, long long target_stride,
                                  u64 steps, const float* write_noise, int write_stride, const long long* keys, long long cells, int kind,
                                  const float* given, const unsigned char* chosen, const unsigned char* having, const unsigned char* noisy,
                                  const float* reset_std, const long long* step, u32 value_purpose, u32 write_purpose, u32 choice_purpose, int only_chosen,
                                  int in, int first, int count, float probability, float bound) {
    Four at;
    if (!four_of(cells, at)) return;
    const int r = at.r;
    if (having && !having[r]) return;
    const bool resets = kind == CHANGE_RESET, decides = resets && !chosen && probability < 1.0f;
    Normals4<float> value{}, seen{};
    float choice[4] = {};
    if (resets) value = four_normals(keys, at, value_purpose, *step);
    if (apparent) seen = four_normals(keys, at, write_purpose, *step);
    if (decides) at.uniforms(stream_of(static_cast<u64>(keys[r]), choice_purpose), 0, 0, static_cast<u32>(*step), choice);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        const long long e = at.element(c);
        if (e >= cells) continue;
        const WeightBounds<float> within =
            weight_bounds(parameter(min_bound, min_stride, steps, E_MIN_BOUND, r, e), parameter(max_bound, max_stride, steps, E_MAX_BOUND, r, e),
                          parameter(reference, reference_stride, steps, E_REFERENCE, r, e));
        const float before = weight[at.from + e];
        bool mine = true;
        float w = before;
        if (kind == CHANGE_SET) w = given[at.from + e];
        if (kind == CHANGE_CLIP) w = clip(w, -bound, bound);
        if (resets) {
            mine = chosen ? chosen[at.from + e] != 0 : column_chosen(static_cast<int>(e % in), first, count, in);
            if (decides) mine = mine && choice[c] < probability;
            if (mine) w = after_reset(parameter(target, target_stride, steps, E_RESET_TARGET, r, e), reset_std[r], value.z[c]);
        }
        w = within(w);
        if (only_chosen && !mine) continue;
        weight[at.from + e] = w;
        if (apparent) apparent[at.from + e] = shown(w, noisy && !noisy[r] ? 0.0f : write_noise[r * write_stride], seen.z[c]);
    }
}

extern "C" __global__ void drift(float* weight, float* apparent, const float* min_bound, const float* max_bound, const float* reference, const float* nu,
                                 long long min_stride, long long max_stride, long long reference_stride, long long nu_stride, u64 steps,
                                 const float* write_noise, int write_stride, const long long* keys, long long cells, const float* numbers,
                                 const float* clock, const unsigned char* first, const unsigned char* having, float* written, float* written_at,
                                 float* last, const long long* step) {
    Four at;
    if (!four_of(cells, at)) return;
    const int r = at.r;
    const float* p = numbers + r * N_DRIFT_NUMBERS;
    const bool stores = !having || having[r];
    Normals4<float> of_nu{}, of_w{}, seen{};
    if (p[NU_STD] > 0.0f) of_nu = four_normals(keys, at, event_purpose(EVENT_DRIFT, DRAW_VALUE), *step);
    if (p[W_NOISE_STD] > 0.0f) of_w = four_normals(keys, at, event_purpose(EVENT_DRIFT, DRAW_READ), *step);
    if (apparent && stores) seen = four_normals(keys, at, event_purpose(EVENT_DRIFT, DRAW_WRITE_NOISE), *step);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        const long long e = at.element(c), here = at.from + e;
        if (e >= cells) continue;
        const float behind = parameter(reference, reference_stride, steps, E_REFERENCE, r, e);
        const WeightBounds<float> within = weight_bounds(parameter(min_bound, min_stride, steps, E_MIN_BOUND, r, e),
                                                         parameter(max_bound, max_stride, steps, E_MAX_BOUND, r, e), behind);
        DriftState<float> s{written[here], written_at[here], last[here]};
        const float now = drifted(p, clock[r], first[r] != 0, weight[here] + behind, parameter(nu, nu_stride, steps, E_DRIFT_NU, r, e), of_nu.z[c],
                                  of_w.z[c], s);
        s.last = within(now - behind) + behind;
        written[here] = s.written, written_at[here] = s.written_at, last[here] = s.last;
        if (!stores) continue;
        const float w = within(s.last - behind);
        weight[here] = w;
        if (apparent) apparent[here] = shown(w, write_noise[r * write_stride], seen.z[c]);
    }
}
