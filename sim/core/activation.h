// Activation functions in + - * / only: a library's differ in bits between the vectorised body and the tail of an array,
// so that a replica's result would depend on its neighbours.
#pragma once
#include "elementary.h"

namespace sim {

template <class F> SIM_HD F sigmoid(F x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace sim
