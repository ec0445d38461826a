// The digital work around an array, each as one pass: scales, bias, sums over a batch, what an input range needs to know.
// A replica's sums run in an order that depends on its own shape only. sim/periphery.py is the only caller: it checks the
// tensors and hands their addresses on, because a view of a tensor costs more than these loops on a small tile.
#include <nanobind/nanobind.h>

#include <cmath>
#include <cstdint>

#include "portable.h"

namespace nb = nanobind;

namespace {

using sim::real;

template <class T> T* at(uint64_t address) { return reinterpret_cast<T*>(static_cast<uintptr_t>(address)); }

// out = y * scale + bias, zero where masked. scale: (R, n) or (R, 1) (width); absent parts have the address 0.
void affine(uint64_t y_, uint64_t scale_, int width, uint64_t bias_, uint64_t mask_, uint64_t out_, int replicas, int batch, int n) {
    const real* y = at<const real>(y_);
    const real* scale = at<const real>(scale_);
    const real* bias = at<const real>(bias_);
    const unsigned char* mask = at<const unsigned char>(mask_);
    real* out = at<real>(out_);
    for (int r = 0; r < replicas; ++r)
        for (int b = 0; b < batch; ++b) {
            const size_t row = (static_cast<size_t>(r) * batch + b) * n;
            const real* from = y + row;
            real* to = out + row;
            if (scale && width == 1) {
                const real s = scale[r];
                for (int k = 0; k < n; ++k) to[k] = from[k] * s;
            } else if (scale) {
                const real* s = scale + static_cast<size_t>(r) * n;
                for (int k = 0; k < n; ++k) to[k] = from[k] * s[k];
            } else if (to != from) {
                for (int k = 0; k < n; ++k) to[k] = from[k];
            }
            if (bias) {
                const real* c = bias + static_cast<size_t>(r) * n;
                for (int k = 0; k < n; ++k) to[k] += c[k];
            }
            if (mask) {
                const unsigned char* m = mask + row;
                for (int k = 0; k < n; ++k) to[k] = m[k] ? 0.0f : to[k];
            }
        }
}

// out (R, n) = sum_b g, or sum_b g * other
void column_sums(uint64_t g_, uint64_t other_, uint64_t out_, int replicas, int batch, int n) {
    const real* g = at<const real>(g_);
    const real* other = at<const real>(other_);
    real* out = at<real>(out_);
    for (int r = 0; r < replicas; ++r) {
        real* sum = out + static_cast<size_t>(r) * n;
        for (int k = 0; k < n; ++k) sum[k] = 0.0f;
        for (int b = 0; b < batch; ++b) {
            const size_t row = (static_cast<size_t>(r) * batch + b) * n;
            if (other)
                for (int k = 0; k < n; ++k) sum[k] += g[row + k] * other[row + k];
            else
                for (int k = 0; k < n; ++k) sum[k] += g[row + k];
        }
    }
}

constexpr int PARTS = 8;  // sums that run beside each other

// out (R): unbiased standard deviation of the n values of each replica; not a number for fewer than two.
void deviations(uint64_t x_, uint64_t out_, int replicas, int64_t n) {
    for (int r = 0; r < replicas; ++r) {
        const real* x = at<const real>(x_) + static_cast<size_t>(r) * n;
        double sums[PARTS] = {}, mean = 0.0, square = 0.0;
        for (int64_t k = 0; k < n; ++k) sums[k % PARTS] += x[k];
        for (double s : sums) mean += s;
        mean /= static_cast<double>(n);
        double squares[PARTS] = {};
        for (int64_t k = 0; k < n; ++k) {
            const double e = x[k] - mean;
            squares[k % PARTS] += e * e;
        }
        for (double s : squares) square += s;
        at<real>(out_)[r] = static_cast<real>(std::sqrt(square / static_cast<double>(n - 1)));
    }
}

// out (R, 2): the gradient of the range, sum_{x >= rho} min(dx, 0) - sum_{x <= -rho} max(dx, 0), and the share |x| < rho.
void range_gradient(uint64_t x_, uint64_t dx_, uint64_t rho_, uint64_t out_, int replicas, int64_t n) {
    for (int r = 0; r < replicas; ++r) {
        const real* x = at<const real>(x_) + static_cast<size_t>(r) * n;
        const real* dx = at<const real>(dx_) + static_cast<size_t>(r) * n;
        const real rho = at<const real>(rho_)[r];
        double gradient = 0.0;
        int64_t inside = 0;
        for (int64_t k = 0; k < n; ++k) {
            if (x[k] >= rho) gradient += dx[k] < 0.0f ? dx[k] : 0.0f;
            else if (x[k] <= -rho) gradient -= dx[k] > 0.0f ? dx[k] : 0.0f;
            else ++inside;
        }
        at<real>(out_)[2 * r] = static_cast<real>(gradient);
        at<real>(out_)[2 * r + 1] = static_cast<real>(static_cast<double>(inside) / static_cast<double>(n));
    }
}

}  // namespace

void bind_periphery(nb::module_& m) {
    m.def("affine", &affine);
    m.def("column_sums", &column_sums);
    m.def("deviations", &deviations, nb::call_guard<nb::gil_scoped_release>());
    m.def("range_gradient", &range_gradient, nb::call_guard<nb::gil_scoped_release>());
}
