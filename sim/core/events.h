// What happens to a crosspoint beside its pulses: it is set, reset or clipped, and with time it diffuses, decays and drifts
// (devices.md, 4.2 and 7.3 to 7.6; update.md, 9).
//
//     diffusion:  w <- w + rate xi
//     decay:      w <- (w - target) scale + target
//     reset:      w <- target + std xi
//     drift:      g = w + reference,  g <- g_0 s + A (s - 1),  s = max(t - t_0, 1)^(-nu)
//
// Afterwards the weight is within the bounds of the device, and what products see is drawn anew.
#pragma once
#include "elementary.h"

namespace sim {

// As sim.arrays.array.Event and Draw: each pair is a stream of its own.
enum Event { EVENT_UPDATE, EVENT_SET, EVENT_DIFFUSION, EVENT_DECAY, EVENT_RESET, EVENT_DRIFT, EVENT_CLIP, N_EVENTS };
enum EventDraw { DRAW_VALUE, DRAW_WRITE_NOISE, DRAW_CHOICE, DRAW_READ };
SIM_HD u32 event_purpose(u32 event, u32 draw) { return PURPOSE_FIELD + N_EVENTS * draw + event; }

// Hidden parameters that events need, in the order in which sim/ops/events.py hands them on.
enum EventParameter { E_MIN_BOUND, E_MAX_BOUND, E_REFERENCE, E_DECAY_SCALE, E_DIFFUSION_RATE, E_RESET_TARGET, E_DRIFT_NU, N_EVENT_PARAMETERS };

// Numbers from one crosspoint to the next of parameter k.
SIM_HD u32 event_step(u64 steps, int k) { return static_cast<u32>(steps >> (8 * k)) & 255u; }

// How `change` moves weights: to given values, to the value after a reset where chosen, into +-bound.
enum Change { CHANGE_SET, CHANGE_RESET, CHANGE_CLIP };

// Arrays of R replicas as events see them; what is null is not there.
struct EventArray {
    real *weight, *apparent;                      // (R, cells)
    const real* parameters[N_EVENT_PARAMETERS];   // of the first crosspoint of the first replica
    long long strides[N_EVENT_PARAMETERS];        // to the next replica
    u64 steps;                                    // from one crosspoint to the next, a byte each; 0: all have the same
    const real* write_noise;                      // std of replica r at r * write_stride
    int write_stride;
    const long long* keys;                        // (R)
    long long cells;
    int replicas;

    SIM_HD const real* parameter(int k, int r) const { return parameters[k] + r * strides[k]; }
};
struct Ageing {
    const long long* steps;                       // (N_EVENTS): numbers of the events
    const unsigned char *diffusing, *decaying;    // (R): which replicas do
};
struct Changing {
    int kind;                                     // Change
    const real* given;                            // (R, cells): values of a set
    const unsigned char* chosen;                  // (R, cells): crosspoints of a reset, or null: those of columns
    const unsigned char* having;                  // (R): replicas that have the event, or null: all
    const unsigned char* noisy;                   // (R): replicas whose write noise is drawn, or null: all
    const real* reset_std;                        // (R)
    const long long* step;
    u32 value, write, choice;                     // purposes of the random numbers
    int only_chosen;                              // what is not chosen stays as it is, also for the products
    int in, first, count;                         // columns first ... first + count - 1, wrapping
    real probability, bound;
};
// Numbers of the drift of a replica.
enum DriftNumber { RESET_TOL, NU_STD, WG_RATIO, G_OFFSET, DRIFT_W_OFFSET, NU_K, LOG_G0, W_NOISE_STD, N_DRIFT_NUMBERS };
struct Drifting {
    const real* numbers;                          // (R, N_DRIFT_NUMBERS)
    const real* clock;                            // (R): time after this call, in units of t_0
    const unsigned char* first;                   // (R): this is the first call
    const unsigned char* having;                  // (R) or null
    real *written, *written_at, *last;            // (R, cells): weight and time of the last write, weight after the last call
    const long long* step;
};

template <class F> SIM_HD F diffused(F w, F rate, F xi) { return w + rate * xi; }
template <class F> SIM_HD F decayed(F w, F scale, F target) { return (w - target) * scale + target; }
template <class F> SIM_HD F after_reset(F target, real std, F xi) { return target + std * xi; }
template <class F> SIM_HD F shown(F w, real write_noise, F xi) { return w + write_noise * xi; }

template <class F> struct WeightBounds {
    F low, high;
    SIM_HD F operator()(F w) const { return clip(w, low, high); }
};
template <class F> SIM_HD WeightBounds<F> weight_bounds(F low, F high, F reference) { return {low - reference, high - reference}; }

// Column j of `in`, where `count` from `first` on are chosen.
SIM_HD bool column_chosen(int j, int first, int count, int in) {
    const int after = j - first;
    return (after < 0 ? after + in : after) < count;
}

// Drift of a crosspoint; `state` is its weight + reference, nu, xi: its exponent and normals for exponent and weight.
template <class F> struct DriftState {
    F written, written_at, last;
};
template <class F> SIM_HD F drifted(const real* p, real clock, bool first, F state, F nu, F xi_nu, F xi_w, DriftState<F>& s) {
    if (first) s.written = s.last = state;
    const auto rewritten = absolute(s.last - state) > F{} + p[RESET_TOL];
    s.written_at = select(rewritten, F{} + clock, s.written_at);
    s.written = select(rewritten, state, s.written);
    if (p[NU_STD] > 0.0f) nu = nu + p[NU_STD] * nu * xi_nu;
    if (p[NU_K] != 0.0f) {
        const F conductance = (state - p[DRIFT_W_OFFSET]) / p[WG_RATIO] + p[G_OFFSET];
        nu = nu + p[NU_K] * (p[LOG_G0] - logarithm(maximum(conductance, F{} + 1e-30f)));
    }
    real offset = p[G_OFFSET] * p[WG_RATIO] - p[DRIFT_W_OFFSET];
    if (absolute(offset) < p[RESET_TOL]) offset = 0.0f;
    const F factor = power(maximum(clock - s.written_at, F{} + 1.0f), F{} - nu);
    F now = select(rewritten, state, s.written * factor + offset * (factor - 1.0f));
    if (p[W_NOISE_STD] > 0.0f) now = now + p[W_NOISE_STD] * xi_w;
    return now;
}

}  // namespace sim
