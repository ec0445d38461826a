// A step given as an expression: a small program for a stack machine, the same for all crosspoints, run on whole vectors.
//
//     s_up = up(w, own parameters),   s_dn = down(w, own parameters),   n = noise(w, step, own parameters)
//
// Shared data: lengths of the three programs, then their instructions, two floats each: a code and an operand. The
// program is made and checked by sim/devices/expression.py (no more than STACK values on the stack). Where an expression
// is not finite the step is 0. log and sqrt take their argument as at least 1.2e-38 and 0, a base of ** is at least 0
// (a whole number up to 64 as exponent multiplies out), and exp goes from -87 to 87.
#pragma once
#include "../elementary.h"
#include "../pulse.h"

namespace sim::device {

struct expression {
    static constexpr const char* names[] = {"max_bound", "min_bound", "dwmin_up", "dwmin_down", "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"};
    static constexpr int minimum_data = 9, SLOTS = 8, STACK = 16;
    // In the order of CODES in sim/devices/expression.py.
    enum Code { CONSTANT, VARIABLE, ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, POWER, WHOLE_POWER, EXP, LOG, SQRT, ABS, MIN, MAX };
    enum Variable { W, DW_MIN, W_MAX, W_MIN, STEP, SLOT };

    template <class F> struct Cell {
        F max_bound, min_bound, step_up, step_down, slots[SLOTS];
        const real* programs;
    };
    template <class F, class P> static SIM_HD Cell<F> load(P p) {
        return {p(0), p(1), p(2), p(3), {p(4), p(5), p(6), p(7), p(8), p(9), p(10), p(11)}, p.data};
    }

    template <class F> static SIM_HD F variable(const Cell<F>& c, int k, F w, mask_t<F> up, F step) {
        switch (k) {
            case W: return w;
            case DW_MIN: return select(up, c.step_up, c.step_down);
            case W_MAX: return c.max_bound;
            case W_MIN: return c.min_bound;
            case STEP: return step;
            default: return c.slots[k - SLOT];
        }
    }
    template <class F> static SIM_HD F run(const Cell<F>& c, const real* code, int length, F w, mask_t<F> up, F step) {
        F stack[STACK];
        int top = -1;
        for (const real* end = code + 2 * length; code < end; code += 2) {
            const int operand = static_cast<int>(code[1]);
            F& x = stack[top < 1 ? 0 : top - 1];  // the lower operand of two
            F& y = stack[top < 0 ? 0 : top];
            switch (static_cast<int>(code[0])) {
                case CONSTANT: stack[++top] = F{} + code[1]; break;
                case VARIABLE: stack[++top] = variable(c, operand, w, up, step); break;
                case ADD: x = x + y, --top; break;
                case SUBTRACT: x = x - y, --top; break;
                case MULTIPLY: x = x * y, --top; break;
                case DIVIDE: x = x / y, --top; break;
                case NEGATE: y = -y; break;
                case POWER: x = power(maximum(x, F{} + 0), y), --top; break;
                case WHOLE_POWER: {
                    F product = y;
                    for (int n = 1; n < operand; ++n) product = product * y;
                    y = product;
                    break;
                }
                case EXP: y = exponential(y); break;
                case LOG: y = logarithm(maximum(y, F{} + 1.17549435e-38f)); break;
                case SQRT: y = root(maximum(y, F{} + 0)); break;
                case ABS: y = absolute(y); break;
                case MIN: x = minimum(x, y), --top; break;
                default: x = maximum(x, y), --top; break;
            }
        }
        return select(absolute(stack[0]) < F{} + 1e30f, stack[0], F{} + 0);
    }

    template <class F> static SIM_HD F step(const Cell<F>& c, F w, mask_t<F> up) {
        const int n_up = static_cast<int>(c.programs[0]), n_down = static_cast<int>(c.programs[1]);
        const real *code_up = c.programs + 3, *code_down = code_up + 2 * n_up;
        F rising{}, falling{};
        if (any(up)) rising = run(c, code_up, n_up, w, up, F{});
        if (any(!up)) falling = run(c, code_down, n_down, w, up, F{});
        return select(up, rising, falling);
    }
    template <class F> static SIM_HD F noise_scale(const Cell<F>& c, F w, mask_t<F> up, F mean) {
        const int before = static_cast<int>(c.programs[0]) + static_cast<int>(c.programs[1]);
        return run(c, c.programs + 3 + 2 * before, static_cast<int>(c.programs[2]), w, up, mean);
    }
    template <class F> static SIM_HD F upper(const Cell<F>& c) { return c.max_bound; }
    template <class F> static SIM_HD F lower(const Cell<F>& c) { return c.min_bound; }
    template <class F> static SIM_HD F reference(const Cell<F>&) { return F{} + 0; }
};

}  // namespace sim::device
