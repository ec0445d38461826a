// What the kernels take: plain pointers, row-major, with the replica as the first axis. The bindings (module.cpp) fill
// these; sim/ops checks shapes and speaks to the user.
#pragma once
#include "events.h"
#include "../core/modifier.h"
#include "../core/programming.h"
#include "philox.h"
#include "settings.h"
#include "transfer_plan.h"

namespace sim {

constexpr int MOST_FIELDS = 16;  // parameters of a crosspoint

struct UpdateArgs {
    real* weight;           // (R, out, in); the persistent weight
    real* apparent;         // (R, out, in) with write noise, else null
    const real* fields;     // (R, out, in, n_fields): parameters that vary over the crosspoints
    const int* field_of;    // (n_parameters): index into fields, or -1: the same everywhere
    const real* values;     // (R, n_parameters): parameters without spread
    int n_fields, n_parameters;
    const real* data;      // (R, n_data): what a model shares over the array, see sim/core/pulse.h
    int n_data;
    long long* counts;      // (R, 2, out, in): pulses down and up of each crosspoint; null: not counted
    const real* x;          // (R, B, in)
    const real* d;          // (R, B, out)
    const real* rate;       // (R): learning rate
    const real* granularity;  // (R): assumed weight change of one pulse
    const real* settings;   // (R, N_TRAIN_SETTINGS)
    const real* noise;      // (R, N_NOISE_SETTINGS)
    const long long* keys;  // (R)
    const long long* train_keys;  // (R): of the pulse trains; devices of one cell share their trains
    const real* rates;     // (R, B): learning rate of each sample, or null: that of the settings
    // What crosspoints read in the middle of the batch: look n of a replica is at column look_line (row, if look_rows) after
    // sample look_sample; a line below 0 is none. Only with stochastic pulses.
    const int *look_line, *look_sample;  // (R, n_looks)
    real* looks;           // (R, n_looks, out); of rows: (R, n_looks, in)
    int n_looks;
    bool look_rows;
    u32 step;
    int replicas, batch, out, in;
    int side;               // 0: both directions; 1: up pulses only; -1: down pulses only, given as up pulses
    bool fixed_bl, update_management, update_bl_management, stochastic_rounding;
    int pulse_type;         // PulseKind
    int threads;
};

// A product is measured in passes. Each feeds a part of the prepared input to a matrix; its outputs are digitised and added
// with a coefficient, or kept in the analog domain and added to those of the next pass.
enum PassSign { PASS_NEGATIVE = -1, PASS_ALL = 0, PASS_POSITIVE = 1 };
struct MvmPass {
    int sign;               // PassSign: which inputs
    int shift, bits;        // which binary digits of them; bits 0: the whole value
    int matrix;             // index into `matrices`
    int hold;               // add to the next pass before the ADC
};
constexpr int N_PASS = 5;

struct MvmArgs {
    const real* weight;     // (R, out, in)
    const real* x;          // (R, B, in); transposed: (R, B, out)
    real* y;                // (R, B, out); transposed: (R, B, in)
    unsigned char* clipped; // like y, or null: outputs that ended outside of the range of the ADC
    const real* settings;   // (R, N_IO_SETTINGS)
    const real* outputs;    // (R, N_OUTPUT_FIELDS, m), or null: what differs between the outputs
    const real* matrices;   // (R, n_matrices, out, in), or null: the weight is the only one
    const real* offsets;    // (R, n_matrices, m), or null: outputs without an input, for a unit of WINDOW
    const MvmPass* passes;
    const real* pass_values;  // (R, n_passes, N_PASS_VALUES)
    const long long* keys;  // (R)
    u32 step;
    int replicas, batch, out, in, n_matrices, n_passes;
    bool transposed, perfect;
    int noise_management, bound_management, weight_noise;
    bool inp_sto_round, out_sto_round, test_negative_bound;
    int threads;
};

struct ExactUpdateArgs {
    real* weight;           // (R, out, in)
    const real* x;          // (R, B, in)
    const real* d;          // (R, B, out)
    const real* rate;       // (R)
    int replicas, batch, out, in, threads;
};

struct FieldArgs {
    real* field;            // (R, n)
    const long long* keys;  // (R)
    u32 purpose, step;
    int replicas, threads;
    long long n;
    bool normal;            // else uniform in [0, 1)
};

// Transfers between arrays (sim/cpu/transfer.h, compounds.md).
struct TransferPlanArgs {
    const real *x, *d;      // (R, B, in), (R, B, out)
    const real* rate;       // (R): of the optimizer
    const real* settings;   // (R, N_TRANSFER_SETTINGS)
    const real* stages;     // (R, N, N_STAGE_SETTINGS)
    const double* every;    // (R, N): periods; below 0: minus a period in vectors
    long long* counters;    // (R, N, 3): vectors since the last transfer, period, next slice; then (R): sweeps
    long long* sweeps;      // (R)
    real *in_choppers, *out_choppers;   // (R, slices), (R, lines)
    unsigned char* switched;            // (R, slices)
    real* maxima;           // (R, 3): running maxima of x and d, the last fast rate
    const long long* keys;  // (R)
    real *signed_x, *signed_d;         // like x, d: times the choppers; null: there are none
    real* rates;            // (R, B)
    TransferEvent* events;  // (R, max_events)
    int* n_events;          // (R)
    int *look_line, *look_sample;       // (R, max_events): what the pulses of array 0 note for an event, see UpdateArgs
    real* signs;           // (R, max_events, lines): output choppers at each event, or null
    int replicas, batch, out, in, arrays, max_events, whole_batch;
    int samples, first;     // samples of a replica in x and d, and the first of this part
    u32 step;               // number of the first vector
    TransferFlags flags;
};
struct DeviceArray {
    int device;                 // its model
    UpdateArgs args;            // settings are of the write; x and d play no part
};
struct TransferArgs {
    const DeviceArray* arrays;  // those that are written: 1 ... N - 1
    int n_arrays;
    const TransferEvent* events;
    const int* n_events;
    const real* signs;
    const real* values;        // (R, max_events, lines): what array 0 holds where an event reads it; if done: what was read
    bool done;
    const real* io;            // (R, N_IO_SETTINGS) of the reads
    bool io_perfect, io_out_sto_round;
    const long long* read_keys;     // (R, N)
    const long long* train_keys;    // (R, N)
    const real* settings;       // (R, N_TRANSFER_SETTINGS)
    const real* stages;         // (R, N, N_STAGE_SETTINGS)
    real *buffer, *mean, *reference;   // (R, N - 1, slices, lines)
    int replicas, max_events, threads;
    u32 step;
    TransferFlags flags;
};
struct DigitalTransferArgs {
    DeviceArray array;
    real* digital;              // (R, out, in)
    const int *rows;            // (R, n_rows): rows that are written, below 0: none
    const real* unit;           // (R): epsilon
    const real* rate;           // (R)
    int n_rows, replicas, threads;
    u32 step;
};

struct TransferUpdateArgs {
    TransferPlanArgs plan;      // x, d, rate, state and flags; the rest is filled in for each part of the mini-batch
    DeviceArray fast;
    TransferArgs transfer;
    bool with_signs;            // output choppers may switch
    int batch, part;
    u32 vectors, step;          // numbers of the first vector, and of the first pulsed update
};

struct Kernels {
    const char* isa;
    void (*pulsed_update)(int device, const UpdateArgs&);
    void (*exact_update)(const ExactUpdateArgs&);
    void (*mvm)(const MvmArgs&);
    void (*transfer_update)(const TransferUpdateArgs&);
    void (*transfer_plan)(const TransferPlanArgs&);
    void (*transfer)(const TransferArgs&);
    void (*digital_transfer)(const DigitalTransferArgs&);
    void (*random_field)(const FieldArgs&);
    void (*sigmoid)(const real* x, real* y, long long n, int threads);
    void (*logarithm)(const real* x, real* y, long long n, int threads);
    void (*age)(const EventArray&, const Ageing&, int threads);
    void (*change)(const EventArray&, const Changing&, int threads);
    void (*drift)(const EventArray&, const Drifting&, int threads);
    void (*modify)(const ModifierArgs&, int threads);
    void (*program_devices)(const ProgramArgs&, int threads);
    void (*drift_devices)(const ProgramArgs&, int threads);
};

}  // namespace sim
