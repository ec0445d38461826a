// One crosspoint with its device and the noise of its pulses: what a thread of a GPU holds in registers.
#pragma once
#include "pulse_group.h"

namespace sim {

template <class Device> struct Crosspoint {
    typename Device::template Cell<float> cell;
    float w;             // weight that the array stores
    Pairs noise;
    float sigma;
    u32 element, done;   // pulses so far
    float second;        // second normal of the pair that is in use

    SIM_HD void pulse_one(bool up) {
        float xi = 0.0f;
        if (sigma > 0.0f) {
            if (done & 1u) {
                xi = second;
            } else {
                const Words2<u32> w = philox(pair_words(noise, element, done >> 1), noise.key);
                box_muller(w.x, w.y, xi, second);
            }
        }
        w = weight_pulse<Device, float>(cell, w, up, xi * sigma);
        ++done;
    }
    // n pulses of one direction.
    SIM_HD void pulses(bool up, u32 n) {
        if constexpr (steps_alike<Device>(0)) {
            for (u32 group; n; n -= group) {
                group = n < GROUP ? n : GROUP;
                pulse_group(up ? ~0u : 0u, group, group);
            }
        } else {
            for (; n; --n) pulse_one(up);
        }
    }
    // The first m of a group of n pulses, number k of them up where bit k of `ups` is set.
    SIM_HD void pulse_group(u32 ups, u32 n, u32 m) {
        if constexpr (steps_alike<Device>(0)) {
            const auto law = group_law<Device, float>(cell, sigma);
            const auto [up, down] = directions<float>(ups, n);
            if (n > 1 && sigma > 0.0f && law.is_exact(w, up, down)) {
                const float whole = law.noise(up, down, group_normal<float>(noise, element, done));
                const auto fresh = [&](u32 c) { return normal_within<float>(noise, element, done + c); };
                const auto [first_up, first_down] = directions<float>(ups, m);
                w = law.after(w, first_up, first_down, noise_within(law, ups, n, m, whole, fresh));
                done += m;
                return;
            }
        }
        SIM_ROLLED
        for (u32 k = 0; k < m; ++k) pulse_one((ups >> k) & 1u);
    }
    // The weight within the bounds of the device.
    SIM_HD float clamped(float weight) const {
        const float reference = Device::reference(cell);
        return clamp(weight + reference, Device::lower(cell), Device::upper(cell)) - reference;
    }
};

// The standard normal of the write noise after pulses; `draw` is 0 at the end of an update.
SIM_HD float write_normal(Pairs write, u32 element, u32 draw) {
    const Words2<u32> w = philox(pair_words(write, element, draw), write.key);
    return first_normal<float>(w.x, w.y);
}

// Devices of R arrays as a kernel sees them: records (R, cells, n_fields) hold the parameters whose bit in `varying` is set, in
// order, values (R, N) the others.
template <class Device> struct DeviceRecords {
    static constexpr int N = sizeof(Device::names) / sizeof(Device::names[0]);
    const float *records, *values, *shared;
    u32 varying;
    int n_fields, n_shared;
    size_t cells;

    SIM_HD Crosspoint<Device> at(int r, u32 element, float weight) const {
        Crosspoint<Device> point;
        const float* record = records + (r * cells + element) * n_fields;
        point.cell = Device::template load<float>(parameters(
            [&](int k) {
                return (varying >> k) & 1u ? record[population(varying & ((1u << k) - 1u))] : values[r * N + k];
            },
            shared + static_cast<size_t>(r) * n_shared, n_shared));
        point.w = weight;
        point.element = element;
        point.done = 0;
        return point;
    }
};

}  // namespace sim
