// The law that linear steps and soft bounds share: a step linear in the state, with one slope for each direction.
//
//     s = step + slope g,   n = s with multiplicative noise, step with additive noise
//
// For cells with step_up, step_down, slope_up, slope_down and mult_noise.
#pragma once
#include "pulse.h"

namespace sim {

template <class Cell, class F> SIM_HD F linear_mean(const Cell& c, F g, mask_t<F> up) {
    return select(up, c.step_up, c.step_down) + select(up, c.slope_up, c.slope_down) * g;
}
template <class Cell, class F> SIM_HD F linear_noise(const Cell& c, mask_t<F> up, F mean) {
    return select(c.mult_noise > F{} + 0, mean, select(up, c.step_up, c.step_down));
}

}  // namespace sim
