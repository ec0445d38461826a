// Columns of a mini-batch that have pulses in any sample. In the others nothing happens, and many inputs are 0: the dark part of
// an image, the lower half of a rectified activation. So rows go through the first ones only, next to each other.
#pragma once
#include "columns.h"
#include "train.h"

namespace sim {
namespace {

constexpr int whole_vectors(int n) { return (n + LANES - 1) / LANES * LANES; }

struct Kept {
    Lines lines;
    const u32* line;  // which column each is
    const u32* mask;  // of each LANES columns those that are kept; null: all of them
};

// What is told of each LANES kept columns, of each LANES of all `width`.
SIM_HD void spread_hits(const u32* hits, const u32* mask, u32* spread, int width) {
    u64 bits = 0;
    int n = 0;
    for (int j = 0; j < width; j += LANES) {
        const u32 at = mask[j / LANES];
        const int taken = count_of(at);
        if (n < taken) bits |= static_cast<u64>(*hits++) << n, n += LANES;
        spread[j / LANES] = deposited(static_cast<u32>(bits), at);
        bits >>= taken, n -= taken;
    }
}

// Words of a replica's columns in planes of padded(n) that follow each other, and what is kept of them. Going through all
// of a row, its weights are read and written in whole vectors: that is worth a few columns without pulses.
Kept keep_pulsed(Lines all, int batch, u32* bits, u32* negative, u32* line, u32* mask, const u32* every) {
    const int width = whole_vectors(all.n);
    int n = 0;
    for (int j = 0; j < width; j += LANES) {
        vu any{};
        for (int plane = 0; plane < batch * all.words; ++plane) any |= load(all.bits + static_cast<size_t>(plane) * padded(all.n) + j);
        n += count_of(mask[j / LANES] = mask_of(any));
    }
    if (4 * whole_vectors(n) > 3 * width) return {all, every, nullptr};
    const auto keep = [&](const u32* from, u32* to) {
        pack(&from, &to, 1, mask, width);
        for (int k = n; k < whole_vectors(n); ++k) to[k] = 0;
    };
    const Lines kept{bits, negative, n, all.words};
    for (int plane = 0; plane < batch * all.words; ++plane)
        keep(all.bits + static_cast<size_t>(plane) * padded(all.n), bits + static_cast<size_t>(plane) * padded(n));
    for (int b = 0; b < batch; ++b) keep(all.negative + static_cast<size_t>(b) * padded(all.n), negative + static_cast<size_t>(b) * padded(n));
    keep(every, line);
    return {kept, line, mask};
}

}  // namespace
}  // namespace sim
