// Pulses of a row that wait to be applied: for every column their number and their directions, a bit each, in order.
#pragma once
#include "kernels.h"
#include "pulse_group.h"

namespace sim {
namespace {

constexpr int QUEUE = 63;  // pulses that a column can queue

// Adds the coincidences of a word of bits. `row_negative` is all ones where the row makes an up pulse of a column that is
// not negative. With `ups_only` a coincidence that would be a down pulse is dropped.
#if defined(SIM_AVX512) && defined(__AVX512VPOPCNTDQ__)
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
SIM_HD void enqueue_numbers(int n, real row_number, u32 row_negative, bool ups_only, const real* number, const u32* negative, real skip, u64* queue, u64* count) {
    for (int j = 0; j < n; ++j) {
        const real left = round_even(row_number * number[j]) - skip;
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

// Takes queued pulses of LANES columns from j on: a multiple of `unit`, at most a group. Returns false where there are none. What was
// taken is added to `done` where more is to come.
struct Taken {
    vu low, left, done;  // directions, number, pulses applied before
};
SIM_HD bool take(int j, u32 unit, bool more, bool drained, u64* queue, u64* count, u32* done, Taken& t) {
    const u64 mask = ~u64(unit - 1);
#if defined(SIM_AVX512)
    const __m512i bits = _mm512_set1_epi64(static_cast<long long>(mask));
    const __m512i c0 = _mm512_load_si512(count + j), c1 = _mm512_load_si512(count + j + 8);
    const __m512i group = _mm512_set1_epi64(GROUP);
    const __m512i take0 = _mm512_min_epu64(_mm512_and_si512(c0, bits), group), take1 = _mm512_min_epu64(_mm512_and_si512(c1, bits), group);
    const __mmask8 hit0 = _mm512_test_epi64_mask(take0, take0), hit1 = _mm512_test_epi64_mask(take1, take1);
    if (!(hit0 | hit1)) return false;
    const __m512i q0 = _mm512_load_si512(queue + j), q1 = _mm512_load_si512(queue + j + 8);
    const auto join = [](__m256i x, __m256i y) { return (vu)_mm512_inserti64x4(_mm512_castsi256_si512(x), y, 1); };
    t.low = join(_mm512_cvtepi64_epi32(q0), _mm512_cvtepi64_epi32(q1));
    t.left = join(_mm512_cvtepi64_epi32(take0), _mm512_cvtepi64_epi32(take1));
    _mm512_store_si512(queue + j, _mm512_srlv_epi64(q0, take0));
    _mm512_store_si512(queue + j + 8, _mm512_srlv_epi64(q1, take1));
    _mm512_store_si512(count + j, _mm512_sub_epi64(c0, take0));
    _mm512_store_si512(count + j + 8, _mm512_sub_epi64(c1, take1));
#else
    bool some = false;
    for (int k = 0; k < LANES; ++k) {
        const u64 units = count[j + k] & mask, c = units < GROUP ? units : GROUP, q = queue[j + k];
        some |= c != 0;
        t.low[k] = static_cast<u32>(q);
        t.left[k] = static_cast<u32>(c);
        queue[j + k] = q >> c;
        count[j + k] -= c;
    }
    if (!some) return false;
#endif
    t.done = drained ? load(done + j) : vu{};
    if (more) store(done + j, t.done + t.left);
    return true;
}

// Words of bits that a row shares with the columns, sample by sample; together they have at most 32 bits.
struct Words {
    struct Word {
        const u32 *bits, *negative;  // of the columns
        u32 row_bits, up_if;         // up_if: all ones where a column that is not negative gets up pulses
    } word[32];
    int n;
    u32 pulses;  // the most that a column can get
};

// The same as `take` from words, where nothing is queued.
template <bool UpsOnly> SIM_HD bool take_words(int j, const Words& words, Taken& t) {
    t.left = t.low = vu{};
    for (int k = 0; k < words.n; ++k) {
        const Words::Word& w = words.word[k];
        const vu up = load(w.negative + j) ^ w.up_if, hits = load(w.bits + j) & w.row_bits;
        const vu n = population(UpsOnly ? hits & up : hits);
        t.low |= shift_left(up & ~shift_left(broadcast(~0u), n), t.left);
        t.left += n;
    }
    t.done = vu{};
    return any(to_signed(t.left) != 0);
}

#if defined(SIM_AVX512)
SIM_HD u32 most(vu left) {
    const auto larger = [](vu a, vu b) { return select(to_signed(a) > to_signed(b), a, b); };
    left = larger(left, __builtin_shufflevector(left, left, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    left = larger(left, __builtin_shufflevector(left, left, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
    left = larger(left, __builtin_shufflevector(left, left, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
    return left[0] > left[1] ? left[0] : left[1];
}
#else
SIM_HD u32 most(vu left) {
    u32 m = 0;
    for (int k = 0; k < LANES; ++k) m = left[k] > m ? left[k] : m;
    return m;
}
#endif

}  // namespace
}  // namespace sim
