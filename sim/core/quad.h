// What a thread of a GPU takes of a plane of numbers: four elements of a block of 64, which share a block of random words.
#pragma once
#include "normal.h"

namespace sim {

struct Quad {
    u32 q, lane;  // elements 64 q + 16 c + lane, c = 0 ... 3

    SIM_HD long long element(int c) const { return 64LL * q + 16 * c + lane; }
    SIM_HD Words4<u32> words(Stream s, u32 sample, u32 draw, u32 step) const { return field_words(s, 64 * q + lane, sample, draw, step); }
    SIM_HD Normals4<float> normals(Stream s, u32 sample, u32 draw, u32 step) const { return sim::normals<float>(words(s, sample, draw, step)); }
    SIM_HD void uniforms(Stream s, u32 sample, u32 draw, u32 step, float* u) const {
        const Words4<u32> w = words(s, sample, draw, step);
        u[0] = uniform<float>(w.x), u[1] = uniform<float>(w.y), u[2] = uniform<float>(w.z), u[3] = uniform<float>(w.w);
    }
};
SIM_HD Quad quad_at(long long thread) { return {static_cast<u32>(thread / 16), static_cast<u32>(thread % 16)}; }

}  // namespace sim
