// The extension module: picks the kernels for this processor and checks what it is given a last time.
// sim/ops is its only caller and speaks to the user.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <iterator>
#include <stdexcept>

#include "device_list.h"
#include "kernels.h"
#include "normal.h"

namespace nb = nanobind;

void bind_periphery(nb::module_& m);
void bind_response(nb::module_& m);

namespace sim {

extern const Kernels kernels_baseline, kernels_avx2, kernels_avx512;

namespace {

bool supported(const std::string& isa) {
    if (isa == "baseline") return true;
#ifdef SIM_HAS_AVX2
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (isa == "avx2") return avx2;
#endif
#ifdef SIM_HAS_AVX512
    if (isa == "avx512")
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vpopcntdq");
#endif
    return false;
}

const Kernels* find(const std::string& isa) {
    if (!supported(isa)) throw std::invalid_argument("this processor or build has no kernels for " + isa);
#ifdef SIM_HAS_AVX512
    if (isa == "avx512") return &kernels_avx512;
#endif
#ifdef SIM_HAS_AVX2
    if (isa == "avx2") return &kernels_avx2;
#endif
    return &kernels_baseline;
}

const Kernels* kernels = find(supported("avx512") ? "avx512" : supported("avx2") ? "avx2" : "baseline");

using Reals = nb::ndarray<real, nb::c_contig, nb::device::cpu>;
using ConstReals = nb::ndarray<const real, nb::c_contig, nb::device::cpu>;
using Keys = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Flags = nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu>;

void require(bool ok, const char* what) {
    if (!ok) throw std::invalid_argument(what);
}
template <class A> bool has_shape(const A& a, std::initializer_list<size_t> shape) {
    if (a.ndim() != shape.size()) return false;
    size_t k = 0;
    for (size_t n : shape)
        if (a.shape(k++) != n) return false;
    return true;
}
const long long* data(const Keys& keys) { return reinterpret_cast<const long long*>(keys.data()); }

std::vector<std::string> device_names() {
#define SIM_ENTRY(name) #name,
    return {SIM_FOR_EACH_DEVICE(SIM_ENTRY)};
#undef SIM_ENTRY
}

std::vector<std::string> device_parameters(int index) {
    std::vector<std::vector<std::string>> all;
#define SIM_ENTRY(name) all.emplace_back(std::begin(device::name::names), std::end(device::name::names));
    SIM_FOR_EACH_DEVICE(SIM_ENTRY)
#undef SIM_ENTRY
    return all.at(static_cast<size_t>(index));
}

// Reals that a device needs to be shared by an array, at least.
int shared_at_least(int index) {
#define SIM_ENTRY(name) minimum_data<device::name>(0),
    static constexpr int all[] = {SIM_FOR_EACH_DEVICE(SIM_ENTRY)};
#undef SIM_ENTRY
    return all[index];
}

int n_parameters(int index) {
#define SIM_ENTRY(name) static_cast<int>(std::size(device::name::names)),
    static constexpr int all[] = {SIM_FOR_EACH_DEVICE(SIM_ENTRY)};
#undef SIM_ENTRY
    return all[index];
}
int n_devices() {
#define SIM_ENTRY(name) +1
    return 0 SIM_FOR_EACH_DEVICE(SIM_ENTRY);
#undef SIM_ENTRY
}

// An address that Python says: views of a dozen tensors would cost more than the update of a small tile.
using Address = uintptr_t;

void exact_update(Reals weight, ConstReals x, ConstReals d, ConstReals rate, int threads) {
    require(weight.ndim() == 3 && x.ndim() == 3, "exact_update: rank");
    const size_t replicas = weight.shape(0), out = weight.shape(1), in = weight.shape(2), batch = x.shape(1);
    require(has_shape(x, {replicas, batch, in}) && has_shape(d, {replicas, batch, out}) && has_shape(rate, {replicas}), "exact_update: shapes");
    const ExactUpdateArgs args{weight.data(), x.data(), d.data(), rate.data(), static_cast<int>(replicas), static_cast<int>(batch),
                               static_cast<int>(out), static_cast<int>(in), threads};
    nb::gil_scoped_release release;
    kernels->exact_update(args);
}

// A product with its settings, given by addresses; shapes are checked in Python. `step` is the address of the counter, which
// moves by one if the call is to be counted.
struct Product {
    std::vector<MvmPass> passes;
    MvmArgs args{};
    int64_t* step;

    Product(Address settings, Address outputs, Address matrices, Address offsets, Address pass_values, Address keys, Address counter, int replicas,
            int out, int in, int n_matrices, const std::vector<int>& flags)
        : step(reinterpret_cast<int64_t*>(counter)) {
        enum { TRANSPOSED, PERFECT, NOISE, BOUND, INPUT_ROUND, OUTPUT_ROUND, NEGATIVE, WEIGHT_NOISE, DROPS, ROUNDS, N_FLAGS };
        require(flags.size() >= N_FLAGS && (flags.size() - N_FLAGS) % N_PASS == 0, "mvm: flags");
        const size_t n_passes = (flags.size() - N_FLAGS) / N_PASS;
        require(flags[PERFECT] || n_passes > 0, "mvm: passes");
        for (size_t p = 0; p < n_passes; ++p) {
            const int* v = flags.data() + N_FLAGS + p * N_PASS;
            require(v[0] >= -1 && v[0] <= 1 && v[1] >= 0 && v[1] < 31 && v[2] >= 0 && v[2] <= 31 && v[3] >= 0 && v[3] < n_matrices &&
                        (p + 1 < n_passes || v[4] == 0), "mvm: a pass");
            passes.push_back({v[0], v[1], v[2], v[3], v[4]});
        }
        const auto reals = [](Address a) { return reinterpret_cast<const real*>(a); };
        args.settings = reals(settings), args.outputs = reals(outputs), args.matrices = reals(matrices), args.offsets = reals(offsets);
        args.passes = passes.data(), args.pass_values = reals(pass_values), args.keys = reinterpret_cast<const long long*>(keys);
        args.replicas = replicas, args.out = out, args.in = in, args.n_matrices = n_matrices, args.n_passes = static_cast<int>(n_passes);
        args.transposed = flags[TRANSPOSED] != 0, args.perfect = flags[PERFECT] != 0, args.noise_management = flags[NOISE];
        args.bound_management = flags[BOUND], args.weight_noise = flags[WEIGHT_NOISE], args.inp_sto_round = flags[INPUT_ROUND] != 0;
        args.out_sto_round = flags[OUTPUT_ROUND] != 0, args.test_negative_bound = flags[NEGATIVE] != 0;
    }
    Product(const Product&) = delete;

    void multiply(Address weight, Address x, Address y, Address clipped, int batch, bool count, int threads) {
        require(threads >= 1, "mvm: threads");
        MvmArgs now = args;
        now.weight = reinterpret_cast<const real*>(weight), now.x = reinterpret_cast<const real*>(x), now.y = reinterpret_cast<real*>(y);
        now.clipped = reinterpret_cast<unsigned char*>(clipped), now.step = static_cast<u32>(*step), now.batch = batch, now.threads = threads;
        *step += count;
        if (now.out == 0 || now.in == 0 || now.replicas == 0 || batch == 0) return;
        nb::gil_scoped_release release;
        kernels->mvm(now);
    }
};

void random_field(Reals field, Keys keys, uint32_t purpose, int64_t step, bool normal, int threads) {
    require(field.ndim() == 2 && field.shape(0) == keys.shape(0) && threads >= 1, "random_field: shapes");
    const FieldArgs args{field.data(), data(keys), purpose, static_cast<u32>(step), static_cast<int>(field.shape(0)), threads,
                         static_cast<long long>(field.shape(1)), normal};
    nb::gil_scoped_release release;
    kernels->random_field(args);
}

void sigmoid(ConstReals x, Reals y, int threads) {
    require(x.size() == y.size() && threads >= 1, "sigmoid: sizes");
    nb::gil_scoped_release release;
    kernels->sigmoid(x.data(), y.data(), static_cast<long long>(x.size()), threads);
}

void logarithms(ConstReals x, Reals y, int threads) {
    require(x.size() == y.size() && threads >= 1, "logarithm: sizes");
    nb::gil_scoped_release release;
    kernels->logarithm(x.data(), y.data(), static_cast<long long>(x.size()), threads);
}

// Devices of an array, given by addresses; flags as of `sim.ops.TrainFlags`. What writes to them says where its data is.
struct Devices {
    std::vector<int> field_of;
    DeviceArray array;

    Devices(int device, Address weight, Address apparent, Address counts, Address fields, Address values, Address shared, Address granularity,
            Address settings, Address noise, Address keys, Address train_keys, std::vector<int> of, int replicas, int out, int in, int n_fields,
            int n_shared, const std::vector<int>& flags)
        : field_of(std::move(of)) {
        require(device >= 0 && device < n_devices() && n_parameters(device) == static_cast<int>(field_of.size()), "devices: model and its parameters");
        require(n_shared >= shared_at_least(device), "devices: the model needs shared data");
        require(flags.size() == 7 && flags[0] >= -1 && flags[0] <= 1 && flags[5] >= PULSES_STOCHASTIC, "devices: flags");
        require(static_cast<u64>(out) * static_cast<u64>(in) < (u64(1) << 32), "devices: size");
        require(n_fields <= MOST_FIELDS && static_cast<long long>(out) * in * n_fields < (1LL << 31), "devices: at most 2^31 parameters of an array");
        require(in < (1 << 22), "devices: fewer than 2^22 columns");
        for (int k : field_of) require(k < n_fields, "devices: field index");
        UpdateArgs args{};
        args.weight = reals(weight), args.apparent = reals(apparent), args.counts = integers(counts);
        args.fields = reals(fields), args.field_of = field_of.data(), args.values = reals(values);
        args.n_fields = n_fields, args.n_parameters = static_cast<int>(field_of.size());
        args.data = reals(shared), args.n_data = n_shared;
        args.granularity = reals(granularity), args.settings = reals(settings), args.noise = reals(noise);
        args.keys = integers(keys), args.train_keys = integers(train_keys);
        args.replicas = replicas, args.out = out, args.in = in, args.side = flags[0];
        args.fixed_bl = flags[1] != 0, args.update_management = flags[2] != 0, args.update_bl_management = flags[3] != 0;
        args.stochastic_rounding = flags[4] != 0, args.pulse_type = flags[5], args.threads = 1;
        array = {device, args};
    }
    Devices(const Devices&) = delete;
    static real* reals(Address a) { return reinterpret_cast<real*>(a); }
    static long long* integers(Address a) { return reinterpret_cast<long long*>(a); }

    // Pulses of a mini-batch; `step` is the address of its number, which moves by one if the call is to be counted.
    void pulse(Address x, Address d, Address rate, Address rates, Address step, bool count, int batch, int threads) const {
        UpdateArgs args = array.args;
        require(args.pulse_type <= PULSES_NONE_WITH_DEVICE && threads >= 1, "pulse: pulse type, threads");
        args.x = reals(x), args.d = reals(d), args.rate = reals(rate), args.rates = reals(rates);
        long long* number = integers(step);
        args.step = static_cast<u32>(*number), args.batch = batch, args.threads = threads;
        *number += count;
        if (args.replicas == 0 || args.out == 0 || args.in == 0 || batch == 0) return;
        nb::gil_scoped_release release;
        kernels->pulsed_update(array.device, args);
    }
};

// Elements of what transfers write are lanes of a gather.
bool is_small(const UpdateArgs& a) { return static_cast<u64>(a.out) * static_cast<u64>(a.in) < (u64(1) << 31) && a.replicas >= 1 && a.out >= 1 && a.in >= 1; }

// State and settings of the transfers of a cell, in the order of `sim.ops.TRANSFER_STATE`.
struct TransferState {
    TransferPlanArgs plan{};
    TransferArgs transfer{};
    std::vector<DeviceArray> list;

    TransferState(const std::vector<Devices*>& arrays, const std::vector<Address>& state, const std::vector<int>& f, bool io_perfect,
                  bool io_out_sto_round) {
        require(arrays.size() >= 2 && state.size() == 19, "transfer: arrays, state");
        require(is_small(arrays[0]->array.args), "transfer: size");
        require(f.size() == 13 && f[0] >= TRANSFER_DIRECT && f[0] <= TRANSFER_DYNAMIC && f[1] >= 1, "transfer: flags");
        const TransferFlags flags{f[0], f[1], f[2] != 0, f[3] != 0, f[4] != 0, f[5] != 0, f[6] != 0, f[7] != 0, f[8] != 0, f[9] != 0, f[10] != 0, f[11] != 0, f[12] != 0};
        const UpdateArgs& first = arrays[0]->array.args;
        for (size_t k = 1; k < arrays.size(); ++k) {
            const UpdateArgs& a = arrays[k]->array.args;
            require(a.replicas == first.replicas && a.out == first.out && a.in == first.in, "transfer: shapes");
            list.push_back(arrays[k]->array);
        }
        const auto reals = [&](int k) { return reinterpret_cast<real*>(state[static_cast<size_t>(k)]); };
        const auto integers = [&](int k) { return reinterpret_cast<long long*>(state[static_cast<size_t>(k)]); };
        plan.settings = transfer.settings = reals(0), plan.stages = transfer.stages = reals(1);
        plan.every = reinterpret_cast<const double*>(state[2]);
        plan.counters = integers(3), plan.sweeps = integers(4);
        plan.in_choppers = reals(5), plan.out_choppers = reals(6);
        plan.switched = reinterpret_cast<unsigned char*>(state[7]);
        plan.maxima = reals(8), plan.keys = integers(9);
        transfer.buffer = reals(10), transfer.mean = reals(11), transfer.reference = reals(12);
        transfer.read_keys = integers(13), transfer.train_keys = integers(14), transfer.io = reals(15);
        plan.x = reals(16), plan.d = reals(17), plan.rate = reals(18);
        require(flags.mode == TRANSFER_DIRECT || transfer.buffer, "transfer: buffer");
        require(flags.mode != TRANSFER_DYNAMIC || (transfer.mean && transfer.reference), "transfer: means");
        plan.flags = transfer.flags = flags;
        plan.replicas = transfer.replicas = first.replicas;
        plan.out = first.out, plan.in = first.in, plan.arrays = static_cast<int>(arrays.size());
        transfer.arrays = list.data(), transfer.n_arrays = static_cast<int>(list.size());
        transfer.io_perfect = io_perfect, transfer.io_out_sto_round = io_out_sto_round;
        transfer.threads = 1;
    }
};

// A mini-batch of `batch` vectors in parts of `part`: plan, pulses of the first array, transfers. `vectors` and `step` are addresses
// of the numbers of the first vector and of the first pulsed update, which move on.
void transfer_update(const std::vector<Devices*>& arrays, const std::vector<Address>& state, const std::vector<int>& flags, bool io_perfect,
                     bool io_out_sto_round, bool with_signs, int batch, int part, Address vectors, Address step, int pulse_threads, int threads) {
    TransferState s(arrays, state, flags, io_perfect, io_out_sto_round);
    require(arrays[0]->array.args.pulse_type == PULSES_STOCHASTIC && batch >= 0 && part >= 1, "transfer: pulses, batch");
    long long *const first_vector = Devices::integers(vectors), *const first_step = Devices::integers(step);
    TransferUpdateArgs args{s.plan, arrays[0]->array, s.transfer, with_signs, batch, part, static_cast<u32>(*first_vector), static_cast<u32>(*first_step)};
    *first_vector += batch, *first_step += (batch + part - 1) / part;
    args.fast.args.threads = pulse_threads;
    args.transfer.threads = threads;
    nb::gil_scoped_release release;
    kernels->transfer_update(args);
}

// The same in steps, of which Python does one: the plan of `batch` vectors, of a mini-batch of `whole_batch`, ...
void transfer_plan(const std::vector<Devices*>& arrays, const std::vector<Address>& state, const std::vector<int>& flags, int batch, int whole_batch,
                   int64_t vectors, Address signed_x, Address signed_d, Address rates, Address events, Address n_events, Address look_line,
                   Address look_sample, Address signs, int max_events) {
    TransferState s(arrays, state, flags, true, false);
    const int slices = s.plan.flags.columns ? s.plan.in : s.plan.out;
    require(max_events >= batch * (s.plan.arrays - 1) * (s.plan.flags.reads < slices ? s.plan.flags.reads : slices), "plan: room for events");
    const auto reals = [](Address a) { return reinterpret_cast<real*>(a); };
    const auto ints = [](Address a) { return reinterpret_cast<int*>(a); };
    s.plan.batch = s.plan.samples = batch, s.plan.whole_batch = whole_batch, s.plan.step = static_cast<u32>(vectors);
    s.plan.signed_x = reals(signed_x), s.plan.signed_d = reals(signed_d), s.plan.rates = reals(rates);
    s.plan.events = reinterpret_cast<TransferEvent*>(events), s.plan.n_events = ints(n_events);
    s.plan.look_line = ints(look_line), s.plan.look_sample = ints(look_sample), s.plan.signs = reals(signs), s.plan.max_events = max_events;
    kernels->transfer_plan(s.plan);
}

// ... and the transfers; values (R, max_events, lines) is what the array holds, or, if done, what was read.
void transfer(const std::vector<Devices*>& arrays, const std::vector<Address>& state, const std::vector<int>& flags, bool io_perfect,
              bool io_out_sto_round, int64_t vectors, Address events, Address n_events, Address signs, int max_events, Address values, bool done) {
    TransferState s(arrays, state, flags, io_perfect, io_out_sto_round);
    s.transfer.events = reinterpret_cast<const TransferEvent*>(events), s.transfer.n_events = reinterpret_cast<const int*>(n_events);
    s.transfer.signs = reinterpret_cast<const real*>(signs), s.transfer.max_events = max_events;
    s.transfer.values = reinterpret_cast<const real*>(values), s.transfer.done = done, s.transfer.step = static_cast<u32>(vectors);
    nb::gil_scoped_release release;
    kernels->transfer(s.transfer);
}

void digital_transfer(const Devices& written, Address digital, Address rows, int n_rows, Address unit, Address rate, int64_t step, int threads) {
    require(is_small(written.array.args), "digital_transfer: size");
    const auto reals = [](Address a) { return reinterpret_cast<real*>(a); };
    const DigitalTransferArgs args{written.array, reals(digital), reinterpret_cast<const int*>(rows), reals(unit), reals(rate),
                                   n_rows, written.array.args.replicas, threads, static_cast<u32>(step)};
    nb::gil_scoped_release release;
    kernels->digital_transfer(args);
}

// Rows (R, n) of a digital matrix that are written after a mini-batch (below 0: none), counting it. Returns whether there are any.
bool next_rows(Address rate_, Address batches_, Address every_, Address written_, Address row_, Address keys_, uint32_t purpose, int64_t call,
               bool random, int replicas, int out, int n, Address rows_) {
    const real *rate = reinterpret_cast<const real*>(rate_), *written = reinterpret_cast<const real*>(written_);
    int64_t *batches = reinterpret_cast<int64_t*>(batches_), *row = reinterpret_cast<int64_t*>(row_);
    const int64_t *every = reinterpret_cast<const int64_t*>(every_), *keys = reinterpret_cast<const int64_t*>(keys_);
    int* rows = reinterpret_cast<int*>(rows_);
    require(out >= 1 && n >= 0 && n <= out, "next_rows: rows");
    bool some = false;
    for (int r = 0; r < replicas; ++r) {
        const bool active = rate[r] > 0.0f;
        batches[r] += active;
        const bool due = active && every[r] > 0 && batches[r] % every[r] == 0 && written[r] != 0.0f;
        int64_t start = row[r];
        if (random && n < out) {
            const real u = uniform_element(stream_of(static_cast<u64>(keys[r]), purpose), 0, 0, 0, static_cast<u32>(call));
            start = static_cast<int64_t>(u * static_cast<real>(out));
            start = start < out ? start : out - 1;
        }
        for (int k = 0; k < n; ++k) rows[static_cast<size_t>(r) * n + k] = due ? static_cast<int>((start + k) % out) : -1;
        if (due && n) row[r] = (start + n) % out;
        some |= due;
    }
    return some;
}

// Devices of R arrays with what events beside pulses need of them, given by addresses; sim/ops/events.py checks them.
struct Crosspoints {
    EventArray array{};

    Crosspoints(Address weight, Address apparent, const std::vector<Address>& parameters, const std::vector<long long>& strides, uint64_t steps,
                Address write_noise, int write_stride, Address keys, long long cells, int replicas) {
        require(parameters.size() == N_EVENT_PARAMETERS && strides.size() == N_EVENT_PARAMETERS, "events: parameters");
        require(cells >= 0 && cells < (1LL << 32) && replicas >= 0 && (!apparent || write_noise), "events: size, write noise");
        for (int k = 0; k < N_EVENT_PARAMETERS; ++k) {
            array.parameters[k] = reinterpret_cast<const real*>(parameters[static_cast<size_t>(k)]);
            array.strides[k] = strides[static_cast<size_t>(k)];
        }
        array.weight = reinterpret_cast<real*>(weight), array.apparent = reinterpret_cast<real*>(apparent), array.steps = steps;
        array.write_noise = reinterpret_cast<const real*>(write_noise), array.write_stride = write_stride;
        array.keys = reinterpret_cast<const long long*>(keys), array.cells = cells, array.replicas = replicas;
    }

    void age(Address steps, Address diffusing, Address decaying, int threads) const {
        const Ageing ageing{reinterpret_cast<const long long*>(steps), bytes(diffusing), bytes(decaying)};
        nb::gil_scoped_release release;
        kernels->age(array, ageing, threads);
    }
    void change(int kind, Address given, Address chosen, Address having, Address noisy, Address reset_std, Address step, uint32_t value, uint32_t write,
                uint32_t choice, bool only_chosen, int in, int first, int count, real probability, real bound, int threads) const {
        require(in >= 1 && first >= 0 && first < in && (kind != CHANGE_SET || given), "events: columns, values");
        const Changing changing{kind, reals(given), bytes(chosen), bytes(having), bytes(noisy), reals(reset_std), reinterpret_cast<const long long*>(step),
                                value, write, choice, only_chosen, in, first, count, probability, bound};
        nb::gil_scoped_release release;
        kernels->change(array, changing, threads);
    }
    void drift(Address numbers, Address clock, Address first, Address having, Address written, Address written_at, Address last, Address step,
               int threads) const {
        const auto out = [](Address a) { return reinterpret_cast<real*>(a); };
        const Drifting drifting{reals(numbers), reals(clock), bytes(first), bytes(having), out(written), out(written_at), out(last),
                                reinterpret_cast<const long long*>(step)};
        nb::gil_scoped_release release;
        kernels->drift(array, drifting, threads);
    }
    static const real* reals(Address a) { return reinterpret_cast<const real*>(a); }
    static const unsigned char* bytes(Address a) { return reinterpret_cast<const unsigned char*>(a); }
};

// Modified weights; shapes are checked in sim/arrays/modifier.py.
void modify(Address weight, Address modified, Address numbers, Address largest, Address coeffs, Address keys, Address step, long long cells, int replicas,
            int in, int n_coeffs, int kind, bool stochastic, bool spare_last, int threads) {
    require(kind >= MODIFY_COPY && kind <= MODIFY_PCM_NOISE && cells < (1LL << 32) && threads >= 1, "modify: kind, size, threads");
    const auto reals = [](Address a) { return reinterpret_cast<const real*>(a); };
    const auto integers = [](Address a) { return reinterpret_cast<const long long*>(a); };
    const ModifierArgs args{reals(weight), reinterpret_cast<real*>(modified), reals(numbers), reals(largest), reals(coeffs), integers(keys),
                            integers(step), cells, replicas, in, n_coeffs, kind, stochastic, spare_last};
    nb::gil_scoped_release release;
    kernels->modify(args, threads);
}

// Weights on devices: programmed (with a weight), or as they are later; shapes are checked in sim/inference/programming.py.
void program(Address weight, Address noisy, Address conductance, Address nu, Address numbers, Address keys, Address step, long long cells, int replicas,
           int devices, int stride, int threads) {
    require(cells < (1LL << 32) && devices >= 1 && stride >= N_PROGRAM_NUMBERS + N_LINE * devices && threads >= 1, "program: size, threads");
    const auto reals = [](Address a) { return reinterpret_cast<real*>(a); };
    const auto integers = [](Address a) { return reinterpret_cast<const long long*>(a); };
    const ProgramArgs args{reals(weight), reals(noisy), reals(conductance), reals(nu), reals(numbers), integers(keys), integers(step), cells, replicas, devices, stride};
    nb::gil_scoped_release release;
    (weight ? kernels->program_devices : kernels->drift_devices)(args, threads);
}

std::vector<uint32_t> philox_block(const std::vector<uint32_t>& counter, const std::vector<uint32_t>& key) {
    if (counter.size() == 2 && key.size() == 1) {
        const Words2<u32> w = philox(Words2<u32>{counter[0], counter[1]}, key[0]);
        return {w.x, w.y};
    }
    require(counter.size() == 4 && key.size() == 2, "philox: four counter words and two key words, or two and one");
    const Words4<u32> w = philox(Words4<u32>{counter[0], counter[1], counter[2], counter[3]}, key[0], key[1]);
    return {w.x, w.y, w.z, w.w};
}

}  // namespace
}  // namespace sim

NB_MODULE(SIM_MODULE, m) {
    using namespace sim;
    nb::set_leak_warnings(false);
    m.def("devices", &device_names, "Names of the compiled device models.");
    m.def("device_parameters", &device_parameters, nb::arg("device"), "Per-crosspoint parameters of a device model, in order.");
    m.def("isa", [] { return std::string(kernels->isa); }, "Instruction set of the kernels in use.");
    m.def("supported_isas", [] {
        std::vector<std::string> names;
        for (const char* isa : {"baseline", "avx2", "avx512"})
            if (supported(isa)) names.emplace_back(isa);
        return names;
    });
    m.def("use_isa", [](const std::string& isa) { kernels = find(isa); }, nb::arg("isa"));
    m.def("philox", &philox_block, nb::arg("counter"), nb::arg("key"), "One block of Philox4x32-10, or of Philox2x32-10.");
    m.def("random_field", &random_field, nb::arg("field").noconvert(), nb::arg("keys").noconvert(), nb::arg("purpose"), nb::arg("step"),
          nb::arg("normal"), nb::arg("threads"));
    m.def("exact_update", &exact_update, nb::arg("weight").noconvert(), nb::arg("x").noconvert(), nb::arg("d").noconvert(),
          nb::arg("rate").noconvert(), nb::arg("threads"));
    nb::class_<Product>(m, "Product", "A matrix product with its settings.")
        .def(nb::init<Address, Address, Address, Address, Address, Address, Address, int, int, int, int, const std::vector<int>&>())
        .def("multiply", &Product::multiply);
    m.def("logarithm", &logarithms, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("threads"));
    nb::class_<Devices>(m, "Devices", "Devices of an array, that pulses are given to.")
        .def(nb::init<int, Address, Address, Address, Address, Address, Address, Address, Address, Address, Address, Address, std::vector<int>, int, int,
                      int, int, int, const std::vector<int>&>())
        .def("pulse", &Devices::pulse);
    nb::class_<Crosspoints>(m, "Crosspoints", "Devices of an array, for what happens to them beside pulses.")
        .def(nb::init<Address, Address, const std::vector<Address>&, const std::vector<long long>&, uint64_t, Address, int, Address, long long, int>())
        .def("age", &Crosspoints::age)
        .def("change", &Crosspoints::change)
        .def("drift", &Crosspoints::drift);
    m.def("modify", &modify);
    m.def("program", &program);
    m.attr("event_bytes") = sizeof(TransferEvent);
    m.def("transfer_update", &transfer_update);
    m.def("transfer_plan", &transfer_plan);
    m.def("transfer", &transfer);
    m.def("digital_transfer", &digital_transfer);
    m.def("next_rows", &next_rows);
    m.def("sigmoid", &sigmoid, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("threads"));
    bind_periphery(m);
#ifndef SIM_DOUBLE
    bind_response(m);  // computes in double precision anyway
#endif
}
