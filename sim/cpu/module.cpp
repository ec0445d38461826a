// The extension module: picks the kernels for this processor and checks what it is given a last time.
// sim/ops.py is its only caller and speaks to the user.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <iterator>
#include <stdexcept>

#include "device_list.h"
#include "kernels.h"

namespace nb = nanobind;

void bind_periphery(nb::module_& m);
void bind_response(nb::module_& m);

namespace sim {

extern const Kernels kernels_baseline;
#ifdef SIM_X86
extern const Kernels kernels_avx2, kernels_avx512;
#endif

namespace {

bool supported(const std::string& isa) {
    if (isa == "baseline") return true;
#ifdef SIM_X86
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (isa == "avx2") return avx2;
    if (isa == "avx512")
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vpopcntdq");
#endif
    return false;
}

const Kernels* find(const std::string& isa) {
    if (!supported(isa)) throw std::invalid_argument("this processor or build has no kernels for " + isa);
#ifdef SIM_X86
    if (isa == "avx512") return &kernels_avx512;
    if (isa == "avx2") return &kernels_avx2;
#endif
    return &kernels_baseline;
}

const Kernels* kernels = find(supported("avx512") ? "avx512" : supported("avx2") ? "avx2" : "baseline");

using Floats = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using ConstFloats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
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

// Floats that a device needs to be shared by an array, at least.
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

void pulsed_update(int device, Address weight, Address apparent, Address counts, Address fields, const std::vector<int>& field_of,
                   Address values, Address shared, Address x, Address d, Address rate, Address granularity, Address settings, Address noise,
                   Address keys, Address train_keys, int64_t step, int replicas, int batch, int out, int in, int n_fields, int n_shared, int side,
                   bool fixed_bl, bool update_management, bool update_bl_management, bool stochastic_rounding, int pulse_type, int threads,
                   Address rates) {
    require(device >= 0 && device < n_devices() && n_parameters(device) == static_cast<int>(field_of.size()), "pulsed_update: device and its parameters");
    require(n_shared >= shared_at_least(device), "pulsed_update: the device needs shared data");
    require(pulse_type >= PULSES_STOCHASTIC && pulse_type <= PULSES_NONE_WITH_DEVICE && side >= -1 && side <= 1, "pulsed_update: pulse type, side");
    require(static_cast<u64>(out) * static_cast<u64>(in) < (u64(1) << 32) && threads >= 1, "pulsed_update: size");
    for (int k : field_of) require(k < n_fields, "pulsed_update: field index");
    if (replicas == 0 || out == 0 || in == 0 || batch == 0) return;
    const auto floats = [](Address a) { return reinterpret_cast<float*>(a); };
    const auto integers = [](Address a) { return reinterpret_cast<long long*>(a); };
    const UpdateArgs args{floats(weight), floats(apparent), floats(fields), field_of.data(), floats(values), n_fields,
                          static_cast<int>(field_of.size()), floats(shared), n_shared, integers(counts), floats(x), floats(d), floats(rate),
                          floats(granularity), floats(settings), floats(noise), integers(keys), integers(train_keys), floats(rates), nullptr, nullptr, nullptr, 0, false, static_cast<u32>(step),
                          replicas, batch, out, in, side, fixed_bl, update_management, update_bl_management, stochastic_rounding, pulse_type, threads};
    nb::gil_scoped_release release;
    kernels->pulsed_update(device, args);
}

void exact_update(Floats weight, ConstFloats x, ConstFloats d, ConstFloats rate, int threads) {
    require(weight.ndim() == 3 && x.ndim() == 3, "exact_update: rank");
    const size_t replicas = weight.shape(0), out = weight.shape(1), in = weight.shape(2), batch = x.shape(1);
    require(has_shape(x, {replicas, batch, in}) && has_shape(d, {replicas, batch, out}) && has_shape(rate, {replicas}), "exact_update: shapes");
    const ExactUpdateArgs args{weight.data(), x.data(), d.data(), rate.data(), static_cast<int>(replicas), static_cast<int>(batch),
                               static_cast<int>(out), static_cast<int>(in), threads};
    nb::gil_scoped_release release;
    kernels->exact_update(args);
}

// Shapes are checked in Python. `step` is the address of the counter where the call is to be counted too.
void mvm(Address weight, Address x, Address y, Address clipped, Address settings, Address outputs, Address matrices, Address offsets,
         Address pass_values, Address keys, Address step, bool count, int replicas, int batch, int out, int in, int n_matrices,
         const std::vector<int>& flags, int threads) {
    enum { TRANSPOSED, PERFECT, NOISE, BOUND, INPUT_ROUND, OUTPUT_ROUND, NEGATIVE, WEIGHT_NOISE, DROPS, N_FLAGS };
    require(flags.size() >= N_FLAGS && (flags.size() - N_FLAGS) % N_PASS == 0 && threads >= 1, "mvm: flags");
    const size_t n_passes = (flags.size() - N_FLAGS) / N_PASS;
    require(flags[PERFECT] || n_passes > 0, "mvm: passes");
    std::vector<MvmPass> list;
    for (size_t p = 0; p < n_passes; ++p) {
        const int* v = flags.data() + N_FLAGS + p * N_PASS;
        require(v[0] >= -1 && v[0] <= 1 && v[1] >= 0 && v[1] < 31 && v[2] >= 0 && v[2] <= 31 && v[3] >= 0 && v[3] < n_matrices &&
                    (p + 1 < n_passes || v[4] == 0), "mvm: a pass");
        list.push_back({v[0], v[1], v[2], v[3], v[4]});
    }
    const auto floats = [](Address a) { return reinterpret_cast<const float*>(a); };
    int64_t* counter = reinterpret_cast<int64_t*>(step);
    const int64_t now = *counter;
    if (count) *counter = now + 1;
    const int n = flags[TRANSPOSED] ? out : in, m = flags[TRANSPOSED] ? in : out;
    if (n == 0 || m == 0 || replicas == 0 || batch == 0) return;
    const MvmArgs args{floats(weight), floats(x), reinterpret_cast<float*>(y), reinterpret_cast<unsigned char*>(clipped), floats(settings),
                       floats(outputs), floats(matrices), floats(offsets), list.data(), floats(pass_values),
                       reinterpret_cast<const long long*>(keys), static_cast<u32>(now), replicas, batch, out, in, n_matrices,
                       static_cast<int>(n_passes), flags[TRANSPOSED] != 0, flags[PERFECT] != 0, flags[NOISE], flags[BOUND],
                       flags[WEIGHT_NOISE], flags[INPUT_ROUND] != 0, flags[OUTPUT_ROUND] != 0, flags[NEGATIVE] != 0, threads};
    nb::gil_scoped_release release;
    kernels->mvm(args);
}

void random_field(Floats field, Keys keys, uint32_t purpose, int64_t step, bool normal, int threads) {
    require(field.ndim() == 2 && field.shape(0) == keys.shape(0) && threads >= 1, "random_field: shapes");
    const FieldArgs args{field.data(), data(keys), purpose, static_cast<u32>(step), static_cast<int>(field.shape(0)), threads,
                         static_cast<long long>(field.shape(1)), normal};
    nb::gil_scoped_release release;
    kernels->random_field(args);
}

void sigmoid(ConstFloats x, Floats y, int threads) {
    require(x.size() == y.size() && threads >= 1, "sigmoid: sizes");
    nb::gil_scoped_release release;
    kernels->sigmoid(x.data(), y.data(), static_cast<long long>(x.size()), threads);
}

void logarithms(ConstFloats x, Floats y, int threads) {
    require(x.size() == y.size() && threads >= 1, "logarithm: sizes");
    nb::gil_scoped_release release;
    kernels->logarithm(x.data(), y.data(), static_cast<long long>(x.size()), threads);
}

// An array of devices that transfers write to, or gradients, given by addresses as above.
struct WrittenArray {
    std::vector<int> field_of;
    DeviceArray array;

    WrittenArray(int device, Address weight, Address apparent, Address counts, Address fields, std::vector<int> of, Address values, Address shared,
                 Address granularity, Address settings, Address noise, Address keys, Address train_keys, int replicas, int out, int in, int n_fields,
                 int n_shared, bool fixed_bl, bool update_management, bool update_bl_management, bool stochastic_rounding, int pulse_type)
        : field_of(std::move(of)) {
        require(device >= 0 && device < n_devices() && n_parameters(device) == static_cast<int>(field_of.size()), "array: device and its parameters");
        require(n_shared >= shared_at_least(device), "array: the device needs shared data");
        require(static_cast<u64>(out) * static_cast<u64>(in) < (u64(1) << 31) && replicas >= 1 && out >= 1 && in >= 1, "array: size");
        for (int k : field_of) require(k < n_fields, "array: field index");
        UpdateArgs args{};
        args.weight = floats(weight), args.apparent = floats(apparent), args.counts = integers(counts);
        args.fields = floats(fields), args.field_of = field_of.data(), args.values = floats(values);
        args.n_fields = n_fields, args.n_parameters = static_cast<int>(field_of.size());
        args.data = floats(shared), args.n_data = n_shared;
        args.granularity = floats(granularity), args.settings = floats(settings), args.noise = floats(noise);
        args.keys = integers(keys), args.train_keys = integers(train_keys);
        args.replicas = replicas, args.out = out, args.in = in;
        args.fixed_bl = fixed_bl, args.update_management = update_management, args.update_bl_management = update_bl_management;
        args.stochastic_rounding = stochastic_rounding, args.pulse_type = pulse_type, args.threads = 1;
        array = {device, args};
    }
    WrittenArray(const WrittenArray&) = delete;
    static float* floats(Address a) { return reinterpret_cast<float*>(a); }
    static long long* integers(Address a) { return reinterpret_cast<long long*>(a); }
};

// State and settings of the transfers of a cell, in the order of `sim.ops.TRANSFER_STATE`.
struct TransferState {
    TransferPlanArgs plan{};
    TransferArgs transfer{};
    std::vector<DeviceArray> list;

    TransferState(const std::vector<WrittenArray*>& arrays, const std::vector<Address>& state, const std::vector<int>& f, bool io_perfect,
                  bool io_out_sto_round) {
        require(arrays.size() >= 2 && state.size() == 19, "transfer: arrays, state");
        require(f.size() == 13 && f[0] >= TRANSFER_DIRECT && f[0] <= TRANSFER_DYNAMIC && f[1] >= 1, "transfer: flags");
        const TransferFlags flags{f[0], f[1], f[2] != 0, f[3] != 0, f[4] != 0, f[5] != 0, f[6] != 0, f[7] != 0, f[8] != 0, f[9] != 0, f[10] != 0, f[11] != 0, f[12] != 0};
        const UpdateArgs& first = arrays[0]->array.args;
        for (size_t k = 1; k < arrays.size(); ++k) {
            const UpdateArgs& a = arrays[k]->array.args;
            require(a.replicas == first.replicas && a.out == first.out && a.in == first.in, "transfer: shapes");
            list.push_back(arrays[k]->array);
        }
        const auto floats = [&](int k) { return reinterpret_cast<float*>(state[static_cast<size_t>(k)]); };
        const auto integers = [&](int k) { return reinterpret_cast<long long*>(state[static_cast<size_t>(k)]); };
        plan.settings = transfer.settings = floats(0), plan.stages = transfer.stages = floats(1);
        plan.every = reinterpret_cast<const double*>(state[2]);
        plan.counters = integers(3), plan.sweeps = integers(4);
        plan.in_choppers = floats(5), plan.out_choppers = floats(6);
        plan.switched = reinterpret_cast<unsigned char*>(state[7]);
        plan.maxima = floats(8), plan.keys = integers(9);
        transfer.buffer = floats(10), transfer.mean = floats(11), transfer.reference = floats(12);
        transfer.read_keys = integers(13), transfer.train_keys = integers(14), transfer.io = floats(15);
        plan.x = floats(16), plan.d = floats(17), plan.rate = floats(18);
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

// A mini-batch of `batch` vectors in parts of `part`: plan, pulses of the first array, transfers.
void transfer_update(const std::vector<WrittenArray*>& arrays, const std::vector<Address>& state, const std::vector<int>& flags, bool io_perfect,
                     bool io_out_sto_round, bool with_signs, int batch, int part, int64_t vectors, int64_t step, int pulse_threads, int threads) {
    TransferState s(arrays, state, flags, io_perfect, io_out_sto_round);
    require(arrays[0]->array.args.pulse_type == PULSES_STOCHASTIC && batch >= 0 && part >= 1, "transfer: pulses, batch");
    TransferUpdateArgs args{s.plan, arrays[0]->array, s.transfer, with_signs, batch, part, static_cast<u32>(vectors), static_cast<u32>(step)};
    args.fast.args.threads = pulse_threads;
    args.transfer.threads = threads;
    nb::gil_scoped_release release;
    kernels->transfer_update(args);
}

// The same in steps, of which Python does one: the plan of `batch` vectors, of a mini-batch of `whole_batch`, ...
void transfer_plan(const std::vector<WrittenArray*>& arrays, const std::vector<Address>& state, const std::vector<int>& flags, int batch, int whole_batch,
                   int64_t vectors, Address signed_x, Address signed_d, Address rates, Address events, Address n_events, Address look_line,
                   Address look_sample, Address signs, int max_events) {
    TransferState s(arrays, state, flags, true, false);
    const int slices = s.plan.flags.columns ? s.plan.in : s.plan.out;
    require(max_events >= batch * (s.plan.arrays - 1) * (s.plan.flags.reads < slices ? s.plan.flags.reads : slices), "plan: room for events");
    const auto floats = [](Address a) { return reinterpret_cast<float*>(a); };
    const auto ints = [](Address a) { return reinterpret_cast<int*>(a); };
    s.plan.batch = s.plan.samples = batch, s.plan.whole_batch = whole_batch, s.plan.step = static_cast<u32>(vectors);
    s.plan.signed_x = floats(signed_x), s.plan.signed_d = floats(signed_d), s.plan.rates = floats(rates);
    s.plan.events = reinterpret_cast<TransferEvent*>(events), s.plan.n_events = ints(n_events);
    s.plan.look_line = ints(look_line), s.plan.look_sample = ints(look_sample), s.plan.signs = floats(signs), s.plan.max_events = max_events;
    kernels->transfer_plan(s.plan);
}

// ... and the transfers; values (R, max_events, lines) is what the array holds, or, if done, what was read.
void transfer(const std::vector<WrittenArray*>& arrays, const std::vector<Address>& state, const std::vector<int>& flags, bool io_perfect,
              bool io_out_sto_round, int64_t vectors, Address events, Address n_events, Address signs, int max_events, Address values, bool done) {
    TransferState s(arrays, state, flags, io_perfect, io_out_sto_round);
    s.transfer.events = reinterpret_cast<const TransferEvent*>(events), s.transfer.n_events = reinterpret_cast<const int*>(n_events);
    s.transfer.signs = reinterpret_cast<const float*>(signs), s.transfer.max_events = max_events;
    s.transfer.values = reinterpret_cast<const float*>(values), s.transfer.done = done, s.transfer.step = static_cast<u32>(vectors);
    nb::gil_scoped_release release;
    kernels->transfer(s.transfer);
}

void digital_transfer(const WrittenArray& written, Address digital, Address rows, int n_rows, Address unit, Address rate, int64_t step, int threads) {
    const auto floats = [](Address a) { return reinterpret_cast<float*>(a); };
    const DigitalTransferArgs args{written.array, floats(digital), reinterpret_cast<const int*>(rows), floats(unit), floats(rate),
                                   n_rows, written.array.args.replicas, threads, static_cast<u32>(step)};
    nb::gil_scoped_release release;
    kernels->digital_transfer(args);
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

NB_MODULE(_core, m) {
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
    m.def("pulsed_update", &pulsed_update);
    m.def("exact_update", &exact_update, nb::arg("weight").noconvert(), nb::arg("x").noconvert(), nb::arg("d").noconvert(),
          nb::arg("rate").noconvert(), nb::arg("threads"));
    m.def("mvm", &mvm);
    m.def("logarithm", &logarithms, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("threads"));
    nb::class_<WrittenArray>(m, "WrittenArray", "An array of devices that transfers write to.")
        .def(nb::init<int, Address, Address, Address, Address, std::vector<int>, Address, Address, Address, Address, Address, Address, Address, int, int,
                      int, int, int, bool, bool, bool, bool, int>());
    m.attr("event_bytes") = sizeof(TransferEvent);
    m.def("transfer_update", &transfer_update);
    m.def("transfer_plan", &transfer_plan);
    m.def("transfer", &transfer);
    m.def("digital_transfer", &digital_transfer);
    m.def("sigmoid", &sigmoid, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("threads"));
    bind_periphery(m);
    bind_response(m);
}
