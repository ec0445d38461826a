// Matrix products whose bits depend on nothing but the operands: every output is one sum in a fixed order, whatever the
// batch around it, the replicas or the threads. (Library products change their order with all of these.)
#pragma once
#include "portable.h"

namespace sim {
namespace {

// Sums over the lanes of 16 vectors; sum k goes to out[k].
#if defined(SIM_AVX512)
SIM_HD void sums16(const vf* v, real* out) {
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
SIM_HD void sums16(const vf* v, real* out) {
    for (int k = 0; k < 16; ++k) out[k] = sum_lanes(v[k]);
}
#endif

// What a product sums: u w, or u |w| (products of currents).
enum Summand { SIGNED, MAGNITUDE };
template <Summand K, class F> SIM_HD F summand(F w) { return K == MAGNITUDE ? absolute(w) : w; }

// The three sums of a static IR drop: z = sum u w, current = sum |u w| and drop = sum h u w, with h the profile of the inputs.
struct DropSums {
    real *z, *current, *drop;
};

constexpr int TILE = 4;  // samples of one register tile, and vectors of columns
constexpr int ROW_BLOCK = 64;  // rows that stay in the second-level cache while the samples pass

// Which vectors of the inputs of a few samples are not all zero, a bit each. Zeros (dark pixels, one input at a time) add nothing
// to a sum, so that leaving them out does not change its bits.
struct Present {
    static constexpr int WORDS = 8;  // inputs beyond these count as present
    u64 word[WORDS];
    bool sparse;  // whether a vector is left out
};

SIM_HD Present present_of(const real* u, size_t u_stride, int samples, int n) {
    Present p{};
    const int vectors = n / LANES;
    for (int k = 0; k < vectors && k < 64 * Present::WORDS; ++k) {
        vm present{};
        for (int s = 0; s < samples; ++s) present |= load(u + s * u_stride + k * LANES) != vf{};  // also what is not a number
        const bool some = any(present);
        p.word[k / 64] |= static_cast<u64>(some) << k % 64;
        p.sparse |= !some;
    }
    return p;
}

// z[s][row] = sum_j u[s][j] w[row][j] for S samples and Q rows. u is padded with zeros to a multiple of LANES.
template <Summand K, int S, int Q>
SIM_HD void dot_tile(const real* u, size_t u_stride, const Present& present, const real* w, size_t w_stride, int rows, int n, real* z,
                     size_t z_stride) {
    static_assert(S * Q <= 16, "sums16");
    vf sum[16] = {};
    const real* row[Q];
    for (int q = 0; q < Q; ++q) row[q] = w + static_cast<size_t>(q < rows ? q : rows - 1) * w_stride;
    const auto add = [&](int j) {
        vf x[S];
        for (int s = 0; s < S; ++s) x[s] = load(u + s * u_stride + j);
        for (int q = 0; q < Q; ++q) {
            const vf a = summand<K>(load(row[q] + j));
            for (int s = 0; s < S; ++s) sum[s * Q + q] = multiply_add(a, x[s], sum[s * Q + q]);
        }
    };
    int j = 0;
    if (present.sparse) {
        for (int k = 0; k < Present::WORDS; ++k)
            for (u64 left = present.word[k]; left; left &= left - 1) add((64 * k + __builtin_ctzll(left)) * LANES);
        j = n / LANES < 64 * Present::WORDS ? n / LANES * LANES : 64 * Present::WORDS * LANES;
    }
    for (; j + LANES <= n; j += LANES) add(j);
    if (j < n) {
        for (int q = 0; q < Q; ++q) {
            const vf a = summand<K>(load_first(row[q] + j, n - j));
            for (int s = 0; s < S; ++s) sum[s * Q + q] = multiply_add(a, load(u + s * u_stride + j), sum[s * Q + q]);
        }
    }
    real total[16];
    sums16(sum, total);
    for (int s = 0; s < S; ++s)
        for (int q = 0; q < rows; ++q) z[s * z_stride + q] = total[s * Q + q];
}

template <Summand K, int S, int Q>
SIM_HD void dot_rows(const real* u, size_t u_stride, const Present& present, const real* w, size_t w_stride, int rows, int n, real* z,
                     size_t z_stride, bool ahead) {
    for (int i = 0; i < rows; i += Q) {
        for (int q = i + Q; ahead && q < i + 2 * Q && q < rows; ++q) fetch(w + q * w_stride, n);
        dot_tile<K, S, Q>(u, u_stride, present, w + i * w_stride, w_stride, rows - i < Q ? rows - i : Q, n, z + i, z_stride);
    }
}

// z[s][col] = sum_i u[s][i] w[i][col] for S samples and C vectors of columns, the last of them with `last` columns.
template <Summand K, int S, int C>
SIM_HD void outer_tile(const real* u, size_t u_stride, const real* w, size_t w_stride, int n, int last, real* z, size_t z_stride, bool ahead) {
    vf sum[S][C] = {};
    for (int i = 0; i < n; ++i) {
        const real* row = w + i * w_stride;
        if (ahead) fetch(row + 8 * w_stride, C * LANES);
        vf a[C];
        for (int c = 0; c < C; ++c)
            a[c] = summand<K>(c < C - 1 || last == LANES ? load(row + c * LANES) : load_first(row + c * LANES, last));
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

template <Summand K, int S>
SIM_HD void outer_columns(const real* u, size_t u_stride, const real* w, size_t w_stride, int n, int m, real* z, size_t z_stride, bool ahead) {
    for (int j = 0; j < m; j += TILE * LANES) {
        const int left = m - j, vectors = left >= TILE * LANES ? TILE : (left + LANES - 1) / LANES;
        const int last = left >= TILE * LANES ? LANES : left - (vectors - 1) * LANES;
        if (vectors == 4) outer_tile<K, S, 4>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride, ahead);
        else if (vectors == 3) outer_tile<K, S, 3>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride, ahead);
        else if (vectors == 2) outer_tile<K, S, 2>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride, ahead);
        else outer_tile<K, S, 1>(u, u_stride, w + j, w_stride, n, last, z + j, z_stride, ahead);
    }
}

// z = u W^T (samples x out), or u W when transposed; W is (out, in), row-major. MAGNITUDE: with |W|. `far` is worth a fetch ahead
// of where the first samples are: W is not in the cache.
template <Summand K = SIGNED>
void product(const real* u, size_t u_stride, int samples, const real* w, int out, int in, bool transposed, real* z, size_t z_stride, bool far) {
    const size_t w_stride = static_cast<size_t>(in);
    if (transposed) {
        for (int s = 0; s < samples; s += TILE) {
            const real* us = u + s * u_stride;
            real* zs = z + s * z_stride;
            switch (samples - s) {
                case 1: outer_columns<K, 1>(us, u_stride, w, w_stride, out, in, zs, z_stride, far && s == 0); break;
                case 2: outer_columns<K, 2>(us, u_stride, w, w_stride, out, in, zs, z_stride, far && s == 0); break;
                case 3: outer_columns<K, 3>(us, u_stride, w, w_stride, out, in, zs, z_stride, far && s == 0); break;
                default: outer_columns<K, 4>(us, u_stride, w, w_stride, out, in, zs, z_stride, far && s == 0);
            }
        }
        return;
    }
    if (in < 16) {  // shorter than a vector: summed in order, with the same bits on every instruction set
        for (int s = 0; s < samples; ++s)
            for (int i = 0; i < out; ++i) {
                real sum = 0.0f;
                for (int j = 0; j < in; ++j) sum += summand<K>(w[i * w_stride + j]) * u[s * u_stride + j];
                z[s * z_stride + i] = sum;
            }
        return;
    }
    constexpr int GROUP = 4 * TILE;  // samples whose zeros are looked for once
    for (int g = 0; g < samples; g += GROUP) {
        Present present[GROUP / TILE];
        const int end = samples - g < GROUP ? samples : g + GROUP;
        for (int s = g; s < end; s += TILE)
            present[(s - g) / TILE] = present_of(u + s * u_stride, u_stride, end - s < TILE ? end - s : TILE, in);
        for (int top = 0; top < out; top += ROW_BLOCK) {
            const int rows = top + ROW_BLOCK < out ? ROW_BLOCK : out - top;
            const real* wt = w + top * w_stride;
            for (int s = g; s < end; s += TILE) {
                const real* us = u + s * u_stride;
                const Present& p = present[(s - g) / TILE];
                real* zs = z + s * z_stride + top;
                switch (end - s) {
                    case 1: dot_rows<K, 1, 8>(us, u_stride, p, wt, w_stride, rows, in, zs, z_stride, far && s == g); break;
                    case 2: dot_rows<K, 2, 4>(us, u_stride, p, wt, w_stride, rows, in, zs, z_stride, far && s == g); break;
                    case 3: dot_rows<K, 3, 4>(us, u_stride, p, wt, w_stride, rows, in, zs, z_stride, far && s == g); break;
                    default: dot_rows<K, 4, 4>(us, u_stride, p, wt, w_stride, rows, in, zs, z_stride, far && s == g);
                }
            }
        }
    }
}

// One step of the three sums. An addition beside a product costs nothing where there are units for both.
SIM_HD void add_drop(vf a, vf x, vf h, vf& z, vf& current, vf& drop) {
    const vf p = a * x;
    z = z + p;
    current = current + absolute(p);
    drop = multiply_add(p, h, drop);
}

template <int S, int Q>
SIM_HD void dot_drop_tile(const real* u, size_t u_stride, const real* h, const real* w, size_t w_stride, int rows, int n, DropSums out,
                          size_t stride) {
    static_assert(S * Q <= 8, "sums16");
    vf sum[16] = {}, drop[16] = {};  // z and current; drop
    const real* row[Q];
    for (int q = 0; q < Q; ++q) row[q] = w + static_cast<size_t>(q < rows ? q : rows - 1) * w_stride;
    int j = 0;
    for (; j + LANES <= n; j += LANES) {
        vf x[S];
        const vf profile = load(h + j);
        for (int s = 0; s < S; ++s) x[s] = load(u + s * u_stride + j);
        for (int q = 0; q < Q; ++q) {
            const vf a = load(row[q] + j);
            for (int s = 0; s < S; ++s) add_drop(a, x[s], profile, sum[s * Q + q], sum[8 + s * Q + q], drop[s * Q + q]);
        }
    }
    if (j < n) {
        const vf profile = load(h + j);
        for (int q = 0; q < Q; ++q) {
            const vf a = load_first(row[q] + j, n - j);
            for (int s = 0; s < S; ++s)
                add_drop(a, load(u + s * u_stride + j), profile, sum[s * Q + q], sum[8 + s * Q + q], drop[s * Q + q]);
        }
    }
    real total[16], dropped[16];
    sums16(sum, total);
    sums16(drop, dropped);
    for (int s = 0; s < S; ++s)
        for (int q = 0; q < rows; ++q) {
            out.z[s * stride + q] = total[s * Q + q];
            out.current[s * stride + q] = total[8 + s * Q + q];
            out.drop[s * stride + q] = dropped[s * Q + q];
        }
}

template <int S, int C>
SIM_HD void outer_drop_tile(const real* u, size_t u_stride, const real* h, const real* w, size_t w_stride, int n, int last, DropSums out,
                            size_t stride) {
    vf z[S][C] = {}, current[S][C] = {}, drop[S][C] = {};
    for (int i = 0; i < n; ++i) {
        const real* row = w + i * w_stride;
        const vf profile = broadcast(h[i]);
        for (int c = 0; c < C; ++c) {
            const vf a = c < C - 1 || last == LANES ? load(row + c * LANES) : load_first(row + c * LANES, last);
            for (int s = 0; s < S; ++s) add_drop(a, broadcast(u[s * u_stride + i]), profile, z[s][c], current[s][c], drop[s][c]);
        }
    }
    for (int s = 0; s < S; ++s)
        for (int c = 0; c < C; ++c) {
            const int count = c < C - 1 ? LANES : last;
            const size_t at = s * stride + c * LANES;
            if (count == LANES) {
                store(out.z + at, z[s][c]);
                store(out.current + at, current[s][c]);
                store(out.drop + at, drop[s][c]);
            } else {
                store_first(out.z + at, z[s][c], count);
                store_first(out.current + at, current[s][c], count);
                store_first(out.drop + at, drop[s][c], count);
            }
        }
}

// The sums of a static IR drop, all in one pass over W; h is padded like u.
void drop_product(const real* u, size_t u_stride, int samples, const real* h, const real* w, int out, int in, bool transposed,
                  DropSums sums, size_t stride) {
    const size_t w_stride = static_cast<size_t>(in);
    const auto at = [&](size_t k) { return DropSums{sums.z + k, sums.current + k, sums.drop + k}; };
    if (transposed) {
        constexpr int S = 2, C = 4;
        for (int j = 0, width = C; j < in; j += width * LANES) {  // a stripe of columns stays in the cache while the samples pass
            width = in - j > (C - 1) * LANES ? C : 1;
            const int last = in - j >= width * LANES ? LANES : in - j - (width - 1) * LANES;
            for (int s = 0, count = S; s < samples; s += count) {
                count = samples - s >= S ? S : 1;
                const real* us = u + s * u_stride;
                const DropSums o = at(s * stride + j);
                if (count == S && width == C) outer_drop_tile<S, C>(us, u_stride, h, w + j, w_stride, out, last, o, stride);
                else if (count == S) outer_drop_tile<S, 1>(us, u_stride, h, w + j, w_stride, out, last, o, stride);
                else if (width == C) outer_drop_tile<1, C>(us, u_stride, h, w + j, w_stride, out, last, o, stride);
                else outer_drop_tile<1, 1>(us, u_stride, h, w + j, w_stride, out, last, o, stride);
            }
        }
        return;
    }
    if (in < 16) {
        for (int s = 0; s < samples; ++s)
            for (int i = 0; i < out; ++i) {
                real z = 0.0f, current = 0.0f, drop = 0.0f;
                for (int j = 0; j < in; ++j) {
                    const real p = w[i * w_stride + j] * u[s * u_stride + j];
                    z += p;
                    current += absolute(p);
                    drop += p * h[j];
                }
                const DropSums o = at(s * stride + i);
                *o.z = z;
                *o.current = current;
                *o.drop = drop;
            }
        return;
    }
    for (int top = 0; top < out; top += ROW_BLOCK)
        for (int s = 0; s < samples; s += 2)
            for (int i = top; i < out && i < top + ROW_BLOCK; i += 4) {
                const int rows = out - i < 4 ? out - i : 4;
                const real *us = u + s * u_stride, *wi = w + i * w_stride;
                if (samples - s >= 2) dot_drop_tile<2, 4>(us, u_stride, h, wi, w_stride, rows, in, at(s * stride + i), stride);
                else dot_drop_tile<1, 4>(us, u_stride, h, wi, w_stride, rows, in, at(s * stride + i), stride);
            }
}

}  // namespace
}  // namespace sim
