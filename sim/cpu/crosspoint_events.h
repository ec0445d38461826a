// Events beside pulses (sim/core/events.h), vectorised over blocks of 64 neighbouring crosspoints.
#pragma once
#include "events.h"
#include "field.h"
#include "kernels.h"

namespace sim {
namespace {

struct EventPart : Part {
    using Part::Part;
    SIM_HD vf parameter(const EventArray& a, int k, int r) const {
        const real* p = a.parameter(k, r);
        const u32 step = event_step(a.steps, k);
        return step == 0 ? broadcast(*p) : step == 1 ? at(p) : at_every(step, p);
    }
    SIM_HD WeightBounds<vf> bounds(const EventArray& a, int r) const {
        return weight_bounds(parameter(a, E_MIN_BOUND, r), parameter(a, E_MAX_BOUND, r), parameter(a, E_REFERENCE, r));
    }
};
SIM_HD void event_normals(const EventArray& a, int r, u32 purpose, long long step, long long q, vf* z) {
    normals64(stream_of(static_cast<u64>(a.keys[r]), purpose), static_cast<u32>(q), 0, 0, static_cast<u32>(step), z);
}

void age(const EventArray& a, const Ageing& g, int threads) {
    over_blocks(a.replicas, a.cells, threads, [&](int r, long long q) {
        const bool diffuses = g.diffusing[r] != 0, decays = g.decaying[r] != 0;
        if (!diffuses && !decays) return;
        vf moved[PARTS_OF_64], seen[PARTS_OF_64];
        if (diffuses) event_normals(a, r, event_purpose(EVENT_DIFFUSION, DRAW_VALUE), g.steps[EVENT_DIFFUSION], q, moved);
        const Event last = decays ? EVENT_DECAY : EVENT_DIFFUSION;
        if (a.apparent) event_normals(a, r, event_purpose(last, DRAW_WRITE_NOISE), g.steps[last], q, seen);
        for (int k = 0; k < PARTS_OF_64; ++k) {
            const EventPart part(a.cells, q, k);
            if (!part.exists()) break;
            real* weight = a.weight + r * a.cells;
            const WeightBounds<vf> within = part.bounds(a, r);
            vf w = part.at(weight);
            if (diffuses) w = within(diffused(w, part.parameter(a, E_DIFFUSION_RATE, r), moved[k]));
            if (decays) w = within(decayed(w, part.parameter(a, E_DECAY_SCALE, r), part.parameter(a, E_RESET_TARGET, r)));
            part.put(weight, w);
            if (a.apparent) part.put(a.apparent + r * a.cells, shown(w, a.write_noise[r * a.write_stride], seen[k]));
        }
    });
}

void change(const EventArray& a, const Changing& c, int threads) {
    over_blocks(a.replicas, a.cells, threads, [&](int r, long long q) {
        if (c.having && !c.having[r]) return;
        const bool resets = c.kind == CHANGE_RESET, decides = resets && !c.chosen && c.probability < 1.0f;
        vf value[PARTS_OF_64], seen[PARTS_OF_64], u[PARTS_OF_64];
        if (resets) event_normals(a, r, c.value, *c.step, q, value);
        if (a.apparent) event_normals(a, r, c.write, *c.step, q, seen);
        if (decides) uniforms64(stream_of(static_cast<u64>(a.keys[r]), c.choice), static_cast<u32>(q), 0, 0, static_cast<u32>(*c.step), u);
        for (int k = 0; k < PARTS_OF_64; ++k) {
            const EventPart part(a.cells, q, k);
            if (!part.exists()) break;
            real* weight = a.weight + r * a.cells;
            const vf before = part.at(weight);
            vi chosen = vi{} == 0;
            vf w = before;
            if (c.kind == CHANGE_SET) w = part.at(c.given + r * a.cells);
            if (c.kind == CHANGE_CLIP) w = clip(w, broadcast(-c.bound), broadcast(c.bound));
            if (resets) {
                for (int lane = 0; lane < part.left; ++lane) {
                    const long long e = part.element + lane;
                    chosen[lane] = (c.chosen ? c.chosen[r * a.cells + e] != 0 : column_chosen(static_cast<int>(e % c.in), c.first, c.count, c.in)) ? -1 : 0;
                }
                if (decides) chosen = chosen & of_mask(u[k] < broadcast(c.probability));
                w = select(to_mask(chosen), after_reset(part.parameter(a, E_RESET_TARGET, r), c.reset_std[r], value[k]), w);
            }
            w = part.bounds(a, r)(w);
            if (c.only_chosen) w = select(to_mask(chosen), w, before);
            part.put(weight, w);
            if (a.apparent) {
                real* apparent = a.apparent + r * a.cells;
                const real std = c.noisy && !c.noisy[r] ? 0.0f : a.write_noise[r * a.write_stride];
                vf now = shown(w, std, seen[k]);
                if (c.only_chosen) now = select(to_mask(chosen), now, part.at(apparent));
                part.put(apparent, now);
            }
        }
    });
}

void drift(const EventArray& a, const Drifting& d, int threads) {
    over_blocks(a.replicas, a.cells, threads, [&](int r, long long q) {
        const real* p = d.numbers + r * N_DRIFT_NUMBERS;
        const bool stores = !d.having || d.having[r];
        vf of_nu[PARTS_OF_64]{}, of_w[PARTS_OF_64]{}, seen[PARTS_OF_64];
        if (p[NU_STD] > 0.0f) event_normals(a, r, event_purpose(EVENT_DRIFT, DRAW_VALUE), *d.step, q, of_nu);
        if (p[W_NOISE_STD] > 0.0f) event_normals(a, r, event_purpose(EVENT_DRIFT, DRAW_READ), *d.step, q, of_w);
        if (a.apparent && stores) event_normals(a, r, event_purpose(EVENT_DRIFT, DRAW_WRITE_NOISE), *d.step, q, seen);
        for (int k = 0; k < PARTS_OF_64; ++k) {
            const EventPart part(a.cells, q, k);
            if (!part.exists()) break;
            real* weight = a.weight + r * a.cells;
            const long long from = r * a.cells;
            const WeightBounds<vf> within = part.bounds(a, r);
            const vf reference = part.parameter(a, E_REFERENCE, r);
            DriftState<vf> s{part.at(d.written + from), part.at(d.written_at + from), part.at(d.last + from)};
            const vf now = drifted(p, d.clock[r], d.first[r] != 0, part.at(weight) + reference, part.parameter(a, E_DRIFT_NU, r), of_nu[k], of_w[k], s);
            s.last = within(now - reference) + reference;
            part.put(d.written + from, s.written), part.put(d.written_at + from, s.written_at), part.put(d.last + from, s.last);
            if (!stores) continue;
            const vf w = within(s.last - reference);
            part.put(weight, w);
            if (a.apparent) part.put(a.apparent + from, shown(w, a.write_noise[r * a.write_stride], seen[k]));
        }
    });
}

}  // namespace
}  // namespace sim
