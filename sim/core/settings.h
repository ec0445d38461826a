// What kernels are told, in the order in which sim/ops hands it on: numbers of each replica, and what is structure.
#pragma once

namespace sim {

enum TrainSetting { DESIRED_BL, UM_GRAD_SCALE, RESOLUTION, X_RESOLUTION, D_RESOLUTION, N_TRAIN_SETTINGS };
enum NoiseSetting { DW_MIN_STD, WRITE_NOISE, N_NOISE_SETTINGS };
// Switches of a train, as a kernel takes them in one word.
enum TrainFlag { FIXED_BL = 1, UPDATE_MANAGEMENT = 2, UPDATE_BL_MANAGEMENT = 4, STOCHASTIC_ROUNDING = 8 };
// How the trains of a sample come about (update.md, section 5).
enum PulseKind { PULSES_STOCHASTIC, PULSES_MEAN_COUNT, PULSES_IMPLICIT, PULSES_NONE_WITH_DEVICE };

enum IOSetting {
    INP_BOUND, INP_STEP, INP_NOISE, INP_ASYMMETRY, OUT_BOUND, OUT_STEP, OUT_NOISE, OUT_ASYMMETRY, OUT_SCALE, W_NOISE,
    NM_THRES, MAX_REDUCTION, MAX_LEVELS, IR_DROP, IR_DROP_G_RATIO, V_OFFSET, V_OFFSET_W_MIN, R_SERIES, NONLINEAR, SLOPE,
    N_IO_SETTINGS
};
enum NoiseManagement { NM_NONE, NM_ABS_MAX, NM_MAX, NM_CONSTANT, NM_ABS_MAX_NP_SUM, NM_AVERAGE_ABS_MAX };
enum BoundManagement { BM_NONE, BM_ITERATIVE, BM_ITERATIVE_WORST_CASE, BM_SHIFT };
enum WeightNoise { WN_NONE, WN_ADDITIVE_CONSTANT, WN_PCM_READ };

enum PassValue { AMPLITUDE, COEFFICIENT, WINDOW, QUANTUM, TIME_SCALE, N_PASS_VALUES };
enum OutputField { OUTPUT_V_OFFSET, OUTPUT_NONLINEARITY, OUTPUT_NOISE, N_OUTPUT_FIELDS };

}  // namespace sim
