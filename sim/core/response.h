// The response of one device to a sequence of pulses, for fitting: the mean trajectory, and the likelihood of noisy
// reads. Both call the same pulse as the simulation (pulse.h), in double precision or on dual numbers.
//
// A trace is a list of reads. pulses[k] is the signed number of pulses between read k-1 and read k (up positive);
// segment[k] numbers the stretches: where it changes, the state starts anew and pulses[k] is not applied.
// spread[k] is the variance of read k in units of kappa^2; null where all are alike.
#pragma once
#include "dual.h"
#include "pulse.h"

namespace sim {

struct Trace {
    const int* pulses;
    const int* segment;
    long reads;
    const double* spread = nullptr;
};

// Nodes by which derivatives are taken, at most.
constexpr int MOST_DATA = 24;

template <class Device> constexpr int parameter_count() { return static_cast<int>(sizeof(Device::names) / sizeof(Device::names[0])); }

// Mean state w = g - reference after each read's pulses. start(k) is the state at read k where a segment starts,
// emit(k, w) takes the result.
template <class Device, class F, class Start, class Emit>
void mean_trajectory(const typename Device::template Cell<F>& cell, const Trace& trace, Start start, Emit emit) {
    const F reference = Device::reference(cell), low = Device::lower(cell), high = Device::upper(cell);
    F g{};
    for (long k = 0; k < trace.reads; ++k) {
        if (k == 0 || trace.segment[k] != trace.segment[k - 1]) {
            g = clamp(start(k) + reference, low, high);
        } else {
            const bool up = trace.pulses[k] > 0;
            for (int n = up ? trace.pulses[k] : -trace.pulses[k]; n > 0; --n) g = mean_pulse<Device, F>(cell, g, up);
        }
        emit(k, g - reference);
    }
}

// Mean and variance of min(x, bound) for x ~ N(mean, variance): with s the standard deviation, c = (bound - mean) / s,
//     E[min]   = bound - s A,        A = phi(c) + c Phi(c)
//     Var[min] = s^2 ((1 + c^2) Phi(c) + c phi(c) - A^2)
template <class F> SIM_HD void clip_above(F& mean, F& variance, const F& bound) {
    const double s = root(value_of(variance)), gap = value_of(bound) - value_of(mean);
    if (gap > 8.0 * s) return;
    if (gap < -8.0 * s || s == 0.0) {
        mean = bound;
        variance = F{};
        return;
    }
    const F deviation = root(variance), c = (bound - mean) / deviation;
    const F phi = normal_density(c), below = normal_below(c), a = phi + c * below;
    mean = bound - deviation * a;
    const F rest = (F(1.0) + c * c) * below + c * phi - a * a;
    variance = select(rest > F(0.0), variance * rest, F(0.0));
}

// One pulse on the distribution N(mean, variance) of the state: exact mean and variance where the step is linear in the
// state, to second order otherwise; hard bounds by the moments of the clipped normal.
//     mean' = m + d s(m),   variance' = (1 + d s'(m))^2 P + sigma^2 (n(m)^2 + n'(m)^2 P)
template <class Device, class F>
SIM_HD void pulse_moments(const typename Device::template Cell<Dual<F, 1>>& cell, F& mean, F& variance, bool up, const F& sigma) {
    Dual<F, 1> g(mean);
    g.d[0] = F(1.0);
    const Dual<F, 1> step = Device::step(cell, g, up), noise = Device::noise_scale(cell, g, up, step);
    const F slope = up ? F(1.0) + step.d[0] : F(1.0) - step.d[0];
    mean = up ? mean + step.v : mean - step.v;
    variance = slope * slope * variance + sigma * sigma * (noise.v * noise.v + noise.d[0] * noise.d[0] * variance);
    const F low = Device::lower(cell).v, high = Device::upper(cell).v;
    clip_above(mean, variance, high);
    mean = -mean;
    clip_above(mean, variance, -low);
    mean = -mean;
}

// -ln L of the reads: y_k = w_k + kappa eta_k, each pulse with step noise sigma (a Kalman filter; fitting.md, "PE").
// Each segment starts from its first read with the variance of a read, which that read therefore does not contribute to.
// A read that is NaN is skipped. observe(k, v, S) is given the innovation and its variance of every read that counts.
// load: parameters() of a device.
template <class Device, class F, class Load, class Observe>
F negative_log_likelihood(Load load, const F& sigma, const F& kappa, const Trace& trace, const double* reads, Observe observe) {
    using H = Dual<F, 1>;
    [[maybe_unused]] H nodes[MOST_DATA];
    const auto cell = [&] {
        const auto lookup = [&](int k) { return H(load(k)); };
        if constexpr (smooth_data<Device>(0)) {
            for (int k = 0; k < load.n_data; ++k) nodes[k] = H(load.data[k]);
            return Device::template load<H>(parameters(lookup, nodes, load.n_data));
        } else {
            return Device::template load<H>(parameters(lookup, load.data, load.n_data));
        }
    }();
    const F reference = Device::reference(cell).v, typical = kappa * kappa;
    F mean{}, variance{}, total{};
    bool known = false;
    for (long k = 0; k < trace.reads; ++k) {
        if (k == 0 || trace.segment[k] != trace.segment[k - 1]) known = false;
        const bool missing = reads[k] != reads[k];
        const F read_variance = trace.spread ? typical * F(trace.spread[k]) : typical;
        if (!known) {
            if (missing) continue;
            mean = F(reads[k]) + reference;
            variance = read_variance;
            known = true;
            continue;
        }
        const bool up = trace.pulses[k] > 0;
        for (int n = up ? trace.pulses[k] : -trace.pulses[k]; n > 0; --n)
            pulse_moments<Device, F>(cell, mean, variance, up, sigma);
        if (missing) continue;
        const F v = F(reads[k]) + reference - mean, s = variance + read_variance;
        total = total + F(0.5) * (logarithm(s) + v * v / s + F(1.8378770664093453));
        const F gain = variance / s;
        mean = mean + gain * v;
        variance = gain * read_variance;
        observe(k, v, s);
    }
    return total;
}

}  // namespace sim
