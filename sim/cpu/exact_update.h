// W <- W - rate sum_b d_b x_b^T: the update of an ideal device and of pulse type None.
//
// Every crosspoint adds its samples one after the other, each as a rounded product and a rounded sum, so that neither threads nor
// tiles nor replicas change a bit. A sample with a zero factor is left out for a row: it cannot write beside it (inf, nan).
#pragma once
#include "kernels.h"
#include "portable.h"
#include "scratch.h"
#include "train.h"

namespace sim {
namespace {

constexpr int EXACT_ROWS = 4;                           // of a tile, whose weights stay in registers while the samples pass
constexpr int EXACT_VECTORS = LANES >= 16 ? 4 : 2;      // of columns
constexpr int EXACT_COLUMNS = EXACT_VECTORS * LANES;
constexpr int EXACT_SAMPLES = 64;                       // whose inputs to a tile stay in the first-level cache
constexpr int EXACT_FEW = 4;                            // samples that are not worth tiles
constexpr int EXACT_BLOCK = 16 * EXACT_ROWS;            // rows of one piece of work

// Factors of the samples for the rows of a tile, and which samples have one that is not zero.
struct ExactFactors {
    real factor[EXACT_SAMPLES][EXACT_ROWS];
    int sample[EXACT_SAMPLES], used;
};

SIM_HD void exact_tile(real* weight, size_t stride, int rows, int columns, const ExactFactors& f, const real* x) {
    vf w[EXACT_ROWS][EXACT_VECTORS];
    for (int q = 0; q < EXACT_ROWS; ++q)
        for (int c = 0; c < EXACT_VECTORS; ++c)
            w[q][c] = q < rows ? load_padded(weight + q * stride, c * LANES, columns) : vf{};
    for (int k = 0; k < f.used; ++k) {
        const int b = f.sample[k];
        vf v[EXACT_VECTORS];
        for (int c = 0; c < EXACT_VECTORS; ++c) v[c] = load(x + b * EXACT_COLUMNS + c * LANES);
        for (int q = 0; q < EXACT_ROWS; ++q) {
            const vf factor = broadcast(f.factor[b][q]);
            const vm counts = factor != 0.0f;
            for (int c = 0; c < EXACT_VECTORS; ++c) w[q][c] = select(counts, w[q][c] + v[c] * factor, w[q][c]);
        }
    }
    for (int q = 0; q < rows; ++q)
        for (int c = 0; c < EXACT_VECTORS; ++c) {
            const int left = columns - c * LANES;
            if (left >= LANES) store(weight + q * stride + c * LANES, w[q][c]);
            else if (left > 0) store_first(weight + q * stride + c * LANES, w[q][c], left);
        }
}

// Samples first .. first + count - 1 on rows top .. top + rows - 1.
void exact_block(const ExactUpdateArgs& a, int r, int top, int rows, int first, int count, ExactFactors* factors, real* x) {
    const int tiles = (rows + EXACT_ROWS - 1) / EXACT_ROWS;
    const size_t start = static_cast<size_t>(r) * a.batch + first, stride = static_cast<size_t>(a.in);
    for (int t = 0; t < tiles; ++t) {
        ExactFactors& f = factors[t];
        const int row = top + t * EXACT_ROWS, valid = top + rows - row;
        f.used = 0;
        for (int b = 0; b < count; ++b) {
            const real* d = a.d + (start + b) * a.out + row;
            bool any_factor = false;
            for (int q = 0; q < EXACT_ROWS; ++q) {
                const real factor = q < valid ? -a.rate[r] * d[q] : 0.0f;
                f.factor[b][q] = factor;
                any_factor |= factor != 0.0f;
            }
            f.sample[f.used] = b;
            f.used += any_factor;
        }
    }
    for (int j = 0; j < a.in; j += EXACT_COLUMNS) {
        const int columns = a.in - j < EXACT_COLUMNS ? a.in - j : EXACT_COLUMNS;
        for (int b = 0; b < count; ++b)
            for (int c = 0; c < EXACT_VECTORS; ++c)
                store(x + b * EXACT_COLUMNS + c * LANES, load_padded(a.x + (start + b) * stride + j, c * LANES, columns));
        real* w = a.weight + (static_cast<size_t>(r) * a.out + top) * stride + j;
        for (int t = 0; t < tiles; ++t) {
            const int row = t * EXACT_ROWS, valid = rows - row < EXACT_ROWS ? rows - row : EXACT_ROWS;
            if (factors[t].used) exact_tile(w + row * stride, stride, valid, columns, factors[t], x);
        }
    }
}

// Few samples: a row is gone through for each, without tiles.
void exact_rows(const ExactUpdateArgs& a, int r, int top, int rows) {
    for (int i = top; i < top + rows; ++i) {
        real* w = a.weight + (static_cast<size_t>(r) * a.out + i) * a.in;
        for (int b = 0; b < a.batch; ++b) {
            const size_t sample = static_cast<size_t>(r) * a.batch + b;
            const real factor = -a.rate[r] * a.d[sample * a.out + i], *x = a.x + sample * a.in;
            if (factor == 0.0f) continue;
            int j = 0;
            for (; j + LANES <= a.in; j += LANES) store(w + j, load(w + j) + load(x + j) * factor);
            for (; j < a.in; ++j) w[j] += x[j] * factor;
        }
    }
}

void exact_update(const ExactUpdateArgs& a) {
    const int blocks = (a.out + EXACT_BLOCK - 1) / EXACT_BLOCK;
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
    {
        Scratch<ExactFactors> factors(EXACT_BLOCK / EXACT_ROWS);
        Scratch<real> x(EXACT_SAMPLES * EXACT_COLUMNS);
#pragma omp for collapse(2) schedule(static)
        for (int r = 0; r < a.replicas; ++r)
            for (int q = 0; q < blocks; ++q) {
                const int top = q * EXACT_BLOCK, rows = a.out - top < EXACT_BLOCK ? a.out - top : EXACT_BLOCK;
                if (a.batch <= EXACT_FEW) exact_rows(a, r, top, rows);
                else for (int first = 0; first < a.batch; first += EXACT_SAMPLES) {
                    const int left = a.batch - first;
                    exact_block(a, r, top, rows, first, left < EXACT_SAMPLES ? left : EXACT_SAMPLES, factors.get(), x.get());
                }
            }
    }
}

}  // namespace
}  // namespace sim
