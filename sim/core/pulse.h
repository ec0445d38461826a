// One pulse on one crosspoint: what all device models share (devices.md, section 4).
//
//     up  :  g <- clip(g + s_up(g) + n_up(g) sigma xi)
//     down:  g <- clip(g - s_dn(g) - n_dn(g) sigma xi)
//
// g      device state; the weight that the array stores is w = g - reference
// s, n   mean step and noise scale of the model (sim/core/devices/<model>.h), both in weight units
// sigma  dw_min_std, xi a fresh standard normal: the caller gives the product
//
// A model is a struct named as its file, with: names[] of its per-crosspoint parameters; Cell<F>, those parameters in
// registers; load(p), p(k) being parameter k and p.data what the whole array shares (nodes, tables); step(),
// noise_scale(); lower(), upper(), reference() of a cell. A model whose step is not normal has drawn() besides; one that steps
// alike in every state says so (pulse_group.h).
#pragma once
#include "portable.h"

namespace sim {

// What a model loads a cell from.
template <class Lookup, class D = real> struct Parameters {
    Lookup lookup;
    const D* data;  // shared by all crosspoints of a replica; null where the model needs none
    int n_data;
    SIM_HD auto operator()(int k) const { return lookup(k); }
};
template <class Lookup, class D = real> SIM_HD Parameters<Lookup, D> parameters(Lookup lookup, const D* data = nullptr, int n_data = 0) {
    return {lookup, data, n_data};
}

// Floats that a model needs to be shared, at least (`minimum_data`), and whether it draws a step by itself (`drawn`).
template <class Device> SIM_HD constexpr auto minimum_data(int) -> decltype(Device::minimum_data) { return Device::minimum_data; }
template <class Device> SIM_HD constexpr int minimum_data(long) { return 0; }
// Whether the step is smooth in what is shared, so that fits take derivatives by it (`smooth_data`).
template <class Device> SIM_HD constexpr auto smooth_data(int) -> decltype(Device::smooth_data) { return Device::smooth_data; }
template <class Device> SIM_HD constexpr bool smooth_data(long) { return false; }
// Whether a model's state is the weight plus a reference (`has_reference`).
template <class Device> SIM_HD constexpr auto refers(int) -> decltype(Device::has_reference) { return Device::has_reference; }
template <class Device> SIM_HD constexpr bool refers(long) { return false; }
template <class Device> SIM_HD constexpr auto draws_itself(int) -> decltype(&Device::template drawn<real>, true) { return true; }
template <class Device> SIM_HD constexpr bool draws_itself(long) { return false; }

template <class Device, class F>
SIM_HD F pulse(const typename Device::template Cell<F>& cell, F g, mask_t<F> up, F sigma_xi) {
    F step;
    if constexpr (draws_itself<Device>(0)) {
        step = Device::drawn(cell, g, up, sigma_xi);
    } else {
        const F mean = Device::step(cell, g, up);
        step = mean + Device::noise_scale(cell, g, up, mean) * sigma_xi;
    }
    return clamp(g + select(up, step, -step), Device::lower(cell), Device::upper(cell));
}

// A pulse on the weight. It is rounded after each pulse, so that it does not matter how many pulses are worked at once.
template <class Device, class F>
SIM_HD F weight_pulse(const typename Device::template Cell<F>& cell, F w, mask_t<F> up, F sigma_xi) {
    if constexpr (!refers<Device>(0)) return pulse<Device, F>(cell, w, up, sigma_xi);
    const F reference = Device::reference(cell);
    return pulse<Device, F>(cell, w + reference, up, sigma_xi) - reference;
}

// The same without noise.
template <class Device, class F>
SIM_HD F mean_pulse(const typename Device::template Cell<F>& cell, F g, mask_t<F> up) {
    const F step = Device::step(cell, g, up);
    return clamp(g + select(up, step, -step), Device::lower(cell), Device::upper(cell));
}

}  // namespace sim
