// Matrix products whose bits depend on nothing but the operands: every output is one sum in a fixed order, whatever the
// batch around it, the replicas or the threads. (Library products change their order with all of these.)
#pragma once
#include "portable.h"

namespace sim {
namespace {

// Sums over the lanes of 16 vectors; sum k goes to out[k].
#if defined(__AVX512F__)
SIM_HD void sums16(const vf* v, float* out) {
    __m512 a[16], b[8], c[4], d[2];
    for (int k = 0; k < 16; ++k) a[k] = (__m512)v[k];
    for (int k = 0; k < 8; ++k)
        b[k] = _mm512_add_ps(_mm512_unpacklo_ps(a[2 * k], a[2 * k + 1]), _mm512_unpackhi_ps(a[2 * k], a[2 * k + 1]));
    for (int k = 0; k < 4; ++k) {
        const __m512d x = _mm512_castps_pd(b[2 * k]), y = _mm512_castps_pd(b[2 * k + 1]);
        c[k] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    for (int k = 0; k < 2; ++k)
        d[k] = _mm512_add_ps(_mm512_shuffle_f32x4(c[2 * k], c[2 * k + 1], 0x88), _mm512_shuffle_f32x4(c[2 * k], c[2 * k + 1], 0xDD));
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_shuffle_f32x4(d[0], d[1], 0x88), _mm512_shuffle_f32x4(d[0], d[1], 0xDD)));
}
#else
SIM_HD void sums16(const vf* v, float* out) {
    for (int k = 0; k < 16; ++k) out[k] = sum_lanes(v[k]);
}
#endif

constexpr int TILE = 4;  // samples and rows of one register tile

// z[s][row] = sum_j u[s][j] w[row][j] for S samples and four rows. u is padded with zeros to a multiple of LANES.
template <int S>
SIM_HD void dot_tile(const float* u, size_t u_stride, const float* w, size_t w_stride, int rows, int n, float* z, size_t z_stride) {
    vf sum[16] = {};
    const float* row[TILE];
    for (int q = 0; q < TILE; ++q) row[q] = w + static_cast<size_t>(q < rows ? q : rows - 1) * w_stride;
    int j = 0;
    for (; j + LANES <= n; j += LANES) {
        vf x[S];
        for (int s = 0; s < S; ++s) x[s] = load(u + s * u_stride + j);
        for (int q = 0; q < TILE; ++q) {
            const vf a = load(row[q] + j);
            for (int s = 0; s < S; ++s) sum[s * TILE + q] = multiply_add(a, x[s], sum[s * TILE + q]);
        }
    }
    if (j < n) {
        for (int q = 0; q < TILE; ++q) {
            const vf a = load_first(row[q] + j, n - j);
            for (int s = 0; s < S; ++s) sum[s * TILE + q] = multiply_add(a, load(u + s * u_stride + j), sum[s * TILE + q]);
        }
    }
    float total[16];
    sums16(sum, total);
    for (int s = 0; s < S; ++s)
        for (int q = 0; q < rows; ++q) z[s * z_stride + q] = total[s * TILE + q];
}

// z[s][col] = sum_i u[s][i] w[i][col] for S samples and C vectors of columns, the last of them with `last` columns.
template <int S, int C>
SIM_HD void outer_tile(const float* u, size_t u_stride, const float* w, size_t w_stride, int n, int last, float* z, size_t z_stride) {
    vf sum[S][C] = {};
    for (int i = 0; i < n; ++i) {
        const float* row = w + i * w_stride;
        vf a[C];
        for (int c = 0; c < C; ++c) a[c] = c < C - 1 || last == LANES ? load(row + c * LANES) : load_first(row + c * LANES, last);
        for (int s = 0; s < S; ++s) {
            const vf x = broadcast(u[s * u_stride + i]);
            for (int c = 0; c < C; ++c) sum[s][c] = multiply_add(a[c], x, sum[s][c]);
        }
    }
    for (int s = 0; s < S; ++s)
        for (int c = 0; c < C; ++c) {
            if (c < C - 1 || last == LANES) store(z + s * z_stride + c * LANES, sum[s][c]);
            else store_first(z + s * z_stride + c * LANES, sum[s][c], last);
        }
}

template <int S>
SIM_HD void outer_columns(const float* u, size_t u_stride, const float* w, size_t w_stride, int n, int m, float* z, size_t z_stride) {
    for (int j = 0; j < m; j += TILE * LANES) {
        const int left = m - j, vectors = left >= TILE * LANES ? TILE : (left + LANES - 1) / LANES;
        const int last = left >= TILE * LANES ? LANES : left - (vectors - 1) * LANES;
        if (vectors == 4) outer_tile<S, 4>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride);
        else if (vectors == 3) outer_tile<S, 3>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride);
        else if (vectors == 2) outer_tile<S, 2>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride);
        else outer_tile<S, 1>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride);
    }
}

// z = u W^T (samples x out), or u W when transposed; W is (out, in), row-major.
void product(const float* u, size_t u_stride, int samples, const float* w, int out, int in, bool transposed, float* z, size_t z_stride) {
    const size_t w_stride = static_cast<size_t>(in);
    if (transposed) {
        for (int s = 0; s < samples; s += TILE) {
            const float* us = u + s * u_stride;
            float* zs = z + s * z_stride;
            switch (samples - s) {
                case 1: outer_columns<1>(us, u_stride, w, w_stride, out, in, zs, z_stride); break;
                case 2: outer_columns<2>(us, u_stride, w, w_stride, out, in, zs, z_stride); break;
                case 3: outer_columns<3>(us, u_stride, w, w_stride, out, in, zs, z_stride); break;
                default: outer_columns<4>(us, u_stride, w, w_stride, out, in, zs, z_stride);
            }
        }
        return;
    }
    const int block = 64;  // rows that stay in the second-level cache while the samples pass
    if (in < 16) {  // shorter than a vector: summed in order, with the same bits on every instruction set
        for (int s = 0; s < samples; ++s)
            for (int i = 0; i < out; ++i) {
                float sum = 0.0f;
                for (int j = 0; j < in; ++j) sum += w[i * w_stride + j] * u[s * u_stride + j];
                z[s * z_stride + i] = sum;
            }
        return;
    }
    for (int top = 0; top < out; top += block) {
        const int bottom = top + block < out ? top + block : out;
        for (int s = 0; s < samples; s += TILE)
            for (int i = top; i < bottom; i += TILE) {
                const float* us = u + s * u_stride;
                const float* wi = w + i * w_stride;
                float* zs = z + s * z_stride + i;
                const int rows = bottom - i < TILE ? bottom - i : TILE;
                switch (samples - s) {
                    case 1: dot_tile<1>(us, u_stride, wi, w_stride, rows, in, zs, z_stride); break;
                    case 2: dot_tile<2>(us, u_stride, wi, w_stride, rows, in, zs, z_stride); break;
                    case 3: dot_tile<3>(us, u_stride, wi, w_stride, rows, in, zs, z_stride); break;
                    default: dot_tile<4>(us, u_stride, wi, w_stride, rows, in, zs, z_stride);
                }
            }
    }
}

}  // namespace
}  // namespace sim
