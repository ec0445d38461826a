// All kernels for one instruction set. CMakeLists.txt compiles this file once for each, with SIM_ISA its name.
#include "activation.h"
#include "crosspoint_events.h"
#include "exact_update.h"
#include "field.h"
#include "modifier.h"
#include "mvm.h"
#include "programming.h"
#include "transfer.h"
#include "update.h"

#define SIM_TEXT(x) #x
#define SIM_NAME(x) SIM_TEXT(x)
#define SIM_JOIN(a, b) a##b
#define SIM_TABLE(isa) SIM_JOIN(kernels_, isa)

namespace sim {
extern const Kernels SIM_TABLE(SIM_ISA);
const Kernels SIM_TABLE(SIM_ISA) = {SIM_NAME(SIM_ISA), pulsed_update, exact_update, mvm, transfer_update, transfer_plan, transfer,
                                    digital_transfer, random_field, sigmoid_array, logarithm_array, age, change, drift, modify, program_devices, drift_devices};
}  // namespace sim
