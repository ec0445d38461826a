// Mean response of devices under pulses and the likelihood of noisy reads, with derivatives, batched over devices.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>

#include "device_list.h"
#include "response.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T> using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T> using Cube = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <class T> using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// What the kernel shares over an array, the same for all devices here; absent where it needs none.
using Shared = std::optional<Vector<const float>>;

// Variance of each read in units of kappa^2; absent where all are alike.
using Spread = std::optional<Vector<const double>>;

// The reads of all devices one after the other: device d has reads [offsets[d], offsets[d + 1]).
struct Batch {
    const double* parameters;
    long devices, width;
    const int* pulses;
    const int* segment;
    const long long* offsets;
    const double* spread = nullptr;

    Batch(const Matrix<const double>& p, const Vector<const int>& n, const Vector<const int>& s,
          const Vector<const long long>& o)
        : parameters(p.data()), devices(static_cast<long>(p.shape(0))), width(static_cast<long>(p.shape(1))),
          pulses(n.data()), segment(s.data()), offsets(o.data()) {
        if (static_cast<long>(o.shape(0)) != devices + 1) throw std::invalid_argument("offsets must have one entry more than there are devices");
        if (n.shape(0) != s.shape(0) || offsets[0] != 0 || offsets[devices] != static_cast<long long>(n.shape(0)))
            throw std::invalid_argument("pulses, segment and offsets do not agree in length");
        for (long d = 0; d < devices; ++d)
            if (offsets[d + 1] < offsets[d]) throw std::invalid_argument("offsets must not decrease");
    }
    void weigh(const Spread& s) {
        if (!s) return;
        if (static_cast<long>(s->shape(0)) != reads()) throw std::invalid_argument("spread must have one entry a read");
        spread = s->data();
    }
    long reads() const { return static_cast<long>(offsets[devices]); }
    sim::Trace trace(long d) const {
        return {pulses + offsets[d], segment + offsets[d], static_cast<long>(offsets[d + 1] - offsets[d]),
                spread ? spread + offsets[d] : nullptr};
    }
};

// Numbers that the kernel of a device loads beside its parameters: shared floats; where the step is smooth in them, further
// columns of the parameters, so that each device has its own and derivatives by them exist.
template <class Device> struct Data {
    static constexpr int count = sim::parameter_count<Device>();
    static constexpr bool smooth = sim::smooth_data<Device>(0);
    static constexpr int most = smooth ? count + sim::MOST_DATA : count;  // parameters and data with derivatives
    const float* values;
    int size;    // of the data
    long width;  // columns of the parameters
    bool own;    // the data are columns

    Data(const Batch& batch, const Shared& shared)
        : values(shared ? shared->data() : nullptr), size(shared ? static_cast<int>(shared->shape(0)) : 0), width(batch.width),
          own(smooth && !shared && batch.width > count) {
        if (own) size = static_cast<int>(width) - count;
        if (!own && width != count) throw std::invalid_argument("parameters do not have one column for each name of the kernel");
        if (size < sim::minimum_data<Device>(0)) throw std::invalid_argument("the kernel needs shared data");
        if (smooth && size > sim::MOST_DATA) throw std::invalid_argument("the kernel's shared data are too many to fit");
    }
    // Calls run(parameters) with those of one device; number(k) makes column k a number of type F.
    template <class F, class Number, class Run> auto with(Number number, Run run) const {
        if constexpr (smooth) {
            sim::shared_t<F> nodes[sim::MOST_DATA];
            for (int k = 0; k < size; ++k) nodes[k] = own ? number(count + k) : F(values[k]);
            return run(sim::parameters(number, nodes, size));
        } else {
            return run(sim::parameters(number, values, size));
        }
    }
};

template <class Run> void dispatch(const std::string& kernel, Run run) {
#define X(name)                                   \
    if (kernel == #name) {                        \
        run(static_cast<sim::device::name*>(nullptr)); \
        return;                                   \
    }
    SIM_FOR_EACH_DEVICE(X)
#undef X
    throw std::invalid_argument("there is no device kernel '" + kernel + "'");
}

// A constant, or variable number i of a dual number.
template <class F> F variable(double value, int i) {
    F r(value);
    r.d[i] = 1.0;
    return r;
}

void trajectory(const std::string& kernel, Matrix<const double> parameters, Vector<const int> pulses,
                Vector<const int> segment, Vector<const long long> offsets, Vector<const double> starts,
                Vector<double> out, int threads, const Shared& shared) {
    const Batch batch(parameters, pulses, segment, offsets);
    if (static_cast<long>(starts.shape(0)) != batch.reads() || static_cast<long>(out.shape(0)) != batch.reads())
        throw std::invalid_argument("starts and out must have one entry a read");
    const double* w0 = starts.data();
    double* w = out.data();
    dispatch(kernel, [&](auto* tag) {
        using Device = std::remove_pointer_t<decltype(tag)>;
        const Data<Device> data(batch, shared);
        nb::gil_scoped_release release;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (long d = 0; d < batch.devices; ++d) {
            const double* p = batch.parameters + d * batch.width;
            const long first = static_cast<long>(batch.offsets[d]);
            data.template with<double>([&](int k) { return p[k]; }, [&](auto load) {
                sim::mean_trajectory<Device, double>(
                    Device::template load<double>(load), batch.trace(d), [&](long k) { return w0[first + k]; },
                    [&](long k, double x) { w[first + k] = x; });
            });
        }
    });
}

void trajectory_jacobian(const std::string& kernel, Matrix<const double> parameters, Vector<const int> pulses,
                         Vector<const int> segment, Vector<const long long> offsets, Vector<const double> starts,
                         Vector<double> out, Matrix<double> jacobian, int threads, const Shared& shared) {
    const Batch batch(parameters, pulses, segment, offsets);
    if (static_cast<long>(starts.shape(0)) != batch.reads() || static_cast<long>(out.shape(0)) != batch.reads())
        throw std::invalid_argument("starts and out must have one entry a read");
    if (static_cast<long>(jacobian.shape(0)) != batch.reads() || static_cast<long>(jacobian.shape(1)) != batch.width + 1)
        throw std::invalid_argument("jacobian must be (reads, parameters + 1)");
    const double* w0 = starts.data();
    double *w = out.data(), *jac = jacobian.data();
    dispatch(kernel, [&](auto* tag) {
        using Device = std::remove_pointer_t<decltype(tag)>;
        const Data<Device> data(batch, shared);
        using F = sim::Dual<double, Data<Device>::most + 1>;
        const int count = static_cast<int>(batch.width);
        nb::gil_scoped_release release;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (long d = 0; d < batch.devices; ++d) {
            const double* p = batch.parameters + d * batch.width;
            const long first = static_cast<long>(batch.offsets[d]);
            data.template with<F>([&](int k) { return variable<F>(p[k], k); }, [&](auto load) {
                sim::mean_trajectory<Device, F>(
                    Device::template load<F>(load), batch.trace(d), [&](long k) { return variable<F>(w0[first + k], count); },
                    [&](long k, const F& x) {
                        w[first + k] = x.v;
                        for (int i = 0; i <= count; ++i) jac[(first + k) * (count + 1) + i] = x.d[i];
                    });
            });
        }
    });
}

void likelihood(const std::string& kernel, Matrix<const double> parameters, Vector<const double> sigma,
                Vector<const double> kappa, Vector<const int> pulses, Vector<const int> segment,
                Vector<const long long> offsets, Vector<const double> reads, Vector<double> nll,
                Vector<double> innovation, Vector<double> innovation_variance, int threads, const Shared& shared,
                const Spread& spread) {
    Batch batch(parameters, pulses, segment, offsets);
    batch.weigh(spread);
    const long n = batch.reads();
    for (const long length : {static_cast<long>(reads.shape(0)), static_cast<long>(innovation.shape(0)), static_cast<long>(innovation_variance.shape(0))})
        if (length != n) throw std::invalid_argument("reads, innovation and innovation_variance must have one entry a read");
    for (const long length : {static_cast<long>(sigma.shape(0)), static_cast<long>(kappa.shape(0)), static_cast<long>(nll.shape(0))})
        if (length != batch.devices) throw std::invalid_argument("sigma, kappa and nll must have one entry a device");
    const double *s = sigma.data(), *c = kappa.data(), *y = reads.data();
    double *out = nll.data(), *v = innovation.data(), *variance = innovation_variance.data();
    dispatch(kernel, [&](auto* tag) {
        using Device = std::remove_pointer_t<decltype(tag)>;
        const Data<Device> data(batch, shared);
        nb::gil_scoped_release release;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (long d = 0; d < batch.devices; ++d) {
            const double* p = batch.parameters + d * batch.width;
            const long first = static_cast<long>(batch.offsets[d]);
            const sim::Trace trace = batch.trace(d);
            for (long k = first; k < first + trace.reads; ++k) v[k] = variance[k] = std::nan("");
            out[d] = data.template with<double>([&](int k) { return p[k]; }, [&](auto load) {
                return sim::negative_log_likelihood<Device, double>(load, s[d], c[d], trace, y + first, [&](long k, double error, double its_variance) {
                    v[first + k] = error;
                    variance[first + k] = its_variance;
                });
            });
        }
    });
}

struct Derivatives {
    const double *parameters, *sigma, *kappa, *reads;
    const int* active;
    long count;
    double *nll, *gradient, *information;
    bool wants_information;
};

// Derivatives by the active kernel parameters, sigma and kappa (N at most, so that no time goes into the others).
template <class Device, int N> void gradient_of_device(const Batch& batch, const Data<Device>& data, const Derivatives& a, long d) {
    using F = sim::Dual<double, N>;
    const double* p = a.parameters + d * batch.width;
    int slot[Data<Device>::most];
    for (int& s : slot) s = -1;
    for (long i = 0; i < a.count; ++i) slot[a.active[i]] = static_cast<int>(i);
    const int size = static_cast<int>(a.count) + 2;
    double sum[N][N] = {};
    const auto observe = [&](long, const F& error, const F& its_variance) {
        if (!a.wants_information) return;
        // Fisher information: sum of v'v'^T / S + S'S'^T / (2 S^2), v' and S' the derivatives
        const double one = 1.0 / its_variance.v, two = 0.5 * one * one;
        for (int i = 0; i < N; ++i)
            for (int j = 0; j < N; ++j)
                sum[i][j] += one * error.d[i] * error.d[j] + two * its_variance.d[i] * its_variance.d[j];
    };
    const F total = data.template with<F>([&](int k) { return slot[k] < 0 ? F(p[k]) : variable<F>(p[k], slot[k]); }, [&](auto load) {
        return sim::negative_log_likelihood<Device, F>(
            load, variable<F>(a.sigma[d], size - 2), variable<F>(a.kappa[d], size - 1), batch.trace(d), a.reads + batch.offsets[d], observe);
    });
    a.nll[d] = total.v;
    for (int i = 0; i < size; ++i) {
        a.gradient[d * size + i] = total.d[i];
        for (int j = 0; a.wants_information && j < size; ++j) a.information[(d * size + i) * size + j] = sum[i][j];
    }
}

void likelihood_gradient(const std::string& kernel, Matrix<const double> parameters, Vector<const int> active,
                         Vector<const double> sigma, Vector<const double> kappa, Vector<const int> pulses,
                         Vector<const int> segment, Vector<const long long> offsets, Vector<const double> reads,
                         Vector<double> nll, Matrix<double> gradient, Cube<double> information, int threads, const Shared& shared,
                         const Spread& spread) {
    Batch batch(parameters, pulses, segment, offsets);
    batch.weigh(spread);
    const long count = static_cast<long>(active.shape(0)), size = count + 2;
    if (static_cast<long>(reads.shape(0)) != batch.reads()) throw std::invalid_argument("reads must have one entry a read");
    for (const long length : {static_cast<long>(sigma.shape(0)), static_cast<long>(kappa.shape(0)), static_cast<long>(nll.shape(0)), static_cast<long>(gradient.shape(0))})
        if (length != batch.devices) throw std::invalid_argument("sigma, kappa, nll and gradient must have one entry a device");
    if (count > batch.width || static_cast<long>(gradient.shape(1)) != size) throw std::invalid_argument("gradient must be (devices, active parameters + 2)");
    for (long i = 0; i < count; ++i)
        if (active.data()[i] < 0 || active.data()[i] >= batch.width) throw std::invalid_argument("active must hold indices of parameters");
    const bool wants = information.shape(0) > 0;
    if (wants && (static_cast<long>(information.shape(0)) != batch.devices || static_cast<long>(information.shape(1)) != size || static_cast<long>(information.shape(2)) != size))
        throw std::invalid_argument("information must be (devices, active parameters + 2, active parameters + 2), or empty");
    const Derivatives a{parameters.data(), sigma.data(), kappa.data(), reads.data(), active.data(), count,
                        nll.data(), gradient.data(), information.data(), wants};
    dispatch(kernel, [&](auto* tag) {
        using Device = std::remove_pointer_t<decltype(tag)>;
        constexpr int most = Data<Device>::most + 2, middle = most > 14 ? 14 : (most > 6 ? most : 6);
        const Data<Device> data(batch, shared);
        nb::gil_scoped_release release;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (long d = 0; d < batch.devices; ++d) {
            if (size <= 6)
                gradient_of_device<Device, 6>(batch, data, a, d);
            else if (size <= middle)
                gradient_of_device<Device, middle>(batch, data, a, d);
            else
                gradient_of_device<Device, (most > 6 ? most : 6)>(batch, data, a, d);
        }
    });
}

nb::list parameter_names(const std::string& kernel) {
    nb::list names;
    dispatch(kernel, [&](auto* tag) {
        for (const char* name : std::remove_pointer_t<decltype(tag)>::names) names.append(name);
    });
    return names;
}

}  // namespace

void bind_response(nb::module_& m) {
    m.def("response_parameters", &parameter_names, "kernel"_a, "Names of the parameters of a device kernel, in order.");
    m.def("response_trajectory", &trajectory, "kernel"_a, "parameters"_a, "pulses"_a, "segment"_a, "offsets"_a,
          "starts"_a, "out"_a.noconvert(), "threads"_a, "shared"_a = nb::none(), "Mean state after each read's pulses.");
    m.def("response_trajectory_jacobian", &trajectory_jacobian, "kernel"_a, "parameters"_a, "pulses"_a, "segment"_a,
          "offsets"_a, "starts"_a, "out"_a.noconvert(), "jacobian"_a.noconvert(), "threads"_a, "shared"_a = nb::none(),
          "The same with derivatives by each parameter and by the segment's start value.");
    m.def("response_likelihood", &likelihood, "kernel"_a, "parameters"_a, "sigma"_a, "kappa"_a, "pulses"_a, "segment"_a,
          "offsets"_a, "reads"_a, "nll"_a.noconvert(), "innovation"_a.noconvert(), "innovation_variance"_a.noconvert(),
          "threads"_a, "shared"_a = nb::none(), "spread"_a = nb::none(),
          "-ln L of the reads, innovations and their variances.");
    m.def("response_likelihood_gradient", &likelihood_gradient, "kernel"_a, "parameters"_a, "active"_a, "sigma"_a, "kappa"_a,
          "pulses"_a, "segment"_a, "offsets"_a, "reads"_a, "nll"_a.noconvert(), "gradient"_a.noconvert(),
          "information"_a.noconvert(), "threads"_a, "shared"_a = nb::none(), "spread"_a = nb::none(),
          "-ln L of the reads, its derivatives by the active parameters, sigma and kappa, and the Fisher information.");
}
