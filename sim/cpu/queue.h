// Pulses of a row that wait to be applied: for every column their number and their directions, a bit each, in order.
#pragma once
#include "kernels.h"
#include "portable.h"

namespace sim {
namespace {

constexpr int QUEUE = 63;  // pulses that a column can queue

struct RowScratch {
    u64* queue;      // directions of queued pulses, bit 1 = up; the next pulse is bit 0
    u64* count;      // their number
    u32* done;       // pulses applied in this call
    u32* column;     // columns that have pulses
    u32* order;      // the same, longest queue first
    const float** parameter;  // row of each parameter of the device
    int active;      // number of columns that the last drain applied pulses to
    bool drained;    // queues were drained before the end of the batch
};

// Adds the coincidences of a word of bits. `row_negative` is all ones where the row makes an up pulse of a column that is
// not negative. With `ups_only` a coincidence that would be a down pulse is dropped.
#if defined(__AVX512VPOPCNTDQ__)
SIM_HD void enqueue(int n, u32 row_bits, u32 row_negative, bool ups_only, const u32* bits, const u32* negative, u64* queue, u64* count) {
    const __m256i keep = _mm256_set1_epi32(ups_only ? 0 : -1);
    const __m256i d = _mm256_set1_epi32(static_cast<int>(row_bits));
    const __m256i up_if = _mm256_set1_epi32(static_cast<int>(row_negative));
    const __m512i one = _mm512_set1_epi64(1);
    for (int j = 0; j < n; j += 8) {
        __m256i hit = _mm256_and_si256(d, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits + j)));
        if (_mm256_testz_si256(hit, hit)) continue;
        const __m256i up = _mm256_xor_si256(up_if, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(negative + j)));
        hit = _mm256_and_si256(hit, _mm256_or_si256(up, keep));
        const __m512i c = _mm512_popcnt_epi64(_mm512_cvtepu32_epi64(hit));
        const __m512i run = _mm512_and_si512(_mm512_sub_epi64(_mm512_sllv_epi64(one, c), one), _mm512_cvtepi32_epi64(up));
        const __m512i at = _mm512_load_si512(count + j);
        _mm512_store_si512(queue + j, _mm512_or_si512(_mm512_load_si512(queue + j), _mm512_sllv_epi64(run, at)));
        _mm512_store_si512(count + j, _mm512_add_epi64(at, c));
    }
}
#else
SIM_HD void enqueue(int n, u32 row_bits, u32 row_negative, bool ups_only, const u32* bits, const u32* negative, u64* queue, u64* count) {
    const u32 keep = ups_only ? 0u : ~0u;
    for (int j = 0; j < n; ++j) {
        u32 v = row_bits & bits[j] & ((row_negative ^ negative[j]) | keep);  // population count in plain arithmetic: vectorised on every instruction set
        v = v - ((v >> 1) & 0x55555555u);
        v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
        const u64 c = (((v + (v >> 4)) & 0x0F0F0F0Fu) * 0x01010101u) >> 24;
        const u64 up = static_cast<u64>(static_cast<long long>(static_cast<int>(row_negative ^ negative[j])));
        queue[j] |= (((u64(1) << c) - 1) & up) << count[j];
        count[j] += c;
    }
}
#endif

// Deterministic trains: pulses number `skip` to `skip` + 30 of the round(row number * column number) of each column.
SIM_HD void enqueue_numbers(int n, float row_number, u32 row_negative, bool ups_only, const float* number, const u32* negative, float skip, u64* queue, u64* count) {
    for (int j = 0; j < n; ++j) {
        const float left = round_even(row_number * number[j]) - skip;
        const bool kept = !ups_only || (row_negative ^ negative[j]) != 0;
        const u64 c = kept && left > 0.0f ? static_cast<u64>(left < 31.0f ? left : 31.0f) : 0;
        const u64 up = static_cast<u64>(static_cast<long long>(static_cast<int>(row_negative ^ negative[j])));
        queue[j] |= (((u64(1) << c) - 1) & up) << count[j];
        count[j] += c;
    }
}

SIM_HD u64 longest(int n, const u64* count) {
    u64 m = 0;
    for (int j = 0; j < n; ++j) m = count[j] > m ? count[j] : m;
    return m;
}

// Columns with a pulse to apply, in order; returns their number. n is padded to a multiple of 64, columns as well.
SIM_HD int active_columns(int n, const u64* count, u64 mask, u32* column) {
    int active = 0;
#if defined(__AVX512F__)
    const __m512i bits = _mm512_set1_epi64(static_cast<long long>(mask));
    for (int j = 0; j < n; j += 16) {
        const __mmask8 low = _mm512_test_epi64_mask(_mm512_load_si512(count + j), bits);
        const __mmask8 high = _mm512_test_epi64_mask(_mm512_load_si512(count + j + 8), bits);
        const __mmask16 hit = static_cast<__mmask16>(low | (static_cast<unsigned>(high) << 8));
        if (!hit) continue;
        const __m512i index = (__m512i)(lane_index() + static_cast<u32>(j));
        _mm512_storeu_si512(column + active, _mm512_maskz_compress_epi32(hit, index));
        active += __builtin_popcount(hit);
    }
#else
    for (int j = 0; j < n; ++j) {
        column[active] = static_cast<u32>(j);
        active += (count[j] & mask) != 0;
    }
#endif
    return active;
}

// The same columns, longest queue first (counting sort).
SIM_HD void sort_columns(int active, const u64* count, u64 mask, const u32* column, u32* order) {
    int start[QUEUE + 2] = {0};
    for (int k = 0; k < active; ++k) ++start[QUEUE - (count[column[k]] & mask)];
    int total = 0;
    for (int k = 0; k <= QUEUE; ++k) {
        const int here = start[k];
        start[k] = total;
        total += here;
    }
    for (int k = 0; k < active; ++k) order[start[QUEUE - (count[column[k]] & mask)]++] = column[k];
}

}  // namespace
}  // namespace sim
