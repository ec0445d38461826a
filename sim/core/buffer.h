// The digital buffer between two arrays (compounds.md, sections 4 to 6), crosspoint by crosspoint.
//
//     s = clip(trunc(w / threshold), -limit, limit)      steps that fire
//     w <- momentum w                    where s != 0, with forget
//          w - (1 - momentum) s threshold               without, then within +-cap
//
// Sources: T. Gokmen, Front. Artif. Intell. 4, 699148 (2021); M. J. Rasch et al., Nat. Commun. 15, 7133 (2024).
#pragma once
#include "portable.h"

namespace sim {

struct BufferRule {
    real threshold, limit, momentum, cap;  // cap 0: none
    bool forget;
};

template <class F> SIM_HD F fired(const BufferRule& rule, F w) {
    const F steps = w / rule.threshold;
    return select(absolute(steps) >= F{} + 1.0f, to_real(to_int(clamp(steps, F{} - rule.limit, F{} + rule.limit))), F{});
}

template <class F> SIM_HD F after_firing(const BufferRule& rule, F w, F s) {
    if (rule.forget) return select(s != F{}, w * rule.momentum, w);
    const real kept = minimum(maximum(rule.momentum, real(0)), real(1));
    F left = w - s * ((1.0f - kept) * rule.threshold);
    if (rule.cap > 0.0f) left = clip(left, F{} - rule.cap, F{} + rule.cap);
    return select(s != F{}, left, w);
}

// Running maximum of a signal that scales the fast learning rate; tau is the weight of the new value.
SIM_HD real running_maximum(real m, real v, real tau) { return m <= 0.0f ? v : v <= 0.0f ? m : (1.0f - tau) * m + tau * v; }

}  // namespace sim
